import { gunzipSync } from "node:zlib";
import type { ResourceValidationPolicy, StackValidationPolicy } from "@pulumi/policy";
import { bucketPolicies } from "./buckets";
import { list, principalsOf, type Statement, statementsOf } from "./documents";
import { typePolicies } from "./known-types";
import { loadBalancerPolicies } from "./load-balancers";
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

/** Decodes base64 to text, and expands it if it is compressed. */
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

/** Base64 on one line or more. Other text that looks like it is harmless. */
const base64Pattern = /[A-Za-z0-9+/]{24,}(?:\r?\n[ \t]*[A-Za-z0-9+/]+(?=["'=\r\n]|$))*={0,2}/g;

/** Whether a text holds a secret, also inside base64, as in `write_files` of cloud-init. */
function holdsSecret(text: string): boolean {
  if (secretPattern.test(text)) return true;
  return (text.match(base64Pattern) ?? []).some((piece) => {
    try {
      return holdsSecret(decode(piece));
    } catch {
      // The text looked like compressed data, and is not.
      return false;
    }
  });
}

/** Private keys, AWS access keys, and values of the kind `password: ...`. */
const secretPattern =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----|\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\b(?:password|secret|token)\b["']?\s*[:=]\s*["']?[A-Za-z0-9+/=_-]{16,}/i;

/** The objects of a bucket under a named prefix. */
const objectsUnderPrefix = /^arn:aws[a-z-]*:s3:::[a-z0-9.-]+\/[^*?/][^*?]*\/\*$/;

/** Look-ups that balancers need, and that AWS cannot limit to resources. */
const unlimitedActions = [
  "ec2:DescribeInstances",
  "ec2:DescribeInternetGateways",
  "ec2:DescribeSubnets",
  "ec2:DescribeVpcs",
  "elasticloadbalancing:DescribeTargetHealth",
];

/** Whether a statement may name a resource with a wildcard. */
function mayBeWide({ Action }: Statement, resource: string): boolean {
  const actions = list(Action);
  // Machines of an older version still fetch their own objects, whose names are not known any more.
  const getsObjects = actions.length === 1 && actions[0] === "s3:GetObject";
  const looksUp = actions.length > 0 && actions.every((action) => unlimitedActions.includes(action));
  return getsObjects ? objectsUnderPrefix.test(resource) : looksUp && resource === "*";
}

/** Actions that change a parameter, or who reads it. Action names in policies have no case. */
const changesParameters =
  /^ssm:(putparameter|deleteparameters?|labelparameterversion|unlabelparameterversion|addtagstoresource|removetagsfromresource|putresourcepolicy|deleteresourcepolicy)$/i;

/** The one parameter that balancers write: their certificate from an ACME directory. */
const writtenParameter = /^arn:aws[a-z-]*:ssm:[^:*?]+:[^:*?]+:parameter\/[^*?]+\/acme-certificate$/;

/** Parameters that a statement lets a role change, besides the one that balancers write. */
function parameterChanges({ Effect, Action, Resource }: Statement): string[] {
  if (Effect !== "Allow") return [];
  return list(Action)
    .filter((action) => changesParameters.test(action))
    .flatMap((action) => {
      const places =
        action.toLowerCase() === "ssm:putparameter"
          ? list(Resource).filter((resource) => !writtenParameter.test(resource))
          : list(Resource);
      return places.map((place) => `${action} on ${place}`);
    });
}

/** Parts of an Allow that allow more than what they name, such as wildcards. */
function wildcardsOf(statement: Statement): string[] {
  if (statement.Effect !== "Allow") return [];
  const exceptions = (["NotAction", "NotResource", "NotPrincipal"] as const).filter(
    (key) => statement[key] !== undefined,
  );
  const resources = list(statement.Resource).filter((resource) => !mayBeWide(statement, resource));
  const open = [...list(statement.Action), ...resources, ...principalsOf(statement)].filter((value) =>
    /[*?]/.test(value),
  );
  return [...exceptions, ...open];
}

/** The checked stack's `permissionsBoundary`: the engine gives a policy pack the stack's configuration. */
function configuredBoundary(): string | undefined {
  const config = JSON.parse(process.env.PULUMI_CONFIG ?? "{}") as Record<string, string>;
  return config["wcs-balancer:permissionsBoundary"];
}

/** The rules that every stack must keep, also after changes to its configuration or to this program. */
export const policies: (ResourceValidationPolicy | StackValidationPolicy)[] = [
  ...typePolicies,
  ...portPolicies,
  ...loadBalancerPolicies,
  {
    name: "imdsv2",
    description: "The metadata service answers only IMDSv2 requests, and only from the instance itself.",
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
    description: "Secrets are in SecureStrings: not in user-data, other parameters or tags.",
    validateResource: ({ type, props }, report) => {
      if (type === instanceType && holdsSecret(userDataOf(props)))
        report("user-data holds a secret; put it into a SecureString");
      if (secretPattern.test(JSON.stringify(props.tags ?? {}))) report("a tag holds a secret; remove it");
      if (type !== "aws:ssm/parameter:Parameter") return;
      if (props.type === "SecureString" && props.insecureValue !== undefined)
        report(
          "a SecureString has its value in insecureValue, which the state keeps in clear text; use value",
        );
      if (props.type !== "SecureString" && secretPattern.test(String(props.value ?? props.insecureValue)))
        report(`a parameter of type ${props.type} holds a secret; make it a SecureString`);
      if (props.type !== "SecureString" && /\/acme-certificate$/.test(String(props.name)))
        report(`machines write a key into ${props.name}, which is a ${props.type}; make it a SecureString`);
    },
  },
  {
    name: "tags",
    description: "Every resource that takes tags has the tags Name, Project, Stack and Role.",
    validateResource: ({ type, props }, report) => {
      if (!type.startsWith("aws:") || untaggedTypes.includes(type)) return;
      const missing = ["Name", "Project", "Stack", "Role"].filter((tag) => !props.tags?.[tag]);
      if (missing.length > 0) report(`the tags ${missing.join(", ")} are missing`);
    },
  },
  {
    name: "written-parameters",
    description:
      "Machines read parameters. The only one that they write is the certificate from an ACME directory (.../acme-certificate).",
    validateResource: ({ type, props }, report) => {
      if (!type.startsWith("aws:iam/") || props.policy === undefined) return;
      for (const change of statementsOf(props.policy).flatMap(parameterChanges))
        report(`the role may call ${change}; machines write only the parameter .../acme-certificate`);
    },
  },
  {
    name: "no-wildcards",
    description:
      "Roles name actions, resources and principals without wildcards. Exceptions: objects of S3 below a named prefix, and the look-ups that a balancer needs.",
    validateResource: ({ type, props }, report) => {
      if (!type.startsWith("aws:iam/")) return;
      const policy = type === "aws:iam/role:Role" ? props.assumeRolePolicy : props.policy;
      if (policy === undefined) return;
      for (const value of statementsOf(policy).flatMap(wildcardsOf)) report(`${value} has a wildcard`);
    },
  },
  {
    name: "no-managed-policies",
    description: "Roles get rights by aws.iam.RolePolicy only, since only its text is checked.",
    validateResource: ({ type, props }, report) => {
      const attached = type === "aws:iam/role:Role" ? list(props.managedPolicyArns) : [];
      if (attached.length > 0)
        report(`the role has the managed policies ${attached.join(", ")}; use aws.iam.RolePolicy`);
      if (type === "aws:iam/role:Role" && props.inlinePolicies?.length > 0)
        report("the role has inlinePolicies, which the other rules do not read; use aws.iam.RolePolicy");
      if (/^aws:iam\/(rolePolicyAttachment|policyAttachment):/.test(type))
        report(`the managed policy ${props.policyArn} is attached; use aws.iam.RolePolicy`);
    },
  },
  {
    name: "permissions-boundary",
    description: "If the stack's configuration names a permissionsBoundary, each role has exactly that one.",
    validateResource: ({ type, props }, report) => {
      const boundary = configuredBoundary();
      if (type !== "aws:iam/role:Role" || boundary === undefined || props.permissionsBoundary === boundary)
        return;
      report(
        `the role has ${props.permissionsBoundary ?? "no permissionsBoundary"}, not ${boundary}; every role of this stack needs that one`,
      );
    },
  },
  ...bucketPolicies,
];
