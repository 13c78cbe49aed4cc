import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { balancerIds, clusterOn, loadBalancerAddress, nodeIds, statusOn } from "./balancers";
import { base, during } from "./changes";
import {
  cloud,
  connect,
  eventually,
  long,
  losePackets,
  machine,
  onMachine,
  sandbox,
  startSandbox,
  up,
} from "./cluster";
import { leave, slowerSeconds, within } from "./delays";
import { Fleet, Newcomers } from "./fleet";
import { measured, Returning } from "./returning";

/** Arguments of `up` for so many balancers and nodes. */
const cluster = (balancers: number, nodes: number, ...more: string[]) => [
  ...["--nodes", String(nodes), ...base, "--config", `balancers=${balancers}`, "--config", "entry=both"],
  ...more,
];
const anImage = ["--config", "balancerAmi=ami-0123456789abcdef0"];

/** Sockets of clients of both balancers. */
const few = 40;
let entry = "";

/** The balancers by name, as any of them sees them. */
async function seen(of = "balancer-1") {
  const { balancers } = await clusterOn((await machine(of)).id);
  return Object.fromEntries(
    balancers.map((balancer) => [balancer.name ?? String(balancer.instance), balancer]),
  );
}

/** Sockets that a balancer has, in all of its workers. */
async function socketsOf(name: string): Promise<number> {
  const { nodes } = await statusOn((await machine(name)).id);
  return nodes.reduce((sum, { sockets }) => sum + sockets, 0);
}

// Room for the sockets of all tests.
beforeAll(() => up("--nodes", "2", ...base));

describe("from one balancer to two", () => {
  test("no socket is lost and nobody is refused, and no node is replaced", within(700), async () => {
    const nodes = await nodeIds();
    const [first] = await balancerIds();
    const { output } = await during({ name: "a second balancer", args: cluster(2, 2), variables: leave });
    entry = await loadBalancerAddress();
    expect(await nodeIds()).toEqual(nodes);
    expect((await balancerIds())[0]).toBe(first);
    expect(await balancerIds()).toHaveLength(2);
    expect(output).toMatch(/is applied by 2 balancers, 2 of 2 nodes are up/);
  });

  test("each is a healthy target, and shows the other one", async () => {
    for (const name of ["balancer-1", "balancer-2"]) {
      const all = await seen(name);
      expect(Object.keys(all)).toEqual(["balancer-1", "balancer-2"]);
      for (const { status } of Object.values(all))
        expect(status).toMatchObject({ applied: true, target: { state: "healthy" }, leaving: [] });
    }
    const { status, output } = await onMachine("balancer-2", "wcs-balancer status");
    expect(output).toMatch(/balancer-1[\s\S]*balancer-2[\s\S]*wcs-1[\s\S]*wcs-2/);
    expect(status, output).toBe(0);
  });

  test("clients come through the load balancer to both, with their own addresses", async () => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect({}, undefined, entry)));
    await eventually(async () => {
      const counts = [await socketsOf("balancer-1"), await socketsOf("balancer-2")] as const;
      expect(Math.min(...counts)).toBeGreaterThan(0);
      expect(counts[0] + counts[1]).toBe(20);
    });
    const { output } = await onMachine(
      "wcs-1",
      "cat /usr/local/FlashphonerWebCallServer/logs/server_logs/flashphoner.log",
    );
    const { output: other } = await onMachine(
      "wcs-2",
      "cat /usr/local/FlashphonerWebCallServer/logs/server_logs/flashphoner.log",
    );
    for (const { localPort } of clients) expect(output + other).toContain(`:${localPort}/`);
    await Promise.all(clients.map((client) => client.close()));
  });

  test("the status command of the sandbox shows both", () => {
    const { output } = sandbox("status");
    expect(output).toMatch(/^balancer-1 .*serves, target healthy/m);
    expect(output).toMatch(/^balancer-2 .*serves, target healthy/m);
  });
});

