import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copySandbox, hibernateSandbox, removeSandbox } from "../../sandbox/lifecycle";
import { cached, projectRoot, sandboxNames, sandboxPaths } from "../../sandbox/paths";
import { keepEvidence } from "../e2e/evidence";
import { type Outcome, runCheck } from "./vitest";

/** Names of the sandboxes of whole runs, and of those that `--only` keeps; a person's is `default`. */
const baseName = "testbase";
const keptBaseName = "testkeptbase";
export const keptName = "testkept";

/** Brings the stack `dev` up as a newcomer would, and keeps it for the files' own sandboxes to be copied from. */
async function makeBase(name: string, results: string): Promise<Outcome> {
  const paths = sandboxPaths(name);
  removeSandbox(paths);
  const began = new Date();
  const args = ["--import", "tsx", "sandbox/cli.ts", "up", "--name", name];
  const outcome = await runCheck({ command: process.execPath, args, results });
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

  /** Calls `use` with the name of a sandbox that is up and nobody else's. */
  async with<T>(use: (name: string) => Promise<T>): Promise<T> {
    if (!(await this.ready)) throw new Error("the cluster did not come up, see above");
    let number = 1;
    while (this.used.has(`test${number}`)) number++;
    const name = `test${number}`;
    this.used.add(name);
    const paths = sandboxPaths(name);
    try {
      await copySandbox(this.base, paths);
      return await use(name);
    } finally {
      removeSandbox(paths);
      this.used.delete(name);
    }
  }

  /** Removes them all, those of a run that was killed included. */
  remove(): void {
    for (const name of sandboxNames()) {
      if (name === baseName || /^test\d+$/.test(name)) removeSandbox(sandboxPaths(name));
    }
  }
}

/** Folders in which a change leaves a cluster as it is. */
const irrelevant = new Set([
  ".git",
  ".github",
  "bench",
  "docs",
  "node_modules",
  "rendered",
  "test",
  "test-results",
]);

/** A hash of all that a sandbox is made from: the sources, and the image that its disks lie over. */
function sourcesKey(): string {
  const hash = createHash("sha256")
    .update(process.version)
    .update(String(statSync(cached.image).ctimeMs));
  for (const top of readdirSync(projectRoot).sort()) {
    if (irrelevant.has(top)) continue;
    const path = join(projectRoot, top);
    const files = statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: "utf8" }).map((name) => join(path, name))
      : [path];
    for (const file of files.sort())
      if (statSync(file).isFile()) hash.update(file).update(readFileSync(file));
  }
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
  removeSandbox(sandboxPaths(keptName));
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
  for (const name of [keptName, keptBaseName]) removeSandbox(sandboxPaths(name));
}
