import { X509Certificate } from "node:crypto";
import * as ipaddr from "ipaddr.js";
import type { PublicConfig } from "../config/schema";
import { propertyWarnings } from "../userdata/node";

/** What a configuration is allowed to say, and should be known to do; one line each. */
export function warnings(config: PublicConfig, now: Date): string[] {
  return [
    ...propertyWarnings(config.wcsProperties),
    ...capacityWarnings(config),
    ...addressWarnings(config),
    ...rolloutWarnings(config),
    ...certificateWarnings(config, now),
  ];
}

/** As for machines/balancer/wcs_balancer/status.py, whose warnings an `up` that changes nothing does not see. */
const expiryWarningDays = 21;

/** That a user-supplied certificate ends soon. One of the stack's own CA is renewed by `pulumi up` itself. */
export function certificateWarnings(
  { tlsCertificate }: Pick<PublicConfig, "tlsCertificate">,
  now: Date,
): string[] {
  if (tlsCertificate === undefined) return [];
  const end = new Date(new X509Certificate(tlsCertificate).validTo);
  const days = Math.floor((end.getTime() - now.getTime()) / 86_400_000);
  if (days > expiryWarningDays) return [];
  return [
    `tlsCertificate ends in ${days} days, on ${end.toISOString().slice(0, 10)}. To renew it: ` +
      "pulumi config set tlsCertificate < cert.pem, and with it tlsChain and tlsPrivateKey",
  ];
}

/** What the balancer's limits make impossible. */
export function capacityWarnings(config: PublicConfig): string[] {
  const { maxConnectionsPerNode, maxConnections } = config;
  const count = config.nodes.length + config.externalNodes.length;
  const capacity = count * maxConnectionsPerNode;
  if (capacity <= maxConnections) return [];
  return [
    `maxConnections is ${maxConnections}, less than the ${capacity} WebSockets that ${count} nodes with ` +
      `maxConnectionsPerNode ${maxConnectionsPerNode} take: the last ${capacity - maxConnections} are never used. ` +
      `To use them: pulumi config set maxConnections ${capacity}`,
  ];
}

/** Where the limit for each client address protects nobody. */
export function addressWarnings(config: PublicConfig): string[] {
  const { maxConnectionsPerNode, maxConnectionsPerAddress, trustedCidrs } = config;
  const found: string[] = [];
  const count = config.nodes.length + config.externalNodes.length;
  const capacity = count * maxConnectionsPerNode;
  // How many nodes another stack adds is not known here.
  if (maxConnectionsPerAddress >= capacity && config.nodeStack === undefined) {
    found.push(
      `maxConnectionsPerAddress is ${maxConnectionsPerAddress}, and ${count} nodes with maxConnectionsPerNode ` +
        `${maxConnectionsPerNode} take ${capacity} WebSockets: one client address can fill every node. To prevent it: ` +
        `pulumi config set maxConnectionsPerAddress ${Math.max(10, Math.floor(capacity / 2))}, or more nodes`,
    );
  }
  const share = shareOfAllAddresses(trustedCidrs);
  if (share >= 0.5) {
    found.push(
      `trustedCidrs covers ${Math.floor(share * 100)} % of all addresses: maxConnectionsPerAddress does not protect ` +
        "from them. To take it back: pulumi config rm trustedCidrs",
    );
  }
  return found;
}

/** The part of the IPv4 addresses that networks cover, from 0 to 1. */
function shareOfAllAddresses(cidrs: string[]): number {
  const networks = cidrs.map((cidr) => ipaddr.IPv4.parseCIDR(cidr)).sort(([, one], [, other]) => one - other);
  // Networks are apart or one inside the other. The larger ones come first.
  return networks
    .filter(([address], index) => !networks.slice(0, index).some((outer) => address.match(outer)))
    .reduce((share, [, prefixLength]) => share + 2 ** -prefixLength, 0);
}

function rolloutWarnings({ rollout }: PublicConfig): string[] {
  if (rollout === "wait") return [];
  return [
    "rollout is skip: nobody waits for the balancer, and a node that is removed or replaced goes at once, with the " +
      "sockets that it has. To take it back: pulumi config rm rollout",
  ];
}
