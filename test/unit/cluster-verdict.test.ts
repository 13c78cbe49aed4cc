import { describe, expect, test } from "vitest";
import type { ClusterMember, ClusterStatus, LeavingPath, Status } from "../../contract/status";
import {
  judgeCluster as judge,
  leavingPath,
  silentSince,
  type WantedBalancers,
} from "../../rollout/cluster-verdict";
import { exampleNode, exampleRemoved, exampleStatus } from "../example-status";

const healthy = { state: "healthy" as const, reason: "" };
const left: LeavingPath = { path: "loadBalancer", phase: "left", reason: "", sockets: 0, secondsLeft: null };
const draining: LeavingPath = { ...left, phase: "draining", sockets: 3, secondsLeft: 200 };

const single: WantedBalancers = {
  balancers: { "balancer-1": "i-new" },
  revision: "r2",
  servers: [exampleNode.server],
  furtherServers: [],
  hasLoadBalancer: false,
};
const two: WantedBalancers = {
  ...single,
  balancers: { "balancer-1": "i-1", "balancer-2": "i-2" },
  hasLoadBalancer: true,
};

function member(name: string | null, instance: string, status: Partial<Status> = {}): ClusterMember {
  // One that is not wanted is of a version that does not say so, or has not read it yet.
  const named = name === null ? undefined : true;
  const own = { ...exampleStatus, instance, target: healthy, named, ...status };
  return {
    name,
    instance,
    address: "172.31.0.9",
    status: own,
    reason: "",
    haproxyAnswers: false,
    leaving: own.leaving,
    named: own.named ?? null,
    nodes: own.nodes,
  };
}

const silent = (name: string | null, instance: string): ClusterMember => ({
  name,
  instance,
  address: null,
  status: null,
  reason: "does not run",
  haproxyAnswers: false,
  leaving: null,
  named: null,
  nodes: [],
});

/** The verdict when whoever is silent has been so for long. */
const judgeCluster = (status: ClusterStatus, wanted: WantedBalancers) => judge(status, wanted, () => 100);

const cluster = (...balancers: ClusterMember[]): ClusterStatus => ({
  complete: true,
  instance: balancers[0]?.instance ?? null,
  balancers,
});
const first = member("balancer-1", "i-1");
const second = member("balancer-2", "i-2");

describe("one balancer at the Elastic IP", () => {
  test("ends when it serves", () => {
    const verdict = judgeCluster(cluster(member("balancer-1", "i-new", { target: null })), single);
    expect(verdict).toMatchObject({
      done: true,
      failed: false,
      waitingFor: [],
      summary: ["revision r2 is applied, 1 of 1 nodes is up"],
    });
  });

  test("waits while another machine answers, or the machine does not know itself", () => {
    expect(judgeCluster(cluster(member(null, "i-old", { target: null })), single).waitingFor).toEqual([
      "another machine answers: i-old, not i-new",
    ]);
    expect(judgeCluster({ instance: null, complete: true, balancers: [] }, single).waitingFor).toEqual([
      "the machine does not know its instance id yet",
    ]);
  });

  test("is named in the words for one balancer", () => {
    const away = ["nginx does not answer on port 8180"];
    const verdict = judgeCluster(cluster(member("balancer-1", "i-new", { away })), single);
    expect(verdict.waitingFor).toEqual(["the balancer: nginx does not answer on port 8180"]);
  });

  test("is waited for until it has left the load balancer that was taken away", () => {
    const status = { target: null, leaving: [draining] };
    expect(judgeCluster(cluster(member("balancer-1", "i-new", status)), single)).toMatchObject({
      done: false,
      clock: "leave",
      waitingFor: ["the balancer: it leaves the load balancer: 3 sockets left, 4 min at most"],
    });
  });
});

