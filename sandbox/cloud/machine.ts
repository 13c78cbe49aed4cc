import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { setupFolder } from "../../contract/facts";
import { subnets } from "../account";
import * as addresses from "../addresses";
import { mountRoot, removeWithMounts, unmountAll } from "../overlay";
import { cached, cgroupRoots, type SandboxPaths } from "../paths";
import { run, succeeds } from "../shell";

interface MachineSpec {
  id: string;
  privateAddress: string;
  userData: Buffer;
  /** Whether the disk is too full for the machine's set-up. This lasts until the machine stops. */
  fullDisk: boolean;
}

/** How the sandbox runs machines. The other parts of the sandbox use only this interface. */
export interface Machines {
  start(spec: MachineSpec): Promise<void>;
  /** Shuts a machine down in good order; its disk stays. */
  stop(id: string): Promise<void>;
  /** Boots a machine that was stopped. */
  startAgain(id: string, fullDisk: boolean): void;
  /** Boots a machine from its disk after another process has stopped it. */
  resume(id: string): void;
  /** Shuts a machine down in good order and removes it. */
  remove(id: string): Promise<void>;
  status(id: string): { state: string; leader?: number };
}

/** In the folder of a copied machine: a link to the disk of the original. */
export const originalDisk = "original";

/**
 * Each machine's systemd and its services need seven inotify instances. All of them count for this machine's root, who
 * may have 128 by default: enough for 18 machines.
 */
const inotifyLimit = "/proc/sys/fs/inotify/max_user_instances";
const inotifyInstances = 8192;

function allowManyMachines(): void {
  if (Number(readFileSync(inotifyLimit, "utf8")) < inotifyInstances)
    writeFileSync(inotifyLimit, String(inotifyInstances));
}

/** Too small for an archive, but large enough for an error message. */
const fullDiskMount = `--tmpfs=${setupFolder}:mode=0755,size=16k`;

/** systemd-nspawn ends with this status when the machine inside asks for a reboot. */
const rebootStatus = 133;
/** It takes seconds. The disk of a busy computer may need many more. */
const shutdownSeconds = 90;
/** A machine that is removed is not waited for: some tests let its programs hang. */
const removalSeconds = 15;

interface Running {
  process: ChildProcess;
  state: "running" | "stopped";
  stopping: boolean;
}

/** Machines as systemd-nspawn containers, each with an overlay of its own over one Debian image. */
export class NspawnMachines implements Machines {
  private readonly running = new Map<string, Running>();

  constructor(
    private readonly paths: SandboxPaths,
    private readonly layers: string[],
  ) {
    allowManyMachines();
  }

  async start(spec: MachineSpec): Promise<void> {
    const folder = join(this.paths.machines, spec.id);
    this.writeSeed(mountRoot(folder, this.layers), spec);
    this.boot(spec.id, spec.fullDisk);
  }

  async stop(id: string, seconds = shutdownSeconds): Promise<void> {
    const machine = this.running.get(id);
    if (machine?.state !== "running") return;
    machine.stopping = true;
    // systemd-nspawn passes this on as an orderly shutdown.
    machine.process.kill("SIGTERM");
    const deadline = Date.now() + seconds * 1000;
    const isStopped = () => machine.state === "stopped";
    while (!isStopped()) {
      if (Date.now() > deadline) throw new Error(`${id} does not shut down within ${seconds} s`);
      await sleep(50);
    }
  }

  startAgain(id: string, fullDisk: boolean): void {
    if (this.running.get(id)?.state === "stopped") this.boot(id, fullDisk);
  }

  resume(id: string): void {
    const folder = join(this.paths.machines, id);
    const original = join(folder, originalDisk);
    mountRoot(folder, existsSync(original) ? [realpathSync(original)] : []);
    this.boot(id);
  }

  async remove(id: string): Promise<void> {
    // If the machine does not shut down, removeMachine ends it.
    await this.stop(id, removalSeconds).catch(() => {});
    const folder = join(this.paths.machines, id);
    unmountAll(folder);
    // Most of the work is asynchronous, so that the cloud can answer other machines meanwhile.
    await rm(folder, { recursive: true, force: true });
    removeMachine(this.paths, id);
    this.running.delete(id);
  }

  status(id: string): { state: string; leader?: number } {
    const machine = this.running.get(id);
    if (!machine) return { state: "gone" };
    return { state: machine.state, leader: machine.process.pid ? leaderOf(machine.process.pid) : undefined };
  }

