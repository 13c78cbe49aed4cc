import { once } from "node:events";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { sign } from "aws4";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { subnetIds, vpcId } from "../../sandbox/account";
import { Cloud } from "../../sandbox/cloud/cloud";
import { parseDelays } from "../../sandbox/cloud/delays";
import { ec2Api } from "../../sandbox/cloud/ec2-api";
import { elasticLoadBalancingApi } from "../../sandbox/cloud/elastic-load-balancing-api";
import type { ZoneRunner } from "../../sandbox/cloud/load-balancing";
import type { Machines } from "../../sandbox/cloud/machine";
import type { ObjectStore } from "../../sandbox/cloud/objects";
import { answerQuery } from "../../sandbox/cloud/query-api";
import type { ZoneConfig } from "../../sandbox/load-balancer/zone";
import { awsTypes } from "../../sandbox/provider/aws";
import { unknownValue } from "../../sandbox/provider/resource-type";

type Inputs = Record<string, unknown>;

const balancerType = "aws:lb/loadBalancer:LoadBalancer";
const groupType = "aws:lb/targetGroup:TargetGroup";
const listenerType = "aws:lb/listener:Listener";

const mapping = (index: number, allocationId = `eipalloc-${index}`) => ({
  subnetId: subnetIds[index],
  allocationId,
});
const balancerInputs = {
  name: "entry-1234567",
  loadBalancerType: "network",
  subnetMappings: [mapping(0)],
  securityGroups: ["sg-1"],
};
const groupInputs = { name: "https-1234567", protocol: "TCP", port: 10443, vpcId, preserveClientIp: "false" };
const forward = (targetGroupArn: string) => [{ type: "forward", targetGroupArn }];
const listenerInputs = {
  loadBalancerArn: "arn:lb",
  port: 443,
  protocol: "TCP",
  defaultActions: forward("arn:group"),
};

describe("the stand-in refuses what the real provider or AWS refuses", () => {
  const inputs: Record<string, Inputs> = {
    [balancerType]: balancerInputs,
    [groupType]: groupInputs,
    [listenerType]: listenerInputs,
  };

  test.each(Object.entries(inputs))("but not what is right: %s", (type, right) => {
    expect(awsTypes[type]?.inputs.safeParse(right).error?.issues).toBeUndefined();
  });

  const http = { protocol: "HTTP", interval: 10, timeout: 5 };
  test.each<[string, string, Inputs, string]>([
    ["a name of 33 characters", balancerType, { name: "a".repeat(33) }, "longer than 32"],
    ["a name with a dot", groupType, { name: "a.b" }, "alphanumeric"],
    ["a name that ends with a hyphen", groupType, { name: "a-" }, "end with a hyphen"],
    ["a name that AWS keeps for itself", balancerType, { name: "internal-a" }, "internal-"],
    ["another type", balancerType, { loadBalancerType: "application" }, "network only"],
    ["no subnet", balancerType, { subnetMappings: [] }, "exactly one of subnetMappings and subnets"],
    ["no security group", balancerType, { securityGroups: [] }, "with security groups only"],
    ["a property that it does not know", balancerType, { idleTimeout: 60 }, "Unrecognized key"],
    ["clients' addresses at targets", groupType, { preserveClientIp: "true" }, 'set it to "false"'],
    ["a boolean for a text", groupType, { preserveClientIp: false }, 'set it to "false"'],
    ["no port", groupType, { port: undefined }, "expected number"],
    ["a check every 4 s", groupType, { healthCheck: { ...http, interval: 4, timeout: 2 } }, ">=5"],
    ["one good check in a row", groupType, { healthCheck: { ...http, healthyThreshold: 1 } }, ">=2"],
    [
      "a time-out above the interval",
      groupType,
      { healthCheck: { ...http, timeout: 11 } },
      "longer than its interval",
    ],
    [
      "AWS's time-out of 6 s above the interval",
      groupType,
      { healthCheck: { interval: 5 } },
      "longer than its interval",
    ],
    ["a path for TCP", groupType, { healthCheck: { protocol: "TCP", path: "/" } }, "path and matcher"],
    ["a port as a word", groupType, { healthCheck: { ...http, port: "https" } }, "valid port number"],
    ["a long delay", groupType, { deregistrationDelay: 3601 }, "<=3600"],
    [
      "another action",
      listenerType,
      { defaultActions: [{ type: "redirect", targetGroupArn: "arn:x" }] },
      "forward only",
    ],
    ["an idle time of 59 s", listenerType, { tcpIdleTimeoutSeconds: 59 }, ">=60"],
    ["an idle time of 6001 s", listenerType, { tcpIdleTimeoutSeconds: 6001 }, "<=6000"],
    ["a target group that is no ARN", listenerType, { defaultActions: forward("group") }, "invalid ARN"],
  ])("%s", (_, type, changes, message) => {
    const issues = awsTypes[type]?.inputs.safeParse({ ...inputs[type], ...changes }).error?.issues ?? [];
    expect(issues.map((issue) => issue.message).join("; ")).toContain(message);
  });
});

