import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { clusterPath, statusServerName } from "../../cluster/contract";
import type { Status } from "../../cluster/status";
import { askMachine } from "../../rollout/ask-machine";
import type { StatusAccess } from "../../rollout/status-client";
import { exampleStatus } from "../example-status";
import { ownCertificate } from "../own-certificate";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

const statusOf = (instance: string): Status => ({ ...exampleStatus, instance });

/** A balancer that answers for itself and for others. */
async function balancer(own: string, ...others: string[]): Promise<StatusAccess> {
  const { tlsCertificate, tlsPrivateKey, tlsChain = "" } = await ownCertificate(statusServerName);
  const balancers = [own, ...others].map((instance) => ({
    name: null,
    instance,
    address: null,
    status: statusOf(instance),
    reason: "",
    haproxyAnswers: false,
  }));
  const cluster = { instance: own, complete: true, balancers };
  const server = createServer({ cert: tlsCertificate, key: tlsPrivateKey }, ({ url }, response) =>
    response.end(JSON.stringify(url === clusterPath ? cluster : statusOf(own))),
  );
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { address: "127.0.0.1", port, trusted: tlsChain, token: "the token" };
}

const nobody: StatusAccess = { address: "127.0.0.1", port: 1, trusted: "", token: "the token" };

describe("the status of a machine", () => {
  test("comes from itself", async () => {
    const answer = await askMachine("i-1", await balancer("i-1"), [nobody]);
    expect(answer).toEqual({ kind: "status", status: statusOf("i-1") });
  });

  test.each([
    ["does not answer", async () => nobody],
    ["belongs to another machine now", () => balancer("i-9")],
  ])("comes from another balancer when its first address %s", async (_, own) => {
    const answer = await askMachine("i-1", await own(), [nobody, await balancer("i-2", "i-1")]);
    expect(answer).toEqual({ kind: "status", status: statusOf("i-1") });
  });

  test("is unknown when no balancer knows it", async () => {
    expect(await askMachine("i-1", nobody, [await balancer("i-2")])).toMatchObject({ kind: "silent" });
  });
});
