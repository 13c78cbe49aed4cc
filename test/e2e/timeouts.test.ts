import { spawnSync } from "node:child_process";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  authority,
  balancerAddress,
  connect,
  domain,
  eventually,
  losePackets,
  nodeOf,
  onMachine,
  ownAddress,
  upgradeRequest,
} from "./cluster";

/** A connection that sends any text over TLS. */
function rawConnection(localAddress = ownAddress) {
  return connectTls({
    host: balancerAddress,
    port: 443,
    servername: domain,
    ca: authority(),
    ALPNProtocols: ["http/1.1"],
    // Node passes it on to the socket; its types do not say so.
    ...{ localAddress },
  });
}

/** Client connections that HAProxy still holds. */
async function connectionsFrom(address: string): Promise<number> {
  const { output } = await onMachine("balancer", `ss -Htn '( sport = :443 )' dst ${address} | wc -l`);
  return Number(output);
}

describe("time, with the time-outs shortened", () => {
  const shortened: [string, string][] = [
    ["timeout http-request 10s", "timeout http-request 2s"],
    ["timeout client 1m", "timeout client 2s"],
    ["timeout server 1m", "timeout server 2s"],
    ["timeout tunnel 1h", "timeout tunnel 15s"],
    ["clitcpka-idle 30s", "clitcpka-idle 2s"],
    ["clitcpka-intvl 10s", "clitcpka-intvl 1s"],
    ["srvtcpka-idle 30s", "srvtcpka-idle 2s"],
    ["srvtcpka-intvl 10s", "srvtcpka-intvl 1s"],
    ["tcp-ut 60s", "tcp-ut 4s"],
  ];

  beforeAll(async () => {
    const changes = shortened.map(([from, to]) => `-e 's/${from}/${to}/'`).join(" ");
    const file = "/etc/haproxy/haproxy.cfg";
    const { output } = await onMachine(
      "balancer",
      `systemctl stop wcs-balancer-sync && cp ${file} /root/before.cfg && sed -i ${changes} ${file} &&
       systemctl reload haproxy && diff /root/before.cfg ${file} | grep -c '^>'`,
    );
    // The last one is in both frontends for clients.
    expect(Number(output)).toBe(shortened.length + 1);
  });

  // The sync service sees that the file has changed, and writes it again.
  afterAll(async () => {
    await onMachine("balancer", "systemctl start wcs-balancer-sync");
    await eventually(async () => {
      const { status } = await onMachine(
        "balancer",
        "cmp /root/before.cfg /etc/haproxy/haproxy.cfg && wcs-balancer status",
      );
      expect(status).toBe(0);
    });
  });

  test("a silent WebSocket lives longer than every short time-out", async () => {
    const client = await connect();
    let closed = false;
    client.socket.on("close", () => {
      closed = true;
    });
    // WCS asks every 5 s whether the client lives, which is the only traffic.
    await new Promise((resolve) => setTimeout(resolve, 18_000));
    expect(closed).toBe(false);
    await client.close();
  });

  test("request headers that come too slowly are cut off with 408", async () => {
    const socket = rawConnection();
    const began = Date.now();
    let answer = "";
    socket.setEncoding("utf8").on("data", (part: string) => {
      answer += part;
    });
    socket.write(`GET / HTTP/1.1\r\nHost: ${domain}\r\n`);
    const drip = setInterval(() => socket.writable && socket.write("X-Slow: 1\r\n"), 300);
    await new Promise((resolve) => socket.on("close", resolve).on("error", resolve));
    clearInterval(drip);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(Date.now() - began).toBeLessThan(30_000);
  });

  test("the connection of a client that has disappeared is closed", async () => {
    const address = "198.51.100.77";
    const interfaceName = "client";
    const device =
      spawnSync("ip", ["-o", "-4", "address", "show", "to", ownAddress], { encoding: "utf8" }).stdout.split(
        " ",
      )[1] ?? interfaceName;
    expect(spawnSync("ip", ["address", "add", `${address}/32`, "dev", device]).status).toBe(0);
    const socket = rawConnection(address);
    socket.on("error", () => {});
    socket.write(upgradeRequest());
    await new Promise((resolve) => socket.once("data", resolve));
    expect(await connectionsFrom(address)).toBe(1);
    // Packets to the address are dropped, not refused.
    expect(spawnSync("ip", ["address", "del", `${address}/32`, "dev", device]).status).toBe(0);
    await eventually(async () => expect(await connectionsFrom(address)).toBe(0), 60);
    socket.destroy();
  });

  test("a half-open tunnel is closed when its client has closed and its node does not answer", async () => {
    const client = await connect();
    const node = await nodeOf(client);
    await onMachine(node, "systemctl kill --signal=STOP webcallserver");
    try {
      client.socket.terminate();
      await eventually(async () => {
        const { output } = await onMachine(
          "balancer",
          `ss -Htn sport = :443 dst ${ownAddress}:${client.localPort}`,
        );
        expect(output).toBe("");
      }, 60);
    } finally {
      await onMachine(node, "systemctl kill --signal=CONT webcallserver");
    }
  });

  test("the clients of a node that has disappeared lose their sockets, so that they connect to another one", async () => {
    const client = await connect();
    const node = await nodeOf(client);
    const closed = new Promise((resolve) => client.socket.on("close", resolve));
    const began = Date.now();
    const restore = await losePackets(node);
    try {
      await closed;
      expect(Date.now() - began).toBeLessThan(60_000);
    } finally {
      restore();
    }
  });
});
