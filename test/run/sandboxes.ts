import { createHash } from "node:crypto";
import { type Dirent, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { endCgroup, inCgroup } from "../../sandbox/cloud/machine";
import { copySandbox, hibernateSandbox, removeSandbox } from "../../sandbox/lifecycle";
import { cached, projectRoot, sandboxNames, sandboxPaths, testPrefix } from "../../sandbox/paths";
import { hasEvidence, keepEvidence } from "../e2e/evidence";
import { type Outcome, runCheck } from "./vitest";

/** Names of the sandboxes of whole runs, and of those that `--only` keeps; a person's is `default`. */
const baseName = `${testPrefix}base`;
const keptBaseName = `${testPrefix}keptbase`;
export const keptName = `${testPrefix}kept`;

/** Whether a whole run has made a sandbox of this name, and may remove it. */
export const isOfWholeRun = (name: string) => new RegExp(`^(${baseName}|${testPrefix}\\d+)$`).test(name);

/** Ends the tests that use a sandbox, with all that they have started, and removes it. */
function removeTestSandbox(name: string): void {
  const paths = sandboxPaths(name);
  endCgroup(paths.testCgroup);
  removeSandbox(paths);
}

/** Ends what `--only` has started. The sandboxes stay. */
export function endKeptTests(): void {
  for (const name of [keptName, keptBaseName]) endCgroup(sandboxPaths(name).testCgroup);
}

/** Brings the stack `dev` up as a newcomer would, and keeps it for the files' own sandboxes to be copied from. */
async function makeBase(name: string, results: string): Promise<Outcome> {
  const paths = sandboxPaths(name);
  removeTestSandbox(name);
  const began = new Date();
  const up = [process.execPath, "--import", "tsx", "sandbox/cli.ts", "up", "--name", name];
  const [command = "", ...args] = inCgroup(paths.testCgroup, up);
  const outcome = await runCheck({ command, args, results });
  if (outcome.failed === 0) await hibernateSandbox(paths);
  else await keepEvidence(paths, results, began);
  return outcome;
}

/** The sandboxes of a whole run: one that comes up, and a copy of it for each file at its turn. */
export class Sandboxes {
  private readonly base = sandboxPaths(baseName);
  private readonly used = new Set<string>();
  private resolveReady: (ready: boolean) => void = () => {};
  private readonly ready = new Promise<boolean>((resolve) => {
    this.resolveReady = resolve;
  });

  async makeBase(results: string): Promise<Outcome> {
    let outcome: Outcome | undefined;
    try {
      outcome = await makeBase(baseName, results);
      return outcome;
    } finally {
      this.resolveReady(outcome?.failed === 0);
    }
  }

  /**
   * Calls `use` with the name of a sandbox that is up and nobody else's.
   * @param results folder for evidence of what no test can keep any of: it hangs or crashes, or the copy fails
   */
  async with(results: string, use: (name: string) => Promise<Outcome>): Promise<Outcome> {
    if (!(await this.ready)) throw new Error("the cluster did not come up, see above");
    let number = 1;
    while (this.used.has(`${testPrefix}${number}`)) number++;
    const name = `${testPrefix}${number}`;
    this.used.add(name);
    const paths = sandboxPaths(name);
    const began = new Date();
    let outcome: Outcome | undefined;
    try {
      await copySandbox(this.base, paths);
      outcome = await use(name);
      return outcome;
    } finally {
      try {
        if (outcome?.failed !== 0 && !hasEvidence(results))
          await keepEvidence(paths, join(results, "at-the-end"), began);
      } finally {
        removeTestSandbox(name);
        this.used.delete(name);
      }
    }
  }

  /** Removes them all, those of a run that was killed included. */
  remove(): void {
    for (const name of sandboxNames().filter(isOfWholeRun)) removeTestSandbox(name);
  }
}

/** At the top of the project, what leaves a cluster as it is. */
const irrelevant =
  /^(\.|bench$|docs$|node_modules$|rendered$|test$|test-results$|biome\.json$|renovate\.json$|vitest\.config|LICENSE$|.*\.md$)/;

/**
 * A hash of all that a sandbox is made from: the sources, the image that its disks lie over, and the month, for its
 * certificate lasts a year.
 */
function sourcesKey(): string {
  const hash = createHash("sha256")
    .update(process.version)
    .update(new Date().toISOString().slice(0, 7))
    .update(String(statSync(cached.image).ctimeMs));
  const isRelevant = (entry: Dirent) => !irrelevant.test(entry.name);
  const top = readdirSync(projectRoot, { withFileTypes: true }).filter(isRelevant);
  const inside = top
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => readdirSync(join(projectRoot, name), { withFileTypes: true, recursive: true }));
  const files = [...top, ...inside].filter((entry) => entry.isFile());
  for (const path of files.map(({ parentPath, name }) => join(parentPath, name)).sort())
    hash.update(path).update(readFileSync(path));
  return hash.digest("hex");
}

/**
 * The sandbox that `--only` uses: a fresh copy of a cluster that is kept between runs, and made anew when anything but
 * tests and documents has changed. It stays up.
 */
export async function keptSandbox(results: string, say: (text: string) => void): Promise<string> {
  const base = sandboxPaths(keptBaseName);
  const keyFile = join(base.state, "sources.key");
  const key = sourcesKey();
  const there =
    existsSync(keyFile) && existsSync(base.savedCloud) ? readFileSync(keyFile, "utf8") : undefined;
  // Its disks are copies of the base's.
  removeTestSandbox(keptName);
  if (there !== key) {
    say(`Bringing up a cluster to keep${there ? ", since the sources have changed" : ""}: half a minute.`);
    const { failed, output } = await makeBase(keptBaseName, results);
    if (failed > 0) throw new Error(`the cluster did not come up:\n${output}`);
    writeFileSync(keyFile, key);
  }
  say("Copying the cluster that is kept: some seconds.");
  await copySandbox(base, sandboxPaths(keptName));
  return keptName;
}

/** Removes what `--only` keeps. */
export function removeKept(): void {
  for (const name of [keptName, keptBaseName]) removeTestSandbox(name);
}
