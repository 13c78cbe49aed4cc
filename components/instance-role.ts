import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface InstanceRoleArgs {
  /** Names of the SSM parameters that the instance may read. @default none */
  parameters?: string[];
  /** Names of those that it may also write. @default none */
  writtenParameters?: string[];
  /** ARNs of the objects in S3 that it may read; `*` means all objects with a prefix. */
  objects: pulumi.Input<string>[];
  /** ARNs of the target groups in which the instance may register itself and others. @default none */
  targetGroups?: pulumi.Input<string[]>;
  /** ARN of the managed policy that limits the role. @default none */
  permissionsBoundary?: string;
  tags: Record<string, string>;
}

/**
 * The path in IAM of all roles and instance profiles of a stack. It can limit a deployment's rights to one stack.
 * Another path makes a new role, which running instances get without being replaced.
 */
export function rolePath(project: string, stack: string): string {
  return `/${project}/${stack}/`;
}

/** Look-ups of a balancer behind a load balancer. AWS cannot limit them to some resources. */
const lookUps = [
  "elasticloadbalancing:DescribeTargetHealth",
  "ec2:DescribeInstances",
  // A caller that registers targets needs these, too (AWS, "Elastic Load Balancing API permissions").
  "ec2:DescribeInternetGateways",
  "ec2:DescribeSubnets",
  "ec2:DescribeVpcs",
];

/** Rights of a balancer behind a load balancer. */
function targetStatements(targetGroups: pulumi.Input<string[]>) {
  const registers = ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"];
  return [
    { Effect: "Allow", Action: registers, Resource: targetGroups },
    { Effect: "Allow", Action: lookUps, Resource: "*" },
  ];
}

/**
 * A role for an instance that may read the named parameters and objects, write the named parameters, change the targets of
 * the named groups, and nothing else.
 */
export class InstanceRole extends pulumi.ComponentResource {
  readonly instanceProfile: pulumi.Output<string>;

  constructor(name: string, args: InstanceRoleArgs, opts?: pulumi.ComponentResourceOptions) {
    super(
      "wcs-balancer:access:InstanceRole",
      name,
      {},
      {
        ...opts,
        aliases: [{ type: "wcs-balancer:access:ParameterReader" }],
      },
    );
    const parent = { parent: this };
    const region = aws.getRegionOutput({}, parent).region;
    const { accountId, arn } = aws.getCallerIdentityOutput({}, parent);
    const partition = arn.apply((text) => text.split(":")[1]);
    const path = rolePath(pulumi.getProject(), pulumi.getStack());
    const role = new aws.iam.Role(
      name,
      {
        path,
        permissionsBoundary: args.permissionsBoundary,
        assumeRolePolicy: JSON.stringify({
          Version: "2012-10-17",
          Statement: [
            { Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } },
          ],
        }),
        tags: args.tags,
      },
      parent,
    );
    const mayUse = (action: string, parameters: string[] = []) =>
      parameters.length > 0
        ? [
            {
              Effect: "Allow",
              Action: action,
              Resource: parameters.map(
                (parameter) =>
                  pulumi.interpolate`arn:${partition}:ssm:${region}:${accountId}:parameter${parameter}`,
              ),
            },
          ]
        : [];
    const statements = [
      { Effect: "Allow", Action: "s3:GetObject", Resource: args.objects },
      ...mayUse("ssm:GetParameter", args.parameters),
      ...mayUse("ssm:PutParameter", args.writtenParameters),
      ...(args.targetGroups ? targetStatements(args.targetGroups) : []),
    ];
    new aws.iam.RolePolicy(
      name,
      { role: role.id, policy: pulumi.jsonStringify({ Version: "2012-10-17", Statement: statements }) },
      parent,
    );
    this.instanceProfile = new aws.iam.InstanceProfile(
      name,
      { path, role: role.name, tags: args.tags },
      parent,
    ).name;
    this.registerOutputs({ instanceProfile: this.instanceProfile });
  }
}
