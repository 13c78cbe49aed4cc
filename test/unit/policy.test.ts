import { gzipSync } from "node:zlib";
import { unknownCheckingProxy } from "@pulumi/policy";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ingressRules } from "../../cluster/firewall";
import { knownTypes } from "../../policy/known-types";
import { policies } from "../../policy/policies";
import { awsTypes } from "../../sandbox/provider/aws";
import { commandTypes } from "../../sandbox/provider/command";
import { unknownValue } from "../../sandbox/provider/resource-type";
import { tlsTypes } from "../../sandbox/provider/tls";
import { type CheckedResource, stackViolations, unknownBucket, violations } from "../violations";

const tags = { Name: "dev-x", Project: "wcs-balancer", Stack: "dev", Role: "node" };
const base64 = (text: string) => Buffer.from(text).toString("base64");

const rule = (ports: Record<string, unknown>) => ({
  type: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
  inputs: { ipProtocol: "tcp", cidrIpv4: "0.0.0.0/0", tags, ...ports },
});
const from = (cidrIpv4: string | undefined, inputs: Record<string, unknown> = {}) =>
  rule({ fromPort: 22, toPort: 22, cidrIpv4, ...inputs });
const port = (number: number) => rule({ fromPort: number, toPort: number });
const instance = (inputs: Record<string, unknown>) => ({
  type: "aws:ec2/instance:Instance",
  inputs: {
    metadataOptions: { httpTokens: "required", httpPutResponseHopLimit: 1 },
    rootBlockDevice: { encrypted: true },
    tags,
    ...inputs,
  },
});
const parameter = (inputs: Record<string, unknown>) => ({
  type: "aws:ssm/parameter:Parameter",
  inputs: { type: "String", insecureValue: "x", tags, ...inputs },
});
const role = (inputs: Record<string, unknown>) => ({
  type: "aws:iam/role:Role",
  inputs: { tags, ...inputs },
});
const document = (statement: Record<string, unknown>) =>
  JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", ...statement }] });
const rolePolicy = (statement: Record<string, unknown>) => ({
  type: "aws:iam/rolePolicy:RolePolicy",
  inputs: {
    policy: document({ Action: "ssm:GetParameter", Resource: "arn:aws:ssm:x:1:parameter/a", ...statement }),
  },
});
const lookUps = ["ec2:DescribeInstances", "elasticloadbalancing:DescribeTargetHealth"];
const getObject = (statement: Record<string, unknown>) =>
  rolePolicy({ Action: "s3:GetObject", Resource: "arn:aws:s3:::wcs-1/node/*", ...statement });

const s3 = (type: string, inputs: Record<string, unknown>) => ({
  type: `aws:s3/${type[0]?.toLowerCase()}${type.slice(1)}:${type}`,
  inputs,
});
const bucket = (inputs: Record<string, unknown> = {}) =>
  s3("Bucket", { bucket: "wcs-1", arn: "arn:aws:s3:::wcs-1", tags, ...inputs });
const allTrue = {
  blockPublicAcls: true,
  blockPublicPolicy: true,
  ignorePublicAcls: true,
  restrictPublicBuckets: true,
};
const block = (inputs: Record<string, unknown> = {}) =>
  s3("BucketPublicAccessBlock", { bucket: "wcs-1", ...allTrue, ...inputs });
const encryption = (inputs: Record<string, unknown> = {}) =>
  s3("BucketServerSideEncryptionConfiguration", { bucket: "wcs-1", ...inputs });
const onlyTls = {
  Effect: "Deny",
  Principal: "*",
  Action: "s3:*",
  Resource: ["arn:aws:s3:::wcs-1", "arn:aws:s3:::wcs-1/*"],
  Condition: { Bool: { "aws:SecureTransport": "false" } },
};
const bucketPolicy = (statement: Record<string, unknown> = {}, inputs: Record<string, unknown> = {}) =>
  s3("BucketPolicy", { bucket: "wcs-1", policy: document({ ...onlyTls, ...statement }), ...inputs });
const everybodyReads = { Effect: "Allow", Principal: "*", Action: "s3:GetObject", Condition: undefined };

const lb = (type: string, inputs: Record<string, unknown>, refersTo?: CheckedResource["refersTo"]) => ({
  type: `aws:lb/${type[0]?.toLowerCase()}${type.slice(1)}:${type}`,
  inputs: { tags, ...inputs },
  refersTo,
});
const loadBalancer = (inputs: Record<string, unknown> = {}) =>
  lb(
    "LoadBalancer",
    { loadBalancerType: "network", securityGroups: ["sg-0"], ...inputs },
    { securityGroups: [0] },
  );
const targetGroup = (inputs: Record<string, unknown> = {}) =>
  lb("TargetGroup", {
    port: 10_443,
    protocol: "TCP",
    targetType: "instance",
    proxyProtocolV2: true,
    preserveClientIp: "false",
    ...inputs,
  });
