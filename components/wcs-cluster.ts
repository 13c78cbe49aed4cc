import * as pulumi from "@pulumi/pulumi";
import type { Backend } from "../cluster/haproxy-config";
import { agentRequestVersion } from "../contract/facts";
import { InstanceRole } from "./instance-role";
import type { Network } from "./network";
import { nodeTags } from "./tags";
import { WcsNode, type WcsNodeArgs } from "./wcs-node";

export interface WcsClusterArgs extends Omit<WcsNodeArgs, "subnetId" | "role" | "balancerNetworks"> {
  /** Node names, sorted. Each becomes one instance. Removing a name removes that node. */
  nodes: string[];
  network: Network;
  /** ARN of the managed policy that limits the nodes' role. @default none */
  permissionsBoundary?: string;
}

/** The WCS nodes by name. */
export class WcsCluster extends pulumi.ComponentResource {
  /** The nodes by name. */
  readonly nodes: Record<string, WcsNode>;
  /** The nodes as HAProxy sees them, by name. */
  readonly backends: Record<string, pulumi.Output<Backend>>;
  /** The nodes' names in HAProxy, separated by blanks. */
  readonly serverNames: pulumi.Output<string>;
  /** The nodes as an output of the stack, for users and for other stacks. */
  readonly addresses: {
    name: string;
    privateAddress: pulumi.Output<string>;
    publicAddress: pulumi.Output<string>;
    instanceId: pulumi.Output<string>;
    agentRequest: number;
  }[];

  constructor(
    name: string,
    { nodes, network, ...args }: WcsClusterArgs,
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super("wcs-balancer:cluster:WcsCluster", name, {}, opts);
    const { licenseParameter } = args.settings;
    const role = new InstanceRole(
      "node",
      {
        objects: args.software.objects,
        parameters: licenseParameter ? [licenseParameter] : [],
        permissionsBoundary: args.permissionsBoundary,
        tags: nodeTags,
      },
      { parent: this },
    );
    this.nodes = Object.fromEntries(
      nodes.map((node) => [
        node,
        new WcsNode(
          node,
          // Allow the whole VPC: a new balancer has a new address, and must not replace any node.
          { ...args, role, subnetId: network.subnetFor(node), balancerNetworks: network.cidrBlocks },
          { parent: this },
        ),
      ]),
    );
    const all = Object.entries(this.nodes);
    this.backends = Object.fromEntries(all.map(([node, { backend }]) => [node, backend]));
    this.serverNames = pulumi
      .all(all.map(([, { serverName }]) => serverName))
      .apply((names) => names.join(" "));
    this.addresses = all.map(([node, { privateAddress, publicAddress, instanceId }]) => ({
      name: node,
      privateAddress,
      publicAddress,
      instanceId,
      agentRequest: agentRequestVersion,
    }));
    this.registerOutputs({});
  }
}
