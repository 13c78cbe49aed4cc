import { AsyncResource } from "node:async_hooks";
import * as aws from "@pulumi/aws";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { formerBalancerName } from "../cluster/entry";
import type { Balancer } from "./balancer";
import type { DesiredState } from "./desired-state";
import type { FurtherNodes } from "./further-nodes";
import type { LoadBalancer } from "./load-balancer";
import { interpreter } from "./local-program";
import type { StatusAccess } from "./status-access";
import { balancerTags as tags } from "./tags";
import type { WcsCluster } from "./wcs-cluster";

/** The state that a machine has to serve, and the access to its status. */
interface Serving {
  desiredState: DesiredState;
  /** The nodes that have to be up. */
  cluster: WcsCluster;
  /** Servers that this stack does not make. If one is still down after a while, there is only a warning. */
  furtherNodes: FurtherNodes;
  statusAccess: StatusAccess;
}

export interface EntryAddressArgs {
  /** The machine that is to have the address. */
  balancer: Balancer;
  /**
   * The state that the machine has to serve before it gets the address.
   * @default the address moves at once, even if the machine does not serve yet
   */
  serving?: Serving;
  /** Another way to ask the machine. @default none */
  loadBalancer?: LoadBalancer;
  /** Whether the address is protected against deletion. @default false */
  protect?: boolean;
}

/**
 * The Elastic IP that clients connect to. It outlives every balancer, and moves to a new balancer when that one serves.
 */
export class EntryAddress extends pulumi.ComponentResource {
  readonly publicAddress: pulumi.Output<string>;

  constructor(name: string, args: EntryAddressArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:EntryAddress", name, {}, opts);
    const { serving } = args;
    // In earlier versions these were parts of the balancer.
    const former = pulumi.createUrn(formerBalancerName, "wcs-balancer:balancer:Balancer");
    const options = { parent: this, aliases: [{ name: formerBalancerName, parent: former }] };
    const elasticIp = new aws.ec2.Eip(name, { domain: "vpc", tags }, { ...options, protect: args.protect });
    this.publicAddress = elasticIp.publicIp;
    new aws.ec2.EipAssociation(
      name,
      {
        allocationId: elasticIp.allocationId,
        instanceId: args.balancer.instanceId,
        // The old balancer still has the address: the new association is made before the old one is deleted.
        allowReassociation: true,
      },
      {
        ...options,
        // A hook, not a resource: it has to run at each attempt to move the address, directly before it.
        hooks: serving ? { beforeCreate: [this.handOver(name, args, serving)] } : undefined,
        dependsOn: serving ? [serving.desiredState, serving.cluster] : [],
      },
    );
    this.registerOutputs({ publicAddress: this.publicAddress });
  }

  /** Waits until the new machine serves, and tells the old one to close its sockets. */
  private handOver(
    name: string,
    { balancer, loadBalancer }: EntryAddressArgs,
    { desiredState, cluster, furtherNodes, statusAccess }: Serving,
  ): pulumi.ResourceHook {
    const environment = pulumi.output({
      ENTRY_ADDRESS: this.publicAddress,
      FIRST_ADDRESS: balancer.firstPublicAddress,
      LOAD_BALANCER_ADDRESSES: pulumi
        .output(loadBalancer?.addresses ?? [])
        .apply((addresses) => addresses.join(" ")),
      INSTANCE: balancer.instanceId,
      REVISION: desiredState.revision,
      SERVERS: cluster.serverNames,
      FURTHER_SERVERS: furtherNodes.serverNames,
      TRUSTED: statusAccess.trusted,
      STATUS_TOKEN: statusAccess.token,
    });
    const run = async () => {
      const known = await new Promise<Record<string, string>>((resolve) => environment.apply(resolve));
      await command.local.run({
        interpreter,
        command: "rollout/hand-over.ts",
        environment: { ...known, PROGRAM: String(process.pid) },
      });
    };
    // The SDK calls a hook outside the program's asynchronous context, which a function needs to find its engine.
    return new pulumi.ResourceHook(`${name}-hand-over`, AsyncResource.bind(run));
  }
}
