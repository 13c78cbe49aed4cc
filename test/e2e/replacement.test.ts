import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { balancerIds, nodeIds, spoilDocument } from "./balancers";
import { base, status, upWith } from "./changes";
import {
  balancerAddress,
  cloud,
  eventually,
  long,
  machine,
  type Running,
  sandbox,
  startSandbox,
} from "./cluster";
import { Newcomers } from "./fleet";
import { isExpected, MoveWatch, measured, Returning, returningSize } from "./returning";

/** 200 sockets need more than the default has room for. */
const another = [...(long ? base : []), "--config", "balancerInstanceType=c7i.large"];

describe("a new balancer comes first", () => {
  let clients: Returning;
  let before: { balancer: string; nodes: string[] };
  let coming = "";
  let up: Running;

  beforeAll(async () => {
    if (long) upWith(2);
    before = { balancer: (await machine("balancer")).id, nodes: await nodeIds() };
    clients = await Returning.open(returningSize);
  });

  afterAll(() => cloud.call("setFaults", {}));

  test("while it cannot read its document, up says why, and clients notice nothing", async () => {
    await cloud.call("setFaults", { failingActions: ["ec2:AssociateAddress"] });
    const newcomers = new Newcomers();
    up = startSandbox(["up", ...another], { HAND_OVER_SECONDS: "5" });
    const putRight = await spoilDocument(up);
    await eventually(
      () =>
        expect(up.output).toMatch(
          /the new balancer: .*runs no revision yet: the desired state cannot be read/,
        ),
      300,
    );
    await newcomers.stop();
    expect(await newcomers.countedFailures()).toEqual([]);
    expect(newcomers.landings.length).toBeGreaterThan(0);
    expect(clients.ends).toBe(0);
    const both = await balancerIds();
    expect(both).toHaveLength(2);
    expect((await machine("balancer")).id).toBe(before.balancer);
    coming = both.find((id) => id !== before.balancer) ?? "none";
    await putRight();
  }, 600_000);

  test("a failure between the end of the sockets and the move: up fails, and the old one serves again", async () => {
    const { status, output } = await up.ended;
    const ended = Date.now();
    expect(status).toBe(1);
    expect(output).toContain(`the old balancer closed ${returningSize} sockets`);
    expect(output).toMatch(/AssociateAddress.*InternalError/);
    expect(clients.kept).toEqual({ silent: 0, talking: 0 });
    await eventually(() => expect(clients.open).toBe(returningSize), 120);
    expect(clients.unexpected()).toEqual([]);
    measured("the move fails, hand-over of 5 s", clients, { millisecondsAfterUp: Date.now() - ended });
    expect(await balancerIds()).toEqual([before.balancer, coming]);
    expect((await machine("balancer")).id).toBe(before.balancer);
  }, 600_000);

  test(`the next up moves the address: all ${returningSize} sockets end, half of them silent, and every client comes back`, async () => {
    await cloud.call("setFaults", {});
    clients.forget();
    const move = await MoveWatch.start();
    const newcomers = new Newcomers();
    const { status: end, output } = await startSandbox(["up", ...another]).ended;
    const ended = Date.now();
    await eventually(() => expect(clients.open).toBe(returningSize), 120);
    // The one that was connecting during the move has given up.
    await eventually(() => expect(newcomers.landings.at(-1)?.at).toBeGreaterThan(ended));
    await Promise.all([move.stop(), newcomers.stop()]);
    expect(end, output.slice(-3000)).toBe(0);
    // The old balancer closes each one itself, before the move: a silent client would never notice that.
    expect(clients.kept).toEqual({ silent: 0, talking: 0 });
    expect(clients.ends).toBe(returningSize);
    // If this process is late, it sees both at once.
    expect(clients.lastEnd).toBeLessThanOrEqual((move.at ?? 0) + 1000);
    expect(clients.unexpected(move.at)).toEqual([]);
    expect(newcomers.failures.filter((failure) => !isExpected(failure, move.at))).toEqual([]);
    expect(newcomers.landings.at(-1)?.at).toBeGreaterThan(newcomers.failures.at(-1)?.at ?? 0);
    measured(`replaced under ${returningSize} sockets`, clients, {
      lastEndBeforeMove: (move.at ?? 0) - clients.lastEnd,
      newcomers: newcomers.outage(),
    });
    expect(await clients.finish()).toBe(0);
    // The machine that was made before, no third one.
    expect(await balancerIds()).toEqual([coming]);
    expect((await machine("balancer")).publicAddress).toBe(balancerAddress);
    expect(await nodeIds()).toEqual(before.nodes);
    expect((await status()).handedOver).toBeNull();
  }, 600_000);

  test("then a refresh and a preview find nothing to do, but to wait once more for a document that was changed by hand", () => {
    const refresh = sandbox("refresh");
    expect(refresh.status, refresh.output.slice(-3000)).toBe(0);
    expect(refresh.output).toContain("Nothing that the program sets was changed behind Pulumi's back.");
    const preview = sandbox("preview", ...another);
    expect(preview.status, preview.output.slice(-3000)).toBe(0);
    expect(preview.output).toMatch(/~ command:local:Command: \(update\)/);
    expect(preview.output).toMatch(/Resources:\n\s+~ 1 to update\n\s+\d+ unchanged/);
  }, 400_000);
});
