import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { debianAccount } from "../../components/instance-image";
import { rolePath } from "../../components/instance-role";
import { authorize, type Caller } from "../../sandbox/cloud/caller";
import { type Context, judge, type Statement, statementsOf } from "../../sandbox/cloud/policy";
import {
  boundaryArn,
  deployPolicy,
  fillPolicy,
  namesOf,
  ownImages,
  type PolicyFile,
} from "../../sandbox/deploy-role";
import { projectRoot } from "../../sandbox/paths";
import { accountId, region, subnetIds, vpcId } from "../../sandbox/provider/account";
import { awsInvokes } from "../../sandbox/provider/aws";
import { type ApiCall, arnOf, requestTags, resourceTags } from "../../sandbox/provider/calls";
import { callsToReadState, callsToWriteState } from "../../sandbox/state-calls";
import { callsOfDeployment, domain, zone } from "../deployment";

const names = namesOf("dev", { domain, hostedZone: zone });
const policyOf = (policy: PolicyFile) => fillPolicy(policy, names);
const callerOf = (policy: string): Caller => ({ role: "deploy", policies: [policy], file: "the file" });

const state = {
  bucket: names.STATE_BUCKET ?? "",
  prefix: "dev",
  key: arnOf("kms", `key/${names.STATE_KEY}`),
};
let deployment: ApiCall[];

beforeAll(async () => {
  deployment = [...(await callsOfDeployment()), ...callsToReadState(state), ...callsToWriteState(state)];
});

function isRefused(policy: string, calls: ApiCall[]): boolean {
  try {
    authorize(callerOf(policy), calls);
    return false;
  } catch {
    return true;
  }
}

/** A policy without one action of one statement. */
function without(statements: Statement[], index: number, action: string): string {
  const rest = statements.flatMap((statement, place) => {
    if (place !== index) return [statement];
    const actions = [statement.Action].flat().filter((other) => other !== action);
    return actions.length > 0 ? [{ ...statement, Action: actions }] : [];
  });
  return JSON.stringify({ Version: "2012-10-17", Statement: rest });
}

/** Rights that can be taken away without a call that is refused then. */
function unusedRights(policy: string, calls: ApiCall[]): string[] {
  const statements = statementsOf(policy);
  const asking = (right: string) => calls.filter(({ action }) => action === right);
  return statements.flatMap((statement, index) =>
    [statement.Action]
      .flat()
      .filter((action) => !isRefused(without(statements, index, action), asking(action)))
      .map((action) => `${statement.Sid}: ${action}`),
  );
}

