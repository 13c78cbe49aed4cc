import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Identity, NodeStatus, Status } from "../../contract/status";
import { explainHandOver, nextStep as stepAfter, takenOutBefore } from "../../rollout/hand-over";
import type { Answer } from "../../rollout/status-client";
import { exampleNode, exampleStatus } from "../example-status";

const wanted = {
  instance: "i-new",
  revision: "r2",
  servers: ["wcs-1-a", "wcs-2-b"],
  furtherServers: ["far-c"],
};
/** The next step. If the machine at the Elastic IP is silent or foreign, it has been so for long. */
const nextStep = (entry: Answer<Identity>, next: Answer<Status>, seconds = 60, serving = 0) =>
  stepAfter(wanted, entry, next, { silent: seconds, foreign: seconds, serving });
/** The address moves, and all is as it should be. */
const move = (handOver: string) => ({ kind: "move", handOver, warnings: [] });
const nodeStatus = (server: string, more: Partial<NodeStatus> = {}) => ({ ...exampleNode, server, ...more });
const statusOf = (nodes: NodeStatus[], more: Partial<Status>): Status => ({
  ...exampleStatus,
  nodes,
  ...more,
});
const far = nodeStatus("far-c");
const both = [nodeStatus("wcs-1-a"), nodeStatus("wcs-2-b"), far];
const oneOfTwo = [nodeStatus("wcs-1-a"), nodeStatus("wcs-2-b", { state: "down", reason: "WCS hangs" }), far];
const answers = (status: ReturnType<typeof statusOf>): Answer<Status> => ({ kind: "status", status });
const serves = answers(statusOf(both, { instance: "i-new" }));
const servesSome = answers(statusOf(oneOfTwo, { instance: "i-new" }));
const old = answers(statusOf(both, { instance: "i-old", revision: "r1" }));
const silent: Answer<never> = { kind: "silent", reason: "connect ETIMEDOUT" };
const refused: Answer<never> = { kind: "refused", reason: "closed before its TLS handshake" };
const foreign: Answer<never> = { kind: "foreign", reason: "its certificate is for another name" };

test("the address moves when the new balancer serves, after the old one has handed over", () => {
  expect(nextStep(old, serves)).toEqual(move("insist"));
});

test("a machine that does not answer is asked once to hand over: perhaps it only hangs", () => {
  expect(nextStep(silent, serves)).toEqual(move("once"));
});

test("so is a machine that answers as no balancer of this version", () => {
  expect(nextStep(foreign, serves)).toEqual(move("once"));
});

test("nobody is asked when the new balancer has the address already", () => {
  const there = answers(statusOf([], { instance: "i-new", revision: null }));
  expect(nextStep(there, silent)).toEqual(move("no"));
});

test("an old balancer that closes connections before their handshake lives, so the address waits", () => {
  expect(nextStep(refused, serves)).toEqual({
    kind: "wait",
    reason: "the old balancer: closed before its TLS handshake",
  });
  expect(nextStep(refused, servesSome).kind).toBe("wait");
});

test("nodes that this stack does not make have 20 s to come up, then there is a warning", () => {
  const next = answers(
    statusOf([...both.slice(0, 2), nodeStatus("far-c", { state: "down", reason: "refused" })], {
      instance: "i-new",
    }),
  );
  const reason = "the new balancer: far-c: down: refused";
  expect(nextStep(old, next, 60, 19)).toEqual({ kind: "wait", reason });
  expect(nextStep(old, next, 60, 20)).toEqual({ ...move("insist"), warnings: ["far-c: down: refused"] });
  // While nobody serves, nobody waits for more.
  expect(nextStep(silent, next).kind).toBe("move");
});

test("a node of another stack is enough when the old balancer is dead", () => {
  const nodes = both.slice(0, 2).map((node) => ({ ...node, state: "down" as const }));
  expect(nextStep(silent, answers(statusOf([...nodes, far], { instance: "i-new" })))).toEqual(move("once"));
});

