import {
  type ApiCall,
  arnOf,
  type Inventory,
  on,
  type ResourceCalls,
  requestTags,
  retagged,
  type Subject,
  type Target,
  tagsOf,
} from "../rights/calls";
import type { Context } from "../rights/policy";

/** The ARN of a role or instance profile, which holds its path. */
export function iamArn(
  kind: "role" | "instance-profile",
  { path = "/", name }: Record<string, unknown>,
): string {
  return arnOf("iam", `${kind}${path}${name}`);
}

function role({ inputs }: Subject, context?: Context): Target {
  return { resource: iamArn("role", inputs), context };
}

function boundary(arn: unknown): Context {
  return arn === undefined ? {} : { "iam:PermissionsBoundary": String(arn) };
}

export const roleCalls: ResourceCalls = {
  source: "iam/role.go",
  create: (subject) => {
    const tags = requestTags(tagsOf(subject.inputs));
    return [
      ...on(role(subject, { ...tags, ...boundary(subject.inputs.permissionsBoundary) }), "iam:CreateRole"),
      ...on(role(subject, tags), "iam:TagRole"),
    ];
  },
  // The role's policies are separate resources here, but the provider reads them as a property of the role, too.
  read: (subject) =>
    on(
      role(subject),
      "iam:GetRole",
      "iam:ListRolePolicies",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
    ),
  update: {
    assumeRolePolicy: (subject) =>
      on(role(subject, boundary(subject.olds?.permissionsBoundary)), "iam:UpdateAssumeRolePolicy"),
    description: (subject) => on(role(subject), "iam:UpdateRoleDescription"),
    permissionsBoundary: (subject) => {
      const { permissionsBoundary: wanted } = subject.inputs;
      return wanted === undefined
        ? on(role(subject, boundary(subject.olds?.permissionsBoundary)), "iam:DeleteRolePermissionsBoundary")
        : on(role(subject, boundary(wanted)), "iam:PutRolePermissionsBoundary");
    },
    tags: (subject) => retagged(role(subject), subject, { remove: "iam:UntagRole", set: "iam:TagRole" }),
  },
  remove: (subject) => on(role(subject), "iam:ListInstanceProfilesForRole", "iam:DeleteRole"),
};

/** The role that a policy or a profile names, with the boundary that it has. */
function namedRole({ inputs }: Subject, inventory: Inventory): Target {
  const { arn, boundary: limit } = inventory.role(String(inputs.role));
  return { resource: arn, context: boundary(limit) };
}

const putPolicy = (subject: Subject, inventory: Inventory) =>
  on(namedRole(subject, inventory), "iam:PutRolePolicy");

export const rolePolicyCalls: ResourceCalls = {
  source: "iam/role_policy.go",
  create: putPolicy,
  read: ({ inputs }, inventory) =>
    on({ resource: inventory.role(String(inputs.role)).arn }, "iam:GetRolePolicy"),
  update: { policy: putPolicy },
  remove: (subject, inventory) => on(namedRole(subject, inventory), "iam:DeleteRolePolicy"),
};

function profile({ inputs }: Subject, context?: Context): Target {
  return { resource: iamArn("instance-profile", inputs), context };
}

/** Adding a role to a profile needs the right to pass the role. */
function addRole(subject: Subject, inventory: Inventory): ApiCall[] {
  const { arn } = inventory.role(String(subject.inputs.role));
  return [
    ...on(profile(subject), "iam:AddRoleToInstanceProfile"),
    ...on({ resource: arn, context: { "iam:PassedToService": "ec2.amazonaws.com" } }, "iam:PassRole"),
  ];
}

export const instanceProfileCalls: ResourceCalls = {
  source: "iam/instance_profile.go",
  create: (subject, inventory) => {
    const tags = requestTags(tagsOf(subject.inputs));
    return [
      ...on(profile(subject, tags), "iam:CreateInstanceProfile", "iam:TagInstanceProfile"),
      ...addRole(subject, inventory),
    ];
  },
  read: (subject, inventory) => [
    ...on(profile(subject), "iam:GetInstanceProfile"),
    ...on({ resource: inventory.role(String(subject.inputs.role)).arn }, "iam:GetRole"),
  ],
  update: {
    role: (subject, inventory) => [
      ...on(profile(subject), "iam:RemoveRoleFromInstanceProfile"),
      ...addRole(subject, inventory),
    ],
    tags: (subject) =>
      retagged(profile(subject), subject, {
        remove: "iam:UntagInstanceProfile",
        set: "iam:TagInstanceProfile",
      }),
  },
  remove: (subject) => on(profile(subject), "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"),
};
