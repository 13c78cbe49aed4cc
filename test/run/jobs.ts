import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { inCgroup } from "../../sandbox/cloud/machine";
import { projectRoot, sandboxPaths } from "../../sandbox/paths";
import { longVariable } from "../long";
import type { Sandboxes } from "./sandboxes";
import { type Outcome, runCheck, runVitest } from "./vitest";

/** A part of the whole test, which runs beside others. */
export interface Job {
  name: string;
  /** Whether it waits for the cluster to come up. */
  needsCluster?: boolean;
  /** @param results folder of its own */
  run(results: string): Promise<Outcome>;
}

/** Test files of one kind, as paths from the project's root; with `long` also those of `npm run test:long`. */
export function testFiles(kind: "unit" | "program" | "machine" | "e2e", long: boolean): string[] {
  return readdirSync(join(projectRoot, "test", kind))
    .filter((name) => name.endsWith(".test.ts") && (long || !name.endsWith(".long.test.ts")))
    .sort()
    .map((name) => `test/${kind}/${name}`);
}

function jobName(kind: string, file: string): string {
  return `${kind}/${basename(file, ".test.ts")}`;
}

/** Environment of an e2e file, and what its command begins with: it is a client on the internet of its sandbox. */
export function inSandbox(name: string): { prefix: string[]; environment: Record<string, string> } {
  const { testCgroup, internetNamespace } = sandboxPaths(name);
  const asClient = ["nsenter", `--net=/run/netns/${internetNamespace}`];
  return { prefix: inCgroup(testCgroup, asClient), environment: { WCS_SANDBOX_NAME: name } };
}

/** What needs processors and keeps no time gives way to the machines. */
const givingWay = ["nice", "-n", "10"];

function check(name: string, command: string, ...rest: string[]): Job {
  const [nice = "", ...args] = [...givingWay, `node_modules/.bin/${command}`, ...rest];
  return { name, run: (results) => runCheck({ command: nice, args, results }) };
}

/** An e2e file in a sandbox of its own. */
export function endToEnd(file: string, sandboxes: Sandboxes, environment: Record<string, string> = {}): Job {
  return {
    name: jobName("e2e", file),
    needsCluster: true,
    run: (results) =>
      sandboxes.with(results, (sandbox) => {
        const { prefix, environment: own } = inSandbox(sandbox);
        const selection = { project: "e2e", files: [file] };
        return runVitest(selection, prefix, { results, environment: { ...own, ...environment } });
      }),
  };
}

/** Name of the job that brings up the cluster that the e2e files' sandboxes are copied from. */
export const clusterComesUp = "the cluster comes up";

export function bringClusterUp(sandboxes: Sandboxes): Job {
  return { name: clusterComesUp, run: (results) => sandboxes.makeBase(results) };
}

/** Everything that the whole test runs. */
export function allJobs(sandboxes: Sandboxes, long: boolean): Job[] {
  const environment = longVariable(long);
  const project = (name: string): Job => ({
    name,
    run: (results) => runVitest({ project: name }, givingWay, { results, environment }),
  });
  return [
    bringClusterUp(sandboxes),
    check("format and lint", "biome", "check"),
    check("types", "tsc", "--noEmit"),
    project("unit"),
    project("program"),
    ...testFiles("machine", long).map((file) => ({
      name: jobName("machine", file),
      run: (results: string) =>
        runVitest({ project: "machine", files: [file] }, [], { results, environment }),
    })),
    ...testFiles("e2e", long).map((file) => endToEnd(file, sandboxes, environment)),
  ];
}
