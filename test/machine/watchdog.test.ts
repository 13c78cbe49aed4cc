import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { statusPort, syncSettingsFile } from "../../cluster/contract";
import { machineSoftware } from "../../cluster/machine-software";
import { endCgroup, inCgroup, leaderOf } from "../../sandbox/cloud/machine";
import { sandboxPaths } from "../../sandbox/paths";
import { inMachine, run } from "../../sandbox/shell";
import { DebianRoot } from "../debian-root";
import { filledMachines } from "./filled-machines";

/** A machine with nothing but the service and systemd: no network, no AWS, no HAProxy that runs. */
const cgroup = join(sandboxPaths("watchdog").cgroup, "machine");
const machineName = "wcs-watchdog-test";
const unit = "wcs-balancer-sync.service";

let debian: DebianRoot;
let machine: ChildProcess;

beforeAll(async () => {
  debian = await DebianRoot.with("haproxy", "python3-boto3");
  const { root } = debian;
  for (const [path, content] of Object.entries(machineSoftware("balancer")))
    debian.write(path.slice(1), content);
  // User-data brings this module, which fetches everything else.
  debian.copy(join(filledMachines(), "setup/aws_instance.py"), "usr/local/lib/wcs-setup/aws_instance.py");
  run("chmod", ["755", join(root, "usr/local/sbin/wcs-balancer-sync")]);
  const parameters = { stateParameter: "/state", secretParameter: "/secret", statusParameter: "/status" };
  const settings = { ...parameters, certificatePath: "/etc/pki/tls/a/cert.pem", balancerTags: {} };
  debian.write(syncSettingsFile.slice(1), JSON.stringify(settings));
  debian.write("etc/cloud/cloud-init.disabled", "");
  for (const folder of ["etc/pki/tls", "etc/systemd/system/multi-user.target.wants"])
    mkdirSync(join(root, folder), { recursive: true });
  symlinkSync(`/etc/systemd/system/${unit}`, join(root, "etc/systemd/system/multi-user.target.wants", unit));
  // There is no network to wait for.
  symlinkSync("/dev/null", join(root, "etc/systemd/system/systemd-networkd-wait-online.service"));
  // The machine gets its own.
  run("umount", [join(root, "proc")]);
  const [command = "", ...args] = inCgroup(cgroup, [
    "systemd-nspawn",
    "--quiet",
    `--directory=${root}`,
    `--machine=${machineName}`,
    "--register=no",
    "--keep-unit",
    "--private-network",
    "--resolv-conf=off",
    "--timezone=off",
    "--console=read-only",
    "--boot",
  ]);
  machine = spawn(command, args, {
    stdio: "ignore",
    env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" },
  });
});

afterAll(async () => {
  if (machine?.exitCode === null) {
    endCgroup(cgroup);
    await once(machine, "close");
  }
  debian?.remove();
  for (const folder of ["propagate", "unix-export"])
    rmSync(join("/run/systemd/nspawn", folder, machineName), { recursive: true, force: true });
});

/** What a command on the machine prints. */
function onMachine(...command: string[]): string {
  const leader = leaderOf(machine.pid ?? 0);
  if (!leader) throw new Error("the machine does not run yet");
  const { status, stdout, stderr } = spawnSync("nsenter", inMachine(leader, command), { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stdout}${stderr}`);
  return stdout.trim();
}

const property = (name: string) => onMachine("systemctl", "show", `--property=${name}`, "--value", unit);
const status = () => onMachine("curl", "--silent", "--max-time", "10", `http://127.0.0.1:${statusPort}/`);

test("systemd starts a frozen wcs-balancer-sync anew before pulumi up takes its machine for dead", async () => {
  await vi.waitFor(() => expect(JSON.parse(status())).toMatchObject({ applied: false }), {
    timeout: 200_000,
    interval: 500,
  });
  // It has begun while the console's login hung up the console.
  expect(property("NRestarts")).toBe("0");
  const frozen = property("MainPID");
  const frozenAt = Date.now();
  expect(Number(frozen)).toBeGreaterThan(1);
  onMachine("kill", "-STOP", frozen);
  await vi.waitFor(() => expect(property("MainPID")).not.toBe(frozen), { timeout: 150_000, interval: 500 });
  await vi.waitFor(() => expect(JSON.parse(status())).toMatchObject({ applied: false }), {
    timeout: 150_000,
    interval: 500,
  });
  // How fast this computer starts a program is not asked here.
  const startedAt = onMachine(
    "systemctl",
    "show",
    "--property=ExecMainStartTimestamp",
    "--value",
    "--timestamp=unix",
    unit,
  );
  expect(Number(startedAt.replace("@", "")) * 1000 - frozenAt).toBeLessThan(55_000);
  expect(onMachine("journalctl", "--unit", unit, "--output=cat", "--no-pager")).toMatch(/watchdog/i);
}, 600_000);

test("a service that works is left alone for longer than systemd waits", async () => {
  const pid = property("MainPID");
  expect(Number(pid)).toBeGreaterThan(1);
  const began = Date.now();
  await vi.waitFor(() => expect(Date.now() - began).toBeGreaterThan(35_000), {
    timeout: 60_000,
    interval: 1000,
  });
  expect(property("MainPID")).toBe(pid);
}, 120_000);
