import { beforeAll, describe, expect, test } from "vitest";
import { parseStatus, type Status } from "../../cluster/status";
import { judge } from "../../rollout/verdict";
import { config, inLab } from "./sync-lab";

/** The service's answers, by the state that it was in. */
let answers: Map<string, unknown>;

beforeAll(async () => {
  const few = config([3], { maxConnectionsPerAddress: 10 });
  const printed = await inLab("status_lab.py", [config([1, 2, 3]), config([1, 2]), config([3]), few]);
  answers = new Map(
    printed
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .map(({ name, status }) => [name, status]),
  );
}, 600_000);

const statusIn = (state: string) => parseStatus(JSON.stringify(answers.get(state)));
const node = (number: number, more: object) =>
  expect.arrayContaining([expect.objectContaining({ node: `wcs-${number}`, ...more })]);
const removed = (more: object) => ({
  draining: expect.arrayContaining([expect.objectContaining({ node: "wcs-2", ...more })]),
});
const setup = (state: "running" | "failed") => ({ setup: { state, step: "websdk-download" } });

/** The parts of the answer that show the state. */
const states: [string, object][] = [
  [
    "before HAProxy runs",
    {
      instance: null,
      handedOver: null,
      leaving: [],
      target: null,
      revision: null,
      applied: false,
      nodes: [],
      certificate: null,
      error: expect.stringContaining("cannot be read"),
    },
  ],
  ["before a state is applied", { revision: null, applied: false, nodes: node(1, {}) }],
  ["nginx away", { away: ["nginx does not answer on port 8180, so there are no pages"] }],
  [
    "applied, and every node is up",
    {
      instance: "i-0123456789abcdef0",
      handedOver: null,
      revision: "everybody",
      applied: true,
      away: [],
      error: null,
      nodes: node(3, { state: "up", setup: null }),
      warnings: [],
    },
  ],
  [
    "a node that names its tightest check",
    { nodes: node(1, { state: "up", weight: 37, load: "publishers 63 of 100" }) },
  ],
  ["a node that is full", { nodes: node(1, { state: "full", weight: 0, reason: "cpu 95 of 90" }) }],
  ["a node whose agent says down", { nodes: node(1, { state: "down", setup: null }) }],
  [
    "a node whose set-up runs",
    { nodes: node(1, { state: "down", setup: { state: "running", step: "wcs-install" } }) },
  ],
  [
    "a node whose agent says nothing",
    { nodes: node(1, { state: "unknown", reason: expect.stringContaining("no answer from the agent") }) },
  ],
  ["a node that is gone", { nodes: node(1, { state: "down", setup: null }) }],
  ["a node in maintenance", { nodes: node(1, { state: "maint" }) }],
  [
    "a node whose set-up failed",
    { nodes: node(3, { state: "down", setup: { state: "failed", step: "wcs-checksum" } }) },
  ],
  ["the balancer's set-up running", setup("running")],
  ["the balancer's set-up failed", setup("failed")],
  [
    "refused",
    {
      revision: "everybody",
      applied: false,
      refused: "nonsense",
      error: expect.stringContaining("nonsense"),
    },
  ],
  [
    "a document of a newer contract",
    { applied: false, refused: null, error: expect.stringContaining("contract 7") },
  ],
  ["AWS away", { revision: "everybody", applied: null, error: expect.stringContaining("cannot be reached") }],
  ["held", removed({ held: true, lastResort: false, state: "up" })],
  ["draining", removed({ held: false, lastResort: false, state: "draining" })],
  ["the last resort", removed({ held: false, lastResort: true, state: "up" })],
  ["draining again", removed({ held: false, lastResort: false, state: "draining" })],
  ["a silent worker", removed({ reason: expect.stringContaining("which does not answer") })],
  [
    "HAProxy away",
    { error: expect.stringContaining("HAProxy does not run"), nodes: [], ...removed({ sockets: null }) },
  ],
  [
    "a certificate that ends soon",
    {
      certificate: expect.objectContaining({ daysLeft: 9 }),
      warnings: [expect.stringContaining("the certificate ends in 9 days")],
    },
  ],
  [
    "an address at its limit",
    { warnings: [expect.stringContaining("127.0.0.1 is at maxConnectionsPerAddress"), expect.anything()] },
  ],
  [
    "a target of the load balancer",
    { target: { state: "unknown", reason: "AWS has not been asked yet" }, leaving: [] },
  ],
  [
    "a balancer that leaves the load balancer",
    {
      leaving: [
        {
          path: "loadBalancer",
          phase: "waiting",
          reason: "AWS has not been asked for the targets yet",
          sockets: 0,
          secondsLeft: null,
        },
      ],
    },
  ],
  ["handed over", { handedOver: expect.closeTo(300, -1) }],
  ["the loop hangs", { applied: null, error: expect.stringContaining("wcs-balancer-sync hangs") }],
];

describe("the status is what its schema says:", () => {
  test("these are all states that the lab has brought the service into", () => {
    expect([...answers.keys()]).toEqual(states.map(([name]) => name));
  });

  test.each(states)("%s", (name, shown) => {
    expect(statusIn(name)).toMatchObject(shown);
  });

  test("a node's set-up that has failed comes from step.py to the verdict of up", () => {
    const status: Status = statusIn("a node whose set-up failed");
    const servers = status.nodes.map(({ server }) => server);
    expect(judge(status, { instance: String(status.instance), revision: "everybody", servers })).toEqual({
      done: false,
      failed: true,
      onlyDrains: false,
      waitingFor: ["wcs-3-00000003: down: setup failed: wcs-checksum"],
    });
  });

  test("so does the balancer's own set-up", () => {
    const verdict = (state: string) =>
      judge(statusIn(state), { instance: "i-0123456789abcdef0", revision: "everybody", servers: [] });
    expect(verdict("the balancer's set-up failed")).toMatchObject({
      failed: true,
      waitingFor: ["the balancer: setup failed: websdk-download"],
    });
    expect(verdict("the balancer's set-up running")).toMatchObject({
      failed: false,
      waitingFor: ["the balancer: its set-up is at step websdk-download"],
    });
  });
});
