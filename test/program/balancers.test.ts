import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { subnetIds } from "../../sandbox/account";
import { resolveOutput, runProgram } from "./program";

const minimal = {
  domain: "wcs.example.com",
  hostedZone: "Z0123456789ABC",
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};

type Program = Awaited<ReturnType<typeof runProgram>>;

/** Every entry, and every number of balancers. */
const configs = {
  "one, address": {},
  "one, both": { entry: "both" },
  "one, loadBalancer": { entry: "loadBalancer" },
  "two, both": { balancers: 2, entry: "both" },
  "two, loadBalancer": { balancers: 2 },
  "three, loadBalancer": { balancers: 3 },
};
type Name = keyof typeof configs;
const all = Object.keys(configs) as Name[];

const programs = {} as Record<Name, Program>;
beforeAll(async () => {
  for (const name of all) programs[name] = await runProgram({ ...minimal, ...configs[name] });
}, 120_000);

const inputsOf = ({ resources }: Program, type: string) =>
  Object.fromEntries(
    resources.filter((resource) => resource.type === type).map(({ name, inputs }) => [name, inputs]),
  );
const instances = (program: Program) => inputsOf(program, "aws:ec2/instance:Instance");
const rules = (program: Program) =>
  inputsOf(program, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule");
const nodesOf = (program: Program) => [instances(program)["wcs-1"], instances(program)["wcs-2"]];

async function documentOf({ resources }: Program) {
  const parameter = resources.find(({ name }) => name === "desired-state-document");
  return JSON.parse(gunzipSync(Buffer.from(String(parameter?.inputs.insecureValue), "base64")).toString());
}

describe("no machine is replaced", () => {
  const pairs = all.flatMap((before) =>
    all.filter((after) => after !== before).map((after) => [before, after]),
  );

  test.each(pairs as [Name, Name][])("no node and not the first balancer: from %s to %s", (before, after) => {
    expect(nodesOf(programs[after])).toEqual(nodesOf(programs[before]));
    const first = (name: Name) => instances(programs[name])["balancer-1"];
    expect(first(after)).toEqual(first(before));
  });

  test("no second balancer, when there are three", () => {
    const second = (name: Name) => instances(programs[name])["balancer-2"];
    expect(second("two, loadBalancer")).toBeDefined();
    expect(second("three, loadBalancer")).toEqual(second("two, loadBalancer"));
    expect(second("two, both")).toEqual(second("two, loadBalancer"));
  });

  test.each([
    "one, address",
    "three, loadBalancer",
  ] as const)("no balancer when nodes change: %s", async (name) => {
    const changed = await runProgram({ ...minimal, ...configs[name], nodes: ["wcs-2", "wcs-3"] });
    const balancers = (program: Program) =>
      Object.entries(instances(program)).filter(([machine]) => machine.startsWith("balancer-"));
    expect(balancers(changed)).toEqual(balancers(programs[name]));
    expect(instances(changed)["wcs-2"]).toEqual(instances(programs[name])["wcs-2"]);
  });
});

describe("an existing stack", () => {
  test("keeps its balancer and everything that belongs to it", () => {
    const registered = programs["one, address"].registrations.find(
      ({ type, name }) => type === "wcs-balancer:balancer:Balancer" && name === "balancer-1",
    );
    expect(registered?.aliases).toEqual([
      "urn:pulumi:dev::wcs-balancer::wcs-balancer:balancer:Balancer::balancer",
    ]);
  });

  test("keeps its Elastic IP, and the names of its security group rules", () => {
    expect(Object.keys(rules(programs["one, address"])).sort()).toEqual([
      "wcs-balancer-http-0.0.0.0/0",
      "wcs-balancer-https-0.0.0.0/0",
      "wcs-node-agent",
      "wcs-node-media-tcp-0.0.0.0/0",
      "wcs-node-media-udp-0.0.0.0/0",
      "wcs-node-ws",
      "wcs-node-wss-0.0.0.0/0",
    ]);
    expect(Object.keys(inputsOf(programs["one, address"], "aws:ec2/eip:Eip"))).toEqual(["entry"]);
  });

  test("gets nothing of a load balancer", () => {
    const { resources } = programs["one, address"];
    expect(resources.filter(({ type }) => type.startsWith("aws:lb/"))).toEqual([]);
    expect(JSON.stringify(resources)).not.toContain("elasticloadbalancing");
  });
});

describe("who reaches the balancers", () => {
  const open = (name: Name, group: string) =>
    Object.values(rules(programs[name]))
      .filter(({ securityGroupId }) => securityGroupId === group)
      .map(({ fromPort, toPort, cidrIpv4, referencedSecurityGroupId }) => {
        expect(toPort).toBe(fromPort);
        return `${fromPort} ${cidrIpv4 ?? referencedSecurityGroupId}`;
      })
      .sort();
  const clients = ["443 0.0.0.0/0", "80 0.0.0.0/0"];
  const behind = [
    "10080 wcs-load-balancer-id",
    "10404 wcs-load-balancer-id",
    "10443 wcs-load-balancer-id",
    "443 wcs-balancer-id",
  ];

  test("clients, when the balancer has the address", () => {
    expect(open("one, address", "wcs-balancer-id")).toEqual(clients);
    expect(open("one, address", "wcs-load-balancer-id")).toEqual([]);
  });

  test("the load balancer and each other, when clients come by the load balancer", () => {
    expect(open("two, loadBalancer", "wcs-balancer-id")).toEqual(behind);
    expect(open("two, loadBalancer", "wcs-load-balancer-id")).toEqual(clients);
  });

  test("both, while clients move from one to the other", () => {
    expect(open("two, both", "wcs-balancer-id")).toEqual([...behind, ...clients].sort());
  });

  test("no rule changes in place, so what closes does so after the rollout", () => {
    const seen = new Map<string, unknown>();
    for (const name of all)
      for (const [rule, inputs] of Object.entries(rules(programs[name]))) {
        expect(seen.get(rule) ?? inputs).toEqual(inputs);
        seen.set(rule, inputs);
      }
  });
});

describe("the load balancer", () => {
  const program = () => programs["two, loadBalancer"];

  test("has an Elastic IP in each zone, and a security group from the start", () => {
    const { "load-balancer": inputs } = inputsOf(program(), "aws:lb/loadBalancer:LoadBalancer");
    expect(inputs).toMatchObject({
      loadBalancerType: "network",
      enableCrossZoneLoadBalancing: true,
      securityGroups: ["wcs-load-balancer-id"],
      subnetMappings: [
        { subnetId: subnetIds[0], allocationId: "allocationId of load-balancer-eu-central-1a" },
        { subnetId: subnetIds[1], allocationId: "allocationId of load-balancer-eu-central-1b" },
      ],
    });
    expect(inputs).not.toHaveProperty("name");
  });

  test("is deleted before another one is made, which needs its addresses", () => {
    const registered = program().registrations.find(({ type }) => type.includes("loadBalancer:LoadBalancer"));
    expect(registered?.deletedBeforeReplaced).toBe(true);
  });

  test("passes 443 and 80 on, with the client's address, and never cuts a socket of a balancer that leaves", () => {
    const groups = inputsOf(program(), "aws:lb/targetGroup:TargetGroup");
    expect(Object.values(groups).map(({ port }) => port)).toEqual([10443, 10080]);
    for (const group of Object.values(groups)) {
      expect(group).toMatchObject({
        protocol: "TCP",
        targetType: "instance",
        proxyProtocolV2: true,
        preserveClientIp: "false",
        connectionTermination: false,
        deregistrationDelay: 3600,
        healthCheck: { protocol: "HTTP", port: "10404", interval: 5, timeout: 3 },
      });
      expect(group).not.toHaveProperty("name");
    }
    const listeners = Object.values(inputsOf(program(), "aws:lb/listener:Listener"));
    expect(
      listeners.map(({ port, protocol, tcpIdleTimeoutSeconds, defaultActions }) => [
        port,
        protocol,
        tcpIdleTimeoutSeconds,
        defaultActions,
      ]),
    ).toEqual([
      [443, "TCP", 3600, [{ type: "forward", targetGroupArn: "arn of load-balancer-https" }]],
      [80, "TCP", 3600, [{ type: "forward", targetGroupArn: "arn of load-balancer-http" }]],
    ]);
  });

  test("loses no address of a protected stack", async () => {
    const { protectedResources } = await runProgram({ ...minimal, balancers: 2, protect: true });
    expect(protectedResources.filter((name) => name.includes("Eip"))).toEqual([
      "aws:ec2/eip:Eip load-balancer-eu-central-1a",
      "aws:ec2/eip:Eip load-balancer-eu-central-1b",
    ]);
  });

  test("has its balancers in different zones in turn", () => {
    const subnets = ["balancer-1", "balancer-2", "balancer-3"].map(
      (name) => instances(programs["three, loadBalancer"])[name]?.subnetId,
    );
    expect(new Set(subnets.slice(0, 2)).size).toBe(2);
    expect(subnets[2]).toBe(subnets[0]);
    expect(instances(programs["one, address"])["balancer-1"]?.subnetId).toBe(subnets[0]);
  });

  describe("stays the same", () => {
    const zone = (number: number) => ({
      id: `subnet-${9 - number}`,
      zone: `eu-central-1${"dacb"[number - 1]}`,
      zoneId: `euc1-az${number}`,
    });
    const run = (zones: number[], first: number) =>
      runProgram({ ...minimal, balancers: 2 }, [], "dev", {
        subnets: zones.map(zone),
        machinesIn: { "balancer-1": zone(first).id },
      });
    const entryOf = (program: Program) => [
      inputsOf(program, "aws:lb/loadBalancer:LoadBalancer"),
      inputsOf(program, "aws:ec2/eip:Eip"),
    ];

    // Of three zones each is the first balancer's once: the choice by its name may be another one with four.
    test.each([
      1, 2, 3,
    ])("when the default VPC gets a fourth zone: balancer-1 is in zone %i", async (first) => {
      expect(entryOf(await run([1, 2, 3, 4], first))).toEqual(entryOf(await run([1, 2, 3], first)));
    });

    test("and has the zone in which the first balancer is, also of four", async () => {
      const [{ "load-balancer": inputs } = {}] = entryOf(await run([1, 2, 3, 4], 4));
      const mappings = inputs?.subnetMappings as { subnetId: string }[];
      expect(mappings.map(({ subnetId }) => subnetId).sort()).toEqual(
        [4, 1, 2].map((number) => zone(number).id).sort(),
      );
    });
  });

  test("gives its balancers' roles just what they need for it", () => {
    const policies = inputsOf(program(), "aws:iam/rolePolicy:RolePolicy");
    const statements = (name: string) => JSON.parse(String(policies[name]?.policy)).Statement;
    for (const balancer of ["balancer-1", "balancer-2"])
      expect(statements(balancer).slice(2)).toEqual([
        {
          Effect: "Allow",
          Action: ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"],
          Resource: ["arn of load-balancer-https", "arn of load-balancer-http"],
        },
        {
          Effect: "Allow",
          Action: [
            "elasticloadbalancing:DescribeTargetHealth",
            "ec2:DescribeInstances",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
          ],
          Resource: "*",
        },
      ]);
  });
});

test("the document names the wanted balancers, and how clients reach them", async () => {
  expect(await documentOf(programs["one, address"])).toMatchObject({
    balancers: { "balancer-1": "i-0000000balancer-1" },
    address: true,
    targetGroups: [],
    leave: { tailSeconds: 300, quietSeconds: 60 },
  });
  expect(await documentOf(programs["two, loadBalancer"])).toMatchObject({
    balancers: { "balancer-1": "i-0000000balancer-1", "balancer-2": "i-0000000balancer-2" },
    address: false,
    targetGroups: [
      { arn: "arn of load-balancer-https", port: 10443 },
      { arn: "arn of load-balancer-http", port: 10080 },
    ],
  });
  expect(await documentOf(programs["two, both"])).toMatchObject({ address: true });
});

describe("addresses", () => {
  const outputsOf = async ({ outputs }: Program) => {
    const values = [outputs.balancerAddress, outputs.dnsRecord, outputs.dnsRecords].map((output) =>
      resolveOutput(output),
    );
    return (await Promise.all(values)).map(({ value }) => value);
  };
  const own = "publicIp of entry";
  const zones = ["publicIp of load-balancer-eu-central-1a", "publicIp of load-balancer-eu-central-1b"];

  test.each<[Name, string[]]>([
    ["one, address", [own]],
    ["two, loadBalancer", zones],
    ["two, both", [own, ...zones]],
  ])("are all in the outputs and in the record: %s", async (name, addresses) => {
    const records = addresses.map((address) => `wcs.example.com. A ${address}`);
    expect(await outputsOf(programs[name])).toEqual([addresses[0], records[0], records]);
    expect(inputsOf(programs[name], "aws:route53/record:Record").domain?.records).toEqual(addresses);
  });

  /** The engine hears of a component only when everything is there that the component depends on. */
  const dependsOn = (name: Name, type: string, other: string) => {
    const { registrations } = programs[name];
    return registrations
      .filter((registration) => registration.type === type)
      .some(({ dependencies }) => dependencies.some((urn) => urn.includes(other)));
  };

  test("get into the record when they serve, and leave it before their balancer waits for that", () => {
    expect(dependsOn("two, both", "wcs-balancer:network:DnsRecord", "command:local:Command")).toBe(true);
    for (const name of ["one, address", "two, loadBalancer"] as const)
      expect(dependsOn(name, "wcs-balancer:balancer:Rollout", "aws:route53/record:Record")).toBe(true);
    // Otherwise the record would name a load balancer without a healthy target.
    const { serving } = inputsOf(programs["two, loadBalancer"], "command:local:Command");
    expect(serving?.environment).toMatchObject({ value: { UNTIL: "serving" } });
    expect(dependsOn("two, loadBalancer", "wcs-balancer:network:DnsRecord", "command:local:Command")).toBe(
      true,
    );
  });

  test("are asked by the rollout, for every balancer", () => {
    const [wait] = Object.values(inputsOf(programs["two, both"], "command:local:Command"));
    const { value } = wait?.environment as { value: Record<string, string> };
    expect(value.ENTRY_ADDRESSES).toBe([own, ...zones].join(" "));
    expect(JSON.parse(value.BALANCERS ?? "")).toEqual({
      "balancer-1": "i-0000000balancer-1",
      "balancer-2": "i-0000000balancer-2",
    });
    expect(value).toMatchObject({ LOAD_BALANCER: "true", LEAVE_SECONDS: "360" });
  });
});

describe("bad input", () => {
  test.each([
    [{ balancers: 0 }, "balancers is 0; it must be a number of balancers from 1 to 3"],
    [{ balancers: 4 }, "balancers is 4; it must be a number of balancers from 1 to 3"],
    [
      { balancers: 2, entry: "address" },
      'entry is "address" and balancers is 2; the Elastic IP leads to one',
    ],
    [{ entry: "dns" }, 'entry is "dns"; it must be address, loadBalancer or both'],
  ])("%j ends the program before a resource is registered", async (config, message) => {
    await expect(runProgram({ ...minimal, ...config })).rejects.toMatchObject({
      message: expect.stringContaining(message),
      resources: [],
    });
  });
});