describe("several balancers", () => {
  test("end when each serves and is a healthy target", () => {
    const verdict = judgeCluster(cluster(first, second), two);
    expect(verdict).toMatchObject({ done: true, waitingFor: [], warnings: [] });
    expect(verdict.summary).toEqual(["revision r2 is applied by 2 balancers, 1 of 1 nodes is up"]);
  });

  test.each([
    ["still runs another revision", { revision: "r1" }, "balancer-2: it still runs revision r1"],
    ["is not registered", { target: null }, "balancer-2: it is not registered at the load balancer yet"],
    [
      "is unhealthy",
      { target: { state: "unhealthy" as const, reason: "Target.Timeout" } },
      "balancer-2: the load balancer finds it unhealthy: Target.Timeout",
    ],
    [
      "has a node that is down",
      { nodes: [{ ...exampleNode, state: "down" as const, reason: "WCS does not answer" }] },
      "balancer-2: wcs-1-00000001: down: WCS does not answer",
    ],
  ])("are waited for while one %s, which is named", (_, status, reason) => {
    const verdict = judgeCluster(cluster(first, member("balancer-2", "i-2", status)), two);
    expect(verdict).toMatchObject({ done: false, failed: false, clock: "rollout", waitingFor: [reason] });
  });

  test("fail with the name and the reason of one that refuses the state", () => {
    const refusing = { revision: "r1", refused: "r2", error: "haproxy failed (1)" };
    const verdict = judgeCluster(cluster(first, member("balancer-2", "i-2", refusing)), two);
    expect(verdict).toMatchObject({
      failed: true,
      waitingFor: ["balancer-2: it still runs revision r1: haproxy failed (1)"],
    });
  });

  test("are waited for while a wanted one does not answer, or is not known yet", () => {
    expect(judgeCluster(cluster(first, silent("balancer-2", "i-2")), two)).toMatchObject({
      waitingFor: ["balancer-2: does not run"],
      suspect: "i-2",
    });
    expect(judgeCluster(cluster(first), two).waitingFor).toEqual(["balancer-2: i-2 is not known to i-1 yet"]);
  });

  test("have time for drains, and more time for a balancer that leaves", () => {
    const drains = member("balancer-2", "i-2", { draining: [exampleRemoved] });
    expect(judgeCluster(cluster(first, drains), two).clock).toBe("drain");
    const leaves = member(null, "i-old", { target: null, leaving: [draining] });
    expect(judgeCluster(cluster(first, drains, leaves), two).clock).toBe("leave");
  });

  test("pass on each one's warnings with its name", () => {
    const warned = member("balancer-2", "i-2", { warnings: ["the certificate ends in 10 days"] });
    expect(judgeCluster(cluster(first, warned), two).warnings).toEqual([
      "balancer-2: the certificate ends in 10 days",
    ]);
  });
});

test("a wanted balancer that has lost its notes is waited for until it knows again on which ways clients come", () => {
  const after = (named: Status["named"]) =>
    judgeCluster(cluster(member("balancer-1", "i-new", { target: null, named })), single);
  expect(after(null)).toMatchObject({
    done: false,
    allServe: false,
    waitingFor: ["the balancer: it does not know yet on which ways clients come"],
  });
  // A version before this field does not say it.
  for (const named of [true, undefined]) expect(after(named).done).toBe(true);
});