describe("the deploy role", () => {
  test("may make every call of a deployment", () => {
    authorize(callerOf(policyOf("deploy-role")), deployment);
  });

  test("has no right that no call needs", () => {
    expect(unusedRights(policyOf("deploy-role"), deployment)).toEqual([]);
  });

  test("fits into an inline policy, as IAM counts: 10,240 characters without white space", () => {
    const longest = fillPolicy("deploy-role", { ...names, STACK: "a".repeat(37) });
    expect(JSON.stringify(JSON.parse(longest)).length).toBeLessThan(10_240);
  });

  const image = (id: string) => `arn:aws:ec2:${region}::image/${id}`;
  const running = (id: string, owner: string): ApiCall => ({
    action: "ec2:RunInstances",
    targets: [{ resource: image(id), context: { "ec2:Owner": owner } }],
  });

  test.each([
    debianAccount,
    "amazon",
  ])("runs Debian's images, whichever way AWS names the owner: %s", (owner) => {
    authorize(callerOf(policyOf("deploy-role")), [running("ami-1", owner)]);
  });

  test("with images of one's own runs these and no others, by the statement of the guide", () => {
    const values = { nodeAmi: "ami-0123456789abcdef0", balancerAmi: "ami-0fedcba9876543210" };
    const policy = deployPolicy("dev", { domain, hostedZone: zone, ...values });
    for (const ami of Object.values(values)) authorize(callerOf(policy), [running(ami, accountId)]);
    expect(isRefused(policy, [running("ami-00000000000000001", accountId)])).toBe(true);
    const guide = readFileSync(join(projectRoot, "docs/ci.md"), "utf8");
    const [, text = ""] = /```\n([^`]*"RunOwnImages"[^`]*)```/.exec(guide) ?? [];
    expect(JSON.parse(text.replaceAll("REGION", region))).toEqual(ownImages(values));
    expect(JSON.stringify(JSON.parse(policy)).length).toBeLessThan(10_240);
  });

  test("a refusal reads like AWS's, and names the file", () => {
    const call = { action: "ec2:RunInstances", targets: [{ resource: arnOf("ec2", "subnet/subnet-1") }] };
    expect(() => authorize({ ...callerOf(policyOf("deploy-role")), file: "docs/ci/x.json" }, [call])).toThrow(
      "AccessDenied: User: arn:aws:sts::123456789012:assumed-role/deploy/sandbox is not authorized to perform: " +
        "ec2:RunInstances on resource: arn:aws:ec2:eu-central-1:123456789012:subnet/subnet-1 because no " +
        "identity-based policy allows the ec2:RunInstances action. The sandbox judges each call by docs/ci/x.json",
    );
  });

  const own = { Project: "wcs-balancer", Stack: "dev" };
  const others = { Project: "wcs-balancer", Stack: "prod" };
  const ownRole = arnOf("iam", `role${rolePath("wcs-balancer", "dev")}node-1`);
  const othersRole = arnOf("iam", "role/wcs-balancer/prod/node-1");
  const administrator = arnOf("iam", "role/administrator");
  const bounded = { "iam:PermissionsBoundary": boundaryArn("dev") };
  const toEc2 = { "iam:PassedToService": "ec2.amazonaws.com" };
  const inVpc = { "ec2:Vpc": arnOf("ec2", `vpc/${vpcId}`) };
  const existing = (type: string, tags: Record<string, string>, context: Context = {}) => ({
    resource: arnOf("ec2", `${type}/x-1`),
    context: { ...resourceTags(tags), ...inVpc, ...context },
  });
  const bucketOf = (stack: string) => `arn:aws:s3:::wcs-balancer-${stack}-${"0".repeat(26)}`;
  type Request = [action: string, resource: string, context?: Context];
  const tagging = (resource: string, tags: Record<string, string>, context: Context = {}): Request => [
    "ec2:CreateTags",
    resource,
    { ...requestTags(tags), ...context },
  ];
  const about = (action: string, { resource, context }: { resource: string; context: Context }): Request => [
    action,
    resource,
    context,
  ];
  const recordOf = (name: string, type = "A"): Context => ({
    "route53:ChangeResourceRecordSetsActions": ["UPSERT"],
    "route53:ChangeResourceRecordSetsNormalizedRecordNames": [name],
    "route53:ChangeResourceRecordSetsRecordTypes": [type],
  });
  const aGroup = arnOf("ec2", "security-group/sg-1");
  const aRule = arnOf("ec2", "security-group-rule/sgr-1");
  const listed = (prefix: string): Context => ({ "s3:prefix": prefix });

  test.each<[string, Request]>([
    ["makes a role without a boundary", ["iam:CreateRole", ownRole]],
    [
      "makes one with another boundary",
      ["iam:CreateRole", ownRole, { "iam:PermissionsBoundary": arnOf("iam", "policy/x") }],
    ],
    ["makes one outside of its path", ["iam:CreateRole", administrator, bounded]],
    ["takes a boundary off", ["iam:DeleteRolePermissionsBoundary", ownRole, bounded]],
    [
      "puts another boundary on",
      ["iam:PutRolePermissionsBoundary", ownRole, { "iam:PermissionsBoundary": arnOf("iam", "policy/x") }],
    ],
    ["changes the boundary's text", ["iam:CreatePolicyVersion", boundaryArn("dev")]],
    ["gives a policy to a role without a boundary", ["iam:PutRolePolicy", ownRole]],
    [
      "gives a policy to its own role",
      ["iam:PutRolePolicy", arnOf("iam", "role/wcs-balancer-deploy-dev"), bounded],
    ],
    ["gives a policy to another stack's role", ["iam:PutRolePolicy", othersRole, bounded]],
    ["attaches a managed policy", ["iam:AttachRolePolicy", ownRole, bounded]],
    ["changes who may take a role", ["iam:UpdateAssumeRolePolicy", ownRole, bounded]],
    ["takes a role itself", ["sts:AssumeRole", ownRole]],
    ["makes an access key", ["iam:CreateAccessKey", arnOf("iam", "user/x")]],
    ["gives an instance the administrator's role", ["iam:PassRole", administrator, toEc2]],
    ["gives an instance another stack's role", ["iam:PassRole", othersRole, toEc2]],
    [
      "gives its own role to a function",
      ["iam:PassRole", ownRole, { "iam:PassedToService": "lambda.amazonaws.com" }],
    ],
    [
      "puts a role into another stack's profile",
      ["iam:AddRoleToInstanceProfile", arnOf("iam", "instance-profile/wcs-balancer/prod/x")],
    ],
    [
      "gives another stack's instance a profile",
      about("ec2:ReplaceIamInstanceProfileAssociation", existing("instance", others)),
    ],
    [
      "gives anybody's instance a profile",
      about("ec2:AssociateIamInstanceProfile", existing("instance", {})),
    ],
    ["makes an instance without tags", ["ec2:RunInstances", arnOf("ec2", "instance/*")]],
    [
      "makes an instance with another stack's tags",
      ["ec2:RunInstances", arnOf("ec2", "instance/*"), requestTags(others)],
    ],
    [
      "makes an instance of another region",
      ["ec2:RunInstances", "arn:aws:ec2:us-east-1:123456789012:instance/*", requestTags(own)],
    ],
    [
      "makes an instance in another VPC's subnet",
      ["ec2:RunInstances", arnOf("ec2", `subnet/${subnetIds[0]}`), { "ec2:Vpc": arnOf("ec2", "vpc/vpc-1") }],
    ],
    [
      "makes an instance with another VPC's interface",
      ["ec2:RunInstances", arnOf("ec2", "network-interface/eni-1"), { "ec2:Vpc": arnOf("ec2", "vpc/vpc-1") }],
    ],
    [
      "makes an instance with another stack's group",
      about("ec2:RunInstances", existing("security-group", others)),
    ],
    [
      "makes an instance with another stack's private image",
      ["ec2:RunInstances", `arn:aws:ec2:${region}::image/ami-0123456789abcdef0`, { "ec2:Owner": accountId }],
    ],
    [
      "makes an instance with an image that a stranger shares",
      ["ec2:RunInstances", `arn:aws:ec2:${region}::image/ami-1`, { "ec2:Owner": "210987654321" }],
    ],
    ["makes an instance with an SSH key of the account", ["ec2:RunInstances", arnOf("ec2", "key-pair/x")]],
    ["makes a group in another VPC", ["ec2:CreateSecurityGroup", arnOf("ec2", "vpc/vpc-1")]],
    [
      "reads the user-data of another stack's instance",
      about("ec2:DescribeInstanceAttribute", existing("instance", others)),
    ],
    [
      "reads the user-data of an instance without tags",
      about("ec2:DescribeInstanceAttribute", existing("instance", {})),
    ],
    ["reads launch templates", ["ec2:DescribeLaunchTemplateVersions", "*"]],
    ["lists launch templates", ["ec2:DescribeLaunchTemplates", "*"]],
    [
      "reads user-data in a launch template",
      about("ec2:GetLaunchTemplateData", existing("instance", others)),
    ],
    ["reads a machine's console", about("ec2:GetConsoleOutput", existing("instance", others))],
    ["asks for another VPC's attributes", ["ec2:DescribeVpcAttribute", arnOf("ec2", "vpc/vpc-1")]],
    ["changes another stack's user-data", about("ec2:ModifyInstanceAttribute", existing("instance", others))],
    [
      "lets another stack's instance answer IMDSv1",
      about("ec2:ModifyInstanceMetadataOptions", existing("instance", others)),
    ],
    ["ends another stack's instance", about("ec2:TerminateInstances", existing("instance", others))],
    [
      "ends an instance of another project",
      about("ec2:TerminateInstances", existing("instance", { ...own, Project: "x" })),
    ],
    [
      "opens another stack's group",
      about("ec2:AuthorizeSecurityGroupIngress", existing("security-group", others)),
    ],
    [
      "opens the VPC's default group",
      about("ec2:AuthorizeSecurityGroupIngress", existing("security-group", {})),
    ],
    [
      "changes a rule of another's group, whose tags it has put there",
      about("ec2:ModifySecurityGroupRules", existing("security-group", {})),
    ],
    [
      "changes another stack's rule",
      about("ec2:ModifySecurityGroupRules", existing("security-group-rule", others)),
    ],
    ["takes another stack's address", about("ec2:AssociateAddress", existing("elastic-ip", others))],
    ["frees another stack's address", about("ec2:ReleaseAddress", existing("elastic-ip", others))],
    [
      "puts its group on another's interface",
      about("ec2:ModifyNetworkInterfaceAttribute", existing("network-interface", {})),
    ],
    ["tags what has no tags", tagging(arnOf("ec2", "instance/i-1"), own)],
    ["tags what is another stack's", tagging(arnOf("ec2", "instance/i-1"), own, resourceTags(others))],
    ["tags another's group as if it made it", tagging(aGroup, own, { "ec2:CreateAction": "CreateVpc" })],
    ["tags another stack's rule", tagging(aRule, own, resourceTags(others))],
    ["tags a rule as another stack's", tagging(aRule, others)],
    ["makes its own another stack's", tagging(aGroup, others, resourceTags(own))],
    [
      "takes its mark off",
      ["ec2:DeleteTags", aGroup, { ...resourceTags(own), "aws:TagKeys": ["Stack", "Name"] }],
    ],
    [
      "takes another's mark off",
      ["ec2:DeleteTags", aGroup, { ...resourceTags(others), "aws:TagKeys": ["Name"] }],
    ],
    [
      "reads another stack's parameter",
      ["ssm:GetParameter", arnOf("ssm", "parameter/wcs-balancer/prod/secret")],
    ],
    [
      "changes another stack's parameter",
      ["ssm:PutParameter", arnOf("ssm", "parameter/wcs-balancer/prod/desired-state")],
    ],
    [
      "reads parameters of a stack whose name begins like its own",
      ["ssm:GetParameter", arnOf("ssm", "parameter/wcs-balancer/development/secret")],
    ],
    ["runs commands on machines", ["ssm:SendCommand", arnOf("ec2", "instance/i-1")]],
    ["logs in to machines", ["ssm:StartSession", arnOf("ec2", "instance/i-1")]],
    [
      "changes another name's record",
      [
        "route53:ChangeResourceRecordSets",
        `arn:aws:route53:::hostedzone/${zone}`,
        recordOf("wcs.example.com"),
      ],
    ],
    [
      "changes another record of its name",
      ["route53:ChangeResourceRecordSets", `arn:aws:route53:::hostedzone/${zone}`, recordOf(domain, "MX")],
    ],
    [
      "changes another zone",
      ["route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/ZX", recordOf(domain)],
    ],
    ["replaces another stack's software", ["s3:PutObject", `${bucketOf("prod")}/node/a`]],
    [
      "writes its software into another account's bucket",
      ["s3:PutObject", `${bucketOf("dev")}/node/a`, { "aws:ResourceAccount": "210987654321" }],
    ],
    [
      "writes its state into another account's bucket",
      ["s3:PutObject", `arn:aws:s3:::${state.bucket}/dev/x`, { "aws:ResourceAccount": "210987654321" }],
    ],
    [
      "changes another account's bucket",
      ["s3:PutBucketPolicy", bucketOf("dev"), { "aws:ResourceAccount": "210987654321" }],
    ],
    ["opens another stack's bucket", ["s3:PutBucketPolicy", bucketOf("prod")]],
    ["opens a bucket of a stack whose name begins like its own", ["s3:PutBucketPolicy", bucketOf("dev-2")]],
    ["opens the bucket of states", ["s3:PutBucketPolicy", `arn:aws:s3:::${state.bucket}`]],
    [
      "reads another stack's state",
      ["s3:GetObject", `arn:aws:s3:::${state.bucket}/prod/.pulumi/stacks/wcs-balancer/prod.json`],
    ],
    [
      "writes another stack's state",
      ["s3:PutObject", `arn:aws:s3:::${state.bucket}/prod/.pulumi/stacks/wcs-balancer/prod.json`],
    ],
    [
      "reads the state of a stack whose name begins like its own",
      ["s3:GetObject", `arn:aws:s3:::${state.bucket}/dev2/x`],
    ],
    ["lists another stack's state", ["s3:ListBucket", `arn:aws:s3:::${state.bucket}`, listed("prod/")]],
    ["decrypts with another key", ["kms:Decrypt", arnOf("kms", "key/x")]],
    ["lets somebody use its key", ["kms:CreateGrant", state.key]],
    ["changes its key's policy", ["kms:PutKeyPolicy", state.key]],
    [
      "looks around in another region",
      ["ec2:DescribeInstances", "*", { "aws:RequestedRegion": "us-east-1" }],
    ],
  ])("never %s", (_, [action, resource, context = {}]) => {
    const request = {
      "aws:RequestedRegion": region,
      "aws:SecureTransport": "true",
      "aws:ResourceAccount": accountId,
      ...context,
    };
    const verdict = judge({ policies: [policyOf("deploy-role")], action, resource, context: request });
    expect(verdict).toBe("not allowed");
  });
});

