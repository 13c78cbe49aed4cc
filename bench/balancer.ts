import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { Worker } from "node:worker_threads";
import { WebSocket } from "ws";
import {
  agentPort,
  busyPage,
  certificatePath,
  httpsPort,
  loadBalancerHttpsPort,
  nodePort,
  statusCertificateFile,
} from "../contract/facts";
import { proxyHeader } from "../sandbox/load-balancer/proxy-protocol";
import { run } from "../sandbox/shell";
import { renderStack } from "../scripts/render";
import { DebianRoot } from "../test/debian-root";
import { inNamespace } from "./namespace";
import { median, percentile, table, thisMachine, writePicture, writeSection } from "./report";

const rounds = 3;
const handshakes = 1500;
const talkingSockets = 50;
const messagesPerSocket = 100;
const idleSockets = 5000;
const domain = "wcs.example.com";
const nodes = ["127.0.0.2", "127.0.0.3"] as const;
/** Room for the idle sockets, in both set-ups, within the open files that a container may have. */
const maxConnections = 6000;

/** The guide's haproxy.cfg, cut out of its text, with this measurement's addresses and room for its sockets. */
function cutGuideConfig(guide: string): string {
  const text = guide.match(/^#-+\n# Global settings\n[\s\S]*?(?=^All the parameters in global)/m)?.[0];
  if (!text) throw new Error("the guide has no haproxy.cfg that begins with Global settings");
  let node = 0;
  return text
    .replace(/^ *daemon$/m, "")
    .replace(/^( +server wcs\d_ws) \S+/gm, (_, server: string) => `${server} ${nodes[node++]}:${nodePort}`)
    .replace(/maxconn +\d+/g, `maxconn ${maxConnections}`);
}

interface Setup {
  name: string;
  config: string;
  /** Whether clients come as through a load balancer: to its port, with the PROXY protocol. */
  throughLoadBalancer?: boolean;
}

/** HAProxy with one of the configurations, from a fresh start. */
class Haproxy {
  private constructor(private readonly process: ChildProcess) {}

  static async start(debian: DebianRoot, setup: Setup): Promise<Haproxy> {
    debian.write("bench.cfg", setup.config);
    const child = spawn("chroot", [debian.root, "haproxy", "-db", "-f", "/bench.cfg"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let output = "";
    child.stderr?.setEncoding("utf8").on("data", (part: string) => {
      output += part;
    });
    const deadline = Date.now() + 10_000;
    while (!(await answers(setup))) {
      if (child.exitCode !== null || Date.now() > deadline)
        throw new Error(`HAProxy does not start with ${setup.name}: ${output}`);
      await sleep(50);
    }
    return new Haproxy(child);
  }

  /** CPU time so far, in milliseconds. */
  get cpu(): number {
    const tasks = `/proc/${this.process.pid}/task`;
    const nanoseconds = readdirSync(tasks).map((task) =>
      Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0]),
    );
    return nanoseconds.reduce((sum, value) => sum + value, 0) / 1e6;
  }

  /** Resident memory in kilobytes. */
  get memory(): number {
    return Number(readFileSync(`/proc/${this.process.pid}/status`, "utf8").match(/^VmRSS:\s+(\d+) kB/m)?.[1]);
  }

  async stop(): Promise<void> {
    this.process.kill("SIGTERM");
    if (this.process.exitCode === null) await once(this.process, "exit");
  }
}

const trusting = { rejectUnauthorized: false, servername: domain };

/**
 * Connects to HAProxy; behind a load balancer that says whose connection it is.
 * @param address the client's: a single address may not have so many connections
 */
function connectTo({ throughLoadBalancer }: Setup, address: string): TLSSocket {
  const port = throughLoadBalancer ? loadBalancerHttpsPort : httpsPort;
  const socket: Socket = connect({ host: "127.0.0.1", port, localAddress: address, noDelay: true });
  if (throughLoadBalancer)
    socket.write(proxyHeader({ address, port: 40_000 }, { address: "127.0.0.1", port: httpsPort }));
  return connectTls({ socket, ...trusting });
}

/** One full TLS handshake. */
function handshake(setup: Setup): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTo(setup, "127.0.0.1");
    socket.on("secureConnect", () => {
      socket.destroy();
      resolve();
    });
    socket.on("error", reject);
  });
}

