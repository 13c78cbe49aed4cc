import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { policies } from "../../policy/policies";
import { violations } from "../violations";

const tags = { Name: "dev-x", Project: "wcs-balancer", Stack: "dev", Role: "node" };
const base64 = (text: string) => Buffer.from(text).toString("base64");

const rule = (ports: Record<string, unknown>) => ({
  type: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
  inputs: { ipProtocol: "tcp", cidrIpv4: "0.0.0.0/0", tags, ...ports },
});
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
  ["what is denied altogether", rolePolicy({ Effect: "Deny", Action: "*", Resource: "*" })],
  ["a resource that takes no tags", { type: "aws:route53/record:Record", inputs: {} }],
])("%s is in order", (_, resource) => {
  expect(violations(resource)).toEqual([]);
});

const cases: Record<string, [string, { type: string; inputs: Record<string, unknown> }, string][]> = {
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
    ["a key in a plain parameter", parameter({ insecureValue: privateKey }), "make it a SecureString"],
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
  ],
  "no-managed-policies": [
    [
      "in the role",
      role({ managedPolicyArns: ["arn:aws:iam::aws:policy/AdministratorAccess"] }),
      "the role has arn:aws",
    ],
    [
      "attached",
      { type: "aws:iam/rolePolicyAttachment:RolePolicyAttachment", inputs: { policyArn: "arn:x", tags } },
      "arn:x is attached",
    ],
  ],
};

test("each policy has cases that violate it", () => {
  expect(Object.keys(cases)).toEqual(policies.map(({ name }) => name));
});

describe.each(Object.entries(cases))("%s refuses", (name, violating) => {
  test.each(violating)("%s", (_, resource, message) => {
    const found = violations(resource).filter((violation) => violation.startsWith(`${name}: `));
    expect(found.join("\n")).toContain(message);
  });
});
