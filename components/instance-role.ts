import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface InstanceRoleArgs {
  /** Names of the SSM parameters that the instance may read. @default none */
  parameters?: string[];
  /** ARNs of the objects in S3 that it may read, `*` for all below a prefix. */
  objects: pulumi.Input<string>[];
  /** ARN of a managed policy that says what the role may do at most. @default none */
  permissionsBoundary?: string;
  tags: Record<string, string>;
}

/**
 * The path in IAM of all roles and instance profiles of a stack, by which a deployment's rights can be limited to one
 * stack. A role of another path is a new role: running instances get it without being replaced.
 */
export function rolePath(project: string, stack: string): string {
  return `/${project}/${stack}/`;
}

/** A role for an instance that may read the named parameters and objects, and nothing else. */
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
    const parameters = (args.parameters ?? []).map(
      (parameter) => pulumi.interpolate`arn:${partition}:ssm:${region}:${accountId}:parameter${parameter}`,
    );
    const statements = [
      { Effect: "Allow", Action: "s3:GetObject", Resource: args.objects },
      ...(parameters.length > 0
        ? [{ Effect: "Allow", Action: "ssm:GetParameter", Resource: parameters }]
        : []),
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
