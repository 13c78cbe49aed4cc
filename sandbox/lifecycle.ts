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
import { endCgroup, removeMachine } from "./cloud/machine";
import { makeNetworks, removeNetworks } from "./cloud/network";
import { projectRoot, type SandboxPaths } from "./paths";

const startSeconds = 30;

/** Starts networks and cloud of a sandbox, unless they are up. */
export async function startCloud(paths: SandboxPaths): Promise<CloudClient> {
  const cloud = new CloudClient(paths);
  if (await cloud.isUp()) return cloud;
  // What a crash may have left would stand in the way.
  removeSandbox(paths);
  mkdirSync(paths.state, { recursive: true, mode: 0o700 });
  makeNetworks(paths);

  const cgroup = join(paths.cgroup, "cloud");
  mkdirSync(cgroup, { recursive: true });
  const logFile = join(paths.state, "cloud.log");
  const log = openSync(logFile, "a");
  const child = spawn(
    "/bin/sh",
    [
      "-c",
      'echo $$ > "$0/cgroup.procs" && exec nsenter "$@"',
      cgroup,
      `--net=/run/netns/${paths.vpcNamespace}`,
      process.execPath,
      "--import",
      "tsx",
      join(__dirname, "cloud/main.ts"),
      paths.name,
    ],
    { cwd: projectRoot, stdio: ["ignore", log, log], detached: true },
  );
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

/** Removes everything of a sandbox, whatever state it is in. */
export function removeSandbox(paths: SandboxPaths): void {
  endCgroup(paths.cgroup);
  if (existsSync(paths.machines)) for (const id of readdirSync(paths.machines)) removeMachine(paths, id);
  removeNetworks(paths);
  rmSync(paths.state, { recursive: true, force: true });
  const root = dirname(paths.state);
  if (existsSync(root) && readdirSync(root).length === 0) rmdirSync(root);
}