const listener = (inputs: Record<string, unknown> = {}, ...groups: number[]) =>
  lb(
    "Listener",
    { port: 443, protocol: "TCP", defaultActions: [{ type: "forward", targetGroupArn: "arn:x" }], ...inputs },
    { defaultActions: groups },
  );
const securityGroup = (): CheckedResource => ({
  type: "aws:ec2/securityGroup:SecurityGroup",
  inputs: { tags },
});
const ruleOf = (group: number, number: number, inputs: Record<string, unknown> = {}): CheckedResource => ({
  ...rule({ fromPort: number, toPort: number, ...inputs }),
  refersTo: { securityGroupId: [group] },
});
const ruleBetween = (group: number, source: number | undefined, number: number): CheckedResource => ({
  ...rule({ fromPort: number, toPort: number, cidrIpv4: undefined, referencedSecurityGroupId: "sg-x" }),
  refersTo: {
    securityGroupId: [group],
    ...(source !== undefined && { referencedSecurityGroupId: [source] }),
  },
});

/** What a stack has for its load balancer; the security groups are the load balancer's, the balancers' and the nodes'. */
const entry = (changes: Record<string, CheckedResource> = {}): CheckedResource[] =>
  Object.values({
    group: securityGroup(),
    balancers: securityGroup(),
    nodes: securityGroup(),
    loadBalancer: loadBalancer(),
    https: targetGroup(),
    redirect: targetGroup({ port: 10_080 }),
    httpsListener: listener({}, 4),
    redirectListener: listener({ port: 80 }, 5),
    httpsRule: ruleOf(0, 443),
    redirectRule: ruleOf(0, 80),
    targetRule: ruleBetween(1, 0, 10_443),
    healthRule: ruleBetween(1, 0, 10_404),
    statusRule: ruleBetween(1, 1, 443),
    mediaRule: ruleOf(2, 30_000),
    ...changes,
  });

const privateKey = "-----BEGIN EC PRIVATE KEY-----";

test.each([
  ["443 open to the world", port(443)],
  ["media open to the world", rule({ ipProtocol: "udp", fromPort: 30_000, toPort: 33_000 })],
  ["22 open to a network", rule({ fromPort: 22, toPort: 22, cidrIpv4: "198.51.100.0/24" })],
  [
    "9707 open to a group",
    rule({ fromPort: 9707, toPort: 9707, cidrIpv4: undefined, referencedSecurityGroupId: "sg-1" }),
  ],
  ["an instance as it should be", instance({ userDataBase64: base64("#cloud-config") })],
  [
    "a key in a SecureString",
    parameter({ type: "SecureString", value: privateKey, insecureValue: undefined }),
  ],
  ["a role that names what it may do", rolePolicy({})],
  [
    "a role that writes its certificate",
    rolePolicy({ Action: "ssm:PutParameter", Resource: "arn:aws:ssm:x:1:parameter/a/dev/acme-certificate" }),
  ],
  [
    "a role that must not write any parameter",
    rolePolicy({ Effect: "Deny", Action: "ssm:PutParameter", Resource: "arn:aws:ssm:x:1:parameter/a" }),
  ],
  ["what is denied altogether", rolePolicy({ Effect: "Deny", Action: "*", Resource: "*" })],
  ["a resource that takes no tags", { type: "aws:route53/record:Record", inputs: {} }],
  ["objects under a prefix", getObject({})],
  [
    "objects under two prefixes",
    getObject({ Resource: ["arn:aws:s3:::b/node/*", "arn:aws-cn:s3:::b/a/b/*"] }),
  ],
  ["look-ups that AWS cannot limit", rolePolicy({ Action: lookUps, Resource: "*" })],
  ["one of them", rolePolicy({ Action: lookUps[0], Resource: "*" })],
  ["a load balancer with a security group", loadBalancer()],
  ["a target group with PROXY protocol", targetGroup()],
  ["one of the redirect, of the default type", targetGroup({ port: 10_080, targetType: undefined })],
  ["a listener on 443", listener()],
  ["a listener on 80", listener({ port: 80 })],
  ["a bucket as it should be", bucket()],
  ["a block of all public access", block()],
  ["encryption", encryption()],
  ["ownership", s3("BucketOwnershipControls", { bucket: "wcs-1" })],
  ["a policy that denies plain HTTP to everybody", bucketPolicy()],
  ["an object", s3("BucketObjectv2", { bucket: "wcs-1", key: "node/a", acl: "private", tags })],
])("%s is in order", (_, resource) => {
  expect(violations(resource)).toEqual([]);
});

