import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { nodeIds } from "./balancers";
import { during, status, withNodes } from "./changes";
import { cloud, connect, eventually, long, machine } from "./cluster";

/** How long SSM and metadata are away: longer than it takes to notice, or five minutes. */
const outageSeconds = long ? 300 : 12;

describe("outages", () => {
  afterAll(() => cloud.call("setFaults", {}));

  test(
    `SSM and metadata away for ${outageSeconds} s: serving goes on, then it catches up`,
    async () => {
      const { times } = await during({
        name: `SSM and metadata away for ${outageSeconds} s`,
        args: withNodes(2, "--config", 'checks={"cpu":75}'),
        variables: { DEADLINE_SECONDS: String(outageSeconds + 300) },
        async meanwhile() {
          await cloud.call("setFaults", { ssm: "away", metadata: "away" });
          await sleep(outageSeconds * 1000);
          await cloud.call("setFaults", {});
        },
      });
      expect(times.seen).toBeLessThan(outageSeconds + 90);
    },
    (outageSeconds + 500) * 1000,
  );

  test("a reboot of the balancer meanwhile: it comes up with the last good state from its disk", async () => {
    await cloud.call("setFaults", { ssm: "away", metadata: "away" });
    try {
      const { revision } = await status();
      const { id } = await machine("balancer");
      await cloud.call("stopInstance", { id });
      await cloud.call("startInstance", { id });
      await eventually(async () => {
        await (await connect()).close();
        expect((await status()).revision).toBe(revision);
      }, 240);
      await eventually(async () =>
        expect((await status()).error).toMatch(/instance metadata cannot be reached/),
      );
    } finally {
      await cloud.call("setFaults", {});
    }
    await eventually(async () => expect((await status()).error).toBeNull());
  });

  if (long)
    test("the balancer replaced: its public address and the nodes stay, the wait runs again, clients come back", async () => {
      const before = await machine("balancer");
      const nodes = await nodeIds();
      const { output } = await during({
        name: "replace the balancer",
        args: withNodes(2, "--config", "balancerAmi=ami-0123456789abcdef0"),
        closes: "any",
        outage: true,
      });
      const after = await machine("balancer");
      expect(after.id).not.toBe(before.id);
      expect(after.publicAddress).toBe(before.publicAddress);
      expect(output).toMatch(/command:local:Command rollout updating/);
      expect(await nodeIds()).toEqual(nodes);
      await (await connect()).close();
    });
});
