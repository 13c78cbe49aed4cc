/**
 * A client that tries to use up all connections. It is a separate process, so that its load does not slow down a test.
 * `flood.ts KIND COUNT ADDRESS` opens COUNT connections to the balancer from ADDRESS, and goes on as long as its
 * standard input is open. It opens refused or ended connections again, 100 times a second. Every tenth of a second it
 * prints the number of open connections, and of attempts that have ended.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { connect as connectTls } from "node:tls";
import { balancerAddress, domain, upgradeRequest } from "./client";

/**
 * `idle`: TCP connections that say nothing, on 443 and 80 by turns. `sockets`: WebSockets. `readers`: a large script is
 * asked for, and its answer not read. `status`: the status is asked for, with a body that never comes.
 */
export type FloodKind = "idle" | "sockets" | "readers" | "status" | "hammer";

interface Counts {
  /** Connections that were accepted; for WebSockets, those whose upgrade was accepted. */
  open: number;
  ended: number;
}

const request = (path: string, headers = "") => `GET ${path} HTTP/1.1\r\nHost: ${domain}\r\n${headers}\r\n`;

function open(kind: FloodKind, number: number, localAddress: string, hasBegun: () => void): Socket {
  if (kind === "idle") {
    const port = number % 2 === 0 ? 443 : 80;
    return connectTcp({ host: balancerAddress, port, localAddress }, hasBegun);
  }
  const options = {
    host: balancerAddress,
    port: 443,
    servername: domain,
    rejectUnauthorized: false,
    ALPNProtocols: ["http/1.1"],
  };
  // Node passes localAddress on to the socket; its types do not say so.
  const socket = connectTls({ ...options, ...{ localAddress } }, () => {
    switch (kind) {
      case "sockets":
        socket.write(upgradeRequest());
        socket.once("data", (answer: Buffer) =>
          answer.toString().startsWith("HTTP/1.1 101 ") ? hasBegun() : socket.destroy(),
        );
        // Leave WCS's pings without an answer: it closes such a socket after 50 s.
        socket.on("data", () => {});
        return;
      case "readers":
        socket.write(request("/wcs/flashphoner.js"));
        hasBegun();
        return;
      case "status":
        socket.write(request("/.well-known/wcs-balancer/status", "Content-Length: 1000000\r\n"));
        hasBegun();
        return;
      case "hammer":
        hasBegun();
        socket.on("data", () => socket.write(request("/healthz")));
        socket.write(request("/healthz"));
    }
  });
  return socket;
}

function main([kind, count, address]: string[]): void {
  const counts: Counts = { open: 0, ended: 0 };
  let number = 0;
  const attempt = () => {
    let begun = false;
    const socket = open(kind as FloodKind, number++, address ?? "", () => {
      begun = true;
      counts.open++;
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      counts.ended++;
      if (begun) counts.open--;
      waiting++;
    });
  };
  let waiting = Number(count);
  let first = waiting;
  setInterval(() => {
    // The first ones as fast as they can be made, without a wave that this process itself drowns in.
    for (let left = first > 0 ? 200 : 10; left > 0 && waiting > 0; left--) {
      waiting--;
      first--;
      attempt();
    }
    console.log(JSON.stringify(counts));
  }, 100);
  process.stdin.resume().on("end", () => process.exit(0));
}

/** A flood that runs beside a test. */
export class Flood {
  counts: Counts = { open: 0, ended: 0 };
  /** The most that were open at one time. */
  most = 0;

  private constructor(private readonly child: ChildProcess) {}

  /** Starts it, and waits until each connection has been tried once. */
  static async start(kind: FloodKind, count: number, address: string): Promise<Flood> {
    const args = ["--import", "tsx", __filename, kind, String(count), address];
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    const flood = new Flood(child);
    await new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(() => reject(new Error("the flood does not begin")), 120_000);
      if (child.stdout)
        createInterface(child.stdout).on("line", (line) => {
          flood.counts = JSON.parse(line) as Counts;
          flood.most = Math.max(flood.most, flood.counts.open);
          if (flood.counts.open + flood.counts.ended < count) return;
          clearTimeout(deadline);
          resolve();
        });
    });
    return flood;
  }

  async stop(): Promise<void> {
    this.child.stdin?.end();
    if (this.child.exitCode === null) await once(this.child, "exit");
  }
}

if (require.main === module) main(process.argv.slice(2));
