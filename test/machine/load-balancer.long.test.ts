import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { stringify } from "yaml";
import { subnetIds, vpcId } from "../../sandbox/account";
import type { CloudClient } from "../../sandbox/cloud/client";
import { delaysVariable } from "../../sandbox/cloud/delays";
import { removeSandbox, startCloud } from "../../sandbox/lifecycle";
import { localHeader, proxyHeader } from "../../sandbox/load-balancer/proxy-protocol";
import { projectRoot, sandboxNames, sandboxPaths } from "../../sandbox/paths";
import { DebianRoot } from "../debian-root";
import { filledMachines } from "./filled-machines";
import type { Event, Order } from "./tcp-clients";

/** A sandbox with the id of this process in its name, so that a later run can remove what a killed one has left. */
const sandboxName = /^testlb(\d+)$/;
const paths = sandboxPaths(`testlb${process.pid}`);
const port = 443;
const soon = { timeout: 20_000, interval: 50 };
const seconds = { register: 2, tail: 3, draining: 5, check: 0.5 };

let cloud: CloudClient;
let debian: DebianRoot;
let clientProcess: ChildProcess;
let balancer: string;
let group: string;
/** The load balancer's public addresses, one in each zone. */
let entries: string[];
const instances: Record<string, string> = {};

interface Client {
  text: string;
  ended?: string;
}
const clients: Client[] = [];
const order = (message: Order) => clientProcess.send(message);

function dial(address: string): Client & { number: number } {
  const client = { text: "", number: clients.length };
  clients.push(client);
  order({ client: client.number, dial: { address, port } });
  return client;
}

const say = (client: { number: number }, text: string) => order({ client: client.number, say: `${text}\n` });
const isOver = (client: Client) => client.text.includes("\n") || client.ended !== undefined;
const nameOf = (client: Client) => client.text.split(" ")[0] ?? "";

/** Clients at both entries in turn, once each has been served or refused. */
async function served(count: number, addresses = entries): Promise<(Client & { number: number })[]> {
  const several = Array.from({ length: count }, (_, index) =>
    dial(addresses[index % addresses.length] ?? ""),
  );
  await vi.waitFor(() => expect(several.filter((client) => !isOver(client))).toEqual([]), soon);
  return several;
}

const names = async (count = 16, addresses = entries) =>
  [...new Set((await served(count, addresses)).map((client) => nameOf(client) || client.ended))].sort();

/** Says something on each connection, and waits for the echo: none has ended. */
async function expectAlive(several: (Client & { number: number })[], text: string): Promise<void> {
  for (const client of several) say(client, text);
  await vi.waitFor(
    () =>
      expect(several.filter((client) => !client.text.includes(text)).map(({ ended }) => ended)).toEqual([]),
    soon,
  );
}

/** The balancer's own code, with real boto3, on the first machine's network. */
class Boto {
  private readonly answers: string[] = [];
  private readonly process: ChildProcess;

