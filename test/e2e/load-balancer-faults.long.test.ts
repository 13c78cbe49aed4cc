import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { publicServices } from "../../sandbox/addresses";
import { balancerIds, clusterOn, loadBalancerAddress, nodeIds, statusOn } from "./balancers";
import { base } from "./changes";
import {
  balancerAddress,
  cloud,
  eventually,
  losePackets,
  machine,
  onMachine,
  sandbox,
  startSandbox,
} from "./cluster";
import { leave, slowerSeconds, within } from "./delays";
import { Fleet, Newcomers } from "./fleet";

const args = (balancers: number, entry: string, ...more: string[]) => [
  ...["up", ...base, "--config", `balancers=${balancers}`, "--config", `entry=${entry}`],
  ...more,
];
const sockets = 30;
let entry = "";

async function up(...command: string[]): Promise<string> {
  const { status, output } = await startSandbox(command, leave).ended;
  expect(status, output.slice(-3000)).toBe(0);
  return output;
}

/** What a balancer says of another one. */
async function seenBy(name: string, other: string) {
  const { balancers } = await clusterOn((await machine(name)).id);
  return balancers.find((balancer) => balancer.name === other);
}

/** The phase in which balancers leave a way of clients. */
async function phases(ids: string[], path: string): Promise<(string | undefined)[]> {
  return Promise.all(
    ids.map(async (id) => (await statusOn(id)).leaving.find((row) => row.path === path)?.phase),
  );
}

beforeAll(async () => {
  await up(...args(3, "both"));
  entry = await loadBalancerAddress();
}, within(300).timeout);

describe("of three balancers", () => {
  const revive: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const again of revive.splice(0)) await again();
  });

  test("two are off: the third one serves, and up names both", within(300), async () => {
    for (const name of ["balancer-2", "balancer-3"]) {
      const { id } = await machine(name);
      await cloud.call("stopInstance", { id });
      revive.push(async () => {
        await cloud.call("startInstance", { id });
        await eventually(async () => {
          expect((await seenBy("balancer-1", name))?.status).toMatchObject({
            applied: true,
            target: { state: "healthy" },
          });
        }, 90 + slowerSeconds);
      });
    }
    // AWS sends some clients to dead balancers until it has noticed.
    await eventually(async () => {
      const newcomers = new Newcomers(entry);
      await eventually(() => expect(newcomers.landings.length).toBeGreaterThan(8), 30);
      await newcomers.stop();
      expect(await newcomers.countedFailures()).toEqual([]);
    }, 60 + slowerSeconds);
    const failed = startSandbox(args(3, "both", "--config", "drainTimeoutSeconds=500"), {
      ...leave,
      DEADLINE_SECONDS: "20",
    });
    const { status, output } = await failed.ended;
    expect(status).toBe(1);
    expect(output).toMatch(/not done after 20 s: .*balancer-2: .*balancer-3: /);
  });

  test(
    "one is cut off from AWS: it serves its last state, the others and up name it",
    within(300),
    async () => {
      const output = `chain on_output { type filter hook output priority 0; ip daddr ${publicServices} drop; };`;
      const restore = await losePackets("balancer-2", [output]);
      revive.push(async () => restore());
      const fleet = await Fleet.open(sockets, entry);
      const failed = startSandbox(args(3, "both", "--config", "drainTimeoutSeconds=400"), {
        ...leave,
        DEADLINE_SECONDS: "30",
      });
      const { status, output: text } = await failed.ended;
      expect(status).toBe(1);
      expect(text).toMatch(/not done after 30 s: .*balancer-2: .*still runs revision/);
      expect((await seenBy("balancer-1", "balancer-2"))?.status).toMatchObject({ applied: null });
      expect(await fleet.finish()).toMatchObject({ lost: 0, closed: 0 });
    },
  );

  test("one refuses a state: up fails with its name and the reason", within(300), async () => {
    const limit = "prlimit --pid $(systemctl show --property=MainPID --value haproxy) --nofile=9000:9000";
    expect((await onMachine("balancer-2", limit)).status).toBe(0);
    revive.push(async () => {
      await onMachine("balancer-2", "systemctl restart haproxy");
      await up(...args(3, "both"));
    });
    const { status, output } = await startSandbox(args(3, "both", "--config", "maxConnections=20000"), leave)
      .ended;
    expect(status).toBe(1);
    expect(output).toMatch(/rollout failed: .*balancer-2: it still runs revision .*open files/);
  });
});

/** Whether every balancer serves new clients of the load balancer, and leaves no way of clients. */
async function allServe(): Promise<boolean> {
  const statuses = await Promise.all((await balancerIds()).map(statusOn));
  return statuses.every(({ target, leaving }) => target?.state === "healthy" && leaving.length === 0);
}

