import * as ipaddr from "ipaddr.js";

/** The part of the IPv4 addresses that networks cover, from 0 to 1. */
export function shareOfAllAddresses(cidrs: string[]): number {
  const networks = cidrs.map((cidr) => ipaddr.IPv4.parseCIDR(cidr)).sort(([, one], [, other]) => one - other);
  // Two networks never overlap in part: one contains the other, or they are separate. Sorting puts larger ones first.
  return networks
    .filter(([address], index) => !networks.slice(0, index).some((outer) => address.match(outer)))
    .reduce((share, [, prefixLength]) => share + 2 ** -prefixLength, 0);
}