test.each([
  [
    "closed its sockets",
    { kind: "status", status: { closed: 3 } },
    false,
    /^the old balancer closed 3 sockets/,
  ],
  ["refused to", foreign, false, /^warning: the old balancer did not close its sockets \(its certificate is/],
  ["did not answer any more", silent, false, /^warning: the old balancer did not close its sockets/],
  ["never answered", silent, true, /^warning: nothing answered for 10 s .*ETIMEDOUT.* its socket is dead$/],
] as const)("an operator is told that the old balancer %s", (_, answer, wasSilent, text) => {
  expect(explainHandOver(answer, wasSilent)).toMatch(text);
});

test.each([
  ["does not answer", silent, "the new balancer: connect ETIMEDOUT"],
  ["is another machine", old, "the new balancer: another machine answers: i-old, not i-new"],
  [
    "does not know its instance id yet",
    answers(statusOf(both, { instance: null })),
    "the new balancer: the machine does not know its instance id yet",
  ],
  [
    "runs no revision yet",
    answers(statusOf([], { instance: "i-new", revision: null, error: "SSM cannot be reached" })),
    "the new balancer: it runs no revision yet: SSM cannot be reached",
  ],
  ["has a node that is down", servesSome, "the new balancer: wcs-2-b: down: WCS hangs"],
])("while the machine at the new address %s, the old balancer keeps the address", (_, next, reason) => {
  expect(nextStep(old, next)).toEqual({ kind: "wait", reason });
});

test("an operator hears of a node that the old balancer has in maintenance and the new one has not", () => {
  const inMaintenance = [
    nodeStatus("wcs-1-a", { state: "maint", takenOut: "maint" }),
    nodeStatus("wcs-2-b"),
    far,
  ];
  const before = answers(statusOf(inMaintenance, { instance: "i-old" }));
  expect(takenOutBefore(wanted, before, serves)).toEqual([
    expect.stringMatching(
      /^wcs-1-a: .* on the old balancer \(i-old\), but .* on the new balancer \(i-new\): /,
    ),
  ]);
  expect(takenOutBefore(wanted, old, serves)).toEqual([]);
  expect(takenOutBefore(wanted, silent, serves)).toEqual([]);
  expect(takenOutBefore(wanted, before, silent)).toEqual([]);
});

test("a single lost answer does not mean that the old balancer is dead", () => {
  expect(nextStep(silent, serves, 9)).toEqual({
    kind: "wait",
    reason: "the old balancer: connect ETIMEDOUT",
  });
  expect(nextStep(silent, servesSome, 9).kind).toBe("wait");
});

test("a single wrong answer does not mean that the old balancer cannot be asked", () => {
  expect(nextStep(foreign, serves, 9)).toEqual({
    kind: "wait",
    reason: "the old balancer: its certificate is for another name",
  });
});

test("one node is enough when the old balancer is dead, since clients have no balancer then", () => {
  expect(nextStep(silent, servesSome)).toEqual(move("once"));
  const none = answers(statusOf([nodeStatus("wcs-1-a", { state: "down" })], { instance: "i-new" }));
  expect(nextStep(silent, none).kind).toBe("wait");
  expect(nextStep(foreign, servesSome).kind).toBe("wait");
});

test("the hand-over fails at once when the new balancer refuses the revision", () => {
  const refuses = statusOf(both, {
    instance: "i-new",
    revision: null,
    refused: "r2",
    error: "haproxy failed (1)",
  });
  expect(nextStep(old, answers(refuses))).toEqual({
    kind: "fail",
    reason: "the new balancer: it runs no revision yet: haproxy failed (1)",
  });
});

test("a killed pulumi up leaves no program behind that shuts clients out", () => {
  const { pid: ended } = spawnSync("true");
  const environment = { INSTANCE: "i-new", REVISION: "r2", SERVERS: "", TRUSTED: "", STATUS_TOKEN: "" };
  const addresses = { ENTRY_ADDRESS: "127.0.0.1", FIRST_ADDRESS: "127.0.0.1", PROGRAM: String(ended) };
  const { status, stderr } = spawnSync("node", ["--import", "tsx", "rollout/hand-over.ts"], {
    cwd: join(__dirname, "../.."),
    env: { ...process.env, ...environment, ...addresses, DEADLINE_SECONDS: "0" },
    encoding: "utf8",
  });
  expect(stderr).toBe(
    "hand-over failed: pulumi up has ended, so the address stays where it is. Run pulumi up again\n",
  );
  expect(status).toBe(1);
}, 20_000);
