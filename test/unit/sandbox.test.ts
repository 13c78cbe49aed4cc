import { describe, expect, test } from "vitest";
import { renderFirewall } from "../../sandbox/cloud/firewall";
import { awsTypes } from "../../sandbox/provider/aws";
import { tlsTypes } from "../../sandbox/provider/tls";
import { type Context, judge } from "../../sandbox/rights/policy";
import { capabilitiesOutside } from "../../sandbox/shell";

describe("the stand-in for AWS refuses what the real provider refuses", () => {
  const group = { securityGroupId: "sg-1", ipProtocol: "tcp", fromPort: 1, toPort: 2 };
  const instance = { ami: "ami-1", instanceType: "t3.small" };
  const parameter = { name: "/a/b", type: "String", value: "x" };
  const rule = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
  const cases: [string, string, Record<string, unknown>, string][] = [
    [
      "two sources in one rule",
      rule,
      { ...group, cidrIpv4: "10.0.0.0/8", referencedSecurityGroupId: "sg-2" },
      "exactly one",
    ],
    ["a rule without a source", rule, group, "exactly one"],
    ["a bad CIDR", rule, { ...group, cidrIpv4: "10.0.0.0/40" }, "not a valid CIDR"],
    [
      "a property it does not know",
      rule,
      { ...group, cidrIpv4: "10.0.0.0/8", colour: "red" },
      "Unrecognized key",
    ],
    [
      "a group's name that begins with sg-",
      "aws:ec2/securityGroup:SecurityGroup",
      { name: "sg-wcs" },
      'cannot begin with "sg-"',
    ],
    [
      "two kinds of user-data",
      "aws:ec2/instance:Instance",
      { ...instance, userData: "x", userDataBase64: "eA==" },
      "conflicts with userDataBase64",
    ],
    [
      "user-data that is not base64",
      "aws:ec2/instance:Instance",
      { ...instance, userDataBase64: "#cloud-config" },
      "not base64",
    ],
    [
      "a network interface together with groups",
      "aws:ec2/instance:Instance",
      {
        ...instance,
        primaryNetworkInterface: { networkInterfaceId: "eni-1" },
        vpcSecurityGroupIds: ["sg-1"],
      },
      "conflicts with vpcSecurityGroupIds",
    ],
    [
      "a bad volume type",
      "aws:ec2/instance:Instance",
      { ...instance, rootBlockDevice: { volumeType: "gp9" } },
      "Invalid option",
    ],
    [
      "bad httpTokens",
      "aws:ec2/instance:Instance",
      { ...instance, metadataOptions: { httpTokens: "yes" } },
      "Invalid option",
    ],
    ["a bad SSM type", "aws:ssm/parameter:Parameter", { ...parameter, type: "Text" }, "Invalid option"],
    [
      "a value above the tier",
      "aws:ssm/parameter:Parameter",
      { ...parameter, value: "x".repeat(5000) },
      "larger than",
    ],
    [
      "a role's policy that is not JSON",
      "aws:iam/role:Role",
      { name: "r", assumeRolePolicy: "{" },
      "invalid JSON policy",
    ],
  ];
  test.each(cases)("%s", (_, type, inputs, message) => {
    const result = awsTypes[type]?.inputs.safeParse(inputs);
    expect(result?.success).toBe(false);
    expect(result?.error?.issues.map((issue) => issue.message).join("; ")).toContain(message);
  });

  test("the curve that the real tls provider takes by default", () => {
    expect(
      tlsTypes["tls:index/privateKey:PrivateKey"]?.inputs.safeParse({ algorithm: "ECDSA" }).success,
    ).toBe(false);
  });
});

