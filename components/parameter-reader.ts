import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface ParameterReaderArgs {
  /** Names of the SSM parameters that the instance may read. */
  parameters: string[];
  tags: Record<string, string>;
}

/** A role for an instance that may read the named parameters and nothing else. */
export class ParameterReader extends pulumi.ComponentResource {
  readonly instanceProfile: pulumi.Output<string>;

  constructor(name: string, args: ParameterReaderArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:access:ParameterReader", name, {}, opts);
    const parent = { parent: this };
    const region = aws.getRegionOutput({}, parent).region;
    const { accountId, arn } = aws.getCallerIdentityOutput({}, parent);
    const partition = arn.apply((text) => text.split(":")[1]);
    const role = new aws.iam.Role(
      name,
      {
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
    const resources = args.parameters.map(
      (parameter) => pulumi.interpolate`arn:${partition}:ssm:${region}:${accountId}:parameter${parameter}`,
    );
    new aws.iam.RolePolicy(
      name,
      {
        role: role.id,
        policy: pulumi.jsonStringify({
          Version: "2012-10-17",
          Statement: [{ Effect: "Allow", Action: "ssm:GetParameter", Resource: resources }],
        }),
      },
      parent,
    );
    this.instanceProfile = new aws.iam.InstanceProfile(
      name,
      { role: role.name, tags: args.tags },
      parent,
    ).name;
    this.registerOutputs({ instanceProfile: this.instanceProfile });
  }
}
