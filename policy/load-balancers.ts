import type {
  PolicyResource,
  ResourceValidationPolicy,
  StackValidationArgs,
  StackValidationPolicy,
} from "@pulumi/policy";
import { ingressRuleOf, ingressRuleType, opensProxyPort, proxyPorts, showRule } from "./ports";

const types = {
  loadBalancer: "aws:lb/loadBalancer:LoadBalancer",
  listener: "aws:lb/listener:Listener",
  targetGroup: "aws:lb/targetGroup:TargetGroup",
  securityGroup: "aws:ec2/securityGroup:SecurityGroup",
};

/** The ports that clients reach, with the balancers' ports behind them: TLS, and the redirect to it. */
export const targetPorts: Record<number, number> = { 443: proxyPorts.https, 80: proxyPorts.redirect };

const isClientPort = (port: unknown) => Number(port) in targetPorts;

/**
 * The resources of a type that a property of another resource refers to. In a preview the ids of new resources are not
 * known, but these references are.
 */
function referred(
  resource: PolicyResource,
  property: string,
  type: string,
  { resources }: StackValidationArgs,
): PolicyResource[] {
  const urns = (resource.propertyDependencies[property] ?? []).map(({ urn }) => urn);
  return resources.filter((other) => other.type === type && urns.includes(other.urn));
}

function allOf(type: string, { resources }: StackValidationArgs): PolicyResource[] {
  return resources.filter((resource) => resource.type === type);
}

/** The security groups of the stack's load balancers, by their URNs. */
function groupsOfLoadBalancers(args: StackValidationArgs): string[] {
  return allOf(types.loadBalancer, args)
    .flatMap((balancer) => referred(balancer, "securityGroups", types.securityGroup, args))
    .map(({ urn }) => urn);
}

/** The rules about load balancers: the ports that they open, and their way to the balancers. */
export const loadBalancerPolicies: (ResourceValidationPolicy | StackValidationPolicy)[] = [
  {
    name: "guarded-load-balancers",
    description: "A load balancer is a Network Load Balancer with a security group.",
    validateResource: ({ type, props }, report) => {
      if (type !== types.loadBalancer) return;
      if (props.loadBalancerType !== "network")
        report(
          `the load balancer is of type ${props.loadBalancerType ?? "application"}, not network; only that one leaves TLS to the balancers`,
        );
      if (!(props.securityGroups?.length > 0))
        report(
          "the load balancer has no security group, and cannot get one later; set securityGroups when it is made",
        );
    },
  },
  {
    name: "load-balancer-listeners",
    description: "Load balancers listen on 443 and 80 over TCP, and only forward.",
    validateResource: ({ type, props }, report) => {
      if (type !== types.listener) return;
      if (!isClientPort(props.port))
        report(`the load balancer listens on ${props.port}; clients need only 443 and 80`);
      if (props.protocol !== "TCP")
        report(
          `the listener's protocol is ${props.protocol}, not TCP; the balancers end TLS, and know clients' addresses only over TCP`,
        );
      for (const action of props.defaultActions ?? [])
        if (action.type !== "forward" || action.forward !== undefined)
          report("the listener does more than forward to one target group; use targetGroupArn alone");
    },
  },
  {
    name: "load-balancer-targets",
    description: "Target groups are balancers' ports with PROXY protocol v2.",
    validateResource: ({ type, props }, report) => {
      if (type !== types.targetGroup) return;
      if (!Object.values(targetPorts).includes(Number(props.port)))
        report(
          `the target group's port is ${props.port}; the balancers' ports for it are ${Object.values(targetPorts).sort().join(" and ")}`,
        );
      if (props.protocol !== "TCP") report(`the target group's protocol is ${props.protocol}, not TCP`);
      if (props.targetType !== undefined && props.targetType !== "instance")
        report(`the target group's type is ${props.targetType}, not instance`);
      if (props.proxyProtocolV2 !== true)
        report(
          `proxyProtocolV2 is ${props.proxyProtocolV2}, not true; without it balancers do not know clients' addresses`,
        );
      if (props.preserveClientIp !== "false")
        report(
          `preserveClientIp is ${props.preserveClientIp}, not "false"; with it some connections fail, and the security group cannot name the load balancer's`,
        );
    },
  },
  {
    name: "load-balancer-forwards",
    description: "443 goes to the balancers' port for TLS, and 80 to their redirect: no page in clear text.",
    validateStack: (args, report) => {
      for (const listener of allOf(types.listener, args)) {
        const groups = referred(listener, "defaultActions", types.targetGroup, args);
        const wanted = targetPorts[Number(listener.props.port)];
        if (groups.length === 0)
          report(`${listener.name} forwards to a target group that this stack does not make`, listener.urn);
        for (const { props } of groups)
          if (wanted !== undefined && Number(props.port) !== wanted)
            report(
              `${listener.name} forwards ${listener.props.port} to the balancers' port ${props.port}, not ${wanted}`,
              listener.urn,
            );
      }
    },
  },
  {
    name: "load-balancer-ports",
    description: "The security group of a load balancer opens nothing but 443 and 80.",
    validateStack: (args, report) => {
      for (const balancer of allOf(types.loadBalancer, args)) {
        const groups = referred(balancer, "securityGroups", types.securityGroup, args);
        if (groups.length < (balancer.props.securityGroups?.length ?? 0))
          report(
            `${balancer.name} has a security group that this stack does not make, so nothing is known of its ports`,
            balancer.urn,
          );
      }
      const guarding = groupsOfLoadBalancers(args);
      for (const resource of allOf(ingressRuleType, args)) {
        const groups = referred(resource, "securityGroupId", types.securityGroup, args);
        if (!groups.some(({ urn }) => guarding.includes(urn))) continue;
        const rule = ingressRuleOf(resource.props);
        if (rule.protocol !== "tcp" || rule.from !== rule.to || !isClientPort(rule.from))
          report(
            `${showRule(rule)} is open at the load balancer; clients need only 443 and 80`,
            resource.urn,
          );
      }
    },
  },
  {
    name: "proxy-ports-of-load-balancers",
    description:
      "The balancers' ports with PROXY protocol are open to the load balancer's security group alone.",
    validateStack: (args, report) => {
      const trusted = groupsOfLoadBalancers(args);
      for (const resource of allOf(ingressRuleType, args)) {
        const rule = ingressRuleOf(resource.props);
        if (rule.networks.length > 0 || !opensProxyPort(rule)) continue;
        const sources = referred(resource, "referencedSecurityGroupId", types.securityGroup, args);
        if (sources.length === 0 || !sources.every(({ urn }) => trusted.includes(urn)))
          report(
            `${showRule(rule)} is open to another security group than a load balancer's; its machines could claim any client address`,
            resource.urn,
          );
      }
    },
  },
];
