import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterDescription } from "../cluster/description";
import type { Balancers } from "./balancers";
import type { DesiredState } from "./desired-state";
import type { FurtherNodes } from "./further-nodes";
import { interpreter } from "./local-program";
import type { StatusAccess } from "./status-access";
import type { WcsCluster } from "./wcs-cluster";

export interface RolloutArgs {
  /** The addresses are asked directly, so that no DNS record is needed. */
  addresses: pulumi.Input<string[]>;
  /** How clients reach the balancers, how long a balancer that leaves keeps serving and drains, and the ACME directory. */
  described: Pick<ClusterDescription, "paths" | "leave" | "drainTimeoutSeconds" | "acme">;
  /** Whether the stack makes the DNS record of its domain. @default false: it is made by hand */
  makesRecord?: boolean;
  /** The machines that must serve. */
  balancers: Balancers;
  /** The state whose revision must be applied. */
  desiredState: DesiredState;
  /** The nodes that must be up. */
  cluster: WcsCluster;
  /** Servers that this stack does not make. If one is down, there is only a warning. */
  furtherNodes: FurtherNodes;
  statusAccess: StatusAccess;
  /** `serving`: waits only until every balancer serves. @default waits also until removed machines are done */
  until?: "serving";
}

/**
 * Ends when every balancer runs the revision, every node is up, every removed node is drained and every other balancer
 * has left. So `pulumi up` ends when the cluster serves. Pulumi deletes removed machines only after that.
 */
export class Rollout extends pulumi.ComponentResource {
  constructor(name: string, args: RolloutArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:Rollout", name, {}, opts);
    const wait = "rollout/wait-for-rollout.ts";
    new command.local.Command(
      name,
      {
        interpreter,
        create: wait,
        // A new environment updates this resource in place, before anything is deleted. Triggers would replace it.
        update: wait,
        environment: {
          ENTRY_ADDRESSES: pulumi.output(args.addresses).apply((addresses) => addresses.join(" ")),
          BALANCERS: pulumi.jsonStringify(args.balancers.instances),
          LOAD_BALANCER: String(args.described.paths.loadBalancer),
          REVISION: args.desiredState.revision,
          // So it also runs when an earlier state is wanted again after an `up` that was interrupted.
          DOCUMENT_VERSION: pulumi.interpolate`${args.desiredState.version}`,
          SERVERS: args.cluster.serverNames,
          FURTHER_SERVERS: args.furtherNodes.serverNames,
          DRAIN_TIMEOUT_SECONDS: String(args.described.drainTimeoutSeconds),
          LEAVE_SECONDS: String(args.described.leave.tailSeconds + args.described.leave.quietSeconds),
          ...(args.until && { UNTIL: args.until }),
          ...(args.described.acme && {
            ACME_DOMAIN: args.described.acme.domain,
            MAKES_RECORD: String(args.makesRecord ?? false),
          }),
          TRUSTED: args.statusAccess.trusted,
          STATUS_TOKEN: args.statusAccess.token,
        },
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