describe("what the program opens", () => {
  type FirewallSettings = Parameters<typeof ingressRules>[0];
  const everything: FirewallSettings = {
    clientCidrs: ["0.0.0.0/0"],
    adminCidrs: ["198.51.100.0/24"],
    balancerCidrs: ["172.31.0.10/32"],
    balancers: 1,
    directAccess: true,
    openPorts: ["cdn"],
    sshPublicKey: "ssh-ed25519 AAAA",
  };
  /** The place of the load balancer's group in the list of all resources. */
  const guard = 0;
  const resources = (settings: FirewallSettings): CheckedResource[] => [
    { type: "aws:ec2/securityGroup:SecurityGroup", inputs: { tags } },
    { ...loadBalancer(), refersTo: { securityGroups: [guard] } },
    ...ingressRules(settings).map(({ group, protocol, first, last, from }) => ({
      ...rule({
        ipProtocol: protocol,
        fromPort: first,
        toPort: last,
        cidrIpv4: "cidr" in from ? from.cidr : undefined,
        referencedSecurityGroupId: "group" in from ? `sg-${from.group}` : undefined,
      }),
      refersTo: {
        ...(group === "load-balancer" && { securityGroupId: [guard] }),
        ...("group" in from && from.group === "load-balancer" && { referencedSecurityGroupId: [guard] }),
      },
    })),
  ];

  test.each([
    ["all there is, to the networks that need it", everything],
    [
      "services of WCS, to some clients",
      { ...everything, clientCidrs: ["203.0.113.0/24"], openPorts: ["hls", "rtmp", "rtsp"] },
    ],
  ] satisfies [string, FirewallSettings][])("is in order: %s", (_, settings) => {
    expect(resources(settings).flatMap(violations)).toEqual([]);
    expect(stackViolations(resources(settings))).toEqual([]);
  });

  test("is refused where operators are the world", () => {
    const open = resources({ ...everything, adminCidrs: ["0.0.0.0/0"] }).flatMap(violations);
    expect(open).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^world-ports: tcp 8404 is open/),
        expect.stringMatching(/^world-ports: tcp 22 is open/),
      ]),
    );
  });
});

test.each([
  ["a bucket with all that belongs to it", [bucket(), block(), encryption(), bucketPolicy()]],
  [
    "a bucket that is not made yet",
    [
      bucket({ bucket: undefined }),
      block({ bucket: unknownBucket }),
      encryption({ bucket: unknownBucket }),
      bucketPolicy({}, { bucket: unknownBucket }),
    ],
  ],
  [
    "a policy that is an object",
    [bucket(), block(), encryption(), bucketPolicy({}, { policy: { Statement: onlyTls } })],
  ],
  ["a stack without a bucket", [port(443)]],
  ["a load balancer with all that belongs to it", entry()],
  [
    "a bucket whose policy denies plain HTTP to every account",
    [bucket(), block(), encryption(), bucketPolicy({ Principal: { AWS: "*" } })],
  ],
  [
    "443 to the world in parts",
    ["0.0.0.0/1", "128.0.0.0/1"].map((cidr) => rule({ fromPort: 443, toPort: 443, cidrIpv4: cidr })),
  ],
  ["22 to one network, over and over", Array.from({ length: 40 }, () => from("12.0.0.0/8"))],
  [
    "22 to everything private",
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "12.0.0.0/8"].map((cidr) => from(cidr)),
  ],
  [
    "other ports to parts of the world",
    Array.from({ length: 20 }, (_, index) =>
      from(`${index + 20}.0.0.0/8`, { fromPort: index, toPort: index }),
    ),
  ],
])("%s is in order", (_, resources) => {
  expect(stackViolations(resources)).toEqual([]);
});