  /** The data for cloud-init: the instance's identity and network, as EC2 would give them, and the user-data. */
  private writeSeed(root: string, { id, privateAddress, userData }: MachineSpec): void {
    const seed = join(root, "var/lib/cloud/seed/nocloud");
    mkdirSync(seed, { recursive: true });
    const hostname = `ip-${privateAddress.replaceAll(".", "-")}`;
    writeFileSync(join(seed, "meta-data"), `instance-id: ${id}\nlocal-hostname: ${hostname}\n`);
    writeFileSync(join(seed, "user-data"), userData);
    const subnet = addresses.networkOf(
      privateAddress,
      subnets.map(({ network }) => network),
    );
    const network = {
      version: 2,
      ethernets: {
        host0: {
          addresses: [`${privateAddress}/${addresses.prefixLengthOf(subnet)}`],
          routes: [{ to: "0.0.0.0/0", via: addresses.routerOf(subnet) }],
        },
      },
    };
    writeFileSync(join(seed, "network-config"), JSON.stringify(network));
  }

  private boot(id: string, fullDisk = false): void {
    const folder = join(this.paths.machines, id);
    const console = openSync(join(folder, "console.log"), "a");
    // Each machine has its own control group, which separates the systemds and can be ended with everything in it.
    const [command = "", ...args] = inCgroup(join(this.paths.cgroup, id), [
      "systemd-nspawn",
      "--quiet",
      `--directory=${join(folder, "root")}`,
      `--machine=${nspawnName(this.paths, id)}`,
      "--register=no",
      "--keep-unit",
      "--resolv-conf=off",
      "--timezone=off",
      "--network-bridge=vpc",
      `--bind-ro=${cached.packages}:/opt/packages`,
      ...(fullDisk ? [fullDiskMount] : []),
      "--console=read-only",
      "--boot",
    ]);
    const child = spawn(command, args, {
      stdio: ["ignore", console, console],
      env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" },
    });
    closeSync(console);
    const machine: Running = { process: child, state: "running", stopping: false };
    this.running.set(id, machine);
    child.on("close", (status) => {
      machine.state = "stopped";
      if (status === rebootStatus && !machine.stopping) this.boot(id, fullDisk);
    });
  }
}

/** The name for systemd-nspawn, unique on this computer: copies of a sandbox have the same instance ids. */
function nspawnName({ name }: SandboxPaths, id: string): string {
  return `${name}-${id}`;
}

/** The machine's systemd: the child of its systemd-nspawn. */
export function leaderOf(nspawn: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${nspawn}/task/${nspawn}/children`, "utf8").trim().split(" ");
    return children
      .map(Number)
      .find((child) => child > 0 && readFileSync(`/proc/${child}/comm`, "utf8").trim() === "systemd");
  } catch {
    return undefined;
  }
}

function emptyCgroups(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) emptyCgroups(join(path, entry.name));
  }
  succeeds("rmdir", [path]);
}

/** Makes a control group of the sandbox, and gives the command line that runs a command in it. */
export function inCgroup(cgroup: string, command: string[]): string[] {
  mkdirSync(cgroup, { recursive: true });
  return ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cgroup, ...command];
}

/** Ends everything in a control group of the sandbox, and removes the group with its mirrors. */
export function endCgroup(cgroup: string): void {
  const { unified, all } = cgroupRoots();
  if (existsSync(join(cgroup, "cgroup.kill"))) {
    writeFileSync(join(cgroup, "cgroup.kill"), "1");
    const deadline = Date.now() + 60_000;
    while (/^populated 1/m.test(readFileSync(join(cgroup, "cgroup.events"), "utf8"))) {
      if (Date.now() > deadline) throw new Error(`processes in ${cgroup} do not end`);
      run("sleep", ["0.05"]);
    }
  }
  for (const root of all) emptyCgroups(join(root, cgroup.slice(unified.length)));
}

/** Removes a machine in any state. */
export function removeMachine(paths: SandboxPaths, id: string): void {
  endCgroup(join(paths.cgroup, id));
  removeWithMounts(join(paths.machines, id));
  for (const name of ["propagate", "unix-export"]) {
    rmSync(join("/run/systemd/nspawn", name, nspawnName(paths, id)), { recursive: true, force: true });
  }
}
