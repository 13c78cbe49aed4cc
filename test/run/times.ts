import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../../sandbox/paths";
import type { Result } from "./queue";

/** About the run as a whole. */
interface Run {
  /** From the first line to the last. */
  seconds: number;
  /** Of them, for what is downloaded or built once. */
  prepared: number;
  atATime: number;
}

/** Tests below this many seconds are left out of the table. */
const shortestSeconds = 2;

const number = (seconds: number) => seconds.toFixed(1);

function row(
  name: string,
  seconds: number,
  parts?: { settingUp: number; working: number; waiting: number },
): string {
  const cells = parts ? [parts.settingUp, parts.working, parts.waiting].map(number) : ["", "", ""];
  return `| ${name.replaceAll("|", "\\|")} | ${number(seconds)} | ${cells.join(" | ")} |`;
}

/** Sums of what was measured of a file's tests; what is around them is setting up. */
function ofFile({ seconds, tests }: Result) {
  const measured = tests.flatMap(({ times }) => (times ? [times] : []));
  if (measured.length === 0) return undefined;
  const sum = (key: "settingUp" | "working" | "waiting") =>
    measured.reduce((total, times) => total + times[key], 0);
  const [working, waiting] = [sum("working"), sum("waiting")];
  return { settingUp: Math.max(0, seconds - working - waiting), working, waiting };
}

/** Renders where the time of a run went: a line a file, and one for each of its longer tests. */
export function renderTimes(results: Result[], { seconds, prepared, atATime }: Run): string {
  const lines = [...results]
    .sort((one, other) => other.seconds - one.seconds)
    .flatMap((result) => [
      row(`**${result.name}** (${result.passed} tests)`, result.seconds, ofFile(result)),
      ...result.tests
        .filter((test) => test.seconds >= shortestSeconds)
        .map((test) => row(test.name, test.seconds, test.times)),
    ]);
  return `# Time that the tests take

Written by \`npm test -- --times\`, on ${cpus().length} cores, ${atATime} at a time: ${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s, of which ${Math.round(prepared)} s for
downloads and builds that happen once. Times are in seconds, the longest first; tests below ${shortestSeconds} s are only in their file's line.

- **Setting up** brings the cluster into the state that a test needs: copying the sandbox, and \`pulumi up\` before and
  between tests.
- **Working** is processor time of the test, of its commands and of its sandbox's machines.
- **Waiting** is the rest: for a fixed time, for an expected state, or for a busy processor.

Only e2e tests are measured in parts.

| file, test | in all | setting up | working | waiting |
|---|---:|---:|---:|---:|
${lines.join("\n")}
`;
}

export function writeTimes(results: Result[], run: Run): void {
  writeFileSync(join(projectRoot, "docs/test-times.md"), renderTimes(results, run));
}
