import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../../sandbox/paths";
import type { Times } from "../e2e/meter";

/** What a run of a command or of test files came to. */
export interface Outcome {
  passed: number;
  failed: number;
  seconds: number;
  /** All that was printed, for whoever looks into a failure. */
  output: string;
  tests: { name: string; seconds: number; times?: Times }[];
}

export interface Command {
  command: string;
  args: string[];
  environment?: Record<string, string>;
  /** Folder for what the command leaves: its output, and what it keeps of failures. */
  results: string;
}

/** No file takes this long, a long examination included: one that does hangs. */
const deadlineMinutes = 20;

const running = new Set<ChildProcess>();

/** Ends every command that runs. */
export function endCommands(): void {
  for (const child of running) child.kill();
}

/** Runs a command, keeps its output in a file and gives its exit status. */
async function run({
  command,
  args,
  environment,
  results,
}: Command): Promise<{ status: number; output: string }> {
  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  const file = createWriteStream(join(results, "output.txt"));
  let output = "";
  const status = await new Promise<number>((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: projectRoot,
      timeout: deadlineMinutes * 60_000,
      env: { ...process.env, ...environment, WCS_TEST_RESULTS: results },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (part: string) => {
        output += part;
        file.write(part);
      });
    }
    running.add(child);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      running.delete(child);
      if (signal) output += `\nended by ${signal}, which comes after ${deadlineMinutes} minutes\n`;
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
export interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numTotalTests: number;
  testResults: {
    assertionResults: { fullName: string; duration?: number; meta?: { times?: Times } }[];
  }[];
}

/** What to run of one of vitest's projects. */
export interface Selection {
  project: string;
  /** @default every file of the project */
  files?: string[];
  /** Runs only tests whose full name contains this. */
  name?: string;
}

/** Arguments of vitest that choose the tests whose full name contains a text, as it stands. */
export function withName(name: string | undefined): string[] {
  return name ? ["--testNamePattern", name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")] : [];
}

export function vitestCommand({ project, files = [], name }: Selection): string[] {
  return ["node_modules/.bin/vitest", "run", "--project", project, ...withName(name), ...files];
}

/**
 * Counts a run test by test. One failure more when it ended with an error that no test has, when it left a test out, and
 * when there was none.
 * @param report none when the run ended without writing one
 */
export function countTests(report: Report | undefined, status: number): { passed: number; failed: number } {
  if (!report) return { passed: 0, failed: 1 };
  const { numPassedTests: passed, numFailedTests, numTotalTests } = report;
  const incomplete = passed + numFailedTests !== numTotalTests || numTotalTests === 0;
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
  return { ...countTests(report, status), seconds: (Date.now() - began) / 1000, output, tests };
}
