import { existsSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { delaysVariable } from "../../sandbox/cloud/delays";
import { underLock } from "../../sandbox/lock";
import { projectRoot } from "../../sandbox/paths";
import { checkSpace, prepare, testNeeds } from "../../sandbox/prepare";
import { longVariable } from "../long";
import { allJobs, clusterComesUp, inSandbox, testFiles } from "./jobs";
import { folderOf, longestFirst, type Result, runJobs, shuffled } from "./queue";
import { endKeptTests, keptName, keptSandbox, removeKept, Sandboxes } from "./sandboxes";
import { writeTimes } from "./times";
import { endCommands, filesWithTest, runVitest } from "./vitest";

const usage = `Usage: npm test [-- OPTIONS]

Runs every test and ends with the line "N passed, N failed": lint, types, unit, program, machine files and e2e, several
at a time. It needs Linux and root; without, npm run test:unit runs what needs neither.

Options:
  --only PATTERN   only the files whose path contains PATTERN, or else the tests whose name does; e2e files run in a
                   sandbox that stays up and is reset in seconds before each file
  --down           removes the sandbox that --only has left
  --long           the long examinations, too: npm run test:long
  --at-a-time N    at most so many files side by side, fewer while the processors are busy (default 4; 2 with --long)
  --order SEED     in a random order made from this number (default: the files that took longest last time first)
  --times          write docs/test-times.md
  --help           this text

After a failure, test-results/ has a folder for each file with its output. For e2e tests it also has the output of the
sandbox's commands, the balancer's status and the machines' journals.
`;

const results = join(projectRoot, "test-results");

/** Machines stop trying to fetch early. The value is in their user-data, so every test must use the same. */
process.env.WCS_BALANCER_PATIENCE_SECONDS ??= "10";

function parseNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) {
    throw new Error(`--${option} is "${text}"; it must be a whole number from 1 on`);
  }
  return number;
}

const isRootOnLinux = () => process.platform === "linux" && process.getuid?.() === 0;

function requireLinuxAndRoot(): void {
  if (isRootOnLinux()) return;
  throw new Error("the machine and e2e tests need Linux and root; on other machines run: npm run test:unit");
}

interface TestFile {
  kind: "unit" | "program" | "machine" | "e2e";
  file: string;
}

function allFiles(long: boolean): TestFile[] {
  const kinds = ["unit", "program", "machine", "e2e"] as const;
  return kinds.flatMap((kind) => testFiles(kind, long).map((file) => ({ kind, file })));
}

const needsRoot = ({ kind }: TestFile) => kind === "machine" || kind === "e2e";

/**
 * Runs files or tests for a person who writes them: their output is shown at once.
 * @param byPath files whose path contains the pattern; if there are none, the pattern is a part of tests' names
 */
async function runOnly(pattern: string, byPath: TestFile[], long: boolean): Promise<number> {
  const name = byPath.length > 0 ? undefined : pattern;
  const withTest = name ? filesWithTest(name, long) : [];
  const chosen = name ? allFiles(long).filter(({ file }) => withTest.includes(file)) : byPath;
  if (chosen.length === 0) {
    const where = "no test file's path and no test's name contains that";
    throw new Error(`--only is "${pattern}"; ${where}${long ? "" : " (of the long ones with --long)"}`);
  }
  if (chosen.some(needsRoot)) {
    requireLinuxAndRoot();
    checkSpace();
    await prepare(testNeeds());
  }
  onInterrupt("ending the tests", endKeptTests);
  let failures = 0;
  for (const { kind, file } of chosen) {
    console.log(`\n=== ${file}`);
    const folder = join(results, folderOf(file.replace(/^test\/|\.test\.ts$/g, "")));
    const { prefix, environment } =
      kind === "e2e"
        ? inSandbox(await keptSandbox(join(results, folderOf(clusterComesUp)), console.log))
        : { prefix: [], environment: {} };
    const { failed } = await runVitest({ project: kind, files: [file], name }, prefix, {
      results: folder,
      environment: { ...environment, ...longVariable(long) },
      show: true,
    });
    if (failed === 0) continue;
    failures++;
    console.log(`More in ${relative(".", folder)}/`);
  }
  if (chosen.some(({ kind }) => kind === "e2e")) {
    console.log(`
The sandbox stays up as the last file left it. To look into it:
  npm run sandbox -- --name ${keptName} status
To remove it:
  npm test -- --down`);
  }
  return failures === 0 ? 0 : 1;
}

