import { expect, test } from "vitest";
import type { ClusterStatus, NodeStatus, RemovedServer, Status } from "../../contract/status";
import { inTheBalancers, nameEach, summary } from "../../sandbox/balancer-status";
import { exampleNode, exampleRemoved, exampleStatus } from "../example-status";

/** A cluster of balancers with these statuses; null means that one does not answer. */
const cluster = (...statuses: (Partial<Status> | null)[]): ClusterStatus => ({
  instance: "i-1",
  complete: true,
  balancers: statuses.map((status, index) => ({
    name: `balancer-${index + 1}`,
    instance: `i-${index + 1}`,
    address: `10.0.0.${index + 1}`,
    status: status && { ...exampleStatus, instance: `i-${index + 1}`, ...status },
    reason: status ? "" : "no answer within 3 s",
    haproxyAnswers: false,
    leaving: status ? [] : null,
    named: status ? true : null,
    nodes: [],
  })),
});

const removed = { ...exampleRemoved, server: "wcs-1-00000001", sockets: 3, secondsLeft: 90 };
const shown = (row: Partial<RemovedServer>) =>
  inTheBalancers(cluster({ nodes: [], draining: [{ ...removed, ...row }] }), "i-00000001");

test.each([
  ["a node that drains", {}, "draining: 2 min at most, 3 sockets"],
  ["a held node", { held: true, state: "up" }, "held: serves until the new nodes are up, 3 sockets"],
  [
    "a held node that is dead",
    { held: true, state: "down", reason: "Connection refused", sockets: 0 },
    "held: down: Connection refused; stays until the new nodes are up, 0 sockets",
  ],
  [
    "the last resort",
    { lastResort: true, state: "up" },
    "last resort: takes clients while every wanted node is down, 2 min at most, 3 sockets",
  ],
  ["a node of which HAProxy says nothing", { sockets: null }, "draining: 2 min at most, unknown sockets"],
] as const)("sandbox status says what %s does", (_, row, text) => {
  expect(shown(row)).toBe(text);
});

test("sandbox status says of a node whether it takes clients, and of another machine nothing", () => {
  const node: NodeStatus = { ...exampleNode, load: "cpu 9 of 90", weight: 90, sockets: 2 };
  const down = { nodes: [{ ...node, state: "down" as const, reason: "WCS hangs" }] };
  const up = { nodes: [node] };
  expect(inTheBalancers(cluster(down), "i-00000001")).toBe("down: WCS hangs, 2 sockets");
  const setup = { state: "failed", step: "wcs-checksum" } as const;
  const failed = {
    nodes: [{ ...node, state: "down" as const, reason: "setup failed: wcs-checksum", setup }],
  };
  expect(inTheBalancers(cluster(failed), "i-00000001")).toBe(
    "down: its set-up failed at step wcs-checksum, 2 sockets",
  );
  const drained = { nodes: [{ ...node, takenOut: "drain" as const }] };
  expect(inTheBalancers(cluster(drained), "i-00000001")).toBe("an operator drains it, 2 sockets");
  expect(inTheBalancers(cluster(up), "i-00000001")).toBe("up, weight 90 (cpu 9 of 90), 2 sockets");
  expect(inTheBalancers(cluster(up), "i-00000002")).toBe("");
});

test("sandbox status adds up the sockets of all balancers, and names those that do not agree", () => {
  const node: NodeStatus = { ...exampleNode, sockets: 2 };
  const down = { nodes: [{ ...node, state: "down" as const, reason: "Connection refused" }] };
  expect(inTheBalancers(cluster({ nodes: [node] }, { nodes: [node] }, null), "i-00000001")).toBe(
    "up, weight 100, 4 sockets",
  );
  expect(inTheBalancers(cluster({ nodes: [node] }, down), "i-00000001")).toBe(
    "balancer-1: up, weight 100; balancer-2: down: Connection refused, 4 sockets",
  );
});

test("sandbox status says what each balancer does", () => {
  const left = { path: "address", phase: "left", reason: "", sockets: 0, secondsLeft: null } as const;
  const all = cluster(
    { target: { state: "healthy", reason: "" } },
    { target: null, leaving: [{ ...left, phase: "draining", sockets: 3 }] },
    { target: null, leaving: [left] },
    { revision: null },
    null,
    // The status lists only ways that the balancer has had.
    { target: null, named: false },
  );
  expect([1, 2, 3, 4, 5, 6].map((number) => inTheBalancers(all, `i-${number}`))).toEqual([
    "serves, target healthy",
    "serves, leaves the Elastic IP: 3 sockets left",
    "serves, leaves the Elastic IP: done",
    "serves only its status",
    "no answer within 3 s",
    "serves",
  ]);
});

test("sandbox status ends with the revisions, what is wrong and the warnings", () => {
  const below = (status: Partial<Status>) => summary(cluster(status));
  expect(below({ warnings: ["w"] })).toEqual(["balancer-1: revision r2", "balancer-1: warning: w"]);
  expect(below({ applied: null, error: "SSM" })).toEqual([
    "balancer-1: revision r2 (AWS does not say which one is wanted), error: SSM",
  ]);
  expect(below({ applied: false })).toEqual(["balancer-1: revision r2 (another one is wanted)"]);
  expect(below({ revision: null, applied: false })).toEqual([
    "balancer-1: revision none (another one is wanted)",
  ]);
  expect(below({ away: ["nginx does not answer"] })[1]).toBe("balancer-1: nginx does not answer");
  expect(below({ setup: { state: "failed", step: "sync" } })[1]).toBe(
    "balancer-1: its set-up failed at step sync",
  );
  expect(below({ setup: { state: "running", step: "sync" } })[1]).toBe(
    "balancer-1: its set-up is at step sync",
  );
  expect(summary(cluster({}, null))).toEqual(["balancer-1: revision r2", "balancer-2: no answer within 3 s"]);
});

test("sandbox status names a balancer that does not know its name or its instance", () => {
  const names = new Map([
    ["i-1", "balancer-1"],
    ["i-2", "balancer-2"],
    ["i-9", "balancer-2"],
  ]);
  const before = cluster({ revision: null, applied: false }, {}, null);
  const [first, second, third] = before.balancers.map((one) => ({ ...one, name: null }));
  if (!first || !second || !third) throw new Error("three balancers");
  const lines = (balancers: ClusterStatus["balancers"]) =>
    summary(nameEach({ ...before, balancers }, "i-1", names)).map((line) => line.replace(/: .*/, ""));
  expect(lines([first, second, third])).toEqual(["balancer-1 (i-1)", "balancer-2 (i-2)", "i-3"]);
  // The document names it, and it has not learnt its id yet.
  const named = { ...third, name: "balancer-1", instance: "i-1" };
  const own = { ...first, instance: null };
  expect(lines([named, own, { ...second, name: "balancer-2" }])).toEqual(["balancer-1", "balancer-2"]);
  expect(inTheBalancers(nameEach({ ...before, balancers: [named, own] }, "i-1", names), "i-1")).toBe(
    "serves only its status",
  );
  expect(lines([own])).toEqual(["balancer-1 (i-1)"]);
});