describe("a balancer that is not wanted any more", () => {
  const old = (status: Partial<Status>) => cluster(first, second, member(null, "i-old", status));

  test("is waited for until it has left", () => {
    expect(judgeCluster(old({ leaving: [draining] }), two).waitingFor).toEqual([
      "i-old: it leaves the load balancer: 3 sockets left, 4 min at most",
    ]);
    expect(judgeCluster(old({ leaving: [left] }), two).done).toBe(true);
  });

  test.each([
    undefined,
    null,
    true,
  ])("is waited for while it does not know that (named: %s), since clients still reach it", (named) => {
    expect(judgeCluster(old({ target: healthy, named }), two).waitingFor).toEqual([
      "i-old: it does not know yet that it is to leave",
    ]);
  });

  test("is waited for until it knows that, also when the load balancer is given up at the same time", () => {
    const one = cluster(member("balancer-1", "i-new"));
    const withOld = (named: Status["named"]) => ({
      ...one,
      balancers: [...one.balancers, member(null, "i-old", { named })],
    });
    expect(judgeCluster(withOld(true), single).waitingFor).toEqual([
      "i-old: it does not know yet that it is to leave",
    ]);
    for (const named of [undefined, null, false])
      expect(judgeCluster(withOld(named), single).done).toBe(true);
  });

  test("need not leave a way that it never had, such as the first load balancer of the stack", () => {
    expect(judgeCluster(old({ named: false }), two)).toMatchObject({ done: true, waitingFor: [] });
  });

  test("is waited for on the way that it had", () => {
    expect(
      judgeCluster(old({ named: false, leaving: [{ ...draining, path: "address" }] }), two).waitingFor,
    ).toEqual(["i-old: it leaves the Elastic IP: 3 sockets left, 4 min at most"]);
  });

  test("is not waited for where only the serving ones count, such as before the DNS record leads to them", () => {
    const serving = { ...two, untilServing: true };
    expect(judgeCluster(old({ leaving: [draining] }), serving).done).toBe(true);
    expect(judgeCluster(old({ leaving: [draining] }), two)).toMatchObject({ done: false, allServe: true });
    const initial = member("balancer-1", "i-1", { target: { state: "initial", reason: "" } });
    expect(judgeCluster(cluster(initial, second), serving)).toMatchObject({ done: false, allServe: false });
  });

  test("is not waited for without a load balancer: the Elastic IP has moved", () => {
    const now = member("balancer-1", "i-new", { target: null });
    expect(judgeCluster(cluster(now, member(null, "i-old", { target: null })), single).done).toBe(true);
  });

  test("is waited for in any version that says how far it is", () => {
    const other = { ...silent(null, "i-old"), reason: "of another version" };
    const verdict = judgeCluster(cluster(first, second, { ...other, leaving: [draining] }), two);
    expect(verdict.waitingFor).toHaveLength(1);
    expect(judgeCluster(cluster(first, second, { ...other, leaving: [left] }), two).done).toBe(true);
    // One that AWS does not answer has not read that it is to leave.
    expect(judgeCluster(cluster(first, second, { ...other, leaving: [] }), two).done).toBe(false);
  });

  test("is waited for while only its HAProxy answers, however long that lasts", () => {
    const other = { ...silent(null, "i-old"), reason: "HTTP 503", haproxyAnswers: true };
    expect(judgeCluster(cluster(first, second, other), two)).toMatchObject({
      done: false,
      clock: "leave",
      waitingFor: ["i-old: HTTP 503, so its HAProxy may have clients, but wcs-balancer-sync does not say so"],
      warnings: [],
    });
  });

  test("is not silent while its HAProxy answers: then one missing answer may have got lost", () => {
    const withoutService = { ...silent(null, "i-old"), reason: "HTTP 503", haproxyAnswers: true };
    const atFirst = silentSince(cluster(first, withoutService), new Map(), 0);
    expect(silentSince(cluster(first, silent(null, "i-old")), atFirst, 300)).toEqual(
      new Map([["i-old", 300]]),
    );
    const known = new Map([["i-old", 300]]);
    expect(silentSince(cluster(first, silent(null, "i-old")), known, 302)).toEqual(known);
    expect(silentSince(cluster(first, withoutService), known, 304)).toEqual(new Map());
  });

  test("is waited for when its answer is missing once: that may get lost", () => {
    const verdict = judge(cluster(first, second, silent(null, "i-old")), two, () => 59);
    expect(verdict).toMatchObject({
      done: false,
      clock: "leave",
      waitingFor: ["i-old: does not run"],
      warnings: [],
    });
  });

  test("is waited for in the same way when the stack has just given up its load balancer", () => {
    const only = member("balancer-1", "i-new", { target: null });
    const answers = { ...silent(null, "i-old"), haproxyAnswers: true };
    expect(judge(cluster(only, silent(null, "i-old")), single, () => 59).done).toBe(false);
    expect(judgeCluster(cluster(only, silent(null, "i-old")), single).done).toBe(true);
    expect(judgeCluster(cluster(only, answers), single).done).toBe(false);
  });

  test("may be missing in the list of one that AWS does not answer", () => {
    const incomplete = { ...cluster(first, second), complete: false };
    expect(judgeCluster(incomplete, two)).toMatchObject({
      done: false,
      waitingFor: ["i-1: it does not know all balancers, since AWS does not answer it"],
    });
    // The balancer that it does not find is not to blame.
    const alone = { ...cluster(first, silent("balancer-2", "i-2")), complete: false };
    expect(judgeCluster(alone, two).suspect).toBe("i-1");
    expect(judgeCluster({ ...alone, complete: true }, two).suspect).toBe("i-2");
    expect(judgeCluster({ ...cluster(member("balancer-1", "i-new")), complete: false }, single).done).toBe(
      true,
    );
  });

  test("says why it does not go on", () => {
    const error = "No space left on device";
    expect(judgeCluster(old({ leaving: [draining], error }), two).waitingFor).toEqual([
      "i-old: it leaves the load balancer: 3 sockets left, 4 min at most: No space left on device",
    ]);
    expect(judgeCluster(old({ error }), two).waitingFor).toEqual([
      "i-old: it does not know yet that it is to leave: No space left on device",
    ]);
  });

  test("is only warned about when it does not answer", () => {
    const verdict = judgeCluster(cluster(first, second, silent(null, "i-old")), two);
    expect(verdict).toMatchObject({
      done: true,
      warnings: [
        "the removed balancer i-old does not answer (does not run), so pulumi up deletes it without a drain",
      ],
    });
  });
});

test.each<[Partial<LeavingPath>, string]>([
  [
    { phase: "waiting", reason: "balancer-2 is initial" },
    "leaves the load balancer: waits until the others serve",
  ],
  [{ phase: "tail", secondsLeft: 120 }, "leaves the load balancer: still takes clients, 120 s at least"],
  [{ phase: "draining", sockets: null }, "leaves the load balancer: unknown sockets left"],
  [
    { path: "address", phase: "draining", secondsLeft: 61 },
    "leaves the Elastic IP: 0 sockets left, 2 min at most",
  ],
])("says how far a balancer is that leaves: %j", (change, text) => {
  expect(leavingPath({ ...left, ...change })).toBe(text);
});