describe("role policies", () => {
  const policy = JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Action: "ssm:GetParameter",
        Resource: ["arn:a:parameter/x/one", "arn:a:parameter/y/*"],
      },
    ],
  });
  const deny = JSON.stringify({ Statement: { Effect: "Deny", Action: "ssm:*", Resource: "*" } });
  const context = { "aws:SecureTransport": "true" };
  const statement = { Effect: "Allow", Action: "s3:GetObject", Resource: "arn:b/*" };
  const policyOf = (changes: Record<string, unknown>) =>
    JSON.stringify({ Statement: { ...statement, ...changes } });
  const question = { policies: [policyOf({})], action: "s3:GetObject", resource: "arn:b/x", context };

  test.each([
    ["ssm:GetParameter", "arn:a:parameter/x/one", true],
    ["ssm:GetParameter", "arn:a:parameter/y/any", true],
    ["ssm:GetParameter", "arn:a:parameter/x/one-more", false],
    ["ssm:PutParameter", "arn:a:parameter/x/one", false],
  ])("%s on %s: %s", (action, resource, allowed) => {
    expect(judge({ policies: [policy], action, resource, context })).toBe(
      allowed ? "allowed" : "not allowed",
    );
  });

  test("a deny wins, and nothing allows nothing", () => {
    const one = { action: "ssm:GetParameter", resource: "arn:a:parameter/x/one", context };
    expect(judge({ policies: [policy, deny], ...one })).toBe("denied");
    expect(judge({ policies: [], ...one })).toBe("not allowed");
  });

  test("a permissions boundary limits what policies allow, and allows nothing itself", () => {
    const one = { action: "ssm:GetParameter", resource: "arn:a:parameter/x/one", context };
    expect(judge({ policies: [policy], boundary: policy, ...one })).toBe("allowed");
    expect(judge({ policies: [], boundary: policy, ...one })).toBe("not allowed");
    expect(judge({ policies: [policy], boundary: deny, ...one })).toBe("denied");
    const other = { ...one, resource: "arn:a:parameter/y/any" };
    const narrow = policyOf({ Action: "ssm:*", Resource: "arn:a:parameter/x/*" });
    expect(judge({ policies: [policy], boundary: narrow, ...other })).toBe("not allowed by the boundary");
  });

  const tag = "aws:RequestTag/Stack";
  test.each<[string, Context, Record<string, unknown>, boolean]>([
    ["equals", { [tag]: "dev" }, { StringEquals: { [tag]: "dev" } }, true],
    ["equals one of several", { [tag]: "dev" }, { StringEquals: { [tag]: ["prod", "dev"] } }, true],
    ["equals another", { [tag]: "dev" }, { StringEquals: { [tag]: "prod" } }, false],
    ["equals, in other letters", { [tag]: "Dev" }, { StringEquals: { [tag]: "dev" } }, false],
    ["equals, and the key is missing", {}, { StringEquals: { [tag]: "dev" } }, false],
    ["equals if it exists", {}, { StringEqualsIfExists: { [tag]: "dev" } }, true],
    ["does not equal", { [tag]: "dev" }, { StringNotEquals: { [tag]: "dev" } }, false],
    ["does not equal, and the key is missing", {}, { StringNotEquals: { [tag]: "dev" } }, true],
    ["is like", { "s3:prefix": "dev/.pulumi" }, { StringLike: { "s3:prefix": "dev/*" } }, true],
    [
      "is like, with letters of expressions",
      { "s3:prefix": "devX" },
      { StringLike: { "s3:prefix": "dev." } },
      false,
    ],
    [
      "is an ARN whose wildcard reaches no further than its part",
      { "ec2:Vpc": "arn:aws:ec2:eu:1:vpc/a" },
      { ArnLike: { "ec2:Vpc": "arn:aws:ec2:*:vpc/a" } },
      false,
    ],
    ["is null", {}, { Null: { [tag]: "true" } }, true],
    ["is not null", {}, { Null: { [tag]: "false" } }, false],
    ["all of none", {}, { "ForAllValues:StringEquals": { "aws:TagKeys": "a" } }, true],
    ["all", { "aws:TagKeys": ["a", "b"] }, { "ForAllValues:StringEquals": { "aws:TagKeys": ["a"] } }, false],
    [
      "none of",
      { "aws:TagKeys": ["a", "b"] },
      { "ForAllValues:StringNotEquals": { "aws:TagKeys": "b" } },
      false,
    ],
    ["any", { "aws:TagKeys": ["a", "b"] }, { "ForAnyValue:StringEquals": { "aws:TagKeys": "b" } }, true],
    [
      "two keys, one of them not",
      { [tag]: "dev" },
      { StringEquals: { [tag]: "dev", "s3:prefix": "x" } },
      false,
    ],
  ])("a condition that %s", (_, given, Condition, holds) => {
    const policies = [policyOf({ Condition })];
    expect(judge({ ...question, policies, context: given })).toBe(holds ? "allowed" : "not allowed");
  });

  test.each([
    ["operator", { NumericLessThan: { "s3:prefix": "1" } }],
    ["key", { StringEquals: { "aws:PrincipalArn": "x" } }],
    ["variable", { StringEquals: { "s3:prefix": ["$", "{aws:username}"].join("") } }],
  ])("a condition with an %s that the sandbox cannot judge is an error, not a yes", (_, Condition) => {
    // The statement is about something else: an error wherever it stands.
    const policies = [policyOf({ Action: "ec2:RunInstances", Condition })];
    expect(() => judge({ ...question, policies })).toThrow("does not know this Condition");
  });

  test.each([
    ["false", false, "denied by the resource"],
    ["false", true, "allowed"],
    ["true", false, "allowed"],
  ])("a deny where aws:SecureTransport is %s, over TLS: %s", (value, secure, answer) => {
    const Condition = { Bool: { "aws:SecureTransport": value } };
    const resourcePolicy = policyOf({ Effect: "Deny", Action: "s3:*", Principal: "*", Condition });
    const over = { "aws:SecureTransport": String(secure) };
    expect(judge({ ...question, resourcePolicy, context: over })).toBe(answer);
  });

  test.each([
    ["another key", { Condition: { Bool: { "aws:ViaAWSService": "false" } } }, "Condition"],
    ["two keys", { Condition: { Bool: { "aws:SecureTransport": "false", x: "true" } } }, "Condition"],
    ["somebody", { Principal: { AWS: "arn:aws:iam::1:root" } }, "Principal"],
    ["everybody but somebody", { Principal: undefined, NotPrincipal: "*" }, "NotPrincipal"],
    ["every action but one", { NotAction: "s3:PutObject" }, "NotAction"],
  ])("%s in a resource's policy is an error", (_, changes, message) => {
    const resourcePolicy = policyOf({ Effect: "Deny", Principal: "*", ...changes });
    expect(() => judge({ ...question, resourcePolicy })).toThrow(message);
  });

  test("a principal in a role's own policy is an error", () => {
    const policies = [policyOf({ Principal: "*" })];
    expect(() => judge({ ...question, policies })).toThrow("Principal");
  });
});