describe("a change", () => {
  const replaces = (type: string, changes: Inputs, before: Inputs) => {
    const { replaceOn = [] } = awsTypes[type] ?? {};
    const after = { ...before, ...changes };
    const keys = typeof replaceOn === "function" ? replaceOn(before, after) : replaceOn;
    return keys.filter((key) => key in changes && JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  };

  test.each<[string, unknown[], string[]]>([
    ["another subnet is made in place", [mapping(0), mapping(1)], []],
    ["one address that is not known yet", [mapping(0), mapping(1, unknownValue)], []],
    ["another address", [mapping(0, "eipalloc-9")], ["subnetMappings"]],
    ["another address and another subnet", [mapping(0, "eipalloc-9"), mapping(1)], ["subnetMappings"]],
    ["another subnet instead", [mapping(1)], ["subnetMappings"]],
  ])("of subnet mappings: %s", (_, subnetMappings, keys) => {
    expect(replaces(balancerType, { subnetMappings }, balancerInputs)).toEqual(keys);
  });

  test("that takes a subnet away makes a new load balancer", () => {
    const two = { ...balancerInputs, subnetMappings: [mapping(0), mapping(1)] };
    expect(replaces(balancerType, { subnetMappings: [mapping(0)] }, two)).toEqual(["subnetMappings"]);
  });

  test("of a name, a port or a load balancer makes a new resource; the rest changes in place", () => {
    expect(replaces(balancerType, { name: "b", securityGroups: ["sg-2"] }, balancerInputs)).toEqual(["name"]);
    expect(
      replaces(groupType, { port: 1, deregistrationDelay: 1, proxyProtocolV2: true }, groupInputs),
    ).toEqual(["port"]);
    expect(replaces(listenerType, { port: 80, loadBalancerArn: "arn:b" }, listenerInputs)).toEqual([
      "loadBalancerArn",
    ]);
  });
});

test.each([
  ["", { registerSeconds: 2, tailSeconds: 3, drainingSeconds: 5, checkSeconds: 1 }],
  ["register=0.5,tail=60", { registerSeconds: 0.5, tailSeconds: 60, drainingSeconds: 5, checkSeconds: 1 }],
  ["aws", { tailSeconds: 120, checkSeconds: Number.POSITIVE_INFINITY }],
])("the delays of WCS_SANDBOX_LOAD_BALANCER=%s", (value, delays) => {
  expect(parseDelays(value)).toMatchObject(delays);
});

test.each(["long", "register", "register=soon", "registration=5"])("no delays: %s", (value) => {
  expect(() => parseDelays(value)).toThrow(
    `WCS_SANDBOX_LOAD_BALANCER is "${value}"; it must be "aws", or some of`,
  );
});

/** The configuration that each zone's process has been given; the test says what it finds of the targets' health. */
class Zones implements ZoneRunner {
  report: ZoneRunner["report"] = () => {};
  readonly configs = new Map<string, ZoneConfig>();
  async configure(key: string, config: ZoneConfig) {
    this.configs.set(key, config);
  }
  async remove(key: string) {
    this.configs.delete(key);
  }
  /** The targets that get new connections in a zone, or in the first one. */
  takers(group: string, zone = "eu-central-1a"): string[] {
    const config = [...this.configs].find(([key]) => key.endsWith(zone))?.[1];
    const targets = Object.entries(config?.groups[group]?.targets ?? {});
    return targets.filter(([, { takesNew }]) => takesNew).map(([target]) => target);
  }
  say(group: string, target: string, state: "healthy" | "unhealthy", reason?: string) {
    for (const key of this.configs.keys()) this.report(key, { group, target, state, reason });
  }
}

let zones: Zones;
let cloud: Cloud;
let scripts: string[];
const stopped = new Set<string>();
const machines = {
  start: async () => {},
  stop: async () => {},
  resume: () => {},
  remove: async () => {},
  status: (id: string) => ({ state: stopped.has(id) ? "stopped" : "running" }),
} as unknown as Machines;

const delays = { registerSeconds: 10, tailSeconds: 120, drainingSeconds: 1000, checkSeconds: 5 };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  zones = new Zones();
  scripts = [];
  cloud = new Cloud(machines, {} as ObjectStore, (script) => scripts.push(script), undefined, zones, delays);
});

