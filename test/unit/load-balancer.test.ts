import { once } from "node:events";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { matches } from "../../sandbox/load-balancer/health-check";
import { crc32c, localHeader, proxyHeader } from "../../sandbox/load-balancer/proxy-protocol";
import { type HealthReport, type TargetGroup, Zone, type ZoneConfig } from "../../sandbox/load-balancer/zone";

const group = "group";
const soon = { timeout: 5000, interval: 10 };

/** A machine on this computer: it says its name to whoever connects, then what it has got, and answers checks. */
class Machine {
  status = 200;
  readonly sockets: Socket[] = [];
  private service: Server | undefined;
  private checks: HttpServer | undefined;

  constructor(readonly name: string) {}

  async start(): Promise<this> {
    this.service = createServer((socket) => {
      this.sockets.push(socket);
      socket.on("error", () => {});
      socket.write(`${this.name}\n`);
      socket.on("data", (chunk) => socket.write(chunk));
    });
    this.checks = createHttpServer((_, response) => response.writeHead(this.status).end());
    for (const server of [this.service, this.checks]) await once(server.listen(0, "127.0.0.1"), "listening");
    return this;
  }

  get target() {
    const { port } = this.service?.address() as AddressInfo;
    return { address: "127.0.0.1", port, takesNew: true, isClosed: false };
  }

  get checkPort(): number {
    return (this.checks?.address() as AddressInfo).port;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.service?.close();
    this.checks?.close();
  }
}

interface Client {
  socket: Socket;
  received(): string;
  /** How it ended: with a code such as ECONNRESET, or in good order; nothing while it is open. */
  ended(): string | undefined;
}

const machines: Machine[] = [];
const clients: Client[] = [];
const reports: HealthReport[] = [];
let zone: Zone;
let port: number;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: free } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return free;
}

/** The zone's configuration with these machines as targets, which only have to accept a connection to be healthy. */
function configOf(targets: Machine[], changes: Partial<TargetGroup> = {}, idleSeconds = 60): ZoneConfig {
  const healthCheck = {
    protocol: "TCP" as const,
    path: "/",
    matcher: "200-399",
    intervalSeconds: 0.05,
    timeoutSeconds: 1,
    healthyThreshold: 2,
    unhealthyThreshold: 2,
  };
  return {
    address: "127.0.0.1",
    listeners: [{ port, group, idleSeconds }],
    groups: {
      [group]: {
        proxyProtocol: false,
        healthCheck,
        unhealthySeconds: 0,
        targets: Object.fromEntries(targets.map((machine) => [machine.name, machine.target])),
        ...changes,
      },
    },
  };
}

/** Starts a zone with so many machines that are all healthy. */
async function start(
  count: number,
  changes: Partial<TargetGroup> = {},
  idleSeconds = 60,
): Promise<Machine[]> {
  for (let number = 1; number <= count; number++) machines.push(await new Machine(`i-${number}`).start());
  port = await freePort();
  zone = new Zone((report) => reports.push(report));
  await zone.configure(configOf(machines, changes, idleSeconds));
  await vi.waitFor(
    () => expect(reports.filter(({ state }) => state === "healthy")).toHaveLength(count),
    soon,
  );
  return machines;
}

function dial(): Client {
  const socket = connect({ host: "127.0.0.1", port });
  let text = "";
  let end: string | undefined;
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("end", () => {
    end ??= "in good order";
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    end = error.code;
  });
  const client = { socket, received: () => text, ended: () => end };
  clients.push(client);
  return client;
}

/** A client that has got a target's name. */
async function served(): Promise<Client> {
  const client = dial();
  await vi.waitFor(() => expect(client.received()).toContain("\n"), soon);
  return client;
}

const nameOf = (client: Client) => client.received().split("\n")[0];

afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  await zone?.stop();
  for (const machine of machines.splice(0)) machine.stop();
  reports.length = 0;
});

test("a header of PROXY protocol is AWS's in length and order, with a checksum", () => {
  const header = proxyHeader(
    { address: "198.51.100.10", port: 40000 },
    { address: "172.31.0.12", port: 443 },
  );
  expect(header).toHaveLength(100);
  // Signature, PROXY over TCP/IPv4, length 84, both addresses, both ports.
  expect(header.toString("hex", 0, 28)).toBe("0d0a0d0a000d0a515549540a21110054c633640aac1f000c9c4001bb");
  const zeroed = Buffer.from(header);
  zeroed.fill(0, 31, 35);
  expect(header.toString("hex", 28, 31)).toBe("030004");
  expect(header.readUInt32BE(31)).toBe(crc32c(zeroed));
  expect(header.toString("hex", 35, 38)).toBe("04003e");
});

test("the header of a health check is AWS's, byte for byte", () => {
  // From a capture of packets in kubernetes/kubernetes, issue 57250.
  const seen = "0d0a0d0a000d0a515549540a20110054030004bce5951f04004a";
  expect(localHeader.toString("hex")).toBe(seen.padEnd(200, "0"));
});

test("the checksum is CRC-32C: the check value of the catalogues", () => {
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
});

test.each([
  ["200", 200, true],
  ["200", 204, false],
  ["200-399", 399, true],
  ["200-399", 400, false],
  ["200,202", 202, true],
  ["200", Number.NaN, false],
])("the matcher %s and the status %d: %s", (matcher, status, isGood) => {
  expect(matches(matcher, status)).toBe(isGood);
});

