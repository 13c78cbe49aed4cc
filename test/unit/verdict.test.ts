import { expect, test } from "vitest";
import type { Status } from "../../cluster/status";
import { full, inWhichState } from "../../rollout/summary";
import { judge as judgeWanted, removedServer, warningsOf } from "../../rollout/verdict";
import { exampleNode, exampleRemoved, exampleStatus } from "../example-status";

const status = (nodes: Status["nodes"], more: Partial<Status> = {}): Status => ({
  ...exampleStatus,
  nodes,
  ...more,
});
const judge = (found: Status, revision: string, servers: string[]) =>
  judgeWanted(found, { instance: "i-new", revision, servers });
const up = { ...exampleNode, server: "wcs-1-a" };
const removed = { ...exampleRemoved, server: "wcs-2-b" };

test("ends when the revision is applied and every node is up or full", () => {
  const nodes = [up, { ...up, server: "wcs-2-b", state: "full" as const }];
  expect(judge(status(nodes), "r2", ["wcs-1-a", "wcs-2-b"])).toEqual({
    done: true,
    failed: false,
    onlyDrains: false,
    waitingFor: [],
  });
});

test("names the threshold that a full node has reached", () => {
  const nodes = [
    up,
    { ...up, server: "wcs-2-b", state: "full" as const, reason: "cpu 95 of 90" },
    { ...up, server: "wcs-3-c", state: "full" as const, reason: "" },
    { ...up, server: "wcs-9-x", state: "full" as const, reason: "hls 5 of 5" },
  ];
  expect(full(status(nodes), ["wcs-1-a", "wcs-2-b", "wcs-3-c"])).toEqual([
    "wcs-2-b: full: cpu 95 of 90",
    "wcs-3-c: full",
  ]);
});

test("says at its end how many nodes are in which state", () => {
  const inState = (server: string, state: Status["nodes"][number]["state"]) => ({ ...up, server, state });
  const nodes = [inState("a", "up"), inState("b", "full"), inState("c", "maint"), inState("x", "maint")];
  expect(inWhichState(status(nodes), ["a", "b", "c"])).toBe(
    "1 of 3 nodes is up, 1 is full, 1 is in maintenance",
  );
  expect(inWhichState(status([inState("a", "up"), inState("b", "up")]), ["a", "b"])).toBe(
    "2 of 2 nodes are up",
  );
});

test("does not wait for a node in maintenance", () => {
  expect(judge(status([{ ...up, state: "maint" }]), "r2", ["wcs-1-a"]).done).toBe(true);
});

test("waits for a node that is down, and says why", () => {
  const nodes = [{ ...up, state: "down" as const, reason: "WCS statistics unreadable" }];
  const verdict = judge(status(nodes), "r2", ["wcs-1-a"]);
  expect(verdict).toEqual({
    done: false,
    failed: false,
    onlyDrains: false,
    waitingFor: ["wcs-1-a: down: WCS statistics unreadable"],
  });
});

test("gives up at once on a node whose set-up has failed", () => {
  const setup = { state: "failed" as const, step: "wcs-checksum" };
  const node = { ...up, state: "down" as const, reason: "setup failed: wcs-checksum", setup };
  expect(judge(status([node]), "r2", ["wcs-1-a"])).toMatchObject({
    failed: true,
    waitingFor: ["wcs-1-a: its set-up failed at step wcs-checksum"],
  });
  // A node whose set-up still runs, a node with only the same reason, and a node that this stack does not make.
  const running = { ...node, setup: { ...setup, state: "running" as const } };
  expect(judge(status([running]), "r2", ["wcs-1-a"])).toMatchObject({
    failed: false,
    waitingFor: ["wcs-1-a: its set-up is at step wcs-checksum"],
  });
  expect(judge(status([{ ...node, setup: null }]), "r2", ["wcs-1-a"]).failed).toBe(false);
  expect(judge(status([up, { ...node, server: "other" }]), "r2", ["wcs-1-a"]).failed).toBe(false);
});

