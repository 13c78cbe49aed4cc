import { once } from "node:events";
import { beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { draining, during, status, upWith, withNodes, workers } from "./changes";
import { eventually, long, machine, onMachine, sandbox, serverName } from "./cluster";

beforeAll(() => upWith(2));

describe("nodes that the stack does not make", () => {
  const second = ["--stack", "second", "--file", "Pulumi.dev.yaml", "--config", "domain=second.example.com"];

  beforeAll(() => {
    const args = [...second, "--config", 'nodes=["edge-1"]', "--config", 'balancerCidrs=["172.31.0.0/16"]'];
    const { status, output } = sandbox("up", ...args);
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
  });

  /** The other stack's node as a server of which nothing but the address is known. */
  async function externalNode(): Promise<string[]> {
    const { privateAddress } = await machine("edge-1");
    return ["--config", `externalNodes=[{"name":"hardware","address":"${privateAddress}"}]`];
  }

  test("another stack's nodes are added and removed", async () => {
    const server = await serverName("edge-1");
    const reference = ["--config", "nodeStack=organization/wcs-balancer/second"];
    await during({
      name: "add another stack's nodes",
      args: withNodes(2, ...reference),
      async meanwhile(_, up, newcomers) {
        await up.ended;
        await eventually(() => expect(newcomers.landings.map((landing) => landing.server)).toContain(server));
      },
    });
    await during({
      name: "take them out again",
      args: withNodes(2),
      async meanwhile(fleet) {
        await draining(server);
        await fleet.close((candidate) => candidate === server);
      },
    });
  });

  if (long)
    test("an existing server is added and removed, and there is only a warning when it is down", async () => {
      const external = await externalNode();
      let server = "";
      await during({
        name: "add an external node",
        args: withNodes(2, ...external),
        async meanwhile(_, up, newcomers) {
          await up.ended;
          await eventually(() => {
            const names = newcomers.landings.map((landing) => landing.server);
            server = names.find((name) => name.startsWith("hardware-")) ?? "";
            expect(server).not.toBe("");
          });
        },
      });
      await onMachine("edge-1", "systemctl stop xinetd");
      const { output } = await during({
        name: "a change while it is down",
        args: withNodes(2, ...external, "--config", 'checks={"cpu":60}'),
      });
      expect(output).toContain(`warning: ${server}: down: does not answer on port`);
      await onMachine("edge-1", "systemctl start xinetd");
    });

  test("direct clients fill a node by its connections; a server whose agent may be older is not asked", async () => {
    const before = await workers();
    const checks = ["--config", 'checks={"cpu":100,"connections":1}'];
    const { status: ended, output } = sandbox("up", ...withNodes(2, ...(await externalNode()), ...checks));
    expect(output, output.slice(-3000)).toSatisfy(() => ended === 0);
    expect(output).toContain("warning: checks.connections is not checked on hardware");
    const states = async () =>
      Object.fromEntries(
        (await status()).nodes.map(({ server, state, reason }) => [
          server.replace(/-[0-9a-f]{8}$/, ""),
          state === "full" ? reason : state,
        ]),
      );
    const allUp = { "wcs-1": "up", "wcs-2": "up", hardware: "up" };
    await eventually(async () => expect(await states()).toEqual(allUp));

    const clients = ["wcs-1", "edge-1"].map(async (name) => {
      const { publicAddress } = await machine(name);
      const client = new WebSocket(`wss://${publicAddress}:8443/`, { rejectUnauthorized: false });
      await once(client, "open");
      return client;
    });
    await Promise.all(clients);
    const full = "connections 1 of 1";
    await eventually(async () => expect(await states()).toEqual({ ...allUp, "wcs-1": full }));
    // Asked, this agent would say the same.
    const ask = "exec 3<>/dev/tcp/127.0.0.1/9707; printf 'connections 1;' >&3; cat <&3";
    await eventually(async () => expect((await onMachine("edge-1", ask)).output).toBe(`up 0% #${full}\n`));
    await eventually(async () => expect(await states()).toEqual({ ...allUp, "wcs-1": full }));

    for (const client of clients) (await client).close();
    await eventually(async () => expect(await states()).toEqual(allUp));
    expect(await workers()).toBe(before);
  });
});
