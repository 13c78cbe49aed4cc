import { gunzipSync } from "node:zlib";
import type { ResourceValidationPolicy, StackValidationPolicy } from "@pulumi/policy";
import { bucketPolicies } from "./buckets";
import { list, principalsOf, type Statement, statementsOf } from "./documents";
import { typePolicies } from "./known-types";
import { portPolicies } from "./ports";

const instanceType = "aws:ec2/instance:Instance";
const untaggedTypes = [
  "aws:ec2/eipAssociation:EipAssociation",
  "aws:iam/rolePolicy:RolePolicy",
  "aws:route53/record:Record",
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
  "aws:s3/bucketPolicy:BucketPolicy",
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
];

/** What base64 stands for, as text; it may be compressed. */
function decode(base64: string): string {
  const bytes = Buffer.from(base64, "base64");
  const compressed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return (compressed ? gunzipSync(bytes) : bytes).toString("utf8");
}

/** User-data as text: it is base64, and compressed where it is large. */
function userDataOf(props: Record<string, unknown>): string {
  return typeof props.userDataBase64 === "string"
    ? decode(props.userDataBase64)
    : String(props.userData ?? "");
}

/** Base64, in one line or more; what else looks like it does no harm. */
const base64Pattern = /[A-Za-z0-9+/]{24,}(?:\r?\n[ \t]*[A-Za-z0-9+/]+(?=["'=\r\n]|$))*={0,2}/g;

/** Whether there is a secret in a text, or in base64 within it, as in `write_files` of cloud-init. */
function holdsSecret(text: string): boolean {
  if (secretPattern.test(text)) return true;
  return (text.match(base64Pattern) ?? []).some((piece) => {
    try {
      return holdsSecret(decode(piece));
    } catch {
      // It only began like something compressed.
      return false;
    }
  });
}

/** Private keys, AWS access keys, and values of the kind `password: ...`. */
const secretPattern =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----|\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\b(?:password|secret|token)\b["']?\s*[:=]\s*["']?[A-Za-z0-9+/=_-]{16,}/i;

/** The objects of a bucket under a named prefix. */
const objectsUnderPrefix = /^arn:aws[a-z-]*:s3:::[a-z0-9.-]+\/[^*?/][^*?]*\/\*$/;

/** Parts of an Allow that allow more than they name. */
function wildcardsOf(statement: Statement): string[] {
  if (statement.Effect !== "Allow") return [];
  const actions = list(statement.Action);
  const resources = list(statement.Resource);
  const exceptions = (["NotAction", "NotResource", "NotPrincipal"] as const).filter(
    (key) => statement[key] !== undefined,
  );
  // Machines of an older version still fetch their own objects, whose names are not known any more.
  const getsObjects = actions.length === 1 && actions[0] === "s3:GetObject";
  const open = [...actions, ...resources, ...principalsOf(statement)]
    .filter((value) => /[*?]/.test(value))
    .filter((value) => !(getsObjects && resources.includes(value) && objectsUnderPrefix.test(value)));
  return [...exceptions, ...open];
}

/** The value of `permissionsBoundary` of the stack that is checked: the engine gives a pack its configuration. */
function configuredBoundary(): string | undefined {
  const config = JSON.parse(process.env.PULUMI_CONFIG ?? "{}") as Record<string, string>;
  return config["wcs-balancer:permissionsBoundary"];
}

/** What no stack may do, whoever has changed its configuration or this program. */
export const policies: (ResourceValidationPolicy | StackValidationPolicy)[] = [
  ...typePolicies,
  ...portPolicies,
  {
    name: "imdsv2",
    description: "Instances answer metadata to IMDSv2 only, and to themselves only.",
    validateResource: ({ type, props }, report) => {
      if (type !== instanceType) return;
      const { httpTokens, httpPutResponseHopLimit } = props.metadataOptions ?? {};
      if (httpTokens !== "required") report(`metadataOptions.httpTokens is ${httpTokens}, not required`);
      if (httpPutResponseHopLimit !== 1)
        report(`metadataOptions.httpPutResponseHopLimit is ${httpPutResponseHopLimit}, not 1`);
    },
  },
  {
    name: "encrypted-disks",
    description: "Every disk is encrypted.",
    validateResource: ({ type, props }, report) => {
      if (type === "aws:ebs/volume:Volume" && props.encrypted !== true) report("encrypted is not true");
      if (type !== instanceType) return;
      if (props.rootBlockDevice?.encrypted !== true) report("rootBlockDevice.encrypted is not true");
      for (const { deviceName, encrypted } of props.ebsBlockDevices ?? [])
        if (encrypted !== true) report(`ebsBlockDevices ${deviceName} is not encrypted`);
    },
  },
  {
    name: "no-inline-secrets",
    description: "Secrets are in SecureStrings: not in user-data, not in other parameters, not in tags.",
    validateResource: ({ type, props }, report) => {
      if (type === instanceType && holdsSecret(userDataOf(props))) report("user-data holds a secret");
      if (secretPattern.test(JSON.stringify(props.tags ?? {}))) report("a tag holds a secret");
      if (type !== "aws:ssm/parameter:Parameter") return;
      if (props.type === "SecureString" && props.insecureValue !== undefined)
        report("a SecureString has its value in insecureValue, which the state keeps in clear text");
      if (props.type !== "SecureString" && secretPattern.test(String(props.value ?? props.insecureValue)))
        report(`a parameter of type ${props.type} holds a secret; make it a SecureString`);
    },
  },
  {
    name: "tags",
    description: "Every resource that takes tags says its Name, Project, Stack and Role.",
    validateResource: ({ type, props }, report) => {
      if (!type.startsWith("aws:") || untaggedTypes.includes(type)) return;
      const missing = ["Name", "Project", "Stack", "Role"].filter((tag) => !props.tags?.[tag]);
      if (missing.length > 0) report(`the tags ${missing.join(", ")} are missing`);
    },
  },
  {
    name: "no-wildcards",
    description:
      "Roles name what they may do, to what, and who may take them; objects of S3 may be read by a named prefix.",
    validateResource: ({ type, props }, report) => {
      if (!type.startsWith("aws:iam/")) return;
      const policy = type === "aws:iam/role:Role" ? props.assumeRolePolicy : props.policy;
      if (policy === undefined) return;
      for (const value of statementsOf(policy).flatMap(wildcardsOf)) report(`${value} has a wildcard`);
    },
  },
  {
    name: "no-managed-policies",
    description: "Roles have no policy but aws.iam.RolePolicy, whose text is examined.",
    validateResource: ({ type, props }, report) => {
      const attached = type === "aws:iam/role:Role" ? list(props.managedPolicyArns) : [];
      if (attached.length > 0) report(`the role has ${attached.join(", ")}`);
      if (type === "aws:iam/role:Role" && props.inlinePolicies?.length > 0)
        report("the role has inlinePolicies, which the other policies would not see; use aws.iam.RolePolicy");
      if (/^aws:iam\/(rolePolicyAttachment|policyAttachment):/.test(type))
        report(`${props.policyArn} is attached`);
    },
  },
  {
    name: "permissions-boundary",
    description: "Where the stack's configuration has a permissionsBoundary, each role has just that.",
    validateResource: ({ type, props }, report) => {
      const boundary = configuredBoundary();
      if (type !== "aws:iam/role:Role" || boundary === undefined || props.permissionsBoundary === boundary)
        return;
      report(`the role has ${props.permissionsBoundary ?? "no permissionsBoundary"}, not ${boundary}`);
    },
  },
  ...bucketPolicies,
];