/** Whether a WebSocket gets through: HAProxy listens and its nodes are up. */
async function answers(setup: Setup): Promise<boolean> {
  try {
    (await open(setup)).terminate();
    return true;
  } catch {
    return false;
  }
}

/** Where a WebSocket goes: to HAProxy in a set-up, or straight to a node. */
type Way = Setup | { node: string };

function open(way: Way, localAddress = "127.0.0.1"): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket =
      "node" in way
        ? new WebSocket(`ws://${way.node}:${nodePort}/`, { localAddress, perMessageDeflate: false })
        : new WebSocket("wss://127.0.0.1/", {
            createConnection: () => connectTo(way, localAddress),
            perMessageDeflate: false,
          });
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
  });
}

async function openMany(way: Way, count: number): Promise<WebSocket[]> {
  const sockets: WebSocket[] = [];
  for (let client = 1; sockets.length < count; client++) {
    const batch = Math.min(50, count - sockets.length);
    const address = `127.1.${client >> 8}.${client & 255}`;
    sockets.push(...(await Promise.all(Array.from({ length: batch }, () => open(way, address)))));
  }
  return sockets;
}

async function closeMany(sockets: WebSocket[]): Promise<void> {
  await Promise.all(
    sockets.map((socket) => {
      const closed = once(socket, "close");
      socket.terminate();
      return closed;
    }),
  );
}

/** CPU of HAProxy for one handshake, in milliseconds. */
async function handshakeCpu(haproxy: Haproxy, setup: Setup): Promise<number> {
  const before = haproxy.cpu;
  for (let done = 0; done < handshakes; done += 10)
    await Promise.all(Array.from({ length: 10 }, () => handshake(setup)));
  return (haproxy.cpu - before) / handshakes;
}

/** Milliseconds from a message to its echo. */
async function roundTrips(sockets: WebSocket[]): Promise<number[]> {
  const message = "x".repeat(200);
  const samples = await Promise.all(
    sockets.map(async (socket, index) => {
      const times: number[] = [];
      await sleep(index);
      for (let count = 0; count < messagesPerSocket; count++) {
        const began = performance.now();
        const echo = once(socket, "message");
        socket.send(message);
        await echo;
        times.push(performance.now() - began);
        await sleep(20);
      }
      return times;
    }),
  );
  return samples.flat();
}

/** The times of messages, and the CPU of HAProxy for one there and back, all in milliseconds. */
async function messages(way: Way, haproxy?: Haproxy): Promise<{ times: number[]; cpu: number }> {
  const sockets = await openMany(way, talkingSockets);
  const before = haproxy?.cpu ?? 0;
  const times = await roundTrips(sockets);
  const cpu = ((haproxy?.cpu ?? 0) - before) / times.length;
  await closeMany(sockets);
  return { times, cpu };
}

/** Memory of HAProxy for an idle WebSocket, in kilobytes. */
async function idleMemory(haproxy: Haproxy, setup: Setup): Promise<number> {
  const before = haproxy.memory;
  const sockets = await openMany(setup, idleSockets);
  await sleep(1000);
  const after = haproxy.memory;
  await closeMany(sockets);
  return (after - before) / idleSockets;
}