describe("a load balancer in a zone", () => {
  test("spreads connections, and passes on what both sides say, also after one has ended", async () => {
    await start(2);
    const several = await Promise.all(Array.from({ length: 24 }, served));
    expect(new Set(several.map(nameOf))).toEqual(new Set(["i-1", "i-2"]));
    const [client] = several as [Client];
    client.socket.end("good-bye");
    await vi.waitFor(() => expect(client.received()).toContain("good-bye"), soon);
    await vi.waitFor(() => expect(client.ended()).toBe("in good order"), soon);
  });

  test("begins with the client's address, where the target group asks for PROXY protocol", async () => {
    await start(1, { proxyProtocol: true });
    const client = await served();
    const { localPort = 0 } = client.socket;
    const header = proxyHeader({ address: "127.0.0.1", port: localPort }, { address: "127.0.0.1", port });
    await vi.waitFor(() => expect(client.received()).toBe(`i-1\n${header.toString("latin1")}`), soon);
  });

  test("resets the connections of a target that fails its checks, and of no other", async () => {
    const [first] = (await start(2)) as [Machine];
    const several = await Promise.all(Array.from({ length: 24 }, served));
    first.stop();
    const others = several.filter((client) => nameOf(client) === "i-2");
    await vi.waitFor(() => expect(reports.at(-1)).toMatchObject({ target: "i-1", state: "unhealthy" }), soon);
    expect(others.map((client) => client.ended())).toEqual(others.map(() => undefined));
    expect(new Set((await Promise.all(Array.from({ length: 12 }, served))).map(nameOf))).toEqual(
      new Set(["i-2"]),
    );
  });

  const byHttp = (machine: Machine): Partial<TargetGroup> => ({
    healthCheck: {
      ...(configOf([]).groups[group]?.healthCheck as TargetGroup["healthCheck"]),
      protocol: "HTTP",
      port: machine.checkPort,
      path: "/health",
      matcher: "200",
    },
  });

  test("asks a port of its own for an HTTP status; after a wrong one who sends something is reset, and all unhealthy get connections", async () => {
    const [only] = (await start(1)) as [Machine];
    await zone.configure(configOf([only], byHttp(only)));
    const [talking, silent] = await Promise.all([served(), served()]);
    only.status = 503;
    await vi.waitFor(
      () =>
        expect(reports.at(-1)).toEqual({
          group,
          target: "i-1",
          state: "unhealthy",
          reason: "Target.ResponseCodeMismatch",
        }),
      soon,
    );
    // As on AWS, only what a client sends is answered with a reset.
    talking.socket.write("x");
    await vi.waitFor(() => expect(talking.ended()).toBe("ECONNRESET"), soon);
    expect(silent.ended()).toBeUndefined();
    expect(nameOf(await served())).toBe("i-1");
    only.status = 200;
    await vi.waitFor(() => expect(reports.at(-1)?.state).toBe("healthy"), soon);
  });

  test("leaves the connections of an unhealthy target alone where the target group says so", async () => {
    const [only] = (await start(1)) as [Machine];
    await zone.configure(configOf([only], { ...byHttp(only), unhealthySeconds: undefined }));
    const before = await served();
    only.status = 503;
    await vi.waitFor(() => expect(reports.at(-1)?.state).toBe("unhealthy"), soon);
    before.socket.write("still here");
    await vi.waitFor(() => expect(before.received()).toContain("still here"), soon);
  });

  test("gives a target without a verdict no connection", async () => {
    const [first] = (await start(1)) as [Machine];
    const second = await new Machine("i-2").start();
    machines.push(second);
    const config = configOf([first, second]);
    const slow = { ...config.groups[group]?.healthCheck, healthyThreshold: 10, intervalSeconds: 60 };
    config.groups[group] = { ...config.groups[group], healthCheck: slow } as TargetGroup;
    await zone.configure(config);
    const several = await Promise.all(Array.from({ length: 24 }, served));
    expect(new Set(several.map(nameOf))).toEqual(new Set(["i-1"]));
  });

  test("keeps a target's connections when it takes no new ones, until they are to end", async () => {
    const [only] = (await start(1)) as [Machine];
    const before = await served();
    const leaving = (changes: object) => ({
      targets: { "i-1": { ...only.target, takesNew: false, ...changes } },
    });
    await zone.configure(configOf([], leaving({})));
    const refused = dial();
    await vi.waitFor(() => expect(refused.ended()).toBe("ECONNRESET"), soon);
    before.socket.write("still here");
    await vi.waitFor(() => expect(before.received()).toContain("still here"), soon);
    await zone.configure(configOf([], leaving({ isClosed: true })));
    await vi.waitFor(() => expect(before.ended()).toBe("ECONNRESET"), soon);
  });

  test("ends a connection that has been silent for the listener's idle time", async () => {
    await start(1, {}, 0.3);
    const silent = await served();
    await vi.waitFor(() => expect(silent.ended()).toBe("ECONNRESET"), soon);
  });

  test("refuses connections once its listener has gone", async () => {
    await start(1);
    await zone.configure({ ...configOf(machines), listeners: [] });
    const refused = dial();
    await vi.waitFor(() => expect(refused.ended()).toBe("ECONNREFUSED"), soon);
  });
});
