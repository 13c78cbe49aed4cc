import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CloudClient } from "./cloud/client";
import { endCgroup, inCgroup, removeMachine } from "./cloud/machine";
import { makeNetworks, removeNetworks } from "./cloud/network";
import { projectRoot, type SandboxPaths } from "./paths";

const startSeconds = 30;

/** Ids of the machines whose disks a sandbox has. */
function machineIds({ machines }: Pick<SandboxPaths, "machines">): string[] {
  return existsSync(machines) ? readdirSync(machines).sort() : [];
}

/** A message that names what a new start of the sandbox removes; nothing when it has no machines. */
export function describeRemains(paths: Pick<SandboxPaths, "name" | "machines">): string | undefined {
  const ids = machineIds(paths);
  if (ids.length === 0) return undefined;
  return (
    `The process that plays the cloud of the sandbox ${paths.name} has ended. To start anew, this removes ` +
    `the machines ${ids.join(", ")} with their disks, and the state of the stacks.`
  );
}

/** Starts networks and cloud of a sandbox, unless they are up. */
export async function startCloud(paths: SandboxPaths): Promise<CloudClient> {
  const cloud = new CloudClient(paths);
  if (await cloud.isUp()) return cloud;
  // Remove what a crash may have left.
  const remains = describeRemains(paths);
  if (remains) console.log(remains);
  removeSandbox(paths);
  mkdirSync(paths.state, { recursive: true, mode: 0o700 });
  makeNetworks(paths);
  return startDaemon(paths);
}

/**
 * Starts the process that plays the cloud, and waits until it answers.
 * @param layers folders over the machines' image, the first one on top; a new machine finds their files on its disk
 */
export async function startDaemon(paths: SandboxPaths, layers: string[] = []): Promise<CloudClient> {
  const cloud = new CloudClient(paths);
  const cgroup = join(paths.cgroup, "cloud");
  const logFile = join(paths.state, "cloud.log");
  const log = openSync(logFile, "a");
  const [command = "", ...args] = inCgroup(cgroup, [
    "nsenter",
    `--net=/run/netns/${paths.vpcNamespace}`,
    process.execPath,
    "--import",
    "tsx",
    join(__dirname, "cloud/main.ts"),
    paths.name,
    ...layers,
  ]);
  const child = spawn(command, args, { cwd: projectRoot, stdio: ["ignore", log, log], detached: true });
  closeSync(log);
  child.unref();
  const deadline = Date.now() + startSeconds * 1000;
  while (!(await cloud.isUp())) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`the sandbox's cloud did not start:\n${readFileSync(logFile, "utf8").slice(-2000)}`);
    }
    await sleep(100);
  }
  return cloud;
}

/** Removes everything of a sandbox in any state. */
export function removeSandbox(paths: SandboxPaths): void {
  endCgroup(paths.cgroup);
  for (const id of machineIds(paths)) removeMachine(paths, id);
  removeNetworks(paths);
  rmSync(paths.state, { recursive: true, force: true });
  const root = dirname(paths.state);
  if (existsSync(root) && readdirSync(root).length === 0) rmdirSync(root);
}
