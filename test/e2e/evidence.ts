import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { statusPort, statusTokenFile } from "../../contract/facts";
import { CloudClient, findMachine, type MachineStatus } from "../../sandbox/cloud/client";
import { projectRoot, type SandboxPaths, sandboxPaths } from "../../sandbox/paths";

/** The folder in which this file's run keeps the evidence of a failure. */
const folder = process.env.WCS_TEST_RESULTS ?? join(projectRoot, "test-results");

/** Folder in a file's results in which each command has a file of its own. */
const commandsFolder = "commands";

/** Begins to keep what a command prints, in a file of its own; the function that it gives adds to that. */
export function recordCommand(command: string): (part: string) => void {
  const target = join(folder, commandsFolder);
  mkdirSync(target, { recursive: true });
  const number = String(readdirSync(target).length + 1).padStart(2, "0");
  const name = command.replace(/[^\w.-]+/g, "-").slice(0, 60);
  const file = join(target, `${number}-${name}.txt`);
  appendFileSync(file, `${new Date().toISOString()} ${command}\n\n`);
  return (part) => appendFileSync(file, part);
}

/** Whether a folder of results holds evidence of a failure. */
export function hasEvidence(results: string): boolean {
  if (!existsSync(results)) return false;
  const entries = readdirSync(results, { withFileTypes: true });
  return entries.some((entry) => entry.isDirectory() && entry.name !== commandsFolder);
}

function outputOf(command: string, ...args: string[]): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 256 * 1024 * 1024 });
  return `${stdout ?? ""}${stderr ?? ""}`;
}

/** Runs a command in the file system of a machine, whether it runs or not. */
function inMachine({ leader }: MachineStatus, root: string, ...command: string[]): string {
  return leader
    ? outputOf("nsenter", "--target", String(leader), "--all", "--wdns=/", "--", ...command)
    : outputOf("chroot", root, ...command);
}

const readStatus = `curl --silent --max-time 5 --header "Authorization: Bearer $(cat ${statusTokenFile})" http://127.0.0.1:${statusPort}/`;

/**
 * Writes down the state of a sandbox: its machines with their journals since a moment, the status and haproxy.cfg of
 * each balancer, and the packet filter.
 */
export async function keepEvidence(paths: SandboxPaths, target: string, since: Date): Promise<void> {
  mkdirSync(target, { recursive: true });
  const keep = (file: string, text: string) => writeFileSync(join(target, file), text);
  for (const log of ["cloud.log", "pebble.log"]) {
    const path = join(paths.state, log);
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    if (text) keep(log, text);
  }
  keep(
    "packet-filter.txt",
    outputOf("nsenter", `--net=/run/netns/${paths.vpcNamespace}`, "nft", "list", "ruleset"),
  );
  let machines: MachineStatus[] = [];
  try {
    machines = await new CloudClient(paths).call("machines", {});
  } catch (error) {
    keep("machines.txt", `${(error as Error).message}\n`);
    return;
  }
  keep("machines.txt", `${JSON.stringify(machines, null, 2)}\n`);
  for (const machine of machines) {
    const id = `${machine.name}-${machine.id.slice(-8)}`;
    const root = join(paths.machines, machine.id, "root");
    const journal = [
      "journalctl",
      "--no-pager",
      "--output=short-precise",
      `--since=@${Math.floor(since.getTime() / 1000)}`,
    ];
    keep(`${id}.journal.txt`, inMachine(machine, root, ...journal));
    keep(`${id}.console.txt`, outputOf("tail", "-n", "500", join(paths.machines, machine.id, "console.log")));
    if (machine.name.startsWith("balancer") && machine.leader) {
      // There may be several. Files without an id are of the first one, or of the one that clients reach.
      const suffix = machine === findMachine(machines, "balancer") ? "" : `-${machine.id.slice(-8)}`;
      keep(`status${suffix}.json`, inMachine(machine, root, "sh", "-c", readStatus));
      keep(`haproxy${suffix}.cfg`, inMachine(machine, root, "cat", "/etc/haproxy/haproxy.cfg"));
    }
  }
}

/** Keeps the evidence of a test that has failed, and gives the folder. */
export async function keepEvidenceOf(test: string, since: Date): Promise<string> {
  const target = join(folder, test.replace(/[^\w.-]+/g, "-").slice(0, 100));
  await keepEvidence(sandboxPaths(process.env.WCS_SANDBOX_NAME ?? ""), target, since);
  return target;
}
