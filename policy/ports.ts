import type { PolicyResource, ResourceValidationPolicy, StackValidationPolicy } from "@pulumi/policy";
import { areWorld } from "./networks";

/** An ingress rule, without the different spellings that EC2 takes. */
interface IngressRule {
  protocol: string;
  from: number;
  to: number;
  /** Networks that the rule lets in; none if the rule names a security group. */
  networks: string[];
}

interface PortRange {
  protocols: string[];
  from: number;
  to: number;
}

/** The ports that clients need: pages and signalling, direct WebSockets, media. */
export const worldPorts: PortRange[] = [
  { protocols: ["tcp"], from: 80, to: 80 },
  { protocols: ["tcp"], from: 443, to: 443 },
  { protocols: ["tcp"], from: 8443, to: 8443 },
  { protocols: ["tcp", "udp"], from: 30_000, to: 33_000 },
];

/** The ports that only the node itself uses: REST and statistics without a password, JMX, the CLI, metrics. */
export const internalPorts = [2001, 2002, 7777, 8081, 8444, 50_999];

/** The balancers' ports that believe in the client address that PROXY protocol states. */
export const proxyPorts = { https: 10_443, redirect: 10_080, health: 10_404 };

export const ingressRuleType = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";

/** Other names of protocols that EC2 takes. */
const protocolNames: Record<string, string> = {
  "1": "icmp",
  "6": "tcp",
  "17": "udp",
  "58": "icmpv6",
  all: "-1",
};

/** The rule that a resource makes. */
export function ingressRuleOf(props: Record<string, unknown>): IngressRule {
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

/** A rule's protocol and ports, as a message shows them. */
export function showRule({ protocol, from, to }: IngressRule): string {
  return `${protocol === "-1" ? "every protocol" : protocol} ${from === to ? from : `${from}-${to}`}`;
}

function mayBeOpen(rule: IngressRule): boolean {
  return worldPorts.some(
    ({ protocols, from, to }) => protocols.includes(rule.protocol) && from <= rule.from && rule.to <= to,
  );
}

/** Rules for ports that must not be open to the world. */
function guardedRules(resources: PolicyResource[]): (IngressRule & { urn: string })[] {
  return resources
    .filter(({ type }) => type === ingressRuleType)
    .map(({ props, urn }) => ({ ...ingressRuleOf(props), urn }))
    .filter((rule) => !mayBeOpen(rule));
}

function letsIn(rule: IngressRule, protocol: string, port: number): boolean {
  return ["-1", protocol].includes(rule.protocol) && rule.from <= port && port <= rule.to;
}

/** Whether a rule opens one of the ports with PROXY protocol. */
export function opensProxyPort(rule: IngressRule): boolean {
  return Object.values(proxyPorts).some((port) => letsIn(rule, "tcp", port));
}

/** The rules about open ports. */
export const portPolicies: (ResourceValidationPolicy | StackValidationPolicy)[] = [
  {
    name: "world-ports",
    description: "Only 443, 80, 8443 and the media ports 30000-33000 are open to the world.",
    validateResource: ({ type, props }, report) => {
      if (type !== ingressRuleType) return;
      const rule = ingressRuleOf(props);
      if (mayBeOpen(rule)) return;
      if (areWorld(rule.networks))
        report(`${showRule(rule)} is open to the world; name the networks that need it`);
      if (props.prefixListId !== undefined)
        report(
          `${showRule(rule)} is open to a prefix list, whose networks this policy cannot see; name networks instead`,
        );
    },
  },
  {
    name: "world-ports-in-parts",
    description: "Several rules together do not open a port to the world that a single rule may not open.",
    validateStack: ({ resources }, report) => {
      const rules = guardedRules(resources);
      for (const rule of rules) {
        // The networks that reach a port change only at the first port of a rule.
        const ports = new Set(rules.map(({ from }) => Math.max(from, rule.from)));
        const together = [...ports]
          .map((port) => rules.filter((other) => letsIn(other, rule.protocol, port) && port <= rule.to))
          .map((others) => others.flatMap(({ networks }) => networks))
          .find((networks) => networks.length > 1 && areWorld(networks));
        if (together)
          report(
            `${showRule(rule)} is open to the world, by ${[...together].sort().join(", ")} together`,
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
        report(
          `${showRule(rule)} opens ${reached.join(", ")}, which answer without a password; leave these ports out`,
        );
    },
  },
  {
    name: "proxy-ports",
    description: "No network reaches the balancers' ports with PROXY protocol, only security groups do.",
    validateResource: ({ type, props }, report) => {
      if (type !== ingressRuleType) return;
      const rule = ingressRuleOf(props);
      const isNetwork = rule.networks.length > 0 || props.prefixListId !== undefined;
      if (isNetwork && opensProxyPort(rule))
        report(
          `${showRule(rule)} is open to a network, whose machines could claim any client address; name the load balancer's security group instead`,
        );
    },
  },
  {
    name: "rules-of-their-own",
    description: "Security groups hold no inline rules, which the other policies would not see.",
    validateResource: ({ type, props }, report) => {
      const isGroup = type === "aws:ec2/securityGroup:SecurityGroup";
      if (isGroup && [props.ingress, props.egress].flat().some(Boolean))
        report("the group has inline rules; make each rule a resource: aws.vpc.SecurityGroupIngressRule");
      if (type === "aws:ec2/securityGroupRule:SecurityGroupRule")
        report(
          "the rule is of an old type; use aws.vpc.SecurityGroupIngressRule or SecurityGroupEgressRule instead",
        );
    },
  },
];
