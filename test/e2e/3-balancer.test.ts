import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, test } from "vitest";
import {
  balancerAddress,
  type Client,
  connect,
  domain,
  eventually,
  get,
  onMachine,
  ownAddress,
  sandbox,
} from "./cluster";

const nodes = ["wcs-1", "wcs-2", "wcs-3"];

function up(...args: string[]): void {
  const { status, output } = sandbox("up", "--nodes", "3", ...args);
  expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
}

const upgrade = {
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

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

/** After a change every node has its full weight again: new servers start slowly. */
async function fullWeight(): Promise<void> {
  await eventually(async () => {
    const { output } = await onMachine("balancer", "curl -s -k 'https://127.0.0.1:8404/;csv'");
    const weights = output.match(/^wcs_back,wcs-.*$/gm)?.map((row) => Number(row.split(",")[18]));
    expect(weights?.filter((weight) => weight > 80)).toHaveLength(3);
  }, 40);
}

describe.each([
  ["roundrobin", [5, 5, 5]],
  ["leastconn", [5, 5, 5]],
  ["first", [10, 5, 0]],
])("%s, with 15 sockets over 3 nodes with a limit of 10", (algorithm, expected) => {
  beforeAll(async () => {
    up("--config", `algorithm=${algorithm}`, "--config", "maxConnectionsPerNode=10");
    await fullWeight();
  });

  test(`lands ${expected.join("/")}`, async () => {
    const clients: Client[] = [];
    for (let count = 0; count < 15; count++) clients.push(await connect());
    expect(await socketsPerNode()).toEqual(expected);
    await closeAll(clients);
  });
});

describe("who is the client", () => {
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

describe("when nobody can take a client", () => {
  async function allDown(): Promise<() => Promise<void>> {
    await Promise.all(nodes.map((node) => onMachine(node, "systemctl stop xinetd")));
    return async () => {
      await Promise.all(nodes.map((node) => onMachine(node, "systemctl start xinetd")));
      await eventually(async () => expect((await get("/healthz")).status).toBe(200));
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
      }, 10);
      const began = Date.now();
      const { status, headers, body } = await get("/", upgrade);
      expect(Date.now() - began).toBeLessThan(500);
      expect(status).toBe(503);
      expect(headers["retry-after"]).toBe("10");
      expect(body).toContain("All servers are busy");
      expect((await get("/wcs/README.md")).status).toBe(200);
    } finally {
      await restore();
    }
  });

  test("every node full: nothing queues", async () => {
    up("--config", "maxConnectionsPerNode=1");
    const clients: Client[] = [];
    for (let count = 0; count < 3; count++) clients.push(await connect());
    expect((await get("/healthz")).status).toBe(503);
    const began = Date.now();
    expect((await get("/", upgrade)).status).toBe(503);
    expect(Date.now() - began).toBeLessThan(500);
    await closeAll(clients);
    await eventually(async () => expect((await get("/healthz")).status).toBe(200));
  });
});

describe("pages", () => {
  test("connect to the port that they came from", async () => {
    const { body } = await get("/wcs/examples/demo/dependencies/js/utils.js");
    expect(body).toMatch(
      /^window\.SERVER_PORTS = window\.SERVER_PORTS \|\| \{ wss: Number\(window\.location\.port\) \|\| 443 \};/,
    );
  });

  test("have no listing, and tell nothing of the server's version", async () => {
    const { status, headers } = await get("/wcs/examples/");
    expect(status).toBe(403);
    expect(headers.server).toBe("nginx");
  });

  test("come with security headers, without HSTS for a certificate of the stack's own CA", async () => {
    const { headers } = await get("/wcs/README.md");
    expect(headers["x-content-type-options"]).toBe("nosniff");
    expect(headers["strict-transport-security"]).toBeUndefined();
  });
});

test("wcs-balancer status says what an operator asks first", async () => {
  const { status, output } = await onMachine("balancer", "wcs-balancer status");
  expect(output).toMatch(/^revision {5}[0-9a-f]{12} \(applied\)\ncertificate {2}36\d days left\n/);
  expect(output.match(/^wcs-[123]-[0-9a-f]{8} {2}up .* sockets$/gm)).toHaveLength(3);
  expect(status).toBe(0);
});

test("TLS: no session tickets, and nothing older than 1.2", () => {
  const handshake = (...args: string[]) =>
    spawnSync("openssl", ["s_client", "-connect", `${balancerAddress}:443`, "-servername", domain, ...args], {
      input: "",
      encoding: "utf8",
    });
  expect(handshake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0").status).not.toBe(0);
  const { stdout } = handshake("-tls1_2");
  expect(stdout).toContain("ECDSA");
  expect(stdout).not.toContain("TLS session ticket");
});
