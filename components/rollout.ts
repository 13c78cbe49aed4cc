import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { Backend } from "../cluster/haproxy-config";
import type { Balancer } from "./balancer";
import type { Certificate } from "./certificate";
import type { DesiredState } from "./desired-state";
import type { WcsCluster } from "./wcs-cluster";

export interface RolloutArgs {
  domain: string;
  /** Its Elastic IP is asked directly, so that no DNS record is needed. A new machine has to be waited for again. */
  balancer: Balancer;
  /** Its revision must be applied. */
  desiredState: DesiredState;
  /** Its nodes must be up. */
  cluster: WcsCluster;
  /** Servers that this stack does not make: one that is down is a warning. */
  furtherBackends: pulumi.Output<Backend[]>;
  drainTimeoutSeconds: number;
  certificate: Certificate;
}

/**
 * Ends when the balancer runs the revision, every node is up and every removed one drained, so that `pulumi up`
 * ends when it is true. Pulumi deletes last: until then a removed node lives.
 */
export class Rollout extends pulumi.ComponentResource {
  constructor(name: string, args: RolloutArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:Rollout", name, {}, opts);
    const wait = "rollout/wait-for-rollout.ts";
    new command.local.Command(
      name,
      {
        // Without a shell, which differs from system to system: Ctrl-C kills the process that the provider has started
        // and no child of that, and then waits until nobody holds its output.
        interpreter: ["node", "--import", "tsx"],
        create: wait,
        // What is new in the environment updates in place, and so before anything is deleted. Triggers would replace.
        update: wait,
        environment: {
          BALANCER_ADDRESS: args.balancer.publicAddress,
          BALANCER_INSTANCE: args.balancer.instanceId,
          DOMAIN: args.domain,
          REVISION: args.desiredState.revision,
          SERVERS: pulumi
            .all(Object.values(args.cluster.nodes).map(({ serverName }) => serverName))
            .apply((names) => names.join(" ")),
          FURTHER_SERVERS: args.furtherBackends.apply((all) =>
            all.map(({ serverName }) => serverName).join(" "),
          ),
          DRAIN_TIMEOUT_SECONDS: String(args.drainTimeoutSeconds),
          TRUSTED: args.certificate.trusted,
          STATUS_TOKEN: args.certificate.statusToken,
        },
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
