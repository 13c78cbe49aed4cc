import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { draining, during, status, upWith, withNodes } from "./changes";
import { cloud, eventually, long, machine, serverName, startSandbox } from "./cluster";

describe("an up that is cancelled while a node drains", () => {
  test("then the node is wanted again: it takes clients again, and no client has noticed", async () => {
    upWith(3);
    const returning = await serverName("wcs-3");
    await during({
      name: "a cancelled scale-in",
      args: withNodes(2),
      fails: true,
      async meanwhile(_, first, newcomers) {
        await draining(returning);
        await eventually(() => expect(first.output).toContain(`${returning} to drain`));
        const interrupted = Date.now();
        let took = Number.POSITIVE_INFINITY;
        void first.ended.then(() => {
          took = Date.now() - interrupted;
        });
        first.interrupt();
        // At once: not when the drain's ten minutes are over.
        await eventually(() => expect(took).toBeLessThan(60_000), 60);
        console.log(`Ctrl-C while a node drains: ended after ${took / 1000} s`);
        const second = startSandbox(["up", ...withNodes(3)]);
        const { status, output } = await second.ended;
        expect(status, output.slice(-2000)).toBe(0);
        const again = Date.now();
        await eventually(() =>
          expect(newcomers.landings.filter(({ at }) => at > again).map(({ server }) => server)).toContain(
            returning,
          ),
        );
        return second;
      },
    });
    expect(await serverName("wcs-3")).toBe(returning);
  });

  if (long)
    test("then another change: no node is deleted early, and the end state is right", async () => {
      const leaving = await serverName("wcs-3");
      await during({
        name: "a cancelled up, then another change",
        args: withNodes(2),
        fails: true,
        async meanwhile(fleet, first) {
          await draining(leaving);
          await eventually(() => expect(first.output).toContain(`${leaving} to drain`));
          first.interrupt();
          expect((await first.ended).status).not.toBe(0);
          expect((await machine("wcs-3")).state).toBe("running");
          const second = startSandbox(["up", ...withNodes(2, "--config", 'checks={"cpu":85}')]);
          await eventually(() => expect(second.output).toContain(`${leaving} to drain`), 180);
          await sleep(3000);
          expect((await machine("wcs-3")).state).toBe("running");
          await fleet.close((server) => server === leaving);
          expect((await second.ended).status).toBe(0);
          return second;
        },
      });
      expect((await cloud.call("machines", {})).map(({ name }) => name)).not.toContain("wcs-3");
      expect((await status()).draining).toEqual([]);
    });
});
