import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { CloudClient } from "./cloud/client";
import { endCgroup, originalDisk } from "./cloud/machine";
import { makeNetworks, removeNetworks } from "./cloud/network";
import { shareObjects } from "./cloud/objects";
import { removeSandbox, startDaemon } from "./lifecycle";
import { unmountAll } from "./overlay";
import type { SandboxPaths } from "./paths";

/**
 * Shuts a sandbox down so that `copySandbox` can make others from it. Its disks stay, and so does everything that its
 * cloud and its engine know; no process of it runs.
 */
export async function hibernateSandbox(paths: SandboxPaths): Promise<void> {
  await new CloudClient(paths).call("hibernate", {});
  endCgroup(paths.cgroup);
  for (const id of readdirSync(paths.machines)) unmountAll(join(paths.machines, id));
  removeNetworks(paths);
  rmSync(paths.socket, { force: true });
}

/**
 * Copies a hibernated sandbox in seconds. The copy continues where the original stopped: its machines boot from the
 * original's disks, and write to their own. One original can have several copies, and must stay as long as they do.
 * @param layers folders over the image of the copy's new machines
 */
export async function copySandbox(from: SandboxPaths, to: SandboxPaths, layers: string[]): Promise<void> {
  removeSandbox(to);
  mkdirSync(to.state, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(from.state)) {
    if (name !== basename(from.machines) && name !== basename(from.objects))
      cpSync(join(from.state, name), join(to.state, name), { recursive: true });
  }
  shareObjects(from.objects, to.objects);
  for (const id of readdirSync(from.machines)) {
    mkdirSync(join(to.machines, id), { recursive: true });
    symlinkSync(join(from.machines, id, "upper"), join(to.machines, id, originalDisk));
  }
  makeNetworks(to);
  await startDaemon(to, layers);
}