/** What violates each policy: a resource, or several that are looked at together. */
const cases: Record<string, [string, CheckedResource | CheckedResource[], string][]> = {
  "known-types": [
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest",
    "aws:alb/loadBalancer:LoadBalancer",
    "aws:cloudformation/stack:Stack",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
    "aws:s3control/accessPointPolicy:AccessPointPolicy",
    "aws-native:ec2:SecurityGroup",
    "pulumi-nodejs:dynamic:Resource",
  ].map((type) => [type, { type, inputs: { tags } }, `${type} is a type that the policies do not know`]),
  "world-ports": [
    ["22", port(22), "tcp 22 is open to the world"],
    ["9707", port(9707), "tcp 9707 is open to the world"],
    ["8080", port(8080), "tcp 8080 is open to the world"],
    ["443 over UDP", rule({ ipProtocol: "udp", fromPort: 443, toPort: 443 }), "udp 443 is open to the world"],
    ["more than media", rule({ fromPort: 30_000, toPort: 33_001 }), "tcp 30000-33001 is open to the world"],
    [
      "the world of IPv6",
      rule({ fromPort: 22, toPort: 22, cidrIpv4: undefined, cidrIpv6: "::/0" }),
      "tcp 22 is open",
    ],
    ["everything", rule({ ipProtocol: "-1" }), "every protocol 0-65535 is open to the world"],
    ["half of the world", from("128.0.0.0/1"), "tcp 22 is open to the world"],
    [
      "the world of IPv4, as IPv6",
      from(undefined, { cidrIpv6: "::ffff:0:0/96" }),
      "tcp 22 is open to the world",
    ],
    ["a network of IPv6 around that", from(undefined, { cidrIpv6: "::/64" }), "tcp 22 is open to the world"],
    [
      "a prefix list",
      rule({ fromPort: 22, toPort: 22, cidrIpv4: undefined, prefixListId: "pl-1" }),
      "prefix list",
    ],
  ],
  "world-ports-in-parts": [
    [
      "the world in 256 parts",
      Array.from({ length: 256 }, (_, index) => from(`${index}.0.0.0/8`)),
      "tcp 22 is open to the world, by 0.0.0.0/8, 1.0.0.0/8, ",
    ],
    [
      "two halves that overlap in one port",
      [from("12.0.0.0/8", { fromPort: 20, toPort: 30 }), from("13.0.0.0/8", { fromPort: 30, toPort: 40 })],
      "tcp 20-30 is open to the world, by 12.0.0.0/8, 13.0.0.0/8 together",
    ],
    [
      "one of them for every protocol",
      [from("12.0.0.0/8"), from("13.0.0.0/8", { ipProtocol: "-1", fromPort: undefined, toPort: undefined })],
      "tcp 22 is open to the world",
    ],
    [
      "the world of IPv6 in parts",
      [from(undefined, { cidrIpv6: "2000::/11" }), from(undefined, { cidrIpv6: "2020::/11" })],
      "tcp 22 is open to the world, by 2000::/11, 2020::/11 together",
    ],
    ...[
      ["tcp", "6"],
      ["udp", "17"],
      ["icmp", "1"],
      ["icmpv6", "58"],
    ].map(([name, number]): [string, CheckedResource[], string] => [
      `one of them for ${name} by its number`,
      [from("11.0.0.0/8", { ipProtocol: name }), from("12.0.0.0/8", { ipProtocol: number })],
      `${name} 22 is open to the world, by 11.0.0.0/8, 12.0.0.0/8 together`,
    ]),
    [
      "one of them as IPv6",
      [from("11.0.0.0/8"), from(undefined, { cidrIpv6: "::ffff:12.0.0.0/104" })],
      "tcp 22 is open to the world",
    ],
  ],
  "internal-ports": [
    [
      "8081 to a network",
      rule({ fromPort: 8081, toPort: 8081, cidrIpv4: "10.0.0.0/8" }),
      "tcp 8081 opens 8081",
    ],
    [
      "50999 to a group, within a range",
      rule({ fromPort: 50_000, toPort: 51_000, cidrIpv4: undefined, referencedSecurityGroupId: "sg-1" }),
      "tcp 50000-51000 opens 50999",
    ],
    ["everything to a network", rule({ ipProtocol: "-1", cidrIpv4: "10.0.0.0/8" }), "opens 2001, 2002"],
  ],
  "proxy-ports": [
    [
      "10443 to a network",
      rule({ fromPort: 10_443, toPort: 10_443, cidrIpv4: "203.0.113.0/24" }),
      "tcp 10443 is",
    ],
    [
      "10080 to an address",
      rule({ fromPort: 10_080, toPort: 10_080, cidrIpv4: "203.0.113.7/32" }),
      "tcp 10080",
    ],
    [
      "the health check to the VPC",
      rule({ fromPort: 10_404, toPort: 10_404, cidrIpv4: "172.31.0.0/16" }),
      "tcp 10404 is open to a network, whose machines could claim any client address",
    ],
    [
      "10443 within a range",
      rule({ fromPort: 10_000, toPort: 11_000, cidrIpv4: "10.0.0.0/8" }),
      "tcp 10000-11000 is open to a network",
    ],
    ["everything to a network", rule({ ipProtocol: "-1", cidrIpv4: "10.0.0.0/8" }), "every protocol 0-65535"],
    [
      "10443 to IPv6",
      rule({ fromPort: 10_443, toPort: 10_443, cidrIpv4: undefined, cidrIpv6: "2001:db8::/64" }),
      "tcp 10443 is open",
    ],
    [
      "10443 to a prefix list",
      rule({ fromPort: 10_443, toPort: 10_443, cidrIpv4: undefined, prefixListId: "pl-1" }),
      "tcp 10443 is open",
    ],
  ],
  "rules-of-their-own": [
    [
      "an inline rule",
      { type: "aws:ec2/securityGroup:SecurityGroup", inputs: { ingress: [{}], tags } },
      "make each rule",
    ],
    [
      "the older resource",
      { type: "aws:ec2/securityGroupRule:SecurityGroupRule", inputs: { tags } },
      "use aws.vpc",
    ],
  ],
  "guarded-load-balancers": [
    ["no security group", loadBalancer({ securityGroups: undefined }), "has no security group"],
    ["an empty list of them", loadBalancer({ securityGroups: [] }), "has no security group"],
    [
      "an Application Load Balancer",
      loadBalancer({ loadBalancerType: "application" }),
      "type application, not network",
    ],
    ["AWS's default type", loadBalancer({ loadBalancerType: undefined }), "type application, not network"],
  ],
  "load-balancer-listeners": [
    ["8443", listener({ port: 8443 }), "listens on 8443"],
    ["8404", listener({ port: 8404 }), "listens on 8404"],
    ["TLS ended at the load balancer", listener({ protocol: "TLS" }), "protocol is TLS, not TCP"],
    ["UDP", listener({ protocol: "TCP_UDP" }), "protocol is TCP_UDP, not TCP"],
    ["another action", listener({ defaultActions: [{ type: "redirect" }] }), "does more than forward"],
    [
      "parts of clients to another group",
      listener({ defaultActions: [{ type: "forward", forward: { targetGroups: [{}] } }] }),
      "does more than forward",
    ],
  ],
  "load-balancer-targets": [
    [
      "the balancers' plain port",
      targetGroup({ port: 443 }),
      "port is 443; the balancers' ports for it are 10080 and 10443",
    ],
    ["the health check's port", targetGroup({ port: 10_404 }), "port is 10404"],
    ["WCS's REST interface", targetGroup({ port: 8081 }), "port is 8081"],
    ["another protocol", targetGroup({ protocol: "TLS" }), "protocol is TLS, not TCP"],
    ["addresses as targets", targetGroup({ targetType: "ip" }), "type is ip, not instance"],
    [
      "no PROXY protocol",
      targetGroup({ proxyProtocolV2: undefined }),
      "proxyProtocolV2 is undefined, not true",
    ],
    ["PROXY protocol off", targetGroup({ proxyProtocolV2: false }), "proxyProtocolV2 is false, not true"],
    [
      "clients' addresses kept",
      targetGroup({ preserveClientIp: "true" }),
      'preserveClientIp is true, not "false"',
    ],
    [
      "AWS's default, which keeps them for instances",
      targetGroup({ preserveClientIp: undefined }),
      "preserveClientIp is undefined",
    ],
  ],
  "load-balancer-forwards": [
    [
      "80 to the pages",
      entry({ redirectListener: listener({ port: 80 }, 4) }),
      "thing-7 forwards 80 to the balancers' port 10443, not 10080",
    ],
    [
      "443 to the redirect",
      entry({ httpsListener: listener({}, 5) }),
      "thing-6 forwards 443 to the balancers' port 10080, not 10443",
    ],
    [
      "a target group of somebody else",
      entry({ httpsListener: listener() }),
      "thing-6 forwards to a target group that this stack does not make",
    ],
  ],
  "load-balancer-ports": [
    ["8443", entry({ other: ruleOf(0, 8443) }), "tcp 8443 is open at the load balancer"],
    ["443 over UDP", entry({ other: ruleOf(0, 443, { ipProtocol: "udp" }) }), "udp 443 is open"],
    ["80 to 443", entry({ other: ruleOf(0, 80, { toPort: 443 }) }), "tcp 80-443 is open"],
    [
      "everything to a network",
      entry({ other: ruleOf(0, 0, { ipProtocol: "-1", cidrIpv4: "10.0.0.0/8" }) }),
      "every protocol",
    ],
    [
      "a security group of somebody else",
      entry({ loadBalancer: { ...loadBalancer(), refersTo: {} } }),
      "thing-3 has a security group that this stack does not make",
    ],
    [
      "one beside its own",
      entry({ loadBalancer: loadBalancer({ securityGroups: ["sg-0", "sg-9"] }) }),
      "thing-3 has a security group that this stack does not make",
    ],
  ],
  "proxy-ports-of-load-balancers": [
    [
      "10443 to nodes",
      entry({ targetRule: ruleBetween(1, 2, 10_443) }),
      "tcp 10443 is open to another security group",
    ],
    [
      "the health check to balancers",
      entry({ healthRule: ruleBetween(1, 1, 10_404) }),
      "tcp 10404 is open to another",
    ],
    [
      "10443 to a group of somebody else",
      entry({ targetRule: ruleBetween(1, undefined, 10_443) }),
      "tcp 10443 is open",
    ],
    [
      "10443 in a stack without a load balancer",
      [securityGroup(), securityGroup(), ruleBetween(1, 0, 10_443)],
      "tcp 10443 is open to another security group than a load balancer's",
    ],
  ],
  imdsv2: [
    ["no options", instance({ metadataOptions: undefined }), "httpTokens is undefined"],
    [
      "IMDSv1",
      instance({ metadataOptions: { httpTokens: "optional", httpPutResponseHopLimit: 1 } }),
      "httpTokens is optional",
    ],
    [
      "a hop more",
      instance({ metadataOptions: { httpTokens: "required", httpPutResponseHopLimit: 2 } }),
      "HopLimit is 2",
    ],
  ],
  "encrypted-disks": [
    [
      "a plain root disk",
      instance({ rootBlockDevice: { volumeSize: 16 } }),
      "rootBlockDevice.encrypted is not true",
    ],
    [
      "a plain further disk",
      instance({ ebsBlockDevices: [{ deviceName: "/dev/sdf" }] }),
      "/dev/sdf is not encrypted",
    ],
    ["a plain volume", { type: "aws:ebs/volume:Volume", inputs: { tags } }, "encrypted is not true"],
  ],
  "no-inline-secrets": [
    ["a key in user-data", instance({ userData: `x\n${privateKey}` }), "user-data holds a secret"],
    [
      "in compressed user-data",
      instance({ userDataBase64: gzipSync(privateKey).toString("base64") }),
      "user-data holds",
    ],
    [
      "an access key",
      instance({ userDataBase64: base64("export KEY=AKIAIOSFODNN7EXAMPLE") }),
      "user-data holds",
    ],
    [
      "a password",
      instance({ userDataBase64: base64("password: hunter2hunter2hunter2") }),
      "user-data holds",
    ],
    [
      "base64 of a file",
      instance({ userDataBase64: base64(`write_files:\n- encoding: b64\n  content: ${base64(privateKey)}`) }),
      "user-data holds",
    ],
    [
      "base64 in lines",
      instance({ userData: base64(`${"x".repeat(50)}\n${privateKey}`).replace(/.{76}/g, "$&\n    ") }),
      "user-data holds",
    ],
    [
      "a compressed file",
      instance({ userData: `content: !!binary ${gzipSync(privateKey).toString("base64")}\npath: /key` }),
      "user-data holds",
    ],
    ["a key in a plain parameter", parameter({ insecureValue: privateKey }), "make it a SecureString"],
    [
      "a place for keys that is no SecureString",
      parameter({ name: "/a/dev/acme-certificate", insecureValue: "{}" }),
      "machines write a key into /a/dev/acme-certificate, which is a String; make it a SecureString",
    ],
    ["a SecureString in clear text", parameter({ type: "SecureString" }), "in clear text"],
    ["a tag", parameter({ tags: { ...tags, Token: "token=0123456789abcdef0" } }), "a tag holds a secret"],
  ],
  tags: [
    ["none", { type: "aws:ec2/eip:Eip", inputs: {} }, "the tags Name, Project, Stack, Role are missing"],
    [
      "one missing",
      { type: "aws:ec2/eip:Eip", inputs: { tags: { ...tags, Role: "" } } },
      "the tags Role are missing",
    ],
  ],
  "written-parameters": [
    [
      "another parameter",
      rolePolicy({ Action: "ssm:PutParameter" }),
      "the role may call ssm:PutParameter on arn:aws:ssm:x:1:parameter/a; machines write only",
    ],
    [
      "another one beside it, in other letters",
      rolePolicy({
        Action: ["ssm:GetParameter", "SSM:putparameter"],
        Resource: [
          "arn:aws:ssm:x:1:parameter/a/dev/acme-certificate",
          "arn:aws:ssm:x:1:parameter/a/dev/acme-account",
        ],
      }),
      "SSM:putparameter on arn:aws:ssm:x:1:parameter/a/dev/acme-account; machines write only",
    ],
    [
      "one whose name only begins like it",
      rolePolicy({ Action: "ssm:PutParameter", Resource: "arn:aws:ssm:x:1:parameter/a/acme-certificate-2" }),
      "on arn:aws:ssm:x:1:parameter/a/acme-certificate-2; machines write only",
    ],
    [
      "its deletion",
      rolePolicy({
        Action: "ssm:DeleteParameter",
        Resource: "arn:aws:ssm:x:1:parameter/a/dev/acme-certificate",
      }),
      "the role may call ssm:DeleteParameter on",
    ],
    [
      "who may read it",
      rolePolicy({
        Action: "ssm:PutResourcePolicy",
        Resource: "arn:aws:ssm:x:1:parameter/a/dev/acme-certificate",
      }),
      "the role may call ssm:PutResourcePolicy on",
    ],
  ],
  "no-wildcards": [
    ["every action", rolePolicy({ Action: "*" }), "* has a wildcard"],
    ["every action of a service", rolePolicy({ Action: ["ssm:*"] }), "ssm:* has a wildcard"],
    ["every resource", rolePolicy({ Resource: "*" }), "* has a wildcard"],
    [
      "every principal",
      role({ assumeRolePolicy: document({ Action: "sts:AssumeRole", Principal: { AWS: "*" } }) }),
      "* has",
    ],
    [
      "anybody",
      role({ assumeRolePolicy: document({ Action: "sts:AssumeRole", Principal: "*" }) }),
      "* has a wildcard",
    ],
    ["any letter", rolePolicy({ Resource: "arn:aws:ssm:x:1:parameter/?" }), "parameter/? has a wildcard"],
    [
      "all but one action",
      rolePolicy({ Action: undefined, NotAction: "iam:PassRole" }),
      "NotAction has a wildcard",
    ],
    ["all but one resource", rolePolicy({ Resource: undefined, NotResource: "arn:x" }), "NotResource has"],
    ["all of a bucket", getObject({ Resource: "arn:aws:s3:::b/*" }), "b/* has a wildcard"],
    ["a prefix without a name", getObject({ Resource: "arn:aws:s3:::b//*" }), "b//* has a wildcard"],
    ["objects by half a name", getObject({ Resource: "arn:aws:s3:::b/node*" }), "b/node* has a wildcard"],
    [
      "a wildcard in a prefix",
      getObject({ Resource: "arn:aws:s3:::b/*/node/*" }),
      "b/*/node/* has a wildcard",
    ],
    ["any bucket", getObject({ Resource: "arn:aws:s3:::wcs-*/node/*" }), "wcs-*/node/* has a wildcard"],
    ["a change of objects", getObject({ Action: "s3:PutObject" }), "node/* has a wildcard"],
    [
      "more than reading",
      getObject({ Action: ["s3:GetObject", "s3:DeleteObject"] }),
      "node/* has a wildcard",
    ],
    ["all that gets", getObject({ Action: "s3:Get*" }), "node/* has a wildcard"],
    [
      "parameters under a prefix",
      rolePolicy({ Resource: "arn:aws:ssm:x:1:parameter/a/*" }),
      "a/* has a wildcard",
    ],
    ["another look-up", rolePolicy({ Action: "ec2:DescribeImages", Resource: "*" }), "* has a wildcard"],
    [
      "another look-up beside one that is allowed",
      rolePolicy({ Action: [...lookUps, "ec2:DescribeTags"], Resource: "*" }),
      "* has a wildcard",
    ],
    [
      "a look-up by half a name",
      rolePolicy({ Action: "ec2:DescribeInstance*", Resource: "*" }),
      "* has a wildcard",
    ],
    [
      "a change of any target group",
      rolePolicy({ Action: "elasticloadbalancing:RegisterTargets", Resource: "*" }),
      "* has a wildcard",
    ],
    [
      "a change of any target group of the account",
      rolePolicy({
        Action: "elasticloadbalancing:RegisterTargets",
        Resource: "arn:aws:elasticloadbalancing:x:1:targetgroup/*",
      }),
      "targetgroup/* has a wildcard",
    ],
    [
      "all but the look-ups",
      rolePolicy({ Action: undefined, NotAction: lookUps, Resource: "*" }),
      "NotAction has",
    ],
    [
      "everybody who looks up",
      rolePolicy({ Action: lookUps, Resource: "*", Principal: "*" }),
      "* has a wildcard",
    ],
    ["everybody who reads under a prefix", getObject({ Principal: { AWS: "*" } }), "* has a wildcard"],
  ],
  "no-managed-policies": [
    [
      "in the role",
      role({ managedPolicyArns: ["arn:aws:iam::aws:policy/AdministratorAccess"] }),
      "the role has the managed policies arn:aws",
    ],
    [
      "within the role",
      role({ inlinePolicies: [{ name: "x", policy: "{}" }] }),
      "the role has inlinePolicies",
    ],
    [
      "attached",
      { type: "aws:iam/rolePolicyAttachment:RolePolicyAttachment", inputs: { policyArn: "arn:x", tags } },
      "arn:x is attached",
    ],
  ],
  // Its cases need a configuration: below.
  "permissions-boundary": [],
  "private-buckets": [
    ["a public bucket", bucket({ acl: "public-read" }), "acl is public-read, not private"],
    ["a public object", s3("BucketObjectv2", { acl: "public-read", tags }), "acl is public-read"],
    ["an ACL", s3("BucketAcl", { acl: "authenticated-read" }), "acl is authenticated-read"],
    ["grants", bucket({ grants: [{}] }), "grants in an ACL"],
    ["grants in an ACL", s3("BucketAcl", { accessControlPolicy: {} }), "grants in an ACL"],
    ["a website", bucket({ website: {} }), "the bucket is a website"],
    ["a website of its own", s3("BucketWebsiteConfiguration", {}), "the bucket is a website"],
    ...Object.keys(allTrue).flatMap((setting): [string, CheckedResource, string][] => [
      [`${setting} off`, block({ [setting]: false }), `${setting} is false, not true`],
      [`no ${setting}`, block({ [setting]: undefined }), `${setting} is undefined, not true`],
    ]),
    ["a public policy", bucketPolicy(everybodyReads), "allows something to everybody"],
    [
      "a public policy by account",
      bucketPolicy({ ...everybodyReads, Principal: { AWS: ["*"] } }),
      "to everybody",
    ],
    [
      "a policy for all but one",
      bucketPolicy({ ...everybodyReads, Principal: undefined, NotPrincipal: { AWS: "x" } }),
      "to everybody",
    ],
    [
      "a policy for another account",
      bucketPolicy({ ...everybodyReads, Principal: { AWS: "arn:aws:iam::210987654321:root" } }),
      "allows something to arn:aws:iam::210987654321:root",
    ],
    [
      "a public policy of the older kind",
      bucket({ policy: document({ ...everybodyReads }) }),
      "to everybody",
    ],
  ],
  "guarded-buckets": [
    ["no block", [bucket(), encryption()], "thing-0 has no aws.s3.BucketPublicAccessBlock"],
    [
      "the block of another bucket",
      [bucket(), block({ bucket: "b" })],
      "has no aws.s3.BucketPublicAccessBlock",
    ],
    ["no encryption", [bucket(), block()], "has no aws.s3.BucketServerSideEncryptionConfiguration"],
    ["a bucket of the older kind", [s3("BucketV2", {})], "has no aws.s3.BucketPublicAccessBlock"],
  ],
  "tls-only-buckets": [
    ["no policy", [bucket(), block()], "thing-0 has no aws.s3.BucketPolicy that denies s3:*"],
    [
      "the policy of another bucket",
      [bucket(), bucketPolicy({}, { bucket: "b" })],
      "has no aws.s3.BucketPolicy",
    ],
    ["a policy that allows", [bucket(), bucketPolicy({ Effect: "Allow" })], "has no aws.s3.BucketPolicy"],
    [
      "a policy for some",
      [bucket(), bucketPolicy({ Principal: { AWS: "x" } })],
      "has no aws.s3.BucketPolicy",
    ],
    [
      "a policy for services",
      [bucket(), bucketPolicy({ Principal: { Service: "*" } })],
      "has no aws.s3.BucketPolicy",
    ],
    ["one action", [bucket(), bucketPolicy({ Action: "s3:GetObject" })], "has no aws.s3.BucketPolicy"],
    [
      "objects alone",
      [bucket(), bucketPolicy({ Resource: "arn:aws:s3:::wcs-1/*" })],
      "has no aws.s3.BucketPolicy",
    ],
    [
      "TLS refused",
      [bucket(), bucketPolicy({ Condition: { Bool: { "aws:SecureTransport": "true" } } })],
      "has no aws.s3.BucketPolicy",
    ],
    [
      "a further condition",
      [bucket(), bucketPolicy({ Condition: { Bool: { "aws:SecureTransport": "false", "aws:x": "true" } } })],
      "has no aws.s3.BucketPolicy",
    ],
  ],
};

