import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { mountRoot, removeWithMounts } from "./overlay";
import { cache, cached } from "./paths";
import { run, runAsync } from "./shell";

/** A Debian 13 root as the machines have it, to run their own tools in. */
export class DebianRoot {
  private readonly folder = mkdtempSync(join(cache, "test-"));
  readonly root = mountRoot(this.folder);

  /** Installs packages from the sandbox's folder; their services are not started. */
  async install(packages: string[]): Promise<void> {
    run("mount", ["--bind", cached.packages, join(this.root, "opt/packages")]);
    run("mount", ["-t", "proc", "proc", join(this.root, "proc")]);
    this.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    chmodSync(join(this.root, "usr/sbin/policy-rc.d"), 0o755);
    await runAsync("chroot", [this.root, "apt-get", "update", "--quiet"]);
    await runAsync("chroot", [
      this.root,
      "apt-get",
      "install",
      "--quiet",
      "--yes",
      "--no-install-recommends",
      ...packages,
    ]);
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