afterEach(() => {
  vi.useRealTimers();
  stopped.clear();
});

async function made(kind: string, inputs: Inputs): Promise<string> {
  return (await cloud.create(kind, inputs)).id;
}

const launch = (subnet: number, tags = {}) =>
  made("instance", { ami: "ami-1", instanceType: "t3.small", subnetId: subnetIds[subnet], tags });

/** A load balancer in so many zones, with a target group behind port 443. */
async function makeEntry(count = 2, changes: { balancer?: Inputs; group?: Inputs } = {}) {
  const securityGroup = await made("securityGroup", { name: "entry" });
  const allocations = await Promise.all([0, 1].map(() => made("elasticIp", { domain: "vpc" })));
  const inputs = {
    ...balancerInputs,
    securityGroups: [securityGroup],
    subnetMappings: allocations.slice(0, count).map((allocationId, index) => mapping(index, allocationId)),
    enableCrossZoneLoadBalancing: true,
    ...changes.balancer,
  };
  const { id: balancer, outputs } = await cloud.create("loadBalancer", inputs);
  const group = await made("targetGroup", { ...groupInputs, ...changes.group });
  const listener = await made("listener", {
    ...listenerInputs,
    loadBalancerArn: balancer,
    defaultActions: forward(group),
  });
  return { securityGroup, allocations, inputs, balancer, outputs, group, listener };
}

