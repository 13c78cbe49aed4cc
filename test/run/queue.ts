import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Listr, PRESET_TIMER } from "listr2";
import { cache } from "../../sandbox/paths";
import { Admission } from "./admission";
import type { Job } from "./jobs";
import type { Outcome } from "./vitest";

export interface Result extends Outcome {
  name: string;
}

/** How long each job took last time on this machine, in seconds. */
const lastTimes = join(cache, "test-seconds.json");

function readLastTimes(): Record<string, number> {
  try {
    return JSON.parse(readFileSync(lastTimes, "utf8"));
  } catch {
    return {};
  }
}

/**
 * Jobs that take longest begin first, so that none runs alone at the end. Jobs with an unknown time keep their place.
 * Jobs without a sandbox begin before all of them, while the cluster comes up.
 */
export function longestFirst(jobs: Job[]): Job[] {
  const seconds = readLastTimes();
  const rank = ({ name, needsCluster }: Job) => (needsCluster ? 0 : 1e6) + (seconds[name] ?? 0);
  return [...jobs].sort((one, other) => rank(other) - rank(one));
}

/** The same order for the same seed (Mulberry32, Fisher and Yates). */
export function shuffled(jobs: Job[], seed: number): Job[] {
  let state = seed | 0;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
  const result = [...jobs];
  for (let index = result.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [result[index], result[other]] = [result[other] as Job, result[index] as Job];
  }
  return result;
}

/** A file name that every system accepts. */
export function folderOf(job: string): string {
  return job.replaceAll("/", "-").replaceAll(" ", "-");
}

/**
 * Runs jobs, a limited number at a time and fewer while the processors are busy. Shows which ones run, how many are done
 * and the time of each.
 */
export async function runJobs(jobs: Job[], atATime: number, results: string): Promise<Result[]> {
  const finished: Result[] = [];
  const admission = new Admission();
  await new Listr(
    jobs.map((job) => ({
      title: `${job.name} (waits for the processors)`,
      task: async (_, task) => {
        let began = Date.now();
        let outcome: Outcome;
        try {
          outcome = await admission.run(() => {
            began = Date.now();
            task.title = job.name;
            return job.run(join(results, folderOf(job.name)));
          });
        } catch (error) {
          const seconds = (Date.now() - began) / 1000;
          outcome = { passed: 0, failed: 1, seconds, output: (error as Error).message, tests: [] };
        }
        finished.push({ name: job.name, ...outcome, seconds: (Date.now() - began) / 1000 });
        const { passed, failed } = outcome;
        const count = `${passed} passed${failed > 0 ? `, ${failed} FAILED` : ""}`;
        task.title = `${job.name}: ${count} (${finished.length} of ${jobs.length})`;
        if (failed > 0) throw new Error(task.title);
      },
    })),
    {
      concurrent: atATime,
      exitOnError: false,
      registerSignalListeners: false,
      collectErrors: false,
      rendererOptions: { timer: PRESET_TIMER, showErrorMessage: false },
      fallbackRendererOptions: { timer: PRESET_TIMER },
    },
  ).run();
  const times = {
    ...readLastTimes(),
    ...Object.fromEntries(finished.map(({ name, seconds }) => [name, Math.round(seconds)])),
  };
  if (existsSync(cache)) writeFileSync(lastTimes, `${JSON.stringify(times, null, 2)}\n`);
  return finished;
}
