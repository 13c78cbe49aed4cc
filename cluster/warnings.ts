import { dayOf, validities } from "../config/certificate";
import { shareOfAllAddresses } from "../config/networks";
import type { PublicConfig } from "../config/schema";
import { expiryWarningDays } from "../contract/facts";
import { propertyWarnings } from "../userdata/node";

/** Warns of values that are allowed, but have effects that operators should know. Each warning is one line. */
export function warnings(config: PublicConfig, now: Date): string[] {
  return [
    ...propertyWarnings(config.wcsProperties),
    ...capacityWarnings(config),
    ...balancerWarnings(config),
    ...agentWarnings(config),
    ...addressWarnings(config),
    ...rolloutWarnings(config),
    ...certificateWarnings(config, now),
    ...acmeWarnings(config),
  ];
}

/**
 * Warns when a user-supplied certificate ends soon. The balancer also warns, but a `pulumi up` without changes does not
 * ask it. `pulumi up` itself renews a certificate of the stack's own CA.
 */
function certificateWarnings(config: PublicConfig, now: Date): string[] {
  const [first] = validities(config);
  if (first === undefined) return [];
  const { key, end } = first;
  const days = Math.floor((end.getTime() - now.getTime()) / 86_400_000);
  if (days > expiryWarningDays) return [];
  const when =
    end <= now
      ? `${key} has ended, on ${dayOf(end)}: no client that checks it can connect`
      : `${key} ends in ${days} days, on ${dayOf(end)}`;
  return [
    `${when}. To renew it: pulumi config set tlsCertificate < cert.pem, and with it tlsChain and tlsPrivateKey`,
  ];
}

/** Warns while certificates come from a directory for trials. Browsers refuse them. */
function acmeWarnings({ acme }: PublicConfig): string[] {
  if (!acme || !/staging/.test(new URL(acme.directory).hostname)) return [];
  return [
    `acme.directory is ${acme.directory}, a directory for trials: browsers do not trust its certificates. When one has ` +
      "come, order a public one: pulumi config rm --path acme.directory",
  ];
}

/** Warns when a balancer takes fewer connections than its nodes. */
function capacityWarnings(config: PublicConfig): string[] {
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

/** Warns that each of several balancers counts only its own connections. */
function balancerWarnings({ balancers, maxConnectionsPerNode, checks }: PublicConfig): string[] {
  if (balancers === 1 || checks.connections !== undefined) return [];
  return [
    `balancers is ${balancers}, and each counts its own connections: a node takes ${balancers * maxConnectionsPerNode} ` +
      `WebSockets, ${maxConnectionsPerNode} from each. To keep ${maxConnectionsPerNode} in all: pulumi config set ` +
      `maxConnectionsPerNode ${Math.max(1, Math.floor(maxConnectionsPerNode / balancers))}, or set checks.connections, ` +
      "which counts all clients of the node",
  ];
}

/** Warns of external nodes that do not get the check `connections`. */
function agentWarnings({ checks, externalNodes }: PublicConfig): string[] {
  if (checks.connections === undefined) return [];
  return externalNodes.flatMap(({ name, agentRequest }, index) =>
    agentRequest >= 2
      ? []
      : [
          `checks.connections is not checked on ${name}: its agent may not know this check. If it runs the agent of this ` +
            `version: pulumi config set --path 'externalNodes[${index}].agentRequest' 2`,
        ],
  );
}

/** Warns when the limit for each client address does not protect the nodes. */
function addressWarnings(config: PublicConfig): string[] {
  const { maxConnectionsPerNode, maxConnectionsPerAddress, trustedCidrs } = config;
  const found: string[] = [];
  const count = config.nodes.length + config.externalNodes.length;
  const capacity = count * maxConnectionsPerNode;
  // The number of nodes that another stack adds is not known here.
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
      `trustedCidrs covers ${Math.floor(share * 100)} % of all addresses: maxConnectionsPerAddress does not limit ` +
        "these. To limit them again: pulumi config rm trustedCidrs",
    );
  }
  return found;
}

function rolloutWarnings({ rollout }: PublicConfig): string[] {
  if (rollout === "wait") return [];
  return [
    "rollout is skip: pulumi up does not wait for the balancers. Removed and replaced machines are deleted at once, " +
      "with their sockets, also balancers whose successors do not serve yet: clients wait for a boot, and a client that " +
      "sends nothing may never learn that its socket is dead. To wait again: pulumi config rm rollout",
  ];
}