  constructor(leader: number) {
    const command = ["chroot", debian.root, "python3", "/calls.py"];
    this.process = spawn("nsenter", [`--net=/proc/${leader}/ns/net`, ...command], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    createInterface({ input: this.process.stdout as NodeJS.ReadableStream }).on("line", (line) =>
      this.answers.push(line),
    );
  }

  // biome-ignore lint/suspicious/noExplicitAny: answers of several operations.
  async call(service: "ec2" | "elbv2", operation: string, values: object): Promise<any> {
    this.process.stdin?.write(`${JSON.stringify([service, operation, values])}\n`);
    await vi.waitFor(() => expect(this.answers).toHaveLength(1), soon);
    return JSON.parse(this.answers.shift() ?? "");
  }

  end(): void {
    this.process.stdin?.end();
  }
}

let boto: Boto;

async function create(kind: string, inputs: Record<string, unknown>) {
  return cloud.call("create", { kind, inputs });
}

async function makeGroup(name: string): Promise<string> {
  const { id } = await create("securityGroup", { name, vpcId });
  await create("egressRule", { securityGroupId: id, ipProtocol: "-1", cidrIpv4: "0.0.0.0/0" });
  return id;
}

function opened(securityGroupId: string, fromPort: number, source: Record<string, string>) {
  return create("ingressRule", { securityGroupId, ipProtocol: "tcp", fromPort, toPort: fromPort, ...source });
}

/** Asks an HAProxy of its own with a header before the request; prints the answer's last line. */
const askWithHeader = `
import socket, subprocess, sys, time

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
haproxy = subprocess.Popen(["haproxy", "-f", "/haproxy.cfg"])
end = time.monotonic() + 10
while True:
    try:
        client = socket.create_connection(("127.0.0.1", 8080))
        break
    except ConnectionRefusedError:
        if time.monotonic() > end:
            raise
        time.sleep(0.02)
client.sendall(bytes.fromhex(sys.argv[1]) + b"GET / HTTP/1.0\\r\\n\\r\\n")
try:
    answer = client.makefile().read()
except ConnectionResetError:
    answer = ""
print(answer.strip().split("\\n")[-1] or "no answer")
haproxy.kill()
`;

const targetProgram = readFileSync(join(__dirname, "load-balancer-target.py"), "utf8");

async function launch(name: string, subnetId: string | undefined, groupId: string): Promise<void> {
  const program = "/usr/local/bin/load-balancer-target";
  const userData = `#cloud-config\n${stringify({
    write_files: [{ path: program, content: targetProgram }],
    runcmd: [["systemd-run", "python3", program, name]],
  })}`;
  const { id } = await create("instance", {
    ami: "ami-1",
    instanceType: "t3.small",
    subnetId,
    iamInstanceProfile: "balancer",
    associatePublicIpAddress: true,
    vpcSecurityGroupIds: [groupId],
    userData,
    tags: { Name: `dev-${name}`, Stack: "dev", Role: "balancer" },
  });
  instances[name] = id;
}

async function states(): Promise<Record<string, string>> {
  const { TargetHealthDescriptions } = await boto.call("elbv2", "describe_target_health", {
    TargetGroupArn: group,
  });
  return Object.fromEntries(
    TargetHealthDescriptions.map((one: { Target: { Id: string }; TargetHealth: { State: string } }) => [
      Object.keys(instances).find((name) => instances[name] === one.Target.Id),
      one.TargetHealth.State,
    ]),
  );
}

const targets = (...wanted: string[]) => ({
  TargetGroupArn: group,
  Targets: wanted.map((name) => ({ Id: instances[name] })),
});

const waitForStates = (wanted: Record<string, string>) =>
  vi.waitFor(async () => expect(await states()).toEqual(wanted), soon);

beforeAll(async () => {
  for (const name of sandboxNames()) {
    const owner = sandboxName.exec(name)?.[1];
    if (owner && !existsSync(`/proc/${owner}`)) removeSandbox(sandboxPaths(name));
  }
  process.env[delaysVariable] = Object.entries(seconds)
    .map(([name, value]) => `${name}=${value}`)
    .join(",");
  [cloud, debian] = await Promise.all([
    startCloud(paths),
    DebianRoot.with("haproxy", "python3-acme", "python3-boto3"),
  ]);
  debian.copy(join(__dirname, "load-balancer-calls.py"), "calls.py");
  debian.copy(filledMachines(), "project/machines");

  const allow = (Action: string | string[], Resource = "*") => ({ Effect: "Allow", Action, Resource });
  await create("role", { name: "balancer" });
  await create("instanceProfile", { name: "balancer", role: "balancer" });
  const [balancerGroup, machineGroup] = [await makeGroup("entry"), await makeGroup("balancer")];
  await opened(balancerGroup, port, { cidrIpv4: "0.0.0.0/0" });
  for (const own of [10443, 10081])
    await opened(machineGroup, own, { referencedSecurityGroupId: balancerGroup });
  await Promise.all([launch("one", subnetIds[0], machineGroup), launch("two", subnetIds[1], machineGroup)]);

  const addresses: Awaited<ReturnType<typeof create>>[] = [];
  for (const _ of subnetIds) addresses.push(await create("elasticIp", { domain: "vpc" }));
  entries = addresses.map(({ outputs }) => String(outputs.publicIp));
  ({ id: balancer } = await create("loadBalancer", {
    name: "entry",
    loadBalancerType: "network",
    subnetMappings: subnetIds.map((subnetId, index) => ({ subnetId, allocationId: addresses[index]?.id })),
    securityGroups: [balancerGroup],
    enableCrossZoneLoadBalancing: true,
  }));
  ({ id: group } = await create("targetGroup", {
    name: "https",
    protocol: "TCP",
    port: 10443,
    vpcId,
    proxyProtocolV2: true,
    preserveClientIp: "false",
    deregistrationDelay: 300,
    healthCheck: {
      protocol: "HTTP",
      port: "10081",
      path: "/health",
      matcher: "200",
      interval: 10,
      timeout: 2,
      healthyThreshold: 2,
      unhealthyThreshold: 2,
    },
    tags: { Stack: "dev" },
  }));
  await create("listener", {
    loadBalancerArn: balancer,
    port,
    protocol: "TCP",
    defaultActions: [{ type: "forward", targetGroupArn: group }],
  });
  await create("rolePolicy", {
    name: "targets",
    role: "balancer",
    policy: JSON.stringify({
      Statement: [
        allow(["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"], group),
        allow("elasticloadbalancing:DescribeTargetHealth"),
        allow([
          "ec2:DescribeInstances",
          "ec2:DescribeInternetGateways",
          "ec2:DescribeSubnets",
          "ec2:DescribeVpcs",
        ]),
      ],
    }),
  });

  clientProcess = spawn(
    "nsenter",
    [
      `--net=${cloud.internetNamespace}`,
      process.execPath,
      "--import",
      "tsx",
      join(__dirname, "tcp-clients.ts"),
    ],
    { cwd: projectRoot, stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
  clientProcess.on("message", (event: Event) => {
    const client = clients[event.client];
    if (!client) return;
    if ("text" in event) client.text += event.text;
    else client.ended = event.ended;
  });
  const leader = await vi.waitFor(async () => {
    const found = (await cloud.machine("one")).leader;
    expect(found).toBeDefined();
    return found as number;
  }, soon);
  boto = new Boto(leader);
}, 180_000);

afterAll(() => {
  boto?.end();
  clientProcess?.kill();
  debian?.remove();
  removeSandbox(paths);
});

describe("machines behind a load balancer", () => {
  test("register themselves, and get connections once they are healthy; before that there are none", async () => {
    expect(await states()).toEqual({});
    expect((await served(1)).map(({ ended }) => ended)).toEqual(["ECONNRESET"]);
    const began = Date.now();
    await boto.call("elbv2", "register_targets", targets("one", "two"));
    expect(await states()).toEqual({ one: "initial", two: "initial" });
    await waitForStates({ one: "healthy", two: "healthy" });
    expect(Date.now() - began).toBeGreaterThan(seconds.register * 1000);
    // Each zone's part sends connections to both, and the machines learn the client from its header.
    for (const entry of entries) expect(await names(16, [entry])).toEqual(["one", "two"]);
    const [client] = await served(1);
    expect(client?.text).toMatch(/^(one|two) 198\.51\.100\.10:\d+ by 172\.31\.(0|16)\.\d+\n$/);
  });

  test("lose their connections when they are unhealthy; when all are, each gets some", async () => {
    const open = await served(16);
    const [first] = open.filter((client) => nameOf(client) === "one");
    const others = open.filter((client) => nameOf(client) === "two");
    if (!first) throw new Error("no client is at machine one");
    say(first, "answer 503");
    await waitForStates({ one: "unhealthy", two: "healthy" });
    // Each learns it when it sends something.
    const lost = open.filter((client) => nameOf(client) === "one");
    for (const client of lost) say(client, "still here");
    await vi.waitFor(() => expect(lost.map(({ ended }) => ended)).not.toContain(undefined), soon);
    expect(first.ended).toBe("ECONNRESET");
    await expectAlive(others, "still here");
    expect(await names()).toEqual(["two"]);
    say(others[0] as { number: number }, "answer 503");
    await waitForStates({ one: "unhealthy", two: "unhealthy" });
    expect(await names()).toEqual(["one", "two"]);
    for (const client of await served(16)) say(client, "answer 200");
    await waitForStates({ one: "healthy", two: "healthy" });
  });

  test("keep their connections after they have left, and get new ones for a while", async () => {
    const open = await served(16);
    await boto.call("elbv2", "deregister_targets", targets("one"));
    const left = Date.now();
    expect(await states()).toEqual({ one: "draining", two: "healthy" });
    expect(await names()).toEqual(["one", "two"]);
    await vi.waitFor(async () => expect(await names()).toEqual(["two"]), soon);
    expect(Date.now() - left).toBeGreaterThan(seconds.tail * 1000 - 500);
    await waitForStates({ two: "healthy" });
    expect(Date.now() - left).toBeGreaterThan(seconds.draining * 1000 - 100);
    await expectAlive(open, "after the tail");
  });

  test("are registered and taken out by the balancer's own thread", async () => {
    const turn = (action: string) =>
      boto.call("elbv2", "turn", { arn: group, port: 10443, instance: instances.one, action });
    expect(await turn("watch")).toEqual({ state: "unused", reason: "it is not registered" });
    expect(await turn("register")).toMatchObject({ state: "initial" });
    await vi.waitFor(async () => expect(await turn("register")).toMatchObject({ state: "healthy" }), soon);
    expect(await turn("deregister")).toMatchObject({ state: "draining" });
    expect(await turn("register")).toMatchObject({ state: "initial" });
    await waitForStates({ one: "healthy", two: "healthy" });
    await boto.call("elbv2", "deregister_targets", targets("one"));
    await waitForStates({ two: "healthy" });
  });

  test("get connections of their own zone only, where cross-zone is off", async () => {
    await boto.call("elbv2", "register_targets", targets("one"));
    await waitForStates({ one: "healthy", two: "healthy" });
    const { inputs } = (await cloud.call("read", { kind: "loadBalancer", id: balancer })) ?? { inputs: {} };
    const change = (enableCrossZoneLoadBalancing: boolean) =>
      cloud.call("update", {
        kind: "loadBalancer",
        id: balancer,
        inputs: { ...inputs, enableCrossZoneLoadBalancing },
      });
    await change(false);
    expect(await names(8, entries.slice(0, 1))).toEqual(["one"]);
    expect(await names(8, entries.slice(1))).toEqual(["two"]);
    await change(true);
  });

  test("are found by tag and state, and a role without the right is refused", async () => {
    const found = await boto.call("ec2", "describe_instances", {
      Filters: [
        { Name: "tag:Role", Values: ["balancer"] },
        { Name: "instance-state-name", Values: ["running", "stopped"] },
      ],
    });
    const ids = found.Reservations.flatMap(
      ({ Instances }: { Instances: { InstanceId: string }[] }) => Instances,
    ).map(({ InstanceId }: { InstanceId: string }) => InstanceId);
    expect(ids.sort()).toEqual(Object.values(instances).sort());
    const refused = await boto.call("elbv2", "register_targets", {
      ...targets("one"),
      TargetGroupArn: group.replace("/https/", "/other/"),
    });
    expect(refused).toMatchObject({
      error: "AccessDenied",
      message: expect.stringContaining("RegisterTargets"),
    });
  });
});

test("HAProxy takes the header, and verifies its checksum", () => {
  const [source, destination] = [
    { address: "192.0.2.7", port: 4711 },
    { address: "127.0.0.1", port: 8080 },
  ];
  debian.write(
    "haproxy.cfg",
    `defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend entry
  bind 127.0.0.1:8080 accept-proxy
  http-request return status 200 content-type text/plain lf-string "%ci:%cp\\n"
`,
  );
  debian.write("ask.py", askWithHeader);
  const ask = (header: Buffer) =>
    debian.exec("unshare", "--net", "python3", "/ask.py", header.toString("hex")).output;
  const header = proxyHeader(source, destination);
  expect(ask(header)).toContain("192.0.2.7:4711");
  expect(ask(localHeader)).toContain("127.0.0.1:");
  header.writeUInt8(header.readUInt8(34) ^ 1, 34);
  expect(ask(header)).toBe("no answer\n");
});

test("the load balancer's security groups apply: what they do not open is not reachable", async () => {
  await create("listener", {
    loadBalancerArn: balancer,
    port: 80,
    protocol: "TCP",
    defaultActions: [{ type: "forward", targetGroupArn: group }],
  });
  const client = { text: "", number: clients.length } as Client & { number: number };
  clients.push(client);
  order({ client: client.number, dial: { address: entries[0] ?? "", port: 80 } });
  await vi.waitFor(() => expect(client.ended).toBe("no answer"), soon);
});
