import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { mountRoot, removeWithMounts, unmountAll } from "../sandbox/overlay";
import { cache, cached } from "../sandbox/paths";
import { run, runAsync } from "../sandbox/shell";

/** Folders of roots carry the id of their process, so that a later process can remove those of a killed one. */
const folderName = /^test-(\d+)-/;

function removeAbandoned(): void {
  for (const name of readdirSync(cache)) {
    const owner = name.match(folderName)?.[1];
    if (owner && !existsSync(`/proc/${owner}`)) removeWithMounts(join(cache, name));
  }
}

function newFolder(): string {
  return mkdtempSync(join(cache, `test-${process.pid}-`));
}

/** Installs packages from the sandbox's folder over the machines' image; their services are not started. */
async function install(root: string, packages: string[]): Promise<void> {
  const policy = join(root, "usr/sbin/policy-rc.d");
  writeFileSync(policy, "#!/bin/sh\nexit 101\n");
  chmodSync(policy, 0o755);
  run("mount", ["--bind", cached.packages, join(root, "opt/packages")]);
  run("mount", ["-t", "proc", "proc", join(root, "proc")]);
  const options = ["--quiet", "--yes", "--no-install-recommends"];
  await runAsync("chroot", [root, "apt-get", "update", "--quiet"]);
  await runAsync("chroot", [root, "apt-get", "install", ...options, ...packages]);
  rmSync(policy);
}

/**
 * The folder with the files that these packages add to the machines' image. It is made once for each set of packages.
 * Another image or another version of a package needs a new folder.
 */
export async function layerOf(packages: string[]): Promise<string> {
  const there = ["image.key", "packages.key", "packages/Packages"].map((name) =>
    readFileSync(join(cache, name)),
  );
  const key = createHash("sha256").update([...packages].sort().join(" "));
  for (const part of there) key.update(part);
  const layer = join(cached.layers, key.digest("hex").slice(0, 16));
  if (existsSync(layer)) return layer;
  const folder = newFolder();
  try {
    await install(mountRoot(folder), packages);
    unmountAll(folder);
    mkdirSync(cached.layers, { recursive: true });
    // Another test may have made the folder meanwhile.
    if (!existsSync(layer)) renameSync(join(folder, "upper"), layer);
  } finally {
    removeWithMounts(folder);
  }
  return layer;
}

/** A Debian 13 root like that of the machines. Tests and measurements run the machines' tools in it. */
export class DebianRoot {
  readonly root: string;

  private constructor(
    private readonly folder: string,
    layers: string[],
  ) {
    this.root = mountRoot(folder, layers);
    run("mount", ["-t", "proc", "proc", join(this.root, "proc")]);
  }

  /** Makes one with packages of the distribution, out of those that `prepare` has downloaded. */
  static async with(...packages: string[]): Promise<DebianRoot> {
    removeAbandoned();
    return new DebianRoot(newFolder(), packages.length > 0 ? [await layerOf(packages)] : []);
  }

  write(path: string, content: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), content);
  }

  copy(from: string, to: string): void {
    cpSync(from, join(this.root, to), { recursive: true });
  }

  /** Runs a command inside; gives its status and all that it printed. */
  exec(...command: string[]): { status: number | null; output: string } {
    const { status, stdout, stderr } = spawnSync("chroot", [this.root, ...command], { encoding: "utf8" });
    return { status, output: `${stdout}${stderr}` };
  }

  remove(): void {
    removeWithMounts(this.folder);
  }
}
