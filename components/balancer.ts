import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type BalancerPackages, type BalancerSettings, renderBalancerUserData } from "../userdata/balancer";
import { encodeUserData } from "../userdata/user-data";
import { instanceDefaults, newestDebian, replaceOnChanges } from "./instance-image";
import { InstanceRole } from "./instance-role";
import type { FetchedSoftware } from "./machine-software";
import { balancerTags as tags } from "./tags";

export interface BalancerArgs {
  /** What the machine is told; nothing of it changes with the nodes or the certificate. */
  settings: BalancerSettings;
  software: FetchedSoftware<BalancerPackages>;
  instanceType: string;
  /** @default the newest Debian 13 when the machine is made */
  ami?: string;
  subnetId: pulumi.Input<string>;
  securityGroup: aws.ec2.SecurityGroup;
  /** ARN of the managed policy that limits its role. @default none */
  permissionsBoundary?: string;
  /** Whether the Elastic IP is protected against deletion. @default false */
  protect?: boolean;
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
      { subnetId: args.subnetId, securityGroups: [args.securityGroup.id], tags },
      { ...parent, ignoreChanges: ["subnetId"] },
    );
    const elasticIp = new aws.ec2.Eip(name, { domain: "vpc", tags }, { ...parent, protect: args.protect });
    const association = new aws.ec2.EipAssociation(
      name,
      { allocationId: elasticIp.allocationId, networkInterfaceId: networkInterface.id },
      parent,
    );
    const { stateParameter, secretParameter } = args.settings;
    const role = new InstanceRole(
      name,
      {
        parameters: [stateParameter, secretParameter],
        objects: args.software.objects,
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
        iamInstanceProfile: role.instanceProfile,
        primaryNetworkInterface: { networkInterfaceId: networkInterface.id },
        userDataBase64: args.software.packages.apply((packages) =>
          encodeUserData(renderBalancerUserData(args.settings, packages)),
        ),
        tags,
      },
      {
        ...parent,
        // The interface can be in one machine only.
        deleteBeforeReplace: true,
        replaceOnChanges,
        // cloud-init needs the network and the role at once.
        dependsOn: [association, role],
        ignoreChanges: args.ami ? [] : ["ami"],
      },
    );
    this.privateAddress = networkInterface.privateIp;
    this.publicAddress = elasticIp.publicIp;
    this.instanceId = instance.id;
    this.registerOutputs({ publicAddress: this.publicAddress, instanceId: this.instanceId });
  }
}