describe("the way back after an interrupted up waits until all serve again", () => {
  test("killed while a third balancer drains", within(300), async () => {
    const before = await balancerIds();
    const fleet = await Fleet.open(sockets, entry);
    const killed = startSandbox(args(2, "both"), leave);
    const third = (await machine("balancer-3")).id;
    await eventually(
      async () => expect(await phases([third], "loadBalancer")).toEqual(["draining"]),
      120 + slowerSeconds,
    );
    killed.kill();
    expect((await killed.ended).status).not.toBe(0);
    const refreshed = sandbox("refresh", "--clear-pending-creates");
    expect(refreshed.status, refreshed.output.slice(-3000)).toBe(0);
    await up(...args(3, "both"));
    expect(await allServe()).toBe(true);
    expect(await balancerIds()).toEqual(before);
    expect(await fleet.finish()).toMatchObject({ lost: 0, closed: 0 });
  });

  test("interrupted while clients of the load balancer may still come", within(400), async () => {
    await up(...args(1, "both"));
    const fleet = await Fleet.open(sockets, entry);
    const interrupted = startSandbox(args(1, "address"), leave);
    const [only = ""] = await balancerIds();
    await eventually(
      async () => expect(await phases([only], "loadBalancer")).toEqual(["tail"]),
      120 + slowerSeconds,
    );
    interrupted.interrupt();
    expect((await interrupted.ended).status).not.toBe(0);
    await up(...args(1, "both"));
    expect(await allServe()).toBe(true);
    expect(await balancerIds()).toEqual([only]);
    expect(await fleet.finish()).toMatchObject({ lost: 0, closed: 0 });
    await up(...args(3, "both"));
  });
});

describe("back to one balancer and its address", () => {
  let atAddress: Fleet;
  let behind: Fleet;
  let nodes: string[];

  beforeAll(async () => {
    nodes = await nodeIds();
    atAddress = await Fleet.open(sockets);
    behind = await Fleet.open(sockets, entry);
  });
  afterAll(async () => {
    await Promise.all([atAddress.finish(), behind.finish()]);
  });

  test(
    "two balancers go, one with a frozen service: their clients stay until they end by themselves, nobody is refused",
    within(300),
    async () => {
      const [, ...going] = await balancerIds();
      const newcomers = new Newcomers(entry);
      const running = startSandbox(args(1, "both"), leave);
      await eventually(
        async () => expect(await phases(going, "loadBalancer")).toEqual(["draining", "draining"]),
        120 + slowerSeconds,
      );
      await newcomers.stop();
      expect(await newcomers.countedFailures()).toEqual([]);
      // up must not take a frozen service for a dead balancer. systemd starts it anew.
      const [frozen = ""] = going;
      await onMachine(frozen, "systemctl kill --kill-whom=main --signal=STOP wcs-balancer-sync");
      await eventually(async () => expect(await phases([frozen], "loadBalancer")).toEqual(["draining"]), 100);
      expect(await balancerIds()).toHaveLength(3);
      expect(behind.ended("broken") + behind.ended("orderly")).toBe(0);
      await behind.close();
      expect((await running.ended).status).toBe(0);
      expect(await balancerIds()).toHaveLength(1);
    },
  );

  test(
    "the load balancer goes: its clients are closed at the drain time-out, those at the address stay",
    within(300),
    async () => {
      behind = await Fleet.open(sockets, entry);
      const [only = ""] = await balancerIds();
      const running = startSandbox(args(1, "address", "--config", "drainTimeoutSeconds=8"), leave);
      await eventually(
        async () => expect(await phases([only], "loadBalancer")).toEqual(["draining"]),
        120 + slowerSeconds,
      );
      expect(behind.ended("broken") + behind.ended("orderly")).toBe(0);
      const { status, output } = await running.ended;
      expect(status, output.slice(-3000)).toBe(0);
      expect(behind.ended("orderly")).toBe(sockets);
      expect(atAddress.ended("broken") + atAddress.ended("orderly")).toBe(0);
      expect(await cloud.call("loadBalancers", {})).toEqual([]);
    },
  );

  test(
    "a load balancer instead of the address: the address's clients stay until the drain time-out",
    within(300),
    async () => {
      await up(...args(1, "both"));
      const [only = ""] = await balancerIds();
      const running = startSandbox(args(1, "loadBalancer", "--config", "drainTimeoutSeconds=8"), leave);
      await eventually(
        async () => expect(await phases([only], "address")).toEqual(["draining"]),
        120 + slowerSeconds,
      );
      expect(atAddress.ended("broken") + atAddress.ended("orderly")).toBe(0);
      const { status, output } = await running.ended;
      expect(status, output.slice(-3000)).toBe(0);
      expect(atAddress.ended("orderly")).toBe(sockets);
      const { publicAddress } = await machine("balancer");
      expect(publicAddress).not.toBe(balancerAddress);
      expect(await nodeIds()).toEqual(nodes);
    },
  );
});
