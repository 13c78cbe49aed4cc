import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { Backend } from "../cluster/haproxy-config";

export interface RolloutArgs {
  domain: string;
  /** The Elastic IP: asked directly, so that no DNS record is needed. */
  balancerAddress: pulumi.Input<string>;
  /** A new machine has to be waited for again. */
  balancerInstanceId: pulumi.Input<string>;
  revision: pulumi.Input<string>;
  /** Server names of the nodes that must be up. */
  serverNames: pulumi.Input<string>[];
  /** Servers that this stack does not make: one that is down is a warning. */
  furtherBackends: pulumi.Output<Backend[]>;
  drainTimeoutSeconds: number;
  /** Certificates to trust besides the system's, PEM. */
  trusted: pulumi.Input<string>;
  statusToken: pulumi.Input<string>;
}

/**
 * Ends when the balancer runs the revision, every node is up and every removed one drained, so that `pulumi up`
 * ends when it is true. Pulumi deletes last: until then a removed node lives.
 */
export class Rollout extends pulumi.ComponentResource {
  constructor(name: string, args: RolloutArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:Rollout", name, {}, opts);
    const wait = "scripts/wait-for-rollout.ts";
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
          BALANCER_ADDRESS: args.balancerAddress,
          BALANCER_INSTANCE: args.balancerInstanceId,
          DOMAIN: args.domain,
          REVISION: args.revision,
          SERVERS: pulumi.all(args.serverNames).apply((names) => names.join(" ")),
          FURTHER_SERVERS: args.furtherBackends.apply((all) =>
            all.map(({ serverName }) => serverName).join(" "),
          ),
          DRAIN_TIMEOUT_SECONDS: String(args.drainTimeoutSeconds),
          TRUSTED: args.trusted,
          STATUS_TOKEN: args.statusToken,
        },
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
