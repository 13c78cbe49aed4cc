import type { PolicyResource, ResourceValidationPolicy, StackValidationPolicy } from "@pulumi/policy";
import { areWorld } from "./networks";

/** What is in security groups under one name or another. */
interface IngressRule {
  protocol: string;
  from: number;
  to: number;
  /** Networks that may come; none where the rule names a security group. */
  networks: string[];
}

interface PortRange {
  protocols: string[];
  from: number;
  to: number;
}

/** What clients need: pages and signalling, direct WebSockets, media. */
const worldPorts: PortRange[] = [
  { protocols: ["tcp"], from: 80, to: 80 },
  { protocols: ["tcp"], from: 443, to: 443 },
  { protocols: ["tcp"], from: 8443, to: 8443 },
  { protocols: ["tcp", "udp"], from: 30_000, to: 33_000 },
];

/** What is for the node itself: REST and statistics without a password, JMX, the CLI, metrics. */
const internalPorts = [2001, 2002, 7777, 8081, 8444, 50_999];

const ingressRuleType = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";

/** Other ways to say a protocol, of which EC2 takes each. */
const protocolNames: Record<string, string> = {
  "1": "icmp",
  "6": "tcp",
  "17": "udp",
  "58": "icmpv6",
  all: "-1",
};

function ingressRuleOf(props: Record<string, unknown>): IngressRule {
  const given = String(props.ipProtocol).toLowerCase();
  const protocol = protocolNames[given] ?? given;
  const all = protocol === "-1";
  return {
    protocol,
    from: all ? 0 : Number(props.fromPort),
    to: all ? 65_535 : Number(props.toPort),
    networks: [props.cidrIpv4, props.cidrIpv6].filter((cidr) => typeof cidr === "string"),
  };
}

function show({ protocol, from, to }: IngressRule): string {
  return `${protocol === "-1" ? "every protocol" : protocol} ${from === to ? from : `${from}-${to}`}`;
}

function mayBeOpen(rule: IngressRule): boolean {
  return worldPorts.some(
    ({ protocols, from, to }) => protocols.includes(rule.protocol) && from <= rule.from && rule.to <= to,
  );
}

/** Rules that let something in beside what may be open to the world. */
function guardedRules(resources: PolicyResource[]): (IngressRule & { urn: string })[] {
  return resources
    .filter(({ type }) => type === ingressRuleType)
    .map(({ props, urn }) => ({ ...ingressRuleOf(props), urn }))
    .filter((rule) => !mayBeOpen(rule));
}

function letsIn(rule: IngressRule, protocol: string, port: number): boolean {
  return ["-1", protocol].includes(rule.protocol) && rule.from <= port && port <= rule.to;
}

/** Who reaches which port. */
export const portPolicies: (ResourceValidationPolicy | StackValidationPolicy)[] = [
  {
    name: "world-ports",
    description: "Only 443, 80, 8443 and the media ports 30000-33000 are open to the world.",
    validateResource: ({ type, props }, report) => {
      if (type !== ingressRuleType) return;
      const rule = ingressRuleOf(props);
      if (mayBeOpen(rule)) return;
      if (areWorld(rule.networks))
        report(`${show(rule)} is open to the world; name the networks that need it`);
      if (props.prefixListId !== undefined)
        report(`${show(rule)} is open to a prefix list, whose networks are not seen here; name networks`);
    },
  },
  {
    name: "world-ports-in-parts",
    description: "No several rules together open to the world what none may open alone.",
    validateStack: ({ resources }, report) => {
      const rules = guardedRules(resources);
      for (const rule of rules) {
        // What a port is open to changes only where a rule begins.
        const ports = new Set(rules.map(({ from }) => Math.max(from, rule.from)));
        const together = [...ports]
          .map((port) => rules.filter((other) => letsIn(other, rule.protocol, port) && port <= rule.to))
          .map((others) => others.flatMap(({ networks }) => networks))
          .find((networks) => networks.length > 1 && areWorld(networks));
        if (together)
          report(
            `${show(rule)} is open to the world, by ${[...together].sort().join(", ")} together`,
            rule.urn,
          );
      }
    },
  },
  {
    name: "internal-ports",
    description:
      "No other machine reaches WCS's REST and statistics (8081, 8444), JMX (50999), CLI and metrics.",
    validateResource: ({ type, props }, report) => {
      if (type !== ingressRuleType) return;
      const rule = ingressRuleOf(props);
      const reached = internalPorts.filter((port) => rule.from <= port && port <= rule.to);
      if (rule.protocol !== "udp" && reached.length > 0)
        report(`${show(rule)} opens ${reached.join(", ")}, which answer without a password`);
    },
  },
  {
    name: "rules-of-their-own",
    description: "Security groups hold no inline rules, which the other policies would not see.",
    validateResource: ({ type, props }, report) => {
      const isGroup = type === "aws:ec2/securityGroup:SecurityGroup";
      if (isGroup && [props.ingress, props.egress].flat().some(Boolean))
        report("make each rule a resource: aws.vpc.SecurityGroupIngressRule");
      if (type === "aws:ec2/securityGroupRule:SecurityGroupRule")
        report("use aws.vpc.SecurityGroupIngressRule or SecurityGroupEgressRule instead");
    },
  },
];
