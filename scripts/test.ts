/**
 * Runs every test and ends with the line `N passed, N failed`: lint, types, unit, program, machine files and
 * e2e. Without Linux or root, `npm run test:unit` runs what needs neither.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeSandbox } from "../sandbox/lifecycle";
import { sandboxPaths } from "../sandbox/paths";
import { checkSpace, prepare, testPackages } from "../sandbox/prepare";

interface Count {
  passed: number;
  failed: number;
}

const results = mkdtempSync(join(tmpdir(), "wcs-test-"));

function title(text: string): void {
  console.log(`\n=== ${text}`);
}

/** A check that passes or fails as one. */
function check(name: string, command: string, args: string[]): Count {
  title(name);
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  return status === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** A project of vitest, counted test by test. A run that ends without a result is a failure. */
function vitest(project: string, prefix: string[] = []): Count {
  title(`${project} tests`);
  const file = join(results, `${project}.json`);
  const command = [
    ...prefix,
    "node_modules/.bin/vitest",
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${file}`,
  ];
  const { status } = spawnSync(command[0] ?? "", command.slice(1), { stdio: "inherit" });
  try {
    const { numPassedTests, numFailedTests, numTotalTests } = JSON.parse(readFileSync(file, "utf8"));
    const counted = numPassedTests + numFailedTests === numTotalTests && numTotalTests > 0;
    const failed = numFailedTests + (counted ? 0 : 1);
    return { passed: numPassedTests, failed: status === 0 ? failed : Math.max(failed, 1) };
  } catch {
    return { passed: 0, failed: 1 };
  }
}

/** The e2e tests are clients: they run on the internet of a sandbox that is up. */
function e2e(): Count[] {
  const paths = sandboxPaths("test");
  removeSandbox(paths);
  try {
    const up = check("the cluster comes up", "npm", ["run", "sandbox", "--", "up", "--name", paths.name]);
    if (up.failed > 0) return [up];
    return [up, vitest("e2e", ["nsenter", `--net=/run/netns/${paths.internetNamespace}`])];
  } finally {
    removeSandbox(paths);
  }
}

async function main(): Promise<void> {
  const counts = [
    check("format and lint", "node_modules/.bin/biome", ["check"]),
    check("types", "node_modules/.bin/tsc", ["--noEmit"]),
    vitest("unit"),
    vitest("program"),
  ];
  title("sandbox");
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    console.error("the machine and e2e tests need Linux and root; without, run: npm run test:unit");
    counts.push({ passed: 0, failed: 1 });
  } else {
    checkSpace();
    await prepare(testPackages());
    counts.push(vitest("machine"));
    counts.push(...e2e());
  }
  rmSync(results, { recursive: true, force: true });
  const sum = (key: keyof Count) => counts.reduce((total, count) => total + count[key], 0);
  console.log(`\n${sum("passed")} passed, ${sum("failed")} failed`);
  process.exitCode = sum("failed") === 0 ? 0 : 1;
}

main().catch((error: Error) => {
  console.error(error.message);
  console.log("\n0 passed, 1 failed");
  process.exitCode = 1;
});
