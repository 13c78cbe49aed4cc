import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { debianAccount } from "../../components/instance-image";
import { rolePath } from "../../components/instance-role";
import { accountId, region, subnetIds, vpcId } from "../../sandbox/account";
import {
  boundaryArn,
  deployer,
  deployPolicies,
  fillPolicy,
  namesOf,
  ownImages,
  type PolicyFile,
  policyFiles,
} from "../../sandbox/deploy-role";
import { projectRoot } from "../../sandbox/paths";
import { awsInvokes } from "../../sandbox/provider/aws";
import { authorize, type Caller } from "../../sandbox/rights/caller";
import { type ApiCall, arnOf, requestTags, resourceTags } from "../../sandbox/rights/calls";
import { type Context, judge, type Statement, statementsOf } from "../../sandbox/rights/policy";
import { callsOfDeployment, callsOfLoadBalancer, callsToRemoveInterface, domain, zone } from "../deployment";
import { callsToReadState, callsToWriteState } from "../state-calls";

const names = namesOf("dev", { domain, hostedZone: zone });
const policyOf = (policy: PolicyFile) => fillPolicy(policy, names);
const callerOf = (...policies: string[]): Caller => ({ role: "deploy", policies, file: "the file" });

const state = {
  bucket: names.STATE_BUCKET ?? "",
  prefix: "dev",
  key: arnOf("kms", `key/${names.STATE_KEY}`),
};
let deployment: ApiCall[];

beforeAll(async () => {
  deployment = [...(await callsOfDeployment()), ...callsToReadState(state), ...callsToWriteState(state)];
});

