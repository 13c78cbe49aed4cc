import * as pulumi from "@pulumi/pulumi";
import { formerBalancerName } from "../cluster/entry";
import type { Subnet } from "../cluster/zones";
import { Balancer, type BalancerArgs } from "./balancer";
import type { LoadBalancer } from "./load-balancer";
import type { Network } from "./network";

export interface BalancersArgs extends Omit<BalancerArgs, "subnetId" | "targetGroups"> {
  /** Each becomes one instance. The first one can have the Elastic IP. */
  names: string[];
  network: Network;
  /** The load balancer in front of them; several need one. @default clients come by the Elastic IP */
  loadBalancer?: LoadBalancer;
}

/** The balancers. */
export class Balancers extends pulumi.ComponentResource {
  readonly first: Balancer;
  /** The instance ids by the names. */
  readonly instances: pulumi.Output<Record<string, string>>;

  constructor(
    name: string,
    { names, network, loadBalancer, ...args }: BalancersArgs,
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super("wcs-balancer:balancer:Balancers", name, {}, opts);
    const targetGroups = loadBalancer?.targetGroups.apply((groups) => groups.map(({ arn }) => arn));
    const former = pulumi.createUrn(formerBalancerName, "wcs-balancer:balancer:Balancer");
    const balancers = names.map((balancer, index) => {
      const subnetId =
        loadBalancer && index > 0
          ? subnetInTurn(loadBalancer.subnets, index)
          : network.subnetFor(formerBalancerName);
      const aliases = index === 0 ? [former] : [];
      return new Balancer(balancer, { ...args, subnetId, targetGroups }, { parent: this, aliases });
    });
    this.first = balancers[0] as Balancer;
    const ids = balancers.map(({ instanceId }, index): [string, pulumi.Output<string>] => [
      names[index] as string,
      instanceId,
    ]);
    this.instances = pulumi.all(Object.fromEntries(ids));
    this.registerOutputs({ instances: this.instances });
  }
}

function subnetInTurn(subnets: pulumi.Output<Subnet[]>, index: number): pulumi.Output<string> {
  return subnets.apply((all) => (all[index % all.length] as Subnet).id);
}
