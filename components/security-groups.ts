import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { balancerTags, nodeTags } from "./tags";

export interface SecurityGroupsArgs {
  vpcId: pulumi.Input<string>;
  /** Networks that clients come from. */
  clientCidrs: string[];
  /** Networks that reach the balancer's statistics. @default nobody */
  adminCidrs?: string[];
  /** Whether those networks reach SSH too. @default false */
  ssh?: boolean;
  /** Balancers of other stacks that reach the nodes. @default none */
  balancerCidrs?: string[];
  /** Whether clients may connect straight to a node. @default true */
  directAccess?: boolean;
  /** Further services of WCS to open. @default none */
  openPorts?: OpenPort[];
}

export type OpenPort = "hls" | "rtmp" | "rtsp" | "cdn";

interface Port {
  /** Names the rule. */
  role: string;
  protocol: "tcp" | "udp";
  from: number;
  to: number;
}

const balancerPorts: Port[] = [
  { role: "https", protocol: "tcp", from: 443, to: 443 },
  { role: "http", protocol: "tcp", from: 80, to: 80 },
];

const statisticsPort: Port = { role: "statistics", protocol: "tcp", from: 8404, to: 8404 };

const sshPort: Port = { role: "ssh", protocol: "tcp", from: 22, to: 22 };

/** The balancer carries signalling only: direct WebSockets and media go straight to the node. */
const directPort: Port = { role: "wss", protocol: "tcp", from: 8443, to: 8443 };

const mediaPorts: Port[] = [
  { role: "media-tcp", protocol: "tcp", from: 30000, to: 33000 },
  { role: "media-udp", protocol: "udp", from: 30000, to: 33000 },
];

/** Services of WCS for clients who ask for them (WCS documentation, "Ports"). */
const servicePorts: Record<Exclude<OpenPort, "cdn">, Port[]> = {
  hls: [
    { role: "hls", protocol: "tcp", from: 8082, to: 8082 },
    { role: "hls-tls", protocol: "tcp", from: 8445, to: 8445 },
  ],
  rtmp: [{ role: "rtmp", protocol: "tcp", from: 1935, to: 1935 }],
  rtsp: [{ role: "rtsp", protocol: "tcp", from: 554, to: 554 }],
};

const cdnPort: Port = { role: "cdn", protocol: "tcp", from: 8084, to: 8084 };

const nodeBalancerPorts: Port[] = [
  { role: "ws", protocol: "tcp", from: 8080, to: 8080 },
  { role: "agent", protocol: "tcp", from: 9707, to: 9707 },
];

/** Who reaches which port of the balancer and of the nodes. Everything else is closed. */
export class SecurityGroups extends pulumi.ComponentResource {
  readonly balancer: aws.ec2.SecurityGroup;
  readonly node: aws.ec2.SecurityGroup;

  constructor(name: string, args: SecurityGroupsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:network:SecurityGroups", name, {}, opts);
    // Bare groups first, then rules: the groups name each other.
    this.balancer = this.group(`${name}-balancer`, "WCS balancer", args.vpcId, balancerTags);
    this.node = this.group(`${name}-node`, "WCS node", args.vpcId, nodeTags);

    const openPorts = args.openPorts ?? [];
    const services = openPorts.flatMap((service) => (service === "cdn" ? [] : servicePorts[service]));
    const clientPorts = [...(args.directAccess === false ? [] : [directPort]), ...mediaPorts, ...services];
    for (const cidr of args.clientCidrs) {
      const from = { cidrIpv4: cidr };
      for (const port of balancerPorts)
        this.allow(`${name}-balancer-${port.role}-${cidr}`, this.balancer, port, from);
      for (const port of clientPorts) this.allow(`${name}-node-${port.role}-${cidr}`, this.node, port, from);
    }
    for (const cidr of args.adminCidrs ?? []) {
      const from = { cidrIpv4: cidr };
      this.allow(`${name}-balancer-statistics-${cidr}`, this.balancer, statisticsPort, from);
      if (!args.ssh) continue;
      this.allow(`${name}-balancer-ssh-${cidr}`, this.balancer, sshPort, from);
      this.allow(`${name}-node-ssh-${cidr}`, this.node, sshPort, from);
    }
    for (const port of nodeBalancerPorts) {
      this.allow(`${name}-node-${port.role}`, this.node, port, {
        referencedSecurityGroupId: this.balancer.id,
      });
      for (const cidr of args.balancerCidrs ?? [])
        this.allow(`${name}-node-${port.role}-${cidr}`, this.node, port, { cidrIpv4: cidr });
    }
    if (openPorts.includes("cdn")) {
      this.allow(`${name}-node-cdn`, this.node, cdnPort, { referencedSecurityGroupId: this.node.id });
    }
    this.registerOutputs({ balancer: this.balancer.id, node: this.node.id });
  }

  private group(
    name: string,
    description: string,
    vpcId: pulumi.Input<string>,
    tags: Record<string, string>,
  ): aws.ec2.SecurityGroup {
    const group = new aws.ec2.SecurityGroup(name, { description, vpcId, tags }, { parent: this });
    new aws.vpc.SecurityGroupEgressRule(
      `${name}-egress`,
      { securityGroupId: group.id, ipProtocol: "-1", cidrIpv4: "0.0.0.0/0", description: "everything", tags },
      { parent: this },
    );
    return group;
  }

  private allow(
    name: string,
    group: aws.ec2.SecurityGroup,
    { role, protocol, from, to }: Port,
    source: { cidrIpv4: string } | { referencedSecurityGroupId: pulumi.Input<string> },
  ): void {
    new aws.vpc.SecurityGroupIngressRule(
      name,
      {
        securityGroupId: group.id,
        ipProtocol: protocol,
        fromPort: from,
        toPort: to,
        description: role,
        tags: group === this.node ? nodeTags : balancerTags,
        ...source,
      },
      { parent: this },
    );
  }
}
