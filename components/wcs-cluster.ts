import * as pulumi from "@pulumi/pulumi";
import type { Backend } from "../cluster/haproxy-config";
import { InstanceRole } from "./instance-role";
import type { Network } from "./network";
import { nodeTags } from "./tags";
import { WcsNode, type WcsNodeArgs } from "./wcs-node";

export interface WcsClusterArgs extends Omit<WcsNodeArgs, "subnetId" | "role"> {
  /** Node names, sorted; each becomes one instance. Removing a name removes that node. */
  nodes: string[];
  network: Network;
  /** ARN of the managed policy that limits the nodes' role. @default none */
  permissionsBoundary?: string;
}

/** The WCS nodes by name. */
export class WcsCluster extends pulumi.ComponentResource {
  /** By name. */
  readonly nodes: Record<string, WcsNode>;
  /** The same as HAProxy sees them. */
  readonly backends: Record<string, pulumi.Output<Backend>>;
  /** What users of the stack get told of them, and other stacks that use them. */
  readonly addresses: {
    name: string;
    privateAddress: pulumi.Output<string>;
    publicAddress: pulumi.Output<string>;
    instanceId: pulumi.Output<string>;
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
        new WcsNode(node, { ...args, role, subnetId: network.subnetFor(node) }, { parent: this }),
      ]),
    );
    const all = Object.entries(this.nodes);
    this.backends = Object.fromEntries(all.map(([node, { backend }]) => [node, backend]));
    this.addresses = all.map(([node, { privateAddress, publicAddress, instanceId }]) => ({
      name: node,
      privateAddress,
      publicAddress,
      instanceId,
    }));
    this.registerOutputs({});
  }
}