/** Nodes that echo messages, with agents that always answer 100 %, in their own thread. */
async function startNodes(): Promise<Worker> {
  const worker = new Worker(
    `const { createServer } = require("node:net");
     const { WebSocketServer } = require("ws");
     for (const host of ${JSON.stringify(nodes)}) {
       new WebSocketServer({ host, port: ${nodePort}, perMessageDeflate: false }).on("connection", (socket) =>
         socket.on("message", (data, binary) => socket.send(data, { binary })).on("error", () => {}));
       createServer((socket) => socket.on("error", () => {}).end("up 100%\\n")).listen(${agentPort}, host);
     }
     setTimeout(() => require("node:worker_threads").parentPort.postMessage("up"), 200);`,
    { eval: true },
  );
  await once(worker, "message");
  return worker;
}

function ownConfig(): string {
  const text = renderStack("dev", {
    domain,
    nodes: ["wcs-1", "wcs-2"],
    maxConnections,
    maxConnectionsPerNode: maxConnections,
  })["balancer/haproxy.cfg"];
  let node = 0;
  return (text ?? "").replace(
    /^( +server wcs-\S+) \S+/gm,
    (_, server: string) => `${server} ${nodes[node++]}:${nodePort}`,
  );
}

interface Result {
  /** CPU of HAProxy, in milliseconds. */
  handshakes: number[];
  messages: number[];
  /** Round trips of messages, in milliseconds. */
  times: number[];
  /** In kilobytes. */
  memory: number;
}

async function measure(debian: DebianRoot, setups: Setup[], progress: (text: string) => void) {
  const results = setups.map((): Result => ({ handshakes: [], messages: [], times: [], memory: 0 }));
  const direct: number[] = [];
  // Alternating, so that other work of the machine affects all.
  for (let round = 1; round <= rounds; round++) {
    progress(`round ${round} of ${rounds}: messages straight to a node`);
    direct.push(...(await messages({ node: nodes[0] })).times);
    for (const [index, setup] of setups.entries()) {
      const haproxy = await Haproxy.start(debian, setup);
      progress(`round ${round} of ${rounds}: ${setup.name}, ${handshakes} handshakes, then messages`);
      results[index]?.handshakes.push(await handshakeCpu(haproxy, setup));
      const { times, cpu } = await messages(setup, haproxy);
      results[index]?.times.push(...times);
      results[index]?.messages.push(cpu);
      await haproxy.stop();
    }
  }
  for (const [index, setup] of setups.entries()) {
    progress(`${setup.name}, ${idleSockets} idle WebSockets`);
    const haproxy = await Haproxy.start(debian, setup);
    const result = results[index];
    if (result) result.memory = await idleMemory(haproxy, setup);
    await haproxy.stop();
  }
  return { results, direct };
}

/** A bar chart of ours in parts of the guide's, drawn by gnuplot. */
function draw(debian: DebianRoot, bars: [string, number][]): string {
  debian.write("plot.dat", bars.map(([name, ratio]) => `"${name}" ${ratio.toFixed(3)}\n`).join(""));
  debian.write(
    "plot.gp",
    `set terminal svg size 640,360 font "sans-serif,13" background "white"
set output "/plot.svg"
set title "The balancer's costs, as parts of the guide's set-up (1 = the same)"
set style data histograms
set style fill solid 0.8 noborder
set boxwidth 0.6
set yrange [0:1.25]
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
unset key
plot "/plot.dat" using 2:xtic(1) lc rgb "#2f6fab", 1 with lines lc rgb "#b03030" lw 2, "/plot.dat" using 0:2:(sprintf("%.2f", $2)) with labels offset 0,0.7
`,
  );
  const { status, output } = debian.exec("gnuplot", "/plot.gp");
  if (status !== 0) throw new Error(`gnuplot failed: ${output}`);
  return readFileSync(`${debian.root}/plot.svg`, "utf8");
}

