import { createHash } from "node:crypto";
import { type Dirent, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { endCgroup, inCgroup } from "../../sandbox/cloud/machine";
import { copySandbox, hibernateSandbox } from "../../sandbox/copy";
import { removeSandbox } from "../../sandbox/lifecycle";
import { cached, projectRoot, sandboxNames, sandboxPaths, testPrefix } from "../../sandbox/paths";
import { layerOf } from "../debian-root";
import { hasEvidence, keepEvidence } from "../e2e/evidence";
import { type Outcome, runCheck } from "./vitest";

/** Names of the sandboxes of whole runs, and of those that `--only` keeps; a person's is `default`. */
const baseName = `${testPrefix}base`;
const keptBaseName = `${testPrefix}keptbase`;
export const keptName = `${testPrefix}kept`;

/** Whether a whole run has made a sandbox of this name, and may remove it. */
export const isOfWholeRun = (name: string) => new RegExp(`^(${baseName}|${testPrefix}\\d+)$`).test(name);

/**
 * Packages without a service, whose installation takes a third of a machine's set-up. In the copies new machines find them
 * installed, as in an image that a team has made; the machines of the cluster that they are copied from install them.
 */
const libraries = ["default-jre-headless", "python3-acme", "python3-boto3"];

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

/** Brings the stack `dev` up as a newcomer would. The sandboxes of the e2e files are copied from it. */
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

/** The sandboxes of a whole run: one that comes up, and a copy of it for each file. */
export class Sandboxes {
  private readonly base = sandboxPaths(baseName);
  private readonly used = new Set<string>();
  private layers: string[] = [];
  private resolveReady: (ready: boolean) => void = () => {};
  private readonly ready = new Promise<boolean>((resolve) => {
    this.resolveReady = resolve;
  });

  async makeBase(results: string): Promise<Outcome> {
    let outcome: Outcome | undefined;
    try {
      outcome = await makeBase(baseName, results);
      this.layers = [await layerOf(libraries)];
      return outcome;
    } finally {
      this.resolveReady(outcome?.failed === 0);
    }
  }

  /**
   * Calls `use` with the name of a sandbox that is up and that nothing else uses.
   * @param results folder for evidence of failures that a test itself cannot keep: a hang, a crash, or a failed copy
   */
  async with(results: string, use: (name: string) => Promise<Outcome>): Promise<Outcome> {
    if (!(await this.ready)) throw new Error("the cluster did not come up; its output above says why");
    let number = 1;
    while (this.used.has(`${testPrefix}${number}`)) number++;
    const name = `${testPrefix}${number}`;
    this.used.add(name);
    const paths = sandboxPaths(name);
    const began = new Date();
    let outcome: Outcome | undefined;
    try {
      await copySandbox(this.base, paths, this.layers);
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

  /** Removes all sandboxes, also those of a killed run. */
  remove(): void {
    for (const name of sandboxNames().filter(isOfWholeRun)) removeTestSandbox(name);
  }
}

/** Files and folders of the project that do not affect a cluster. */
const irrelevant =
  /^(\.|bench$|docs$|node_modules$|rendered$|test$|test-results$|biome\.json$|renovate\.json$|vitest\.config|LICENSE$|.*\.md$)/;

/**
 * A hash of everything that a sandbox is made from: the sources, the image below its disks, and the month, since its
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
 * The sandbox that `--only` uses. It is a fresh copy of a cluster that is kept between runs. The cluster is made again when
 * anything but tests and documents has changed. The copy stays up.
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
    say(
      `Bringing up a cluster that later runs use again${there ? ", since the sources have changed" : ""}: half a minute.`,
    );
    const { failed, output } = await makeBase(keptBaseName, results);
    if (failed > 0) throw new Error(`the cluster did not come up:\n${output}`);
    writeFileSync(keyFile, key);
  }
  say("Copying the cluster that is kept: some seconds.");
  await copySandbox(base, sandboxPaths(keptName), [await layerOf(libraries)]);
  return keptName;
}

/** Removes what `--only` keeps. */
export function removeKept(): void {
  for (const name of [keptName, keptBaseName]) removeTestSandbox(name);
}
