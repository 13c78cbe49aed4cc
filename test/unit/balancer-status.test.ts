import { expect, test } from "vitest";
import type { RemovedServer } from "../../rollout/wait-for-rollout";
import { inTheBalancer, summary } from "../../sandbox/balancer-status";

const removed: RemovedServer = {
  server: "wcs-1-00000001",
  state: "draining",
  reason: "",
  sockets: 3,
  secondsLeft: 90,
  held: false,
  lastResort: false,
};
const shown = (row: Partial<RemovedServer>) =>
  inTheBalancer({ nodes: [], draining: [{ ...removed, ...row }] }, "i-0000000000000001".slice(-10));

test.each([
  ["a node that drains", {}, "draining: 2 min at most, 3 sockets"],
  ["a held node", { held: true, state: "up" }, "held: serves on until the new nodes are up, 3 sockets"],
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
  const node = { server: "wcs-1-00000001", reason: "", load: "cpu 9 of 90", weight: 90, sockets: 2 };
  const nodes = [{ ...node, state: "down" as const, reason: "WCS hangs" }];
  expect(inTheBalancer({ nodes, draining: [] }, "i-00000001")).toBe("down: WCS hangs, 2 sockets");
  const up = { nodes: [{ ...node, state: "up" as const }], draining: [] };
  expect(inTheBalancer(up, "i-00000001")).toBe("up, weight 90 (cpu 9 of 90), 2 sockets");
  expect(inTheBalancer({ nodes, draining: [] }, "i-00000002")).toBe("");
});

test("sandbox status ends with the revision, what is wrong and the warnings", () => {
  expect(summary({ revision: "r1", applied: true, error: null, warnings: ["w"] })).toEqual([
    "revision r1",
    "warning: w",
  ]);
  expect(summary({ revision: "r1", applied: null, error: "SSM" })).toEqual([
    "revision r1 (AWS does not say whether it is what is wanted), error: SSM",
  ]);
  expect(summary({ revision: "r1", applied: false })).toEqual(["revision r1 (not what is wanted)"]);
  expect(summary({ revision: "r1", away: ["nginx does not answer"] })[1]).toBe(
    "the balancer: nginx does not answer",
  );
  expect(summary({})).toEqual(["revision none"]);
});
