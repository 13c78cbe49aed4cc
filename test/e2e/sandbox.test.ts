import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { cgroupRoots } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";
import {
  balancerAddress,
  canConnect,
  closePort,
  cloud,
  engineState,
  eventually,
  long,
  machine,
  paths,
  sandbox,
  startSandbox,
  up,
} from "./cluster";
import { commandsOf, documentedPages, runDocumented } from "./documented";
import { keepEvidenceOf } from "./evidence";

/** `npm run test:long` runs all of them. */
describe("documented commands that only look", () => {
  const look = /^npm run sandbox -- (status|shell|logs|help)\b/;
  const commands = documentedPages
    .flatMap((page) => commandsOf(page))
    .filter((command) => look.test(command));
  test.each([...new Set(commands)])("%s", (command) => {
    const { status, output } = runDocumented(command);
    expect(output, output.slice(-2000)).toSatisfy(() => status === 0);
  });
});

test("of a failure there is the status, haproxy.cfg, the packet filter and every machine's journal", async () => {
  sandbox("status");
  const folder = await keepEvidenceOf("an example of a failure", new Date(Date.now() - 120_000));
  const kept = readdirSync(folder).map((name) => name.replace(/-[0-9a-f]{8}\./, "-ID."));
  const ofMachines = ["balancer", "wcs-1", "wcs-2"].flatMap((name) => [
    `${name}-ID.console.txt`,
    `${name}-ID.journal.txt`,
  ]);
  expect(kept.sort()).toEqual(
    [...ofMachines, "haproxy.cfg", "machines.txt", "packet-filter.txt", "status.json"].sort(),
  );
  const read = (part: string) =>
    readFileSync(join(folder, readdirSync(folder).find((name) => name.includes(part)) ?? ""), "utf8");
  expect(JSON.parse(read("status.json")).nodes).toHaveLength(2);
  expect(read("haproxy.cfg")).toContain("backend wcs_back");
  expect(read("packet-filter")).toContain("chain forward");
  for (const name of ["balancer", "wcs-1"]) expect(read(`${name}-`)).not.toBe("");
  const commands = join(folder, "../commands");
  const recorded = readdirSync(commands).find((name) => name.endsWith("-sandbox-status.txt")) ?? "";
  expect(readFileSync(join(commands, recorded), "utf8")).toContain("IN THE BALANCER");
  rmSync(folder, { recursive: true });
});

test("this machine's root may watch enough files for dozens of machines", () => {
  // At the default of 128 the 19th machine ends at once: "Failed to allocate manager object: Too many open files".
  const instances = readFileSync("/proc/sys/fs/inotify/max_user_instances", "utf8");
  expect(Number(instances)).toBeGreaterThanOrEqual(1024);
});

test("the VPC's router keeps its hardware address whatever machine comes, so that no other loses its way", () => {
  const vpc = ["-n", paths.vpcNamespace];
  const address = () => run("ip", [...vpc, "-brief", "link", "show", "vpc"]).split(/\s+/)[2];
  const before = address();
  const low = ["low", "address", "00:00:00:00:00:01"];
  run("ip", [...vpc, "link", "add", ...low, "type", "veth"]);
  try {
    run("ip", [...vpc, "link", "set", "low", "master", "vpc"]);
    expect(address()).toBe(before);
  } finally {
    run("ip", [...vpc, "link", "delete", "low"]);
  }
});

describe("a refresh", () => {
  const nothing = "Nothing that the program sets was changed behind Pulumi's back.";

  test("finds nothing where nobody has changed anything, and shows no secret", () => {
    const { status, output } = sandbox("refresh");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).toContain(nothing);
    expect(output).toMatch(/^Resources:\n {4}\d+ unchanged$/m);
    expect(output).not.toContain("PRIVATE KEY");
    expect(JSON.stringify(engineState())).not.toContain("PRIVATE KEY");
  });

  test("finds a rule that was changed behind Pulumi's back, which the next up puts right", async () => {
    expect(canConnect(balancerAddress, 80)).toBe(true);
    await closePort(80, 1);
    expect(canConnect(balancerAddress, 80)).toBe(false);
    const { status, output } = sandbox("refresh");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).toMatch(/SecurityGroupIngressRule \S+ has changed: fromPort, toPort/);
    expect(output).toMatch(/^ {4}~ 1 updated$/m);
    expect(engineState().resources.map(({ inputs }) => inputs?.fromPort)).toContain(1);
    expect(canConnect(balancerAddress, 80)).toBe(false);
    up();
    expect(canConnect(balancerAddress, 80)).toBe(true);
    expect(sandbox("refresh").output).toContain(nothing);
  });
});

if (long)
  test("a killed up leaves what it was making pending, until a refresh is told to forget it", async () => {
    const pending = () =>
      (engineState().pending_operations ?? []).map(
        ({ type, resource }) => `${resource.urn.split("::").at(-1)} ${type}`,
      );
    const killed = startSandbox(["up", "--nodes", "3"]);
    // The cloud stands still, gets the request, and goes on when nobody waits any more.
    await eventually(() => expect(killed.output).toContain("Updating (dev):"), 60);
    const { pid } = await cloud.call("ping", {});
    process.kill(pid, "SIGSTOP");
    try {
      await eventually(() => expect(killed.output).toContain("aws:ec2:Instance wcs-3 creating"), 60);
    } finally {
      killed.kill();
      await killed.ended;
      process.kill(pid, "SIGCONT");
    }
    expect(pending()).toEqual(["wcs-3 creating"]);
    await eventually(async () => expect((await machine("wcs-3")).state).toBe("running"));

    const { status, output } = sandbox("up");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).toContain("with 1 pending operations from previous deployment");
    expect(output).toMatch(/Instance::wcs-3, interrupted while creating/);
    expect(sandbox("refresh").status).toBe(0);
    expect(pending()).toEqual(["wcs-3 creating"]);
    expect(sandbox("refresh", "--clear-pending-creates").status).toBe(0);
    expect(pending()).toEqual([]);
    expect(sandbox("up").output).not.toContain("pending operations");
  });

test("down leaves no mount, namespace, process or file outside the cache", async () => {
  const name = paths.name;
  const { status } = sandbox("down");
  expect(status).toBe(0);
  expect(existsSync(paths.state)).toBe(false);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(paths.state);
  expect(readdirSync("/run/netns").filter((entry) => entry.startsWith(`wcs-${name}-`))).toEqual([]);
  for (const root of cgroupRoots().all) {
    expect(existsSync(join(root, "wcs-balancer-sandbox", name))).toBe(false);
  }
  const processes = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" }).stdout;
  expect(processes.split("\n").filter((line) => line.includes(`${paths.machines}/`))).toEqual([]);
  expect(existsSync(dirname(paths.state)) ? readdirSync(dirname(paths.state)) : []).not.toContain(name);
});