test("waits while an older revision runs, and passes the balancer's error on", () => {
  const verdict = judge(status([up], { revision: "r1", error: "haproxy failed (1)" }), "r2", ["wcs-1-a"]);
  expect(verdict.waitingFor).toEqual(["the balancer: it still runs revision r1: haproxy failed (1)"]);
});

test("gives up at once on a revision that HAProxy refuses", () => {
  const refused = status([up], { revision: "r1", refused: "r2", error: "haproxy failed (1)" });
  expect(judge(refused, "r2", ["wcs-1-a"]).failed).toBe(true);
  expect(judge(refused, "r3", ["wcs-1-a"]).failed).toBe(false);
});

test("waits until a revision that was refused meanwhile is not wanted any more", () => {
  const stale = status([up], { refused: "r3", error: "haproxy failed (1)" });
  expect(judge(stale, "r2", ["wcs-1-a"])).toMatchObject({ done: false, failed: false });
});

test("waits for the balancer's set-up, and gives up when it has failed", () => {
  const running = judge(status([up], { setup: { state: "running", step: "websdk-download" } }), "r2", [
    "wcs-1-a",
  ]);
  expect(running).toEqual({
    done: false,
    failed: false,
    onlyDrains: false,
    waitingFor: ["the balancer: its set-up is at step websdk-download"],
  });
  const failed = judge(status([up], { setup: { state: "failed", step: "websdk-download" } }), "r2", [
    "wcs-1-a",
  ]);
  expect(failed).toMatchObject({
    failed: true,
    waitingFor: ["the balancer: its set-up failed at step websdk-download"],
  });
});

test("waits for removed servers to drain, and says how many sockets are left", () => {
  expect(judge(status([up], { draining: [removed] }), "r2", ["wcs-1-a"])).toEqual({
    done: false,
    failed: false,
    onlyDrains: true,
    waitingFor: ["wcs-2-b to drain: 12 sockets left, 9 min at most"],
  });
});

test("waits for a node that HAProxy does not know", () => {
  expect(judge(status([up]), "r2", ["wcs-9-z"]).waitingFor).toEqual(["wcs-9-z: not in HAProxy"]);
});

test.each([
  [{}, "9 min at most"],
  [
    { reason: "waits for HAProxy's worker 7, which does not answer" },
    "9 min at most: waits for HAProxy's worker 7, which does not answer",
  ],
  [{ held: true, state: "up" as const }, "serves until the new nodes are up"],
  [
    { held: true, state: "down" as const, reason: "WCS does not answer" },
    "down: WCS does not answer; stays until the new nodes are up",
  ],
  [
    { lastResort: true, state: "up" as const },
    "takes clients while every wanted node is down, 9 min at most",
  ],
])("says what a removed server does: %j", (change, text) => {
  expect(removedServer({ ...removed, ...change })).toBe(text);
});

test("passes on the warnings of the revision that it waits for", () => {
  const warned = status([up], { warnings: ["the certificate ends in 10 days"] });
  expect(warningsOf(warned, "r2")).toEqual(["the certificate ends in 10 days"]);
  expect(warningsOf(warned, "r3")).toEqual([]);
});

test("waits for a part of the balancer that is away, and names it", () => {
  const away = ["nginx does not answer on port 8180, so there are no pages"];
  expect(judge(status([up], { away }), "r2", ["wcs-1-a"])).toEqual({
    done: false,
    failed: false,
    onlyDrains: false,
    waitingFor: ["the balancer: nginx does not answer on port 8180, so there are no pages"],
  });
});

test.each([
  [
    "another machine answers, as before the address has moved",
    "i-old",
    "another machine answers: i-old, not i-new",
  ],
  ["the machine does not know its id yet", null, "the machine does not know its instance id yet"],
])("waits while %s", (_, instance, reason) => {
  expect(judge(status([up], { instance }), "r2", ["wcs-1-a"])).toEqual({
    done: false,
    failed: false,
    onlyDrains: false,
    waitingFor: [reason],
  });
});