describe("a load balancer", () => {
  test("has AWS's ARN and name, which resolves to its addresses, one in each subnet", async () => {
    const { balancer, outputs, allocations } = await makeEntry();
    expect(balancer).toMatch(
      /^arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer\/net\/entry-1234567\/[0-9a-f]{16}$/,
    );
    expect(outputs.dnsName).toMatch(/^entry-1234567-[0-9a-f]{16}\.elb\.eu-central-1\.amazonaws\.com$/);
    expect(outputs).toMatchObject({ arn: balancer, vpcId });
    const addresses = allocations.map((id) => cloud.read("elasticIp", id)?.outputs.publicIp);
    expect(cloud.addressesOf(String(outputs.dnsName))).toEqual(addresses);
    expect([...zones.configs.values()].map(({ address }) => address)).toEqual([
      "172.31.0.10",
      "172.31.16.11",
    ]);
    expect(scripts.at(-1)).toContain(`${addresses[0]} : 172.31.0.10, ${addresses[1]} : 172.31.16.11`);
  });

  test("keeps its addresses to itself: a second one, an association and a release fail", async () => {
    const { inputs, allocations } = await makeEntry();
    await expect(cloud.create("loadBalancer", { ...inputs, name: "other" })).rejects.toThrow(
      "ResourceInUse: The allocation IDs are not available for use",
    );
    const [allocationId = ""] = allocations;
    const association = { allocationId, instanceId: await launch(0), allowReassociation: true };
    await expect(cloud.create("elasticIpAssociation", association)).rejects.toThrow("AuthFailure");
    await expect(cloud.remove("elasticIp", allocationId)).rejects.toThrow("AuthFailure");
  });

  test("gets another subnet in place, and loses none", async () => {
    const { balancer, inputs, allocations } = await makeEntry(1);
    const both = allocations.map((allocationId, index) => mapping(index, allocationId));
    await cloud.update("loadBalancer", balancer, { ...inputs, subnetMappings: both });
    expect([...zones.configs.values()].map(({ address }) => address)).toEqual([
      "172.31.0.10",
      "172.31.16.11",
    ]);
    await expect(
      cloud.update("loadBalancer", balancer, { ...inputs, subnetMappings: both.slice(1) }),
    ).rejects.toThrow("Subnet removal is not supported");
  });

  test("is in each zone once, with addresses and groups that exist", async () => {
    const { securityGroup, allocations } = await makeEntry(1);
    const [, free = ""] = allocations;
    const make = (changes: Inputs) =>
      cloud.create("loadBalancer", {
        ...balancerInputs,
        name: "other",
        securityGroups: [securityGroup],
        subnetMappings: [mapping(0, free)],
        ...changes,
      });
    const twice = [mapping(0, free), mapping(0, await made("elasticIp", { domain: "vpc" }))];
    await expect(make({ subnetMappings: twice })).rejects.toThrow("in the same Availability Zone");
    await expect(make({ subnetMappings: [mapping(0, "eipalloc-9")] })).rejects.toThrow(
      "AllocationIdNotFound",
    );
    await expect(make({ securityGroups: ["sg-9"] })).rejects.toThrow("InvalidSecurityGroup");
    await expect(make({ name: balancerInputs.name })).rejects.toThrow("(entry-1234567) already exists");
  });

  test("goes with its listeners; a group that it uses and one that is protected stay", async () => {
    const { balancer, inputs, group, securityGroup, listener } = await makeEntry();
    await expect(cloud.remove("targetGroup", group)).rejects.toThrow("ResourceInUse");
    await expect(cloud.remove("securityGroup", securityGroup)).rejects.toThrow("DependencyViolation");
    await cloud.update("loadBalancer", balancer, { ...inputs, enableDeletionProtection: true });
    await expect(cloud.remove("loadBalancer", balancer)).rejects.toThrow("deletion protection is enabled");
    await cloud.update("loadBalancer", balancer, inputs);
    await cloud.remove("loadBalancer", balancer);
    expect(cloud.read("listener", listener)).toBeUndefined();
    expect(zones.configs.size).toBe(0);
    await cloud.remove("targetGroup", group);
  });

  test("has one listener on each port, and shares no target group", async () => {
    const { balancer, group, inputs, allocations } = await makeEntry(1);
    const listen = (changes: Inputs) =>
      cloud.create("listener", {
        ...listenerInputs,
        loadBalancerArn: balancer,
        defaultActions: forward(group),
        ...changes,
      });
    await expect(listen({})).rejects.toThrow("DuplicateListener");
    await expect(listen({ port: 80, defaultActions: forward("arn:x") })).rejects.toThrow(
      "TargetGroupNotFound",
    );
    await expect(listen({ loadBalancerArn: "arn:x" })).rejects.toThrow("LoadBalancerNotFound");
    const other = { ...inputs, name: "other", subnetMappings: [mapping(1, allocations[1])] };
    const loadBalancerArn = await made("loadBalancer", other);
    await expect(listen({ loadBalancerArn })).rejects.toThrow("TargetGroupAssociationLimit");
    expect(cloud.read("targetGroup", group)?.outputs.loadBalancerArns).toEqual([balancer]);
  });
});

