import { describe, expect, test } from "vitest";
import { askStatus } from "../../rollout/status-client";
import { status, workers } from "./changes";
import {
  authority,
  balancerAddress,
  clientAddress,
  cloud,
  connect,
  domain,
  eventually,
  get,
  http2PriorKnowledge,
  onMachine,
  ownAddress,
  rawAnswer,
  up,
} from "./cluster";
import { Fleet } from "./fleet";
import { Flood, type FloodKind } from "./flood";

/** The longest time that another client may have to wait, in milliseconds. One that is shut out gets no answer at all. */
const atOnce = 20_000;

/** How often another client asks while a flood lasts. */
const rounds = 5;

/** The default of maxConnectionsPerAddress. */
const limit = 100;

const abuser = clientAddress(1);

async function timed<T>(what: () => Promise<T>): Promise<T> {
  const began = Date.now();
  const result = await what();
  expect(Date.now() - began).toBeLessThan(atOnce);
  return result;
}

/** A client at another address gets the health, a page and a WebSocket, each at once. */
async function otherClientIsServed(): Promise<void> {
  expect((await timed(() => get("/healthz"))).status).toBe(200);
  expect((await timed(() => get("/wcs/flashphoner.js"))).status).toBe(200);
  const client = await timed(() => connect());
  await client.close();
}

/** Connections from an address that HAProxy has accepted: others wait in the kernel until it accepts and closes them. */
async function acceptedFrom(address: string): Promise<number> {
  const { output } = await onMachine(
    "balancer",
    `ss -Htnp state established dst ${address} | grep -c haproxy`,
  );
  return Number(output);
}

/** Runs something while one address floods the balancer, and gives the highest number of its connections. */
async function during(
  kind: FloodKind,
  count: number,
  address: string,
  meanwhile: (flood: Flood) => Promise<void>,
): Promise<number> {
  const flood = await Flood.start(kind, count, address);
  try {
    await meanwhile(flood);
  } finally {
    await flood.stop();
  }
  return flood.most;
}

describe("one address with very many connections does not shut out other clients", () => {
  test.each<[FloodKind, number]>([
    ["idle", 4500],
    ["sockets", 200],
    ["readers", 520],
    ["status", 200],
    ["hammer", 100],
  ])("%s: %i", async (kind, count) => {
    const most = await during(kind, count, abuser, async () => {
      for (let round = 0; round < rounds; round++) await otherClientIsServed();
      // A request with a body is closed before it can count for long.
      if (count > limit && kind !== "status")
        await eventually(async () =>
          expect((await status()).warnings).toContainEqual(
            expect.stringMatching(`^${abuser} is at maxConnectionsPerAddress: `),
          ),
        );
      await eventually(async () => expect(await acceptedFrom(abuser)).toBeLessThanOrEqual(limit));
    });
    // The flooding address itself can still connect.
    if (kind !== "status") expect(most).toBeGreaterThan(limit / 2);
  });
});

describe("the limit", () => {
  const machineIds = async () => (await cloud.call("machines", {})).map(({ id }) => id);

  test("changes by a reload that keeps every socket, and does not count for trusted networks", async () => {
    const [machines, worker] = [await machineIds(), await workers()];
    // The last flood had the address that the fleet has.
    await eventually(async () =>
      expect((await onMachine("balancer", `ss -Htn state established dst ${abuser}`)).output).toBe(""),
    );
    const before = await Fleet.open(20);
    up("--config", "maxConnectionsPerAddress=50", "--config", `trustedCidrs=["${abuser}/32"]`);
    expect(await before.finish()).toMatchObject({ sockets: 20, lost: 0, closed: 0 });
    expect(await machineIds()).toEqual(machines);
    expect(await workers()).not.toBe(worker);
    await during("sockets", 150, abuser, async (flood) => {
      await otherClientIsServed();
      await eventually(() => expect(flood.counts.open).toBe(150));
    });
    const most = await during("idle", 100, clientAddress(2), async () => {
      await otherClientIsServed();
      await eventually(async () => expect(await acceptedFrom(clientAddress(2))).toBe(50));
    });
    // The client counts refused ones until HAProxy has closed them.
    expect(most).toBeGreaterThanOrEqual(50);
  });

  test("is named when the address of pulumi up has reached it, and trustedCidrs lifts it", async () => {
    await during("sockets", 150, ownAddress, async () => {
      const access = { address: balancerAddress, trusted: authority().join(""), token: "" };
      await eventually(async () =>
        expect(await askStatus(access)).toMatchObject({
          kind: "refused",
          reason: expect.stringMatching(/already has maxConnectionsPerAddress connections: .* trustedCidrs/),
        }),
      );
      up("--config", "maxConnectionsPerAddress=50", "--config", `trustedCidrs=["${ownAddress}/32"]`);
    });
  });
});

test.each([
  ["for a page", 443, "POST /wcs/ HTTP/1.1"],
  ["for a WebSocket, which would hold a node's place", 443, "GET / HTTP/1.1\r\nSec-WebSocket-Key: a"],
  ["for the health", 443, "GET /healthz HTTP/1.1"],
  ["for the redirect", 80, "POST / HTTP/1.1"],
])("a request with a body %s is closed at once", async (_, port, head) => {
  for (const body of ["Content-Length: 100000", "Transfer-Encoding: chunked"])
    expect(await rawAnswer(port, `${head}\r\nHost: ${domain}\r\n${body}\r\n\r\n`)).toBe("");
});

describe("HTTP/2 without negotiation, with which one connection could carry any number of WebSockets", () => {
  test.each([443, 80])("is refused on %i", async (port) => {
    expect(await rawAnswer(port, http2PriorKnowledge)).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe("http is sent to the stack's own domain over https", () => {
  test.each([
    ["GET /wcs/a?b=c&d HTTP/1.1\r\nHost: evil.example", "/wcs/a?b=c&d"],
    [`GET /wcs/ HTTP/1.1\r\nHost: ${domain}:80`, "/wcs/"],
    ["GET / HTTP/1.0", "/"],
    ["GET http://evil.example/x?y HTTP/1.1\r\nHost: evil.example", "/x?y"],
    ["GET http://evil.example HTTP/1.1\r\nHost: evil.example", "/"],
    ["GET //evil.example/x HTTP/1.1\r\nHost: evil.example", "//evil.example/x"],
    ["HEAD /@evil.example HTTP/1.1\r\nHost: evil.example", "/@evil.example"],
  ])("%j", async (request, path) => {
    const answer = await rawAnswer(80, `${request}\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.[01] 301 /);
    expect(answer.match(/^location: (.*)\r$/im)?.[1]).toBe(`https://${domain}${path}`);
  });
});
