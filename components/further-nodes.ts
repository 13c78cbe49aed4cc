import * as pulumi from "@pulumi/pulumi";
import { type Backend, externalServerName, serverName } from "../cluster/haproxy-config";

export interface FurtherNodesArgs {
  /** WCS servers that exist already. */
  externalNodes: { name: string; address: string }[];
  /** Another stack of this program whose nodes to use too. @default none */
  nodeStack?: string;
}

/** A node that another stack has as an output. */
interface OutputNode {
  name: string;
  privateAddress: string;
  instanceId: string;
}

/** The balancer's servers that this stack does not make: external ones and those of another stack. */
export class FurtherNodes extends pulumi.ComponentResource {
  readonly backends: pulumi.Output<Backend[]>;

  constructor(name: string, args: FurtherNodesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:cluster:FurtherNodes", name, {}, opts);
    const external = args.externalNodes.map(({ name, address }) => ({
      serverName: externalServerName(name, address),
      address,
    }));
    const ofStack = args.nodeStack
      ? new pulumi.StackReference(args.nodeStack, {}, { parent: this })
          .requireOutput("wcsNodes")
          .apply((nodes) =>
            (nodes as OutputNode[]).map(({ name, privateAddress, instanceId }) => ({
              serverName: serverName(name, instanceId),
              address: privateAddress,
            })),
          )
      : pulumi.output([]);
    this.backends = ofStack.apply((nodes) =>
      [...external, ...nodes].sort((one, other) => (one.serverName < other.serverName ? -1 : 1)),
    );
    this.registerOutputs({});
  }
}
