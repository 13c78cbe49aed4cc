import * as pulumi from "@pulumi/pulumi";
import { InstanceRole } from "./instance-role";
import type { Network } from "./network";
import { nodeTags } from "./tags";
import { WcsNode, type WcsNodeArgs } from "./wcs-node";

export interface WcsClusterArgs extends Omit<WcsNodeArgs, "subnetId" | "role"> {
  /** Node names; each becomes one instance. Removing a name removes that node. */
  nodes: string[];
  network: Network;
  /** ARN of the managed policy that limits the nodes' role. @default none */
  permissionsBoundary?: string;
}

/** The WCS nodes by name. */
export class WcsCluster extends pulumi.ComponentResource {
  /** In the order of their names, so that another order of the configuration changes nothing. */
  readonly nodes: Record<string, WcsNode>;

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
      [...nodes]
        .sort()
        .map((node) => [
          node,
          new WcsNode(node, { ...args, role, subnetId: network.subnetFor(node) }, { parent: this }),
        ]),
    );
    this.registerOutputs({});
  }
}
