import type { OpenPort, PublicConfig } from "../config/schema";

/** The machines of one security group. */
export type Group = "balancer" | "node";

export interface IngressRule extends Port {
  group: Group;
  /** An IPv4 network, or the machines of a group. */
  from: { cidr: string } | { group: Group };
}

/** What the rules come from. */
export type FirewallSettings = Pick<
  PublicConfig,
  "clientCidrs" | "adminCidrs" | "balancerCidrs" | "directAccess" | "openPorts" | "sshPublicKey"
>;

interface Port {
  /** What the port is for; names the rule. */
  role: string;
  protocol: "tcp" | "udp";
  first: number;
  last: number;
}

const balancerPorts: Port[] = [
  { role: "https", protocol: "tcp", first: 443, last: 443 },
  { role: "http", protocol: "tcp", first: 80, last: 80 },
];

const statisticsPort: Port = { role: "statistics", protocol: "tcp", first: 8404, last: 8404 };

const sshPort: Port = { role: "ssh", protocol: "tcp", first: 22, last: 22 };

/** The balancer carries signalling only: direct WebSockets and media go straight to the node. */
const directPort: Port = { role: "wss", protocol: "tcp", first: 8443, last: 8443 };

const mediaPorts: Port[] = [
  { role: "media-tcp", protocol: "tcp", first: 30000, last: 33000 },
  { role: "media-udp", protocol: "udp", first: 30000, last: 33000 },
];

/** Services of WCS for clients who ask for them (WCS documentation, "Ports"). */
const servicePorts: Record<Exclude<OpenPort, "cdn">, Port[]> = {
  hls: [
    { role: "hls", protocol: "tcp", first: 8082, last: 8082 },
    { role: "hls-tls", protocol: "tcp", first: 8445, last: 8445 },
  ],
  rtmp: [{ role: "rtmp", protocol: "tcp", first: 1935, last: 1935 }],
  rtsp: [{ role: "rtsp", protocol: "tcp", first: 554, last: 554 }],
};

const cdnPort: Port = { role: "cdn", protocol: "tcp", first: 8084, last: 8084 };

const nodeBalancerPorts: Port[] = [
  { role: "ws", protocol: "tcp", first: 8080, last: 8080 },
  { role: "agent", protocol: "tcp", first: 9707, last: 9707 },
];

/** Who reaches which port of the balancer and of the nodes. Everything else is closed. */
export function ingressRules(settings: FirewallSettings): IngressRule[] {
  const { clientCidrs, adminCidrs, balancerCidrs, directAccess, openPorts, sshPublicKey } = settings;
  const services = openPorts.flatMap((service) => (service === "cdn" ? [] : servicePorts[service]));
  const clientPorts = [...(directAccess ? [directPort] : []), ...mediaPorts, ...services];
  const allow = (group: Group, ports: Port[], from: IngressRule["from"]): IngressRule[] =>
    ports.map((port) => ({ group, ...port, from }));
  return [
    ...clientCidrs.flatMap((cidr) => [
      ...allow("balancer", balancerPorts, { cidr }),
      ...allow("node", clientPorts, { cidr }),
    ]),
    ...adminCidrs.flatMap((cidr) => [
      ...allow("balancer", sshPublicKey ? [statisticsPort, sshPort] : [statisticsPort], { cidr }),
      ...allow("node", sshPublicKey ? [sshPort] : [], { cidr }),
    ]),
    ...allow("node", nodeBalancerPorts, { group: "balancer" }),
    ...balancerCidrs.flatMap((cidr) => allow("node", nodeBalancerPorts, { cidr })),
    ...allow("node", openPorts.includes("cdn") ? [cdnPort] : [], { group: "node" }),
  ];
}

/** The rules for a person to read, one a line: whose port, from whom, and what for. */
export function renderIngressRules(rules: IngressRule[]): string {
  const lines = rules.map(({ group, protocol, first, last, from, role }) => {
    const ports = first === last ? String(first) : `${first}-${last}`;
    return `${group} ${protocol} ${ports} from ${"cidr" in from ? from.cidr : `each ${from.group}`} (${role})\n`;
  });
  return lines.sort().join("");
}