describe("a target", () => {
  const states = (group: string) => cloud.targetHealth(group).map(({ state, reason }) => reason ?? state);
  const wait = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

  test("is initial until its delay has passed and every zone has found it healthy", async () => {
    const { group } = await makeEntry();
    const id = await launch(0);
    cloud.registerTargets(group, [{ id, port: 10443 }]);
    expect(states(group)).toEqual(["Elb.RegistrationInProgress"]);
    await wait(9.9);
    expect(zones.takers(group)).toEqual([]);
    await wait(0.2);
    expect(zones.takers(group)).toEqual([`${id}:10443`]);
    expect(states(group)).toEqual(["Elb.InitialHealthChecking"]);
    zones.say(group, `${id}:10443`, "healthy");
    expect(states(group)).toEqual(["healthy"]);
    zones.say(group, `${id}:10443`, "unhealthy", "Target.Timeout");
    expect(states(group)).toEqual(["Target.Timeout"]);
  });

  test("gets new connections for the tail, is draining for its group's delay, and then not listed", async () => {
    const { group } = await makeEntry(2, {
      group: { deregistrationDelay: 300, connectionTermination: true },
    });
    const target = { id: await launch(1), port: 10443 };
    const isClosed = () =>
      [...zones.configs.values()].map(({ groups }) => groups[group]?.targets[`${target.id}:10443`]?.isClosed);
    cloud.registerTargets(group, [target]);
    await wait(11);
    cloud.deregisterTargets(group, [target]);
    expect(states(group)).toEqual(["Target.DeregistrationInProgress"]);
    await wait(119);
    expect(zones.takers(group)).toHaveLength(1);
    await wait(2);
    expect(zones.takers(group)).toEqual([]);
    await wait(178);
    expect(isClosed()).toEqual([false, false]);
    expect(states(group)).toEqual(["Target.DeregistrationInProgress"]);
    await wait(1.5);
    expect(isClosed()).toEqual([true, true]);
    expect(states(group)).toEqual([]);
    expect(cloud.targetHealth(group, [target])).toMatchObject([
      { state: "unused", reason: "Target.NotRegistered" },
    ]);
    await wait(2);
    expect(isClosed()).toEqual([undefined, undefined]);
  });

  test("that comes back while it drains begins anew", async () => {
    const { group } = await makeEntry();
    const target = { id: await launch(0), port: 10443 };
    cloud.registerTargets(group, [target]);
    await wait(11);
    zones.say(group, `${target.id}:10443`, "healthy");
    cloud.deregisterTargets(group, [target]);
    cloud.registerTargets(group, [target]);
    expect(states(group)).toEqual(["Elb.RegistrationInProgress"]);
    await wait(11);
    expect(states(group)).toEqual(["Elb.InitialHealthChecking"]);
  });

  test("is a machine that runs; one that is stopped later is unused, one that is terminated is forgotten", async () => {
    const { group } = await makeEntry();
    const id = await launch(0);
    expect(() => cloud.registerTargets(group, [{ id: "i-1", port: 1 }])).toThrow(
      "'i-1' are not valid instance IDs",
    );
    cloud.registerTargets(group, [{ id, port: 10443 }]);
    stopped.add(id);
    expect(states(group)).toEqual(["Target.InvalidState"]);
    expect(() => cloud.registerTargets(group, [{ id, port: 1 }])).toThrow("not in a running state");
    await cloud.remove("instance", id);
    expect(states(group)).toEqual([]);
  });

  test("gets connections of its own zone only, where cross-zone is off for balancer or group", async () => {
    const { group, balancer, inputs } = await makeEntry();
    const id = await launch(1);
    cloud.registerTargets(group, [{ id, port: 10443 }]);
    await wait(11);
    expect(zones.takers(group, "eu-central-1a")).toHaveLength(1);
    await cloud.update("loadBalancer", balancer, { ...inputs, enableCrossZoneLoadBalancing: false });
    expect(zones.takers(group, "eu-central-1a")).toEqual([]);
    expect(zones.takers(group, "eu-central-1b")).toHaveLength(1);
    await cloud.update("targetGroup", group, { ...groupInputs, loadBalancingCrossZoneEnabled: "true" });
    expect(zones.takers(group, "eu-central-1a")).toHaveLength(1);
  });

  test("of a group without a listener is not in use", async () => {
    const group = await made("targetGroup", groupInputs);
    cloud.registerTargets(group, [{ id: await launch(0), port: 10443 }]);
    expect(states(group)).toEqual(["Target.NotInUse"]);
  });

  test("is known to a cloud that goes on from a saved one", async () => {
    const { group } = await makeEntry();
    const id = await launch(0);
    cloud.registerTargets(group, [{ id, port: 10443 }]);
    await wait(11);
    const saved = JSON.parse(JSON.stringify(await cloud.hibernate()));
    const later = new Zones();
    const resumed = new Cloud(machines, {} as ObjectStore, () => {}, saved, later, delays);
    resumed.resume();
    await wait(0);
    expect(later.takers(group)).toEqual([`${id}:10443`]);
  });
});