describe("every balancer is replaced, and a node is added, in one up", () => {
  test("no socket is closed before the drain time-out, no new client is refused", within(700), async () => {
    const nodes = await nodeIds();
    const old = await balancerIds();
    const fleet = await Fleet.open(few, entry);
    const newcomers = new Newcomers(entry);
    const replacing = startSandbox(["up", ...cluster(2, 3, ...anImage)], leave);
    // Each old one waits until the new ones are healthy, and until nobody comes any more. Then it drains.
    await eventually(async () => {
      const phases = await Promise.all(
        old.map(
          async (id) => (await statusOn(id)).leaving.find(({ path }) => path === "loadBalancer")?.phase,
        ),
      );
      expect(phases).toEqual(["draining", "draining"]);
    }, 500 + slowerSeconds);
    expect(fleet.ended("broken") + fleet.ended("orderly")).toBe(0);
    await newcomers.stop();
    const tally = await fleet.finish();
    expect(tally).toMatchObject({ sockets: few, lost: 0, closed: 0 });
    expect(tally.messages).toBeGreaterThan(few);
    expect(await newcomers.countedFailures()).toEqual([]);
    expect(newcomers.landings.length).toBeGreaterThan(0);
    const { status, output } = await replacing.ended;
    expect(status, output.slice(-3000)).toBe(0);
    const now = await balancerIds();
    expect(now).toHaveLength(2);
    expect(now.filter((id) => old.includes(id))).toEqual([]);
    expect((await nodeIds()).slice(0, 2)).toEqual(nodes);
  });
});

const deaths: [string, (name: string) => Promise<() => Promise<unknown> | unknown>][] = [
  [
    "is frozen",
    async (name) => {
      const stop = (signal: string) =>
        onMachine(name, `systemctl kill --signal=${signal} haproxy wcs-balancer-sync`);
      await stop("STOP");
      return () => stop("CONT");
    },
  ],
  [
    "is off",
    async (name) => {
      const { id } = await machine(name);
      await cloud.call("stopInstance", { id });
      return () => cloud.call("startInstance", { id });
    },
  ],
  // The last one: its machine still counts the clients that it cannot reach.
  ["is cut off from the network", async (name) => losePackets(name)],
];

describe.each(long ? deaths : deaths.slice(0, 1))("a balancer that %s", (what, kill) => {
  let clients: Returning;
  let revive: () => Promise<unknown> | unknown = () => {};

  beforeAll(async () => {
    clients = await Returning.open(few, entry);
  });
  afterAll(async () => {
    await revive();
    await eventually(async () => {
      const { status } = (await seen())["balancer-2"] ?? {};
      expect(status).toMatchObject({ applied: true, target: { state: "healthy" } });
    }, 240 + slowerSeconds);
  });

  test(
    "the other one's sockets stay, its own clients are back through the other one, and the status names it",
    within(500),
    async () => {
      const kept = await eventually(async () => {
        const counts = [await socketsOf("balancer-1"), await socketsOf("balancer-2")] as const;
        expect(counts[0] + counts[1]).toBe(few);
        return counts[0];
      });
      expect(kept).toBeGreaterThan(0);
      revive = await kill("balancer-2");
      await eventually(() => {
        // Who sends nothing does not learn that the balancer is dead.
        clients.speak();
        expect(clients.ends).toBe(few - kept);
      }, 150 + slowerSeconds);
      await eventually(() => expect(clients.open).toBe(few), 150);
      measured(`a balancer ${what}`, clients);
      expect(clients.kept.silent + clients.kept.talking).toBe(kept);
      await eventually(async () => {
        const { status, reason } = (await seen())["balancer-2"] ?? {};
        expect(status).toBeNull();
        expect(reason).not.toBe("");
      }, 90 + slowerSeconds);
      expect(await clients.finish()).toBe(0);
    },
  );
});

describe("when every node is full", () => {
  test("no balancer becomes unhealthy, and no socket ends", within(400), async () => {
    const fleet = await Fleet.open(few, entry);
    const full = startSandbox(["up", ...cluster(2, 3, ...anImage, "--config", 'checks={"cpu":1}')], leave);
    const { status, output } = await full.ended;
    expect(status, output.slice(-3000)).toBe(0);
    await sleep(6000);
    for (const balancer of Object.values(await seen()))
      expect(balancer.status?.target?.state).toBe("healthy");
    expect(await fleet.finish()).toMatchObject({ lost: 0, closed: 0 });
  });
});
