import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Group, IngressRule } from "../cluster/firewall";
import { balancerTags, loadBalancerTags, nodeTags } from "./tags";

export interface SecurityGroupsArgs {
  vpcId: pulumi.Input<string>;
  /** The open ports; everything else is closed. */
  ingress: IngressRule[];
}

const tagsOf: Record<Group, Record<string, string>> = {
  balancer: balancerTags,
  "load-balancer": loadBalancerTags,
  node: nodeTags,
};

/** The security groups of the balancers, of the load balancer and of the nodes, with their open ports. */
export class SecurityGroups extends pulumi.ComponentResource {
  readonly balancer: aws.ec2.SecurityGroup;
  readonly node: aws.ec2.SecurityGroup;
  /** Made when a rule names it. */
  readonly loadBalancer?: aws.ec2.SecurityGroup;

  constructor(name: string, args: SecurityGroupsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:network:SecurityGroups", name, {}, opts);
    const kinds = new Set<Group>(["balancer", "node", ...args.ingress.map(({ group }) => group)]);
    // Make the groups before the rules, since rules name two groups.
    const groups = new Map([...kinds].map((kind) => [kind, this.makeGroup(name, kind, args.vpcId)]));
    const group = (kind: Group) => groups.get(kind) as aws.ec2.SecurityGroup;
    this.balancer = group("balancer");
    this.node = group("node");
    this.loadBalancer = groups.get("load-balancer");
    for (const rule of args.ingress) this.allow(name, rule, group);
    this.registerOutputs({ balancer: this.balancer.id, node: this.node.id });
  }

  private makeGroup(name: string, kind: Group, vpcId: pulumi.Input<string>): aws.ec2.SecurityGroup {
    const tags = tagsOf[kind];
    const group = new aws.ec2.SecurityGroup(
      `${name}-${kind}`,
      { description: `WCS ${kind}`, vpcId, tags },
      { parent: this },
    );
    new aws.vpc.SecurityGroupEgressRule(
      `${name}-${kind}-egress`,
      { securityGroupId: group.id, ipProtocol: "-1", cidrIpv4: "0.0.0.0/0", description: "everything", tags },
      { parent: this },
    );
    return group;
  }

  private allow(
    name: string,
    { group, role, protocol, first, last, from }: IngressRule,
    groupOf: (kind: Group) => aws.ec2.SecurityGroup,
  ): void {
    const rule = `${name}-${group}-${role}`;
    new aws.vpc.SecurityGroupIngressRule(
      "cidr" in from ? `${rule}-${from.cidr}` : rule,
      {
        securityGroupId: groupOf(group).id,
        ipProtocol: protocol,
        fromPort: first,
        toPort: last,
        description: role,
        tags: tagsOf[group],
        ...("cidr" in from ? { cidrIpv4: from.cidr } : { referencedSecurityGroupId: groupOf(from.group).id }),
      },
      { parent: this },
    );
  }
}
