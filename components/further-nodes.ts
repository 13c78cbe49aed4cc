import * as pulumi from "@pulumi/pulumi";
import { type Backend, furtherBackends, type OutputNode } from "../cluster/haproxy-config";

export interface FurtherNodesArgs {
  /** WCS servers that exist already. */
  externalNodes: Backend[];
  /** Another stack of this program whose nodes are used, too. @default none */
  nodeStack?: string;
}

/** The balancer's servers that this stack does not make: external ones and those of another stack. */
export class FurtherNodes extends pulumi.ComponentResource {
  readonly backends: pulumi.Output<Backend[]>;
  /** Their names in HAProxy, separated by blanks. */
  readonly serverNames: pulumi.Output<string>;

  constructor(name: string, args: FurtherNodesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:cluster:FurtherNodes", name, {}, opts);
    const ofStack = args.nodeStack
      ? new pulumi.StackReference(args.nodeStack, {}, { parent: this }).requireOutput("wcsNodes")
      : pulumi.output([]);
    this.backends = ofStack.apply((nodes) => furtherBackends(args.externalNodes, nodes as OutputNode[]));
    this.serverNames = this.backends.apply((all) => all.map(({ serverName }) => serverName).join(" "));
    this.registerOutputs({});
  }
}