/** Makes Ctrl-C and its like end the commands that run before this process. */
function onInterrupt(what: string, clear: () => void): void {
  let interrupted = false;
  const end = (status: number) => {
    // A terminal that closes sends it twice.
    if (interrupted) return;
    interrupted = true;
    console.error(`\nInterrupted: ${what}.`);
    endCommands();
    clear();
    process.exit(status);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => end(128 + constants.signals[signal]));
}

function printFailures(failed: Result[]): void {
  for (const { name, output } of failed) {
    const folder = join(results, folderOf(name));
    const more = existsSync(folder) ? `\n\nMore in ${relative(".", folder)}/` : "";
    console.log(`\n=== ${name} failed\n${output.trim()}${more}`);
  }
}

interface Whole {
  long: boolean;
  atATime: number;
  seed: number | undefined;
  times: boolean;
}

async function runAll({ long, atATime, seed, times }: Whole): Promise<number> {
  requireLinuxAndRoot();
  const began = Date.now();
  checkSpace();
  await prepare(testNeeds());
  const prepared = (Date.now() - began) / 1000;
  rmSync(results, { recursive: true, force: true });
  const sandboxes = new Sandboxes();
  sandboxes.remove();
  onInterrupt("ending the tests and removing their sandboxes", () => sandboxes.remove());
  let finished: Result[];
  try {
    const [first, ...jobs] = allJobs(sandboxes, long);
    if (!first) throw new Error("there is nothing to run");
    // Every e2e file waits for the cluster to come up.
    const ordered = [first, ...(seed === undefined ? longestFirst(jobs) : shuffled(jobs, seed))];
    finished = await runJobs(ordered, atATime, results);
  } finally {
    sandboxes.remove();
  }
  printFailures(finished.filter(({ failed }) => failed > 0));
  const seconds = Math.round((Date.now() - began) / 1000);
  if (times) writeTimes(finished, { seconds, prepared, atATime });
  const sum = (key: "passed" | "failed") => finished.reduce((total, result) => total + result[key], 0);
  console.log(
    `\nAfter ${Math.floor(seconds / 60)} min ${seconds % 60} s:\n${sum("passed")} passed, ${sum("failed")} failed`,
  );
  return sum("failed") === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      down: { type: "boolean", default: false },
      long: { type: "boolean", default: false },
      "at-a-time": { type: "string" },
      order: { type: "string" },
      times: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const atATime = parseNumber("at-a-time", values["at-a-time"]);
  const seed = parseNumber("order", values.order);
  const { only, long, times } = values;
  // Load balancers of the sandbox take as long as AWS's.
  if (long) process.env[delaysVariable] ??= "aws";
  const busy = (option: string) => `another npm test${option} is running`;
  if (only === undefined && !values.down) {
    requireLinuxAndRoot();
    const whole = { long, atATime: atATime ?? (long ? 2 : 4), seed, times };
    return underLock("npm-test", busy(""), () => runAll(whole));
  }
  for (const option of ["at-a-time", "order", "times"] as const)
    if (values[option]) throw new Error(`--${option} is for a whole run, without --only and --down`);
  const underOnlyLock = (use: () => Promise<number>) => underLock("npm-test-only", busy(" -- --only"), use);
  if (only === undefined) {
    requireLinuxAndRoot();
    return underOnlyLock(async () => {
      removeKept();
      return 0;
    });
  }
  if (only === "") throw new Error('--only is ""; it must be a part of a path or of a name');
  const byPath = allFiles(long).filter(({ file }) => file.includes(only));
  const needsSandbox = byPath.length === 0 || byPath.some(needsRoot);
  const run = () => runOnly(only, byPath, long);
  return needsSandbox && isRootOnLinux() ? underOnlyLock(run) : run();
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: Error) => {
    console.error(`test: ${error.message}`);
    if (!process.argv.includes("--only")) console.log("\n0 passed, 1 failed");
    process.exitCode = 1;
  },
);
