/** A subnet and its zone. */
export interface Subnet {
  id: string;
  zone: string;
  /** The zone's id, such as euc1-az2. Newer zones have higher numbers. */
  zoneId: string;
}

/**
 * A load balancer has an Elastic IP in each of its zones. An account may have five (AWS, "Elastic IP address quotas"),
 * and with `entry: both` the first balancer needs another one.
 */
const mostZones = 3;

/** Subnets that a load balancer cannot use. */
export class SubnetsError extends Error {}

/**
 * The subnets of a load balancer and its balancers: one in each zone. A target in another zone gets no clients. Of many
 * zones it takes those with the lowest ids, so that a zone that AWS adds later changes nothing: another set of subnets
 * would make another load balancer.
 * @param subnets all that the stack may use
 * @param first the subnet that the first balancer is in; its zone is the first of the result
 * @param named whether the configuration names the subnets, so that none of their zones may be left out
 * @throws SubnetsError when these have too many zones, or lack the first balancer's
 */
export function balancerSubnets(subnets: Subnet[], first: Subnet, named: boolean): Subnet[] {
  const isKnown = subnets.some(({ zone }) => zone === first.zone);
  const byId = (isKnown ? subnets : [...subnets, first]).toSorted((one, other) =>
    one.id < other.id ? -1 : 1,
  );
  const zones = [...new Map(byId.map((subnet) => [subnet.zone, subnet.zoneId]))]
    .sort(([, one], [, other]) => one.localeCompare(other, "en", { numeric: true }))
    .map(([zone]) => zone);
  if (named && !isKnown) {
    throw new SubnetsError(
      `subnetIds has no subnet in the zone ${first.zone}, where balancer-1 is (${first.id}); a load balancer sends no ` +
        `clients into other zones than its own, and a machine keeps its subnet. Add one of this zone with: ` +
        `pulumi config set --path 'subnetIds[${subnets.length}]' ${first.id}`,
    );
  }
  if (named && zones.length > mostZones) {
    throw new SubnetsError(
      `subnetIds has subnets in ${zones.length} zones (${zones.toSorted().join(", ")}); a load balancer needs an Elastic IP in each ` +
        `zone, and an account has five by default, so it must be ${mostZones} zones at most. Remove the subnets of the ` +
        "other zones with: pulumi config rm --path 'subnetIds[0]', and the same for others",
    );
  }
  return zones
    .toSorted((one, other) => Number(other === first.zone) - Number(one === first.zone))
    .slice(0, mostZones)
    .flatMap((zone) => byId.find((subnet) => subnet.zone === zone) ?? []);
}

/** Warns when all balancers are in one zone. */
export function zoneWarnings(subnets: Subnet[], balancers: number): string[] {
  const [only, ...others] = subnets;
  if (balancers === 1 || !only || others.length > 0) return [];
  return [
    `all subnets are in the zone ${only.zone}: when this zone fails, all ${balancers} balancers fail with it, and clients ` +
      "reach none. Use subnets of further zones: pulumi config set --path 'subnetIds[1]' subnet-0123456789abcdef0",
  ];
}
