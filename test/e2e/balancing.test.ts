import { beforeAll, describe, expect, test } from "vitest";
import {
  allUp,
  type Client,
  clientAddress,
  connect,
  eventually,
  get,
  logged,
  long,
  onMachine,
  ownAddress,
  up,
  upgrade,
  whileAllUp,
} from "./cluster";

const nodes = ["wcs-1", "wcs-2", "wcs-3"];

/** WebSockets on each node, in the order of the nodes. */
async function socketsPerNode(): Promise<number[]> {
  return Promise.all(
    nodes.map(async (node) => {
      const { output } = await onMachine(node, "ss -Htn state established '( sport = :8080 )' | wc -l");
      return Number(output);
    }),
  );
}

async function closeAll(clients: Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.close()));
  await eventually(async () => expect(await socketsPerNode()).toEqual([0, 0, 0]));
}

async function balance(settings: Record<string, string | number>): Promise<void> {
  const config = Object.entries(settings).flatMap(([key, value]) => ["--config", `${key}=${value}`]);
  up("--nodes", String(nodes.length), ...config);
  await allUp(nodes.length);
}

/** Opens a WebSocket from each address, some of them at a time. Who finds no place, since a check was late, tries again. */
async function openAll(addresses: string[]): Promise<Client[]> {
  const clients: Client[] = [];
  while (clients.length < addresses.length) {
    const batch = addresses.slice(clients.length, clients.length + 20);
    const opened = batch.map((address) => eventually(() => connect({}, address)));
    clients.push(...(await Promise.all(opened)));
  }
  return clients;
}

/** Opens WebSockets one after the other, and gives how many land on each node. */
async function landingsOf(sockets: number): Promise<number[]> {
  const clients: Client[] = [];
  try {
    for (let count = 0; count < sockets; count++) clients.push(await connect());
    return await socketsPerNode();
  } finally {
    await closeAll(clients);
  }
}

beforeAll(() => balance({ algorithm: "roundrobin", maxConnectionsPerNode: 10 }));

test("roundrobin gives the same number to each", async () => {
  await whileAllUp(nodes.length, async () => expect(await landingsOf(15)).toEqual([5, 5, 5]));
});

describe("the client's address", () => {
  test.each([
    "X-Client-IP",
    "x-client-ip",
    "X_Client_IP",
    "X-CLIENT_IP",
    "X-Forwarded-For",
    "x_forwarded_for",
    "Forwarded",
  ])("%s from a client reaches no node", async (name) => {
    const clients: Client[] = [];
    for (let count = 0; count < 3; count++) clients.push(await connect({ [name]: "192.0.2.66:1" }));
    const logs = await Promise.all(
      nodes.map(
        async (node) =>
          (await onMachine(node, "cat /usr/local/FlashphonerWebCallServer/logs/server_logs/flashphoner.log"))
            .output,
      ),
    );
    expect(logs.join("")).not.toContain("192.0.2.66");
    for (const { localPort } of clients) expect(logs.join("")).toContain(`/${ownAddress}:${localPort}/`);
    await closeAll(clients);
  });
});

describe("when no node can take a client", () => {
  async function allDown(): Promise<() => Promise<void>> {
    await Promise.all(nodes.map((node) => onMachine(node, "systemctl stop xinetd")));
    return async () => {
      await Promise.all(nodes.map((node) => onMachine(node, "systemctl start xinetd")));
      await allUp(nodes.length);
    };
  }

  test("every node down: sockets get 503 with Retry-After at once, machines hear it at /healthz", async () => {
    expect((await get("/healthz")).status).toBe(200);
    const restore = await allDown();
    try {
      // Two answers are needed: the health check's, and the one that HAProxy draws from it.
      await eventually(async () => {
        expect((await get("/healthz")).status).toBe(503);
        expect((await get("/", upgrade)).status).toBe(503);
      });
      const answer = await get("/", upgrade);
      const { status, headers, body } = answer;
      expect(status).toBe(503);
      expect((await logged(answer)).queuedMilliseconds).toBe(0);
      expect(headers["retry-after"]).toBe("10");
      expect(body).toContain("All servers are busy");
      expect(headers["content-security-policy"]).toBe("frame-ancestors 'self'");
      expect((await get("/wcs/flashphoner-rest-api.js")).status).toBe(200);
    } finally {
      await restore();
    }
  });

  test("every node full: nothing queues", async () => {
    const clients = await openAll(Array.from({ length: nodes.length * 10 }, () => ownAddress));
    await eventually(async () => expect((await get("/healthz")).status).toBe(503));
    const answer = await get("/", upgrade);
    expect(answer.status).toBe(503);
    expect((await logged(answer)).queuedMilliseconds).toBe(0);
    await closeAll(clients);
    await eventually(async () => expect((await get("/healthz")).status).toBe(200));
  });
});

if (long)
  test("leastconn gives the same number to each", async () => {
    await balance({ algorithm: "leastconn", maxConnectionsPerNode: 10 });
    await whileAllUp(nodes.length, async () => expect(await landingsOf(15)).toEqual([5, 5, 5]));
  });

describe("first, with a balancer that takes fewer than the nodes", () => {
  const maxConnections = 100;
  beforeAll(() => balance({ algorithm: "first", maxConnectionsPerNode: 40, maxConnections }));

  test("fills one node after the other", async () => {
    await whileAllUp(nodes.length, async () => expect(await landingsOf(50)).toEqual([40, 10, 0]));
  });

  test("connections beyond maxConnections are refused at once with Retry-After, and machines still get an answer", async () => {
    const addresses = Array.from({ length: maxConnections }, (_, number) => clientAddress(1 + (number % 2)));
    const clients = await openAll(addresses);
    const { status, headers } = await get("/", upgrade);
    expect(status).toBe(503);
    expect(headers["retry-after"]).toBe("10");
    expect((await get("/healthz")).status).toBe(200);
    await closeAll(clients);
    await eventually(async () => expect((await get("/wcs/flashphoner-rest-api.js")).status).toBe(200));
  });
});
