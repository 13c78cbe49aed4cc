import { once } from "node:events";
import type { RequestListener } from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, createServer, type Server } from "node:net";
import { afterEach, expect, test } from "vitest";
import { statusServerName } from "../../contract/facts";
import { askStatus as ask, askIdentity, askToHandOver, type StatusAccess } from "../../rollout/status-client";
import { exampleStatus as status } from "../example-status";
import { ownCertificate } from "../own-certificate";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** How to ask a server on this machine, once it listens. */
async function accessTo(server: Server, trusted = ""): Promise<StatusAccess> {
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { address: "127.0.0.1", port, trusted, token: "the token" };
}

/** A server with a certificate for a name, and how to ask it. */
async function httpsServer(answer: RequestListener, name = statusServerName): Promise<StatusAccess> {
  const { tlsCertificate, tlsPrivateKey, tlsChain } = await ownCertificate(name);
  const server = createHttps({ cert: tlsCertificate, key: tlsPrivateKey }, answer);
  return accessTo(server, tlsChain);
}

test("the status is asked under its own name, with the token", async () => {
  const access = await httpsServer((request, response) => {
    const { host, authorization } = request.headers;
    const asked = [request.method, request.url, host, authorization].join(" ");
    const expected = `GET /.well-known/wcs-balancer/status ${statusServerName} Bearer the token`;
    response.end(JSON.stringify(asked === expected ? status : { asked }));
  });
  expect(await ask(access)).toEqual({ kind: "status", status });
});

test.each([
  [
    "answers another HTTP status",
    403,
    '{"error": "wrong token"}',
    /it answers HTTP 403 {"error": "wrong token"}\. If this lasts, .* run pulumi refresh, then pulumi up$/,
  ],
  [
    "answers with a page for browsers",
    503,
    "<!doctype html>\n<h1>All servers are busy",
    /it answers HTTP 503$/,
  ],
  ["answers no JSON", 200, "<html>", /the status of the balancer is not JSON$/],
  ["answers as another version", 200, '{"instance": "i-old"}', /is not understood: revision is missing/],
])("a server that %s is foreign", async (_, code, body, reason) => {
  const access = await httpsServer((_request, response) => response.writeHead(code).end(body));
  expect(await ask(access)).toEqual({ kind: "foreign", reason: expect.stringMatching(reason) });
});

test("a balancer of any version says which machine it is", async () => {
  const access = await httpsServer((_request, response) => response.end('{"instance": "i-old", "new": 1}'));
  expect(await askIdentity(access)).toEqual({ kind: "status", status: { instance: "i-old", nodes: [] } });
});

test("a certificate for another name is foreign, as that of a balancer of an earlier version", async () => {
  const access = await httpsServer((_request, response) => response.end("{}"), "wcs.example.com");
  expect(await ask(access)).toEqual({
    kind: "foreign",
    reason: expect.stringContaining("does not match certificate's altnames"),
  });
});

test("a certificate of another CA is foreign, and gets no token", async () => {
  let requests = 0;
  const access = await httpsServer((_request, response) => {
    requests++;
    response.end("{}");
  });
  const { tlsChain } = await ownCertificate(statusServerName);
  expect((await ask({ ...access, trusted: tlsChain })).kind).toBe("foreign");
  expect(requests).toBe(0);
});

test("a port on which nobody listens is silent, with the reasons that there may be", async () => {
  const access = await accessTo(createServer());
  servers[0]?.close();
  expect(await ask(access)).toEqual({
    kind: "silent",
    reason: expect.stringMatching(/ECONNREFUSED.*: HAProxy does not run there: the machine boots, or .* SSM/),
  });
});

test("a connection that is closed before its handshake is a sign of life, explained by the limit for each address", async () => {
  const access = await accessTo(createServer((socket) => socket.resetAndDestroy()));
  expect(await ask(access)).toEqual({
    kind: "refused",
    reason: expect.stringMatching(/already has maxConnectionsPerAddress connections: .* trustedCidrs/),
  });
});

test("a balancer is asked to hand over for some seconds, and says how many sockets it has closed", async () => {
  const access = await httpsServer(({ method, url }, response) => {
    const expected = "POST /.well-known/wcs-balancer/hand-over?seconds=60";
    response.end(JSON.stringify({ closed: `${method} ${url}` === expected ? 12 : -1, seconds: 60 }));
  });
  expect(await askToHandOver(access, 60)).toEqual({ kind: "status", status: { closed: 12 } });
});

test("a balancer that does not hand over says why", async () => {
  const access = await httpsServer((_request, response) =>
    response.writeHead(500).end('{"error": "3 sockets are left in worker 7"}'),
  );
  expect(await askToHandOver(access, 60)).toEqual({
    kind: "foreign",
    reason: expect.stringContaining("3 sockets are left in worker 7"),
  });
});

test("a balancer that is dead keeps nobody waiting with its hand-over", async () => {
  const access = await httpsServer(() => {});
  const answer = await askToHandOver(access, 60, 100);
  expect(answer).toEqual({ kind: "silent", reason: expect.stringContaining("no answer within 0.1 s") });
});
