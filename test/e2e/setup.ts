/** Around every e2e file: it begins with a cluster that is up, measures its tests and keeps evidence of failures. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, type RunnerTask } from "vitest";
import { status } from "./changes";
import { allUp, eventually, sandboxName } from "./cluster";
import { keepEvidenceOf } from "./evidence";
import { startMeter, type Times } from "./meter";

declare module "vitest" {
  interface TaskMeta {
    times?: Times;
  }
}

const fileBegan = new Date();
let measured: () => Times;

beforeAll(async () => {
  if (!sandboxName)
    throw new Error("this needs a sandbox of its own; start it with: npm test -- --only NAME");
  await allUp(2);
  await eventually(async () => expect((await status()).revision).not.toBeNull(), 180);
});

beforeEach(() => {
  measured = startMeter();
});

afterEach(async ({ task }) => {
  task.meta.times = measured();
  if (task.result?.state === "fail") await keepEvidenceOf(task.name, fileBegan);
});

const failed = (task: RunnerTask): boolean => task.result?.state === "fail";

/** Suites that failed though none of their tests did: in what they do before or after them. */
function brokenSuites(task: RunnerTask): RunnerTask[] {
  if (task.type !== "suite") return [];
  const inside = task.tasks.flatMap(brokenSuites);
  return failed(task) && !task.tasks.some(failed) ? [task, ...inside] : inside;
}

// biome-ignore lint/correctness/noEmptyPattern: vitest wants a pattern here, and gives the suite after it.
afterAll(async ({}, suite) => {
  for (const { name } of brokenSuites(suite as RunnerTask))
    await keepEvidenceOf(`around ${name || "the file"}`, fileBegan);
});
