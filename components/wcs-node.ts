import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type Backend, serverName } from "../cluster/haproxy-config";
import { agentRequestVersion } from "../contract/facts";
import { type NodePackages, type NodeSettings, renderNodeUserData } from "../userdata/node";
import { encodeUserData } from "../userdata/user-data";
import { ignoredChanges, instanceDefaults, newestDebian, replaceOnChanges } from "./instance-image";
import type { InstanceRole } from "./instance-role";
import type { FetchedSoftware } from "./machine-software";
import { nodeTags } from "./tags";

export interface WcsNodeArgs {
  settings: NodeSettings;
  /** Networks of this stack's balancers. */
  balancerNetworks: pulumi.Input<string[]>;
  instanceType: string;
  /** @default the newest Debian 13 when the node is made */
  ami?: string;
  software: FetchedSoftware<NodePackages>;
  /** The node's rights at AWS. */
  role: InstanceRole;
  subnetId: pulumi.Input<string>;
  securityGroup: aws.ec2.SecurityGroup;
}

/**
 * One WCS node with its agent. Immutable: when its settings change, a new node is made before the old one is deleted.
 */
export class WcsNode extends pulumi.ComponentResource {
  /** Unique to the instance. */
  readonly serverName: pulumi.Output<string>;
  /** The node as HAProxy sees it. */
  readonly backend: pulumi.Output<Backend>;
  readonly instanceId: pulumi.Output<string>;
  readonly privateAddress: pulumi.Output<string>;
  readonly publicAddress: pulumi.Output<string>;

  constructor(name: string, args: WcsNodeArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:cluster:WcsNode", name, {}, opts);
    const userData = pulumi
      .all([args.balancerNetworks, args.software.packages])
      .apply(([networks, packages]) => encodeUserData(renderNodeUserData(args.settings, networks, packages)));
    const instance = new aws.ec2.Instance(
      name,
      {
        ...instanceDefaults,
        ami: args.ami ?? newestDebian(),
        instanceType: args.instanceType,
        subnetId: args.subnetId,
        associatePublicIpAddress: true,
        iamInstanceProfile: args.role.instanceProfile,
        vpcSecurityGroupIds: [args.securityGroup.id],
        userDataBase64: userData,
        tags: nodeTags,
      },
      {
        parent: this,
        ignoreChanges: ignoredChanges(args.ami),
        replaceOnChanges,
        dependsOn: args.role,
      },
    );
    this.instanceId = instance.id;
    this.privateAddress = instance.privateIp;
    this.publicAddress = instance.publicIp;
    this.serverName = instance.id.apply((id) => serverName(name, id));
    this.backend = pulumi
      .all([this.serverName, this.privateAddress])
      .apply(([serverName, address]) => ({ serverName, address, agentRequest: agentRequestVersion }));
    this.registerOutputs({ instanceId: this.instanceId, privateAddress: this.privateAddress });
  }
}
