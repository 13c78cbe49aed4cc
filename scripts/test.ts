import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { underLock } from "../sandbox/lock";
import { projectRoot } from "../sandbox/paths";
import { checkSpace, prepare, testPackages } from "../sandbox/prepare";
import { allJobs, inSandbox, testFiles } from "../test/run/jobs";
import { folderOf, longestFirst, type Result, runJobs, shuffled } from "../test/run/queue";
import { keptName, keptSandbox, removeKept, Sandboxes } from "../test/run/sandboxes";
import { writeTimes } from "../test/run/times";
import { endCommands, vitestCommand, withName } from "../test/run/vitest";

const usage = `Usage: npm test [-- OPTIONS]

Runs every test and ends with the line "N passed, N failed": lint, types, unit, program, machine files and e2e, several
at a time. It needs Linux and root; without, npm run test:unit runs what needs neither.

Options:
  --only PATTERN   only the files whose path contains PATTERN, or else the tests whose name does; e2e files run in a
                   sandbox that stays up and is set back in seconds before each
  --down           removes the sandbox that --only has left
  --long           the long examinations, too: npm run test:long
  --at-a-time N    so many files side by side (default 4; 2 with --long, whose floods need a processor)
  --order SEED     in an order drawn from this number (default: what took longest last time first)
  --times          write docs/test-times.md
  --help           this text

What is needed to understand a failure is in test-results/ afterwards: a folder for each file, with what it printed
and, of e2e tests, the output of the sandbox's commands, the status and the machines' journals of that time.
`;

const results = join(projectRoot, "test-results");

function parseNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) {
    throw new Error(`--${option} is "${text}"; it must be a whole number from 1 on`);
  }
  return number;
}

function requireLinuxAndRoot(): void {
  if (process.platform === "linux" && process.getuid?.() === 0) return;
  throw new Error("the machine and e2e tests need Linux and root; without, run: npm run test:unit");
}

/** The files that hold tests with this in their names. */
function filesWithTest(name: string): string[] {
  const args = ["list", "--json", ...withName(name)];
  const { stdout, stderr, status } = spawnSync("node_modules/.bin/vitest", args, {
    cwd: projectRoot,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`the tests cannot be listed:\n${stderr}`);
  const found = JSON.parse(stdout.slice(stdout.indexOf("["))) as { file: string }[];
  return [...new Set(found.map(({ file }) => relative(projectRoot, file)))];
}

/** Runs files or tests while they are written: what they print is shown as it comes. */
async function runOnly(pattern: string, long: boolean): Promise<number> {
  const kinds = ["unit", "program", "machine", "e2e"] as const;
  const all = kinds.flatMap((kind) => testFiles(kind).map((file) => ({ kind, file })));
  const byPath = all.filter(({ file }) => file.includes(pattern));
  const withTest = byPath.length > 0 ? [] : filesWithTest(pattern);
  const chosen = byPath.length > 0 ? byPath : all.filter(({ file }) => withTest.includes(file));
  if (chosen.length === 0) {
    throw new Error(`--only is "${pattern}"; that is in no test file's path and in no test's name`);
  }
  const name = byPath.length > 0 ? undefined : pattern;
  if (chosen.some(({ kind }) => kind === "machine" || kind === "e2e")) {
    requireLinuxAndRoot();
    checkSpace();
    await prepare(testPackages());
  }
  let failures = 0;
  for (const { kind, file } of chosen) {
    console.log(`\n=== ${file}`);
    const folder = join(results, folderOf(file.replace(/^test\/|\.test\.ts$/g, "")));
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const { prefix, environment } =
      kind === "e2e"
        ? inSandbox(await keptSandbox(join(results, "the-cluster-comes-up"), console.log))
        : { prefix: [], environment: {} };
    const [command = "", ...args] = [...prefix, ...vitestCommand({ project: kind, files: [file], name })];
    const { status } = spawnSync(command, args, {
      cwd: projectRoot,
      stdio: "inherit",
      env: {
        ...process.env,
        ...environment,
        ...(long ? { WCS_TEST_LONG: "1" } : {}),
        WCS_TEST_RESULTS: folder,
      },
    });
    if (status !== 0) failures++;
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

function printFailures(failed: Result[]): void {
  for (const { name, output } of failed) {
    console.log(
      `\n=== ${name} failed\n${output.trim()}\n\nMore in ${relative(".", join(results, folderOf(name)))}/`,
    );
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
  await prepare(testPackages());
  const prepared = (Date.now() - began) / 1000;
  rmSync(results, { recursive: true, force: true });
  const sandboxes = new Sandboxes();
  sandboxes.remove();
  const interrupted = () => {
    console.error("\nInterrupted: ending the tests and removing their sandboxes.");
    endCommands();
    sandboxes.remove();
    process.exit(130);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, interrupted);
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
  const atATime = parseNumber("at-a-time", values["at-a-time"]) ?? (values.long ? 2 : 4);
  const seed = parseNumber("order", values.order);
  if (values.down) {
    requireLinuxAndRoot();
    removeKept();
    return 0;
  }
  if (values.only === "") throw new Error('--only is ""; it must be a part of a path or of a name');
  const { only, long, times } = values;
  if (only !== undefined)
    return underLock("test-only", "another npm test -- --only is running", () => runOnly(only, long));
  return underLock("test", "another npm test is running", () => runAll({ long, atATime, seed, times }));
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
