import * as pulumi from "@pulumi/pulumi";
import type { Network } from "./network";
import { WcsNode, type WcsNodeArgs } from "./wcs-node";

export interface WcsClusterArgs extends Omit<WcsNodeArgs, "subnetId"> {
  /** Node names; each becomes one instance. Removing a name removes that node. */
  nodes: string[];
  network: Network;
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
    this.nodes = Object.fromEntries(
      [...nodes]
        .sort()
        .map((node) => [
          node,
          new WcsNode(node, { ...args, subnetId: network.subnetFor(node) }, { parent: this }),
        ]),
    );
    this.registerOutputs({});
  }
}