test("the policies know the types that the program makes, in order", () => {
  expect(knownTypes).toEqual(Object.keys({ ...awsTypes, ...tlsTypes, ...commandTypes }).sort());
});

test("the first preview, which knows no ids, still checks what a load balancer opens", () => {
  const unknown = unknownValue;
  const action = { type: "forward", targetGroupArn: unknown };
  const preview = entry({
    loadBalancer: loadBalancer({ securityGroups: [unknown] }),
    redirectListener: listener({ port: 80, loadBalancerArn: unknown, defaultActions: [action] }, 4),
    targetRule: ruleBetween(1, 2, 10_443),
    other: ruleOf(0, 22),
  }).map((resource) => ({ ...resource, inputs: unknownCheckingProxy(resource.inputs) }));
  expect(stackViolations(preview)).toEqual([
    "load-balancer-forwards: thing-7 forwards 80 to the balancers' port 10443, not 10080",
    "load-balancer-ports: tcp 22 is open at the load balancer; clients need only 443 and 80",
    expect.stringMatching(/^proxy-ports-of-load-balancers: tcp 10443 is open to another security group/),
  ]);
  expect(preview.filter(({ type }) => type.startsWith("aws:lb/")).flatMap(violations)).toEqual([]);
});

test.each([
  "pulumi:pulumi:Stack",
  "pulumi:providers:aws",
  "wcs-balancer:software:MachineSoftware",
])("%s is free", (type) => {
  expect(violations({ type, inputs: {} })).toEqual([]);
});