/** Compares our haproxy.cfg with the guide's, prints a table and writes it to docs/benchmarks.md. */
export async function benchBalancer(guideFile: string): Promise<void> {
  if (!inNamespace()) return;
  const debian = await DebianRoot.with("haproxy", "gnuplot-nox");
  run("ip", ["link", "set", "lo", "up"]);
  const worker = await startNodes();
  try {
    debian.write(busyPage.slice(1), "<!doctype html>");
    const keys: [string, string][] = [
      [certificatePath(domain), "ec -pkeyopt ec_paramgen_curve:P-256"],
      [statusCertificateFile, "ec -pkeyopt ec_paramgen_curve:P-256"],
      [certificatePath("mydomain.com"), "rsa:2048"],
    ];
    for (const [path, key] of keys) {
      const command = `mkdir -p $(dirname ${path}) && openssl req -x509 -nodes -days 2 -subj /CN=${domain} -newkey ${key} -keyout /key -out /crt 2>&1 && cat /crt /key > ${path}`;
      const { status, output } = debian.exec("sh", "-c", command);
      if (status !== 0) throw new Error(`openssl failed: ${output}`);
    }
    const setups: Setup[] = [
      { name: "this project (ECDSA P-256)", config: ownConfig() },
      { name: "this project, through a load balancer", config: ownConfig(), throughLoadBalancer: true },
      { name: "the guide (RSA-2048)", config: cutGuideConfig(readFileSync(guideFile, "utf8")) },
    ];
    const { results, direct } = await measure(debian, setups, (text) => console.error(text));
    const [ours, balanced, guide] = results as [Result, Result, Result];
    const figures: [string, (result: Result) => number, string][] = [
      ["CPU of HAProxy for a full TLS handshake", (result) => median(result.handshakes), "ms"],
      ["CPU of HAProxy for a message there and back", (result) => median(result.messages), "ms"],
      ["round trip of a message, p50", ({ times }) => percentile(times, 50), "ms"],
      ["round trip of a message, p99", ({ times }) => percentile(times, 99), "ms"],
      ["memory of HAProxy for an idle WebSocket", ({ memory }) => memory, "KB"],
    ];
    const show = (value: number) => value.toFixed(2);
    const rows = figures.map(([name, of, unit]) => [
      `${name}, ${unit}`,
      show(of(ours)),
      show(of(balanced)),
      show(of(guide)),
      show(of(ours) / of(guide)),
      show(of(balanced) / of(ours)),
    ]);
    const version = debian.exec("haproxy", "-v").output.match(/version (\S+)/)?.[1];
    const text = `## The balancer: \`npm run bench -- balancer --guide FILE\`

HAProxy ${version}, ${thisMachine()}. CPU: median of ${rounds} rounds of ${handshakes} handshakes. Messages: ${rounds} rounds of ${talkingSockets} sockets with
${messagesPerSocket} messages of 200 bytes; straight to a node, without TLS and HAProxy, they take ${show(percentile(direct, 50))} ms (p50) and ${show(percentile(direct, 99))} ms (p99). Memory: resident, over
${idleSockets} sockets. Both set-ups allow ${maxConnections} connections; the guide's is otherwise unchanged. The certificates differ: this
project makes an ECDSA P-256 key, the guide an RSA-2048 key. "Behind a load balancer": each connection begins with a
header of the PROXY protocol, as from a Network Load Balancer, which is not there itself.

${table(["", "this project", "behind a load balancer", "the guide", "this project / the guide", "behind / without"], rows)}

![The balancer's costs as parts of the guide's](benchmark-balancer.svg)`;
    console.log(text);
    writeSection("balancer", text);
    writePicture(
      "benchmark-balancer.svg",
      draw(debian, [
        ["CPU a handshake", median(ours.handshakes) / median(guide.handshakes)],
        ["round trip, p50", percentile(ours.times, 50) / percentile(guide.times, 50)],
        ["round trip, p99", percentile(ours.times, 99) / percentile(guide.times, 99)],
        ["memory a socket", ours.memory / guide.memory],
      ]),
    );
  } finally {
    await worker.terminate();
    debian.remove();
  }
}