describe("the preview role", () => {
  const preview = () => [
    ...Object.values(awsInvokes).flatMap(({ calls }) => calls),
    ...callsToReadState(state),
  ];

  test("may look up what a preview looks up, and read its stack's state, and has no other right", () => {
    authorize(callerOf(policyOf("preview-role")), preview());
    expect(unusedRights(policyOf("preview-role"), preview())).toEqual([]);
  });

  test("writes nothing, and reads no other stack's state", () => {
    const writes = callsToWriteState(state).filter(({ action }) => action !== "s3:ListBucket");
    for (const call of writes) expect(isRefused(policyOf("preview-role"), [call])).toBe(true);
    const other = callsToReadState({ bucket: state.bucket, prefix: "prod", key: arnOf("kms", "key/x") });
    const allowed = other.filter((call) => !isRefused(policyOf("preview-role"), [call]));
    // Names alone, by a list without a prefix: see docs/security.md.
    expect(allowed).toEqual([
      { action: "s3:ListBucket", targets: [{ resource: `arn:aws:s3:::${state.bucket}` }] },
    ]);
  });
});

describe("the permissions boundary", () => {
  const everything = JSON.stringify({ Statement: { Effect: "Allow", Action: "*", Resource: "*" } });
  const verdict = (action: string, resource: string, context: Context = {}) =>
    judge({ policies: [everything], boundary: policyOf("permissions-boundary"), action, resource, context });
  const bucket = `arn:aws:s3:::wcs-balancer-dev-${"0".repeat(26)}`;

  test.each([
    ["its parameters", "ssm:GetParameter", arnOf("ssm", "parameter/wcs-balancer/dev/secret")],
    ["its software", "s3:GetObject", `${bucket}/node/software-a`],
  ])("lets a machine with every right read %s", (_, action, resource) => {
    expect(verdict(action, resource)).toBe("allowed");
  });

  test.each([
    ["another stack's parameters", "ssm:GetParameter", arnOf("ssm", "parameter/wcs-balancer/prod/secret")],
    ["changes a parameter", "ssm:PutParameter", arnOf("ssm", "parameter/wcs-balancer/dev/secret")],
    ["makes itself administrator", "iam:AttachRolePolicy", arnOf("iam", "role/wcs-balancer/dev/node-1")],
    ["reads another bucket", "s3:GetObject", "arn:aws:s3:::pulumi-state/dev/x"],
    ["writes its software", "s3:PutObject", `${bucket}/node/software-a`],
    ["decrypts the state", "kms:Decrypt", state.key],
  ])("never lets it do more: %s", (_, action, resource) => {
    expect(verdict(action, resource)).toBe("not allowed by the boundary");
  });

  test("fits into a managed policy: 6,144 characters without white space", () => {
    expect(JSON.stringify(JSON.parse(policyOf("permissions-boundary"))).length).toBeLessThan(6144);
  });
});

test("the guide's commands replace every name in capitals", () => {
  const guide = readFileSync(join(projectRoot, "docs/ci.md"), "utf8");
  const replaced = [...guide.matchAll(/s([/#])([A-Z_/]+)\1/g)].flatMap(([, , name = ""]) => name.split("/"));
  const files = readdirSync(join(projectRoot, "docs/ci")).map((name) =>
    readFileSync(join(projectRoot, "docs/ci", name), "utf8").replaceAll("CORS", ""),
  );
  const inFiles = files.flatMap((text) => text.match(/\b[A-Z_]{3,}\b/g) ?? []);
  expect([...new Set(replaced)].sort()).toEqual([...new Set(inFiles)].sort());
});

test("every name in capitals is filled in", () => {
  expect(accountId).toMatch(/^\d{12}$/);
  for (const policy of ["deploy-role", "preview-role", "permissions-boundary"] as const) {
    const left = policyOf(policy)
      .replaceAll("CORS", "")
      .match(/\b[A-Z_]{3,}\b/g);
    expect(left, policy).toBeNull();
  }
});