describe("the APIs for machines", () => {
  const statement = (Action: string | string[], Resource: string, more = {}) => ({
    Effect: "Allow",
    Action,
    Resource,
    ...more,
  });
  const everything = [statement("*", "*")];
  let server: Server;

  beforeEach(async () => {
    vi.useRealTimers();
    server = createServer((asked, response) => {
      const service = asked.headers.host?.startsWith("ec2.") ? ec2Api : elasticLoadBalancingApi;
      void answerQuery(asked, response, service, cloud);
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
  });

  afterEach(() => server.close());

  /** A machine with a role that may do this. */
  async function machineWith(statements: object[]): Promise<string> {
    const role = await made("role", { name: "balancer" });
    const iamInstanceProfile = await made("instanceProfile", { name: "balancer", role });
    await made("rolePolicy", { name: "own", role, policy: JSON.stringify({ Statement: statements }) });
    return made("instance", {
      ami: "ami-1",
      instanceType: "t3.small",
      iamInstanceProfile,
      tags: { Role: "asks" },
    });
  }

  /** Posts a form like boto3, signed with a machine's credentials; gives status and body. */
  async function ask(
    id: string,
    form: Record<string, string>,
    changes: { secret?: string; service?: string } = {},
  ) {
    const service = form.Action === "DescribeInstances" ? "ec2" : "elasticloadbalancing";
    const body = new URLSearchParams({
      Version: service === "ec2" ? "2016-11-15" : "2015-12-01",
      ...form,
    }).toString();
    const instance = cloud.instanceAt(String(cloud.read("instance", id)?.outputs.privateIp));
    const credentials = instance && cloud.issueCredentials(instance);
    if (!credentials) throw new Error(`${id} has no credentials`);
    const { headers = {} } = sign(
      {
        service: changes.service ?? service,
        region: "eu-central-1",
        method: "POST",
        host: `${service}.eu-central-1.amazonaws.com`,
        path: "/",
        body,
        headers: { "Content-Type": "application/x-www-form-urlencoded; charset=utf-8" },
      },
      {
        accessKeyId: credentials.accessKeyId,
        secretAccessKey: changes.secret ?? credentials.secretAccessKey,
        sessionToken: credentials.token,
      },
    );
    const { port } = server.address() as AddressInfo;
    const asked = request({
      port,
      host: "127.0.0.1",
      method: "POST",
      path: "/",
      headers: headers as Record<string, string>,
      agent: false,
    }).end(body);
    const [response] = await once(asked, "response");
    let text = "";
    for await (const part of response.setEncoding("utf8")) text += part;
    return `${response.statusCode} ${text}`;
  }

  const idsIn = (answer: string) => [...answer.matchAll(/<instanceId>([^<]+)/g)].map(([, id]) => id);
  const filter = (number: number, name: string, ...values: string[]) => ({
    [`Filter.${number}.Name`]: name,
    ...Object.fromEntries(values.map((value, index) => [`Filter.${number}.Value.${index + 1}`, value])),
  });

  test("list instances page by page, by tag and state, terminated ones included", async () => {
    const asker = await machineWith(everything);
    const nodes = await Promise.all(Array.from({ length: 7 }, () => launch(1, { Role: "node & more" })));
    stopped.add(nodes[0] ?? "");
    await cloud.remove("instance", nodes[1] ?? "");
    const list = (form: Record<string, string>) => ask(asker, { Action: "DescribeInstances", ...form });
    const first = await list({ ...filter(1, "tag:Role", "node*"), MaxResults: "5" });
    expect(idsIn(first)).toHaveLength(5);
    const [, NextToken = ""] = /<nextToken>([^<]+)/.exec(first) ?? [];
    const second = await list({ ...filter(1, "tag:Role", "node*"), MaxResults: "5", NextToken });
    expect(second).not.toContain("nextToken");
    expect([...idsIn(first), ...idsIn(second)].sort()).toEqual([...nodes].sort());
    const running = await list({
      ...filter(1, "tag:Role", "asks", "node & more"),
      ...filter(2, "instance-state-name", "running"),
    });
    expect(idsIn(running).sort()).toEqual([asker, ...nodes.slice(2)].sort());
    expect(running).toContain("<key>Role</key><value>node &amp; more</value>");
    expect(running).toContain("<availabilityZone>eu-central-1b</availabilityZone>");
    const gone = await list(filter(1, "instance-state-name", "terminated"));
    expect(idsIn(gone)).toEqual([nodes[1]]);
    expect(gone).not.toContain("privateIpAddress");
    expect(idsIn(await list({ "InstanceId.1": asker }))).toEqual([asker]);
  });

  test.each<[string, Record<string, string>, string]>([
    ["a page that is too small", { MaxResults: "4" }, "400 .*InvalidParameterValue"],
    ["a filter that the sandbox does not know", filter(1, "root-device-name", "x"), "400 .*root-device-name"],
    ["a parameter that the sandbox does not know", { DryRun: "true" }, "400 .*UnknownParameter.*DryRun"],
    ["another version", { Version: "2014-01-01" }, "400 .*InvalidAction"],
    ["an instance that there is not", { "InstanceId.1": "i-1" }, "400 .*InvalidInstanceID.NotFound"],
    ["a token that is none", { NextToken: "x" }, "400 .*NextToken"],
  ])("refuse %s", async (_, form, answer) => {
    const asker = await machineWith(everything);
    expect(await ask(asker, { Action: "DescribeInstances", ...form })).toMatch(new RegExp(`^${answer}`, "s"));
  });

  test("refuse a wrong signature and a role without the right, each in the service's words", async () => {
    const { group } = await makeEntry();
    const asker = await machineWith([statement("elasticloadbalancing:RegisterTargets", group)]);
    const list = { Action: "DescribeInstances" };
    const health = { Action: "DescribeTargetHealth", TargetGroupArn: group };
    expect(await ask(asker, list, { secret: "x" })).toMatch(/^403 .*<Response>.*SignatureDoesNotMatch/s);
    expect(await ask(asker, health, { secret: "x" })).toMatch(
      /^403 .*<ErrorResponse .*SignatureDoesNotMatch/s,
    );
    expect(await ask(asker, list, { service: "ssm" })).toMatch(/^401 .*AuthFailure/s);
    expect(await ask(asker, list)).toMatch(/^403 .*UnauthorizedOperation.*ec2:DescribeInstances/s);
    expect(await ask(asker, health)).toMatch(
      /^403 .*AccessDenied.*elasticloadbalancing:DescribeTargetHealth/s,
    );
    const register = { Action: "RegisterTargets", TargetGroupArn: group, "Targets.member.1.Id": asker };
    // AWS asks for rights of EC2 as well.
    expect(await ask(asker, register)).toMatch(/^403 .*AccessDenied.*ec2:DescribeInstances/s);
  });

  test("let a role register with groups of its stack's tag only, with the group's port or another", async () => {
    const { group } = await makeEntry(1, { group: { tags: { Stack: "dev" } } });
    const other = await made("targetGroup", { ...groupInputs, name: "other", tags: { Stack: "prod" } });
    const Condition = { StringEquals: { "aws:ResourceTag/Stack": "dev" } };
    const asker = await machineWith([
      statement("elasticloadbalancing:*Targets", "*", { Condition }),
      statement(["ec2:Describe*", "elasticloadbalancing:DescribeTargetHealth"], "*"),
    ]);
    const register = (TargetGroupArn: string, Id: string) =>
      ask(asker, {
        Action: "RegisterTargets",
        TargetGroupArn,
        "Targets.member.1.Id": Id,
        "Targets.member.2.Id": Id,
        "Targets.member.2.Port": "8443",
      });
    expect(await register(group, asker)).toMatch(/^200 .*<RegisterTargetsResult><\/RegisterTargetsResult>/s);
    expect(await register(other, asker)).toMatch(/^403 .*AccessDenied/s);
    expect(await register(group, "i-1")).toMatch(/^400 .*InvalidTarget/s);
    const health = await ask(asker, { Action: "DescribeTargetHealth", TargetGroupArn: group });
    expect([...health.matchAll(/<Port>(\d+)<\/Port>/g)].map(([, port]) => port)).toEqual(["10443", "8443"]);
    expect(health).toContain("<State>initial</State><Reason>Elb.RegistrationInProgress</Reason>");
    const gone = { Action: "DescribeTargetHealth", TargetGroupArn: `${group}0` };
    expect(await ask(asker, gone)).toMatch(/^400 .*TargetGroupNotFound/s);
  });
});