test("each policy has cases that violate it", () => {
  expect(Object.keys(cases)).toEqual(policies.map(({ name }) => name));
});

describe("with permissionsBoundary in the stack's configuration", () => {
  const boundary = "arn:aws:iam::123456789012:policy/limits";
  const configure = (values: Record<string, string>) =>
    // As the engine gives it to policy packs.
    vi.stubEnv("PULUMI_CONFIG", JSON.stringify(values));
  afterEach(() => void vi.unstubAllEnvs());

  test.each([
    ["no boundary", {}, "the role has no permissionsBoundary"],
    [
      "another boundary",
      { permissionsBoundary: "arn:aws:iam::aws:policy/AdministratorAccess" },
      "the role has arn:aws:iam::aws:policy/AdministratorAccess",
    ],
  ])("a role with %s is refused", (_, inputs, message) => {
    configure({ "wcs-balancer:permissionsBoundary": boundary });
    expect(violations(role(inputs)).join("\n")).toContain(`permissions-boundary: ${message}`);
  });

  test("a role with it is in order, and without the key every role is", () => {
    configure({ "wcs-balancer:permissionsBoundary": boundary });
    expect(violations(role({ permissionsBoundary: boundary }))).toEqual([]);
    configure({ "wcs-balancer:domain": "wcs.example.com" });
    expect(violations(role({}))).toEqual([]);
  });

  test("a boundary excuses nothing that a role's own policy may not say", () => {
    configure({ "wcs-balancer:permissionsBoundary": boundary });
    const open = violations(rolePolicy({ Action: "*", Resource: "*" }));
    expect(open).toEqual(["no-wildcards: * has a wildcard", "no-wildcards: * has a wildcard"]);
  });
});

describe.each(
  Object.entries(cases).filter(([, violating]) => violating.length > 0),
)("%s refuses", (name, violating) => {
  test.each(violating)("%s", (_, resource, message) => {
    const all = Array.isArray(resource) ? stackViolations(resource) : violations(resource);
    const found = all.filter((violation) => violation.startsWith(`${name}: `));
    expect(found.join("\n")).toContain(message);
  });
});
