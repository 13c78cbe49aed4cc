import { beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseStatus, type Status, statusSchema } from "../../contract/status";
import { judge } from "../../rollout/verdict";
import { config, inLab } from "./sync-lab";

/** The service's answers, by the state that it was in. */
let answers: Map<string, unknown>;

beforeAll(async () => {
  const few = config([3], { maxConnectionsPerAddress: 10 });
  const acme = config([3], { maxConnectionsPerAddress: 10, acme: { email: "operations@example.com" } });
  const printed = await inLab("status_lab.py", [config([1, 2, 3]), config([1, 2]), config([3]), few, acme]);
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
const leaving = (path: string, phase: string) => ({ leaving: [expect.objectContaining({ path, phase })] });
const target = (state: string) => ({ target: { state, reason: "" }, leaving: [] });
const setup = (state: "running" | "failed") => ({ setup: { state, step: "websdk-download" } });

/** The parts of the answer that show the state. */
const states: [string, object][] = [
  [
    "before HAProxy runs",
    {
      instance: null,
      named: null,
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
      named: true,
      handedOver: null,
      revision: "everybody",
      applied: true,
      away: [],
      error: null,
      nodes: node(3, { state: "up", takenOut: null, setup: null }),
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
  ["a node in maintenance", { nodes: node(1, { state: "maint", takenOut: "maint" }) }],
  ["a node that an operator drains", { nodes: node(1, { state: "up", takenOut: "drain" }) }],
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
  ["held and full", removed({ held: true, state: "full" })],
  ["held, and its agent says nothing", removed({ held: true, state: "unknown" })],
  ["held in maintenance", removed({ held: true, state: "maint" })],
  ["held and gone", removed({ node: "wcs-1", held: true, state: "down" })],
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
  ["a target that is initial", target("initial")],
  ["a target that is healthy", target("healthy")],
  ["a target that is unhealthy", target("unhealthy")],
  ["a target that is unused", target("unused")],
  [
    "a balancer that is to leave the load balancer",
    {
      leaving: [
        {
          path: "loadBalancer",
          phase: "waiting",
          reason: "AWS has not been asked for the targets yet",
          sockets: 1,
          secondsLeft: null,
        },
      ],
    },
  ],
  ["it serves on", { ...leaving("loadBalancer", "tail"), target: { state: "draining", reason: "" } }],
  ["its clients drain", leaving("loadBalancer", "draining")],
  [
    "it has left the load balancer",
    {
      named: false,
      leaving: [{ path: "loadBalancer", phase: "left", reason: "", sockets: null, secondsLeft: null }],
    },
  ],
  ["a balancer that leaves its own address", leaving("address", "tail")],
  [
    "a certificate by ACME that waits for DNS",
    {
      acme: {
        state: "waiting",
        reason: expect.stringContaining("wcs.example.com has no address in DNS"),
        nextTry: expect.any(String),
        directory: "https://acme.example.net:14443/dir",
      },
      certificate: expect.objectContaining({ source: "document" }),
    },
  ],
  [
    "a certificate by ACME that is being ordered",
    {
      acme: expect.objectContaining({ state: "ordering", reason: "", nextTry: null }),
      certificate: expect.objectContaining({ source: "document" }),
    },
  ],
  [
    "a certificate by ACME",
    {
      acme: expect.objectContaining({ state: "issued", reason: "" }),
      certificate: expect.objectContaining({ source: "acme" }),
    },
  ],
  [
    "a certificate that serves until the first one by ACME",
    {
      acme: expect.objectContaining({ state: "waiting" }),
      certificate: expect.objectContaining({ source: "former" }),
    },
  ],
  ["handed over", { handedOver: expect.closeTo(300, -1) }],
  ["the loop hangs", { applied: null, error: expect.stringContaining("wcs-balancer-sync hangs") }],
];

/** A schema, as far as the schema of the status uses JSON Schema. */
interface JsonSchema {
  type?: string | string[];
  enum?: unknown[];
  anyOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
}

const choicesOfTypes: Record<string, unknown[]> = { null: [null], boolean: [true, false] };

const inside = (place: string, key: string) => (place ? `${place}.${key}` : key);

/** The values between which a schema lets choose, each with its place. */
function choices(schema: JsonSchema, place = ""): string[] {
  const values = [schema.type ?? []].flat().flatMap((type) => choicesOfTypes[type] ?? []);
  return [
    ...(schema.enum ?? values).map((value) => `${place} is ${value}`),
    ...(schema.anyOf ?? []).flatMap((one) => choices(one, place)),
    ...Object.entries(schema.properties ?? {}).flatMap(([key, one]) => choices(one, inside(place, key))),
    ...(schema.items ? choices(schema.items, `${place}[]`) : []),
  ];
}

/** Every value in an answer, in the same words. */
function chosen(value: unknown, place = ""): string[] {
  if (Array.isArray(value)) return value.flatMap((one) => chosen(one, `${place}[]`));
  if (Object(value) !== value) return [`${place} is ${value}`];
  return Object.entries(Object(value)).flatMap(([key, one]) => chosen(one, inside(place, key)));
}

describe("the status is what its schema says:", () => {
  test("every choice that the schema leaves is the answer in some state", () => {
    const all = choices(z.toJSONSchema(statusSchema) as JsonSchema);
    expect(all).toEqual(
      expect.arrayContaining(["acme.state is ordering", "target is null", "applied is true"]),
    );
    const made = new Set([...answers.values()].flatMap((answer) => chosen(answer)));
    expect(all.filter((one) => !made.has(one))).toEqual([]);
  });

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
      waitingFor: ["wcs-3-00000003: its set-up failed at step wcs-checksum"],
    });
  });

  test("so does the balancer's own set-up", () => {
    const verdict = (state: string) =>
      judge(statusIn(state), { instance: "i-0123456789abcdef0", revision: "everybody", servers: [] });
    expect(verdict("the balancer's set-up failed")).toMatchObject({
      failed: true,
      waitingFor: ["the balancer: its set-up failed at step websdk-download"],
    });
    expect(verdict("the balancer's set-up running")).toMatchObject({
      failed: false,
      waitingFor: ["the balancer: its set-up is at step websdk-download"],
    });
  });
});