/** Whether policies together refuse one of the calls. */
function isRefused(policies: string | string[], calls: ApiCall[]): boolean {
  try {
    authorize(callerOf(...[policies].flat()), calls);
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

/**
 * Rights that can be taken away without a call that is refused then.
 * @param others the caller's other policies
 */
function unusedRights(policy: string, calls: ApiCall[], ...others: string[]): string[] {
  const statements = statementsOf(policy);
  const asking = (right: string) => calls.filter(({ action }) => action === right);
  return statements.flatMap((statement, index) =>
    [statement.Action]
      .flat()
      .filter((action) => !isRefused([without(statements, index, action), ...others], asking(action)))
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
    const [policy = ""] = deployPolicies("dev", { domain, hostedZone: zone, ...values });
    for (const ami of Object.values(values)) authorize(callerOf(policy), [running(ami, accountId)]);
    expect(isRefused(policy, [running("ami-00000000000000001", accountId)])).toBe(true);
    const guide = readFileSync(join(projectRoot, "docs/ci.md"), "utf8");
    const [, text = ""] = /```\n([^`]*"RunOwnImages"[^`]*)```/.exec(guide) ?? [];
    expect(JSON.parse(text.replaceAll("REGION", region))).toEqual(ownImages(values));
    expect(JSON.stringify(JSON.parse(policy)).length).toBeLessThan(10_240);
  });

  test("deletes the interface of an earlier version's balancer by the statement of the guide, and by no other", async () => {
    const calls = await callsToRemoveInterface();
    const guide = readFileSync(join(projectRoot, "docs/ci.md"), "utf8");
    const [, text = ""] = /```\n([^`]*"DeleteInterface"[^`]*)```/.exec(guide) ?? [];
    const statement = JSON.stringify({ Statement: [JSON.parse(text)] })
      .replaceAll("REGION", region)
      .replaceAll("ACCOUNT", accountId)
      .replaceAll("STACK", "dev");
    const role = callerOf(policyOf("deploy-role"));
    expect(() => authorize(role, calls)).toThrow("ec2:DeleteNetworkInterface");
    authorize({ ...role, policies: [...role.policies, statement] }, calls);
    expect(unusedRights(statement, calls)).toEqual([]);
    const another = {
      action: "ec2:DeleteNetworkInterface",
      targets: [existing("network-interface", others)],
    };
    expect(isRefused(statement, [another])).toBe(true);
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
    ["takes an address off another stack", about("ec2:DisassociateAddress", existing("elastic-ip", others))],
    ["gives its address to another stack", about("ec2:AssociateAddress", existing("instance", others))],
    [
      "gives its address to an interface of the VPC",
      about("ec2:AssociateAddress", existing("network-interface", {})),
    ],
    [
      "takes addresses off another VPC's interfaces",
      [
        "ec2:DisassociateAddress",
        arnOf("ec2", "network-interface/eni-1"),
        { "ec2:Vpc": arnOf("ec2", "vpc/vpc-1") },
      ],
    ],
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

describe("the deploy role's policy for a load balancer", () => {
  const both = () => [policyOf("deploy-role"), policyOf("deploy-load-balancer")];
  const own = { Project: "wcs-balancer", Stack: "dev" };
  const others = { Project: "wcs-balancer", Stack: "prod" };
  const balancer = arnOf("elasticloadbalancing", "loadbalancer/net/entry/0123456789abcdef");
  const group = arnOf("elasticloadbalancing", "targetgroup/https/0123456789abcdef");
  const listener = arnOf("elasticloadbalancing", "listener/net/entry/0123456789abcdef/0123456789abcdef");
  let calls: ApiCall[];
  beforeAll(async () => {
    calls = await callsOfLoadBalancer();
  });

  test("may make every call for a load balancer, together with the role's own policy", () => {
    authorize(callerOf(...both()), calls);
  });

  test("has no right that no call needs, and none that the role's own policy has", () => {
    const role = policyOf("deploy-role");
    expect(unusedRights(policyOf("deploy-load-balancer"), calls, role)).toEqual([]);
  });

  test("is needed for one: the role's own policy makes none", () => {
    const changes = calls.filter(({ action }) => !/:Describe/.test(action));
    expect(changes.length).toBeGreaterThan(20);
    for (const call of changes) expect(isRefused(policyOf("deploy-role"), [call]), call.action).toBe(true);
  });

  test("fits into a managed policy: 6,144 characters without white space", () => {
    const longest = fillPolicy("deploy-load-balancer", { ...names, STACK: "a".repeat(37) });
    expect(JSON.stringify(JSON.parse(longest)).length).toBeLessThan(6144);
  });

  test.each([
    ["one balancer", {}, 1],
    ["one balancer, by the address", { balancers: 1, entry: "address" }, 1],
    ["two balancers", { balancers: 2 }, 2],
    ["one balancer behind a load balancer", { balancers: 1, entry: "loadBalancer" }, 2],
    ["both entries", { balancers: 1, entry: "both" }, 2],
  ])("is attached only to stacks with a load balancer: %s", (_, values, count) => {
    expect(deployPolicies("dev", { domain, hostedZone: zone, ...values })).toEqual(both().slice(0, count));
  });

  test("stays with the sandbox's deployer until the load balancer is deleted, and messages name its file", () => {
    const folder = mkdtempSync(join(tmpdir(), "wcs-deployer-"));
    const values = { domain, hostedZone: zone };
    expect(deployer(folder, "dev", values).file).toBe("docs/ci/deploy-role.json");
    const second = deployer(folder, "dev", { ...values, balancers: 2 });
    expect(second.file).toBe("docs/ci/deploy-role.json and docs/ci/deploy-load-balancer.json");
    expect(deployer(folder, "dev", values)).toEqual(second);
    rmSync(folder, { recursive: true });
  });

  const action = (name: string) => `elasticloadbalancing:${name}`;
  test.each<[string, string, string, Context?]>([
    ["makes a load balancer without tags", action("CreateLoadBalancer"), balancer],
    ["makes one with another stack's tags", action("CreateLoadBalancer"), balancer, requestTags(others)],
    [
      "makes an Application Load Balancer",
      action("CreateLoadBalancer"),
      arnOf("elasticloadbalancing", "loadbalancer/app/entry/0123456789abcdef"),
      requestTags(own),
    ],
    ["makes a target group without tags", action("CreateTargetGroup"), group],
    [
      "opens a port of another stack's",
      action("CreateListener"),
      balancer,
      { ...requestTags(own), ...resourceTags(others) },
    ],
    ["opens a port without tags", action("CreateListener"), balancer, resourceTags(own)],
    ["deletes another stack's", action("DeleteLoadBalancer"), balancer, resourceTags(others)],
    ["deletes one without tags", action("DeleteLoadBalancer"), balancer],
    ["changes another stack's listener", action("ModifyListener"), listener, resourceTags(others)],
    ["changes another stack's health check", action("ModifyTargetGroup"), group, resourceTags(others)],
    [
      "gives another stack's load balancer other groups",
      action("SetSecurityGroups"),
      balancer,
      resourceTags(others),
    ],
    ["tags what has no tags", action("AddTags"), group, requestTags(own)],
    [
      "tags another stack's as its own",
      action("AddTags"),
      group,
      { ...requestTags(own), ...resourceTags(others) },
    ],
    [
      "makes its own another stack's",
      action("AddTags"),
      group,
      { ...requestTags(others), ...resourceTags(own) },
    ],
    [
      "takes its mark off",
      action("RemoveTags"),
      group,
      { ...resourceTags(own), "aws:TagKeys": ["Stack", "Name"] },
    ],
    ["registers a target, which machines do", action("RegisterTargets"), group, resourceTags(own)],
    ["takes a target out", action("DeregisterTargets"), group, resourceTags(own)],
    [
      "adds a rule to a listener",
      action("CreateRule"),
      listener,
      { ...requestTags(own), ...resourceTags(own) },
    ],
    [
      "makes the service-linked role",
      "iam:CreateServiceLinkedRole",
      arnOf(
        "iam",
        "role/aws-service-role/elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing",
      ),
    ],
    [
      "changes its own text",
      "iam:CreatePolicyVersion",
      arnOf("iam", "policy/wcs-balancer-dev-load-balancer"),
    ],
    [
      "looks around in another region",
      action("DescribeLoadBalancers"),
      "*",
      { "aws:RequestedRegion": "us-east-1" },
    ],
  ])("never %s", (_, name, resource, context = {}) => {
    const known = { "aws:RequestedRegion": region, ...context };
    expect(judge({ policies: both(), action: name, resource, context: known })).toBe("not allowed");
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
  const targetGroup = arnOf("elasticloadbalancing", "targetgroup/https/0123456789abcdef");
  const here = { "aws:RequestedRegion": region };
  const ofStack = (Stack: string) => resourceTags({ Project: "wcs-balancer", Stack });

  test.each([
    ["its parameters", "ssm:GetParameter", arnOf("ssm", "parameter/wcs-balancer/dev/secret")],
    ["its software", "s3:GetObject", `${bucket}/node/software-a`],
    [
      "and write its certificate",
      "ssm:PutParameter",
      arnOf("ssm", "parameter/wcs-balancer/dev/acme-certificate"),
    ],
  ])("lets a machine with every right read %s", (_, action, resource) => {
    expect(verdict(action, resource)).toBe("allowed");
  });

  test("lets SSM read and write the value of an advanced SecureString for it, and nobody else use a key", () => {
    const key = arnOf("kms", "key/aws-ssm");
    for (const action of ["kms:Decrypt", "kms:GenerateDataKey"]) {
      expect(verdict(action, key, { "kms:ViaService": `ssm.${region}.amazonaws.com` })).toBe("allowed");
      expect(verdict(action, key)).toBe("not allowed by the boundary");
    }
  });

  test.each<[string, string, Context]>([
    ["elasticloadbalancing:RegisterTargets", targetGroup, ofStack("dev")],
    ["elasticloadbalancing:DeregisterTargets", targetGroup, ofStack("dev")],
    ["elasticloadbalancing:DescribeTargetHealth", "*", here],
    ["ec2:DescribeInstances", "*", here],
    // What RegisterTargets needs besides (Elastic Load Balancing user guide, "API permissions").
    ["ec2:DescribeInternetGateways", "*", here],
    ["ec2:DescribeSubnets", "*", here],
    ["ec2:DescribeVpcs", "*", here],
  ])("lets a balancer take its place behind the load balancer: %s", (action, resource, context) => {
    expect(verdict(action, resource, context)).toBe("allowed");
  });

  test.each<[string, string, string, Context]>([
    ["another stack's target group", "elasticloadbalancing:RegisterTargets", targetGroup, ofStack("prod")],
    ["another stack's targets", "elasticloadbalancing:DeregisterTargets", targetGroup, ofStack("prod")],
    ["a target group without tags", "elasticloadbalancing:RegisterTargets", targetGroup, {}],
    ["the target group itself", "elasticloadbalancing:DeleteTargetGroup", targetGroup, ofStack("dev")],
    ["its health check", "elasticloadbalancing:ModifyTargetGroup", targetGroup, ofStack("dev")],
    ["the tags that limit it", "elasticloadbalancing:AddTags", targetGroup, ofStack("prod")],
    ["instances of another region", "ec2:DescribeInstances", "*", { "aws:RequestedRegion": "us-east-1" }],
    ["user-data", "ec2:DescribeInstanceAttribute", arnOf("ec2", "instance/i-1"), ofStack("dev")],
  ])("keeps it from the rest of load balancing: %s", (_, action, resource, context) => {
    expect(verdict(action, resource, context)).toBe("not allowed by the boundary");
  });

  test.each([
    ["another stack's parameters", "ssm:GetParameter", arnOf("ssm", "parameter/wcs-balancer/prod/secret")],
    ["changes a parameter", "ssm:PutParameter", arnOf("ssm", "parameter/wcs-balancer/dev/secret")],
    [
      "changes the account's key",
      "ssm:PutParameter",
      arnOf("ssm", "parameter/wcs-balancer/dev/acme-account"),
    ],
    [
      "changes another stack's certificate",
      "ssm:PutParameter",
      arnOf("ssm", "parameter/wcs-balancer/prod/acme-certificate"),
    ],
    [
      "deletes its certificate",
      "ssm:DeleteParameter",
      arnOf("ssm", "parameter/wcs-balancer/dev/acme-certificate"),
    ],
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
  for (const policy of policyFiles) {
    const left = policyOf(policy)
      .replaceAll("CORS", "")
      .match(/\b[A-Z_]{3,}\b/g);
    expect(left, policy).toBeNull();
  }
});
