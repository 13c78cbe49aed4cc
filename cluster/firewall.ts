import type { OpenPort, PublicConfig } from "../config/schema";
import {
  agentPort,
  httpPort,
  httpsPort,
  loadBalancerHealthPort,
  loadBalancerHttpPort,
  loadBalancerHttpsPort,
  nodePort,
  nodeTlsPort,
  statisticsPort,
} from "./contract";
import { clientPathsOf } from "./entry";

/** The machines of one security group, or the load balancer. */
export type Group = "balancer" | "load-balancer" | "node";

export interface IngressRule extends Port {
  group: Group;
  /** An IPv4 network, or the machines of a group. */
  from: { cidr: string } | { group: Group };
}

/** The configuration that the rules depend on. */
type FirewallSettings = Pick<
  PublicConfig,
  | "adminCidrs"
  | "balancerCidrs"
  | "balancers"
  | "clientCidrs"
  | "directAccess"
  | "entry"
  | "openPorts"
  | "sshPublicKey"
>;

interface Port {
  /** What the port is for; names the rule. */
  role: string;
  protocol: "tcp" | "udp";
  first: number;
  last: number;
}

const tcp = (role: string, port: number): Port => ({ role, protocol: "tcp", first: port, last: port });

/** The ports of the Elastic IP and of the load balancer. */
const entryPorts = [tcp("https", httpsPort), tcp("http", httpPort)];

const targetPorts = [
  tcp("load-balancer-https", loadBalancerHttpsPort),
  tcp("load-balancer-http", loadBalancerHttpPort),
  tcp("load-balancer-health", loadBalancerHealthPort),
];

/** Balancers behind a load balancer ask each other for their status. */
const statusPort = tcp("status", httpsPort);

const operatorPort = tcp("statistics", statisticsPort);

const sshPort = tcp("ssh", 22);

/** The balancer carries only signalling: direct WebSockets and media go directly to the node. */
const directPort = tcp("wss", nodeTlsPort);

const mediaPorts: Port[] = [
  { role: "media-tcp", protocol: "tcp", first: 30000, last: 33000 },
  { role: "media-udp", protocol: "udp", first: 30000, last: 33000 },
];

/** Ports of WCS's optional services (WCS documentation, "Ports"). */
const servicePorts: Record<Exclude<OpenPort, "cdn">, Port[]> = {
  hls: [tcp("hls", 8082), tcp("hls-tls", 8445)],
  rtmp: [tcp("rtmp", 1935)],
  rtsp: [tcp("rtsp", 554)],
};

const cdnPort = tcp("cdn", 8084);

const nodeBalancerPorts = [tcp("ws", nodePort), tcp("agent", agentPort)];

/**
 * The open ports of the balancers, of the load balancer and of the nodes, with their sources. Everything else is
 * closed. Each way of clients and each network has a rule of its own, so that Pulumi opens new ones first, and closes
 * old ones when the rollout is done.
 */
export function ingressRules(settings: FirewallSettings): IngressRule[] {
  const { clientCidrs, adminCidrs, balancerCidrs, directAccess, openPorts, sshPublicKey } = settings;
  const paths = clientPathsOf(settings);
  const services = openPorts.flatMap((service) => (service === "cdn" ? [] : servicePorts[service]));
  const clientPorts = [...(directAccess ? [directPort] : []), ...mediaPorts, ...services];
  const allow = (group: Group, ports: Port[], from: IngressRule["from"]): IngressRule[] =>
    ports.map((port) => ({ group, ...port, from }));
  return [
    ...clientCidrs.flatMap((cidr) => [
      ...allow("balancer", paths.address ? entryPorts : [], { cidr }),
      ...allow("load-balancer", paths.loadBalancer ? entryPorts : [], { cidr }),
      ...allow("node", clientPorts, { cidr }),
    ]),
    ...adminCidrs.flatMap((cidr) => [
      ...allow("balancer", sshPublicKey ? [operatorPort, sshPort] : [operatorPort], { cidr }),
      ...allow("node", sshPublicKey ? [sshPort] : [], { cidr }),
    ]),
    ...allow("balancer", paths.loadBalancer ? targetPorts : [], { group: "load-balancer" }),
    ...allow("balancer", paths.loadBalancer ? [statusPort] : [], { group: "balancer" }),
    ...allow("node", nodeBalancerPorts, { group: "balancer" }),
    ...balancerCidrs.flatMap((cidr) => allow("node", nodeBalancerPorts, { cidr })),
    ...allow("node", openPorts.includes("cdn") ? [cdnPort] : [], { group: "node" }),
  ];
}

/** The rules as text, one in each line: machine, port, source and purpose. */
export function renderIngressRules(rules: IngressRule[]): string {
  const lines = rules.map(({ group, protocol, first, last, from, role }) => {
    const ports = first === last ? String(first) : `${first}-${last}`;
    return `${group} ${protocol} ${ports} from ${"cidr" in from ? from.cidr : `each ${from.group}`} (${role})\n`;
  });
  return lines.sort().join("");
}
