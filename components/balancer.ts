import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type BalancerSettings, renderBalancerUserData } from "../userdata/balancer";
import { encodeUserData } from "../userdata/cloud-config";
import { instanceDefaults, newestDebian } from "./instance-image";

export interface BalancerArgs {
  /** What the machine is told; nothing of it changes with the nodes or the certificate. */
  settings: BalancerSettings;
  instanceType: string;
  /** @default the newest Debian 13 when the machine is made */
  ami?: string;
  subnetId: pulumi.Input<string>;
  securityGroup: aws.ec2.SecurityGroup;
}

/** The balancer: its addresses, which outlive the machine, its role and the machine itself. */
export class Balancer extends pulumi.ComponentResource {
  readonly privateAddress: pulumi.Output<string>;
  readonly publicAddress: pulumi.Output<string>;
  readonly instanceId: pulumi.Output<string>;

  constructor(name: string, args: BalancerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:Balancer", name, {}, opts);
    const parent = { parent: this };

    // Addresses first: the nodes let in only the balancer, and the balancer's state names the nodes.
    const networkInterface = new aws.ec2.NetworkInterface(
      name,
      { subnetId: args.subnetId, securityGroups: [args.securityGroup.id], tags: { Name: name } },
      { ...parent, ignoreChanges: ["subnetId"] },
    );
    const elasticIp = new aws.ec2.Eip(name, { domain: "vpc", tags: { Name: name } }, parent);
    const association = new aws.ec2.EipAssociation(
      name,
      { allocationId: elasticIp.allocationId, networkInterfaceId: networkInterface.id },
      parent,
    );
    const { profile, policy } = this.role(name, [
      args.settings.stateParameter,
      args.settings.secretParameter,
    ]);

    const instance = new aws.ec2.Instance(
      name,
      {
        ...instanceDefaults,
        ami: args.ami ?? newestDebian(this),
        instanceType: args.instanceType,
        iamInstanceProfile: profile.name,
        primaryNetworkInterface: { networkInterfaceId: networkInterface.id },
        userDataBase64: encodeUserData(renderBalancerUserData(args.settings)),
        tags: { Name: name },
        volumeTags: { Name: name },
      },
      {
        ...parent,
        // The interface can be in one machine only.
        deleteBeforeReplace: true,
        // cloud-init needs the network and the role at once.
        dependsOn: [association, policy],
        ignoreChanges: args.ami ? [] : ["ami"],
      },
    );
    this.privateAddress = networkInterface.privateIp;
    this.publicAddress = elasticIp.publicIp;
    this.instanceId = instance.id;
    this.registerOutputs({ publicAddress: this.publicAddress, instanceId: this.instanceId });
  }

  /** A role that may read the two parameters and nothing else. */
  private role(name: string, parameters: string[]) {
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
      },
      parent,
    );
    const policy = new aws.iam.RolePolicy(
      name,
      {
        role: role.id,
        policy: pulumi.jsonStringify({
          Version: "2012-10-17",
          Statement: [
            {
              Effect: "Allow",
              Action: "ssm:GetParameter",
              Resource: parameters.map(
                (parameter) =>
                  pulumi.interpolate`arn:${partition}:ssm:${region}:${accountId}:parameter${parameter}`,
              ),
            },
          ],
        }),
      },
      parent,
    );
    const profile = new aws.iam.InstanceProfile(name, { role: role.name }, parent);
    return { profile, policy };
  }
}