test("a shell on a machine drops the capabilities that the machine's own processes do not have", () => {
  const status = "CapEff:\t000001ffffffffff\nCapBnd:\t00000000fcecbfff\nCapAmb:\t0000000000000000\n";
  // systemd-nspawn's. Number 25 sets the clock.
  expect(capabilitiesOutside(status, 34)).toEqual([14, 16, 17, 20, 24, 25, 32, 33, 34]);
});

test("the packet filter of a small VPC", () => {
  const text = renderFirewall({
    interfaces: [
      { privateAddress: "172.31.0.10", publicAddress: "203.0.113.10", groups: ["sg-balancer"] },
      { privateAddress: "172.31.0.11", groups: ["sg-node"] },
    ],
    groups: {
      "sg-balancer": {
        ingress: [{ protocol: "tcp", fromPort: 443, toPort: 443, cidr: "0.0.0.0/0" }],
        egress: [{ protocol: "-1", cidr: "0.0.0.0/0" }],
      },
      "sg-node": {
        ingress: [{ protocol: "tcp", fromPort: 8080, toPort: 8080, group: "sg-balancer" }],
        egress: [],
      },
    },
    publicServices: "198.18.0.1",
    metadataService: "169.254.169.254",
    dnsService: "169.254.169.253",
    internetGateway: "198.51.100.1",
  });
  expect(text).toMatchSnapshot();
});
