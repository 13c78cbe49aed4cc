import { beforeAll, describe, expect, test } from "vitest";
import { draining, during, upWith, withNodes } from "./changes";
import { eventually, machine, onMachine, sandbox, serverName } from "./cluster";

beforeAll(() => upWith(2));

describe("nodes from elsewhere", () => {
  const second = ["--stack", "second", "--file", "Pulumi.dev.yaml", "--config", "domain=second.example.com"];

  beforeAll(() => {
    const args = [...second, "--config", 'nodes=["edge-1"]', "--config", 'balancerCidrs=["172.31.0.10/32"]'];
    const { status, output } = sandbox("up", ...args);
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
  });

  test("another stack's nodes come and go", async () => {
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

  test("a server that exists already comes and goes, and is only warned of when it is down", async () => {
    const { privateAddress } = await machine("edge-1");
    const external = ["--config", `externalNodes=[{"name":"hardware","address":"${privateAddress}"}]`];
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
    upWith(2);
  });
});
