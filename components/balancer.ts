import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type BalancerPackages, type BalancerSettings, renderBalancerUserData } from "../userdata/balancer";
import { encodeUserData } from "../userdata/user-data";
import { ignoredChanges, instanceDefaults, newestDebian, replaceOnChanges } from "./instance-image";
import { InstanceRole } from "./instance-role";
import type { FetchedSoftware } from "./machine-software";
import { balancerTags as tags } from "./tags";

export interface BalancerArgs {
  /** The machine's settings. They do not change with the nodes, the certificates or other balancers. */
  settings: BalancerSettings;
  software: FetchedSoftware<BalancerPackages>;
  instanceType: string;
  /** @default the newest Debian 13 when the machine is made */
  ami?: string;
  subnetId: pulumi.Input<string>;
  securityGroup: aws.ec2.SecurityGroup;
  /** Whether it orders certificates: then it may read the account's key, and write the certificate. @default false */
  acme?: boolean;
  /** ARNs of the target groups in which it registers itself. @default none */
  targetGroups?: pulumi.Input<string[]>;
  /** ARN of the managed policy that limits its role. @default none */
  permissionsBoundary?: string;
}

/**
 * One balancer and its role. Immutable: when its settings change, a new balancer is made before the old one is deleted.
 */
export class Balancer extends pulumi.ComponentResource {
  readonly instanceId: pulumi.Output<string>;
  /** The subnet that the machine is in. A new machine might get another one. */
  readonly subnetId: pulumi.Output<string>;
  /**
   * The public address that AWS gave the machine when it was made. The machine loses it when it gets an Elastic IP, so
   * it can be used only before that.
   */
  readonly firstPublicAddress: pulumi.Output<string>;

  constructor(name: string, args: BalancerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:Balancer", name, {}, opts);
    const parent = { parent: this };
    const { stateParameter, secretParameter, statusParameter, accountParameter, acmeParameter } =
      args.settings;
    const role = new InstanceRole(
      name,
      {
        parameters: [
          ...[stateParameter, secretParameter, statusParameter],
          ...(args.acme ? [accountParameter, acmeParameter] : []),
        ],
        writtenParameters: args.acme ? [acmeParameter] : [],
        objects: args.software.objects,
        targetGroups: args.targetGroups,
        permissionsBoundary: args.permissionsBoundary,
        tags,
      },
      parent,
    );
    const instance = new aws.ec2.Instance(
      name,
      {
        ...instanceDefaults,
        ami: args.ami ?? newestDebian(),
        instanceType: args.instanceType,
        subnetId: args.subnetId,
        // cloud-init needs the internet at once, before the machine has an Elastic IP.
        associatePublicIpAddress: true,
        iamInstanceProfile: role.instanceProfile,
        vpcSecurityGroupIds: [args.securityGroup.id],
        userDataBase64: args.software.packages.apply((packages) =>
          encodeUserData(renderBalancerUserData(args.settings, packages)),
        ),
        tags,
      },
      {
        ...parent,
        replaceOnChanges,
        dependsOn: role,
        ignoreChanges: ignoredChanges(args.ami),
      },
    );
    this.instanceId = instance.id;
    this.subnetId = instance.subnetId;
    this.firstPublicAddress = instance.publicIp;
    this.registerOutputs({ instanceId: this.instanceId });
  }
}
