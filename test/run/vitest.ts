import { spawn, spawnSync } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { projectRoot } from "../../sandbox/paths";
import type { Times } from "../e2e/meter";
import { longVariable } from "../long";

/** The result of a command or of test files. */
export interface Outcome {
  passed: number;
  failed: number;
  seconds: number;
  /** The whole output, for a person who examines a failure. */
  output: string;
  tests: { name: string; seconds: number; times?: Times }[];
}

interface Command {
  command: string;
  args: string[];
  environment?: Record<string, string>;
  /** Folder for the command's output, and for its evidence of failures. */
  results: string;
  /** Whether its output is also shown at once. */
  show?: boolean;
}

/** No file takes this long, not even a long examination. A file that does is hanging. */
const deadlineMinutes = 30;

/** Process groups of the commands that run. */
const running = new Set<number>();

/** Ends every running command, with all processes of its process group. */
export function endCommands(): void {
  for (const group of running) process.kill(-group, "SIGTERM");
}

/** Runs a command, keeps its output in a file and gives its exit status. */
async function run({
  command,
  args,
  environment,
  results,
  show = false,
}: Command): Promise<{ status: number; output: string }> {
  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  const file = createWriteStream(join(results, "output.txt"));
  let output = "";
  const add = (part: string) => {
    output += part;
    file.write(part);
    if (show) process.stdout.write(part);
  };
  const colours = show && process.stdout.isTTY ? { FORCE_COLOR: "1" } : {};
  const status = await new Promise<number>((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: projectRoot,
      env: { ...process.env, ...colours, ...environment, WCS_TEST_RESULTS: results },
      stdio: ["ignore", "pipe", "pipe"],
      // The command gets its own process group, so that it can be ended with every process that it has started.
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", add);
    child.on("error", reject);
    const group = child.pid;
    if (group === undefined) return;
    running.add(group);
    const deadline = setTimeout(() => {
      add(`\nIt hangs: ended after ${deadlineMinutes} minutes.\n`);
      process.kill(-group, "SIGKILL");
    }, deadlineMinutes * 60_000);
    child.on("close", (code, signal) => {
      clearTimeout(deadline);
      running.delete(group);
      if (signal) add(`\nended by ${signal}\n`);
      resolve(code ?? 1);
    });
  });
  await new Promise((resolve) => file.end(resolve));
  return { status, output };
}

/** A check that passes or fails as one. */
export async function runCheck(command: Command): Promise<Outcome> {
  const began = Date.now();
  const { status, output } = await run(command);
  const passed = status === 0 ? 1 : 0;
  return { passed, failed: 1 - passed, seconds: (Date.now() - began) / 1000, output, tests: [] };
}

/** As vitest's reporter "json" writes it, as far as it is read here. */
interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numTotalTests: number;
  testResults: {
    assertionResults: { fullName: string; duration?: number; meta?: { times?: Times } }[];
  }[];
}

/** What to run of one of vitest's projects. */
interface Selection {
  project: string;
  /** @default every file of the project */
  files?: string[];
  /** Runs only tests whose full name contains this. */
  name?: string;
}

/**
 * Arguments of vitest that choose the tests whose full name contains a text, as it stands. Between a suite and its test it
 * may have a space, as vitest's own option, or " > ", as vitest prints it.
 */
export function withName(name: string | undefined): string[] {
  return name
    ? ["--testNamePattern", name.replaceAll(" > ", " ").replace(/[.*+?^${}()|[\]\\]/g, "\\$&")]
    : [];
}

/** Paths of the files that hold tests with a text in their full names, from the project's root. */
export function filesWithTest(name: string, long: boolean): string[] {
  const list = (...more: string[]) => {
    const { stdout, stderr, status } = spawnSync(
      "node_modules/.bin/vitest",
      ["list", "--json", ...more, ...withName(name)],
      { cwd: projectRoot, encoding: "utf8", env: { ...process.env, ...longVariable(long) } },
    );
    const found = stdout.slice(stdout.indexOf("["));
    if (status !== 0 || !found) throw new Error(`the tests cannot be listed:\n${stderr}`);
    const files = (JSON.parse(found) as { file: string }[]).map(({ file }) => relative(projectRoot, file));
    return [...new Set(files)];
  };
  // Reading the files takes a second. They are loaded only if the name is not in the text of any file.
  const written = list("--static-parse");
  return written.length > 0 ? written : list();
}

function vitestCommand({ project, files = [], name }: Selection): string[] {
  return ["node_modules/.bin/vitest", "run", "--project", project, ...withName(name), ...files];
}

/**
 * Counts a run test by test. Adds one failure if the run ended with an error outside of tests, skipped a test, or ran
 * none.
 * @param report none if the run ended without writing one
 * @param byName whether tests were left out on purpose: they were chosen by name
 */
export function countTests(
  report: Report | undefined,
  status: number,
  byName = false,
): { passed: number; failed: number } {
  if (!report) return { passed: 0, failed: 1 };
  const { numPassedTests: passed, numFailedTests, numTotalTests } = report;
  const ran = passed + numFailedTests;
  const incomplete = ran === 0 || (ran !== numTotalTests && !byName);
  const failed = numFailedTests + (incomplete ? 1 : 0);
  return { passed, failed: status === 0 ? failed : Math.max(failed, 1) };
}

function readReport(file: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** Runs test files and counts their tests. */
export async function runVitest(
  selection: Selection,
  prefix: string[],
  rest: Omit<Command, "command" | "args">,
): Promise<Outcome> {
  const began = Date.now();
  const file = join(rest.results, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const [command = "", ...args] = [...prefix, ...vitestCommand(selection), ...reporters];
  const { status, output } = await run({ command, args, ...rest });
  const report = readReport(file);
  const tests = (report?.testResults ?? []).flatMap(({ assertionResults }) =>
    assertionResults.map(({ fullName, duration = 0, meta }) => ({
      name: fullName,
      seconds: duration / 1000,
      times: meta?.times,
    })),
  );
  return {
    ...countTests(report, status, selection.name !== undefined),
    seconds: (Date.now() - began) / 1000,
    output,
    tests,
  };
}
