import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Group, IngressRule } from "../cluster/firewall";
import { balancerTags, nodeTags } from "./tags";

export interface SecurityGroupsArgs {
  vpcId: pulumi.Input<string>;
  /** What is open; everything else is closed. */
  ingress: IngressRule[];
}

const tagsOf: Record<Group, Record<string, string>> = { balancer: balancerTags, node: nodeTags };

/** Who reaches which port of the balancer and of the nodes. */
export class SecurityGroups extends pulumi.ComponentResource {
  readonly balancer: aws.ec2.SecurityGroup;
  readonly node: aws.ec2.SecurityGroup;

  constructor(name: string, args: SecurityGroupsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:network:SecurityGroups", name, {}, opts);
    // Bare groups first, then rules: the groups name each other.
    this.balancer = this.makeGroup(name, "balancer", args.vpcId);
    this.node = this.makeGroup(name, "node", args.vpcId);
    for (const rule of args.ingress) this.allow(name, rule);
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

  private allow(name: string, { group, role, protocol, first, last, from }: IngressRule): void {
    const rule = `${name}-${group}-${role}`;
    new aws.vpc.SecurityGroupIngressRule(
      "cidr" in from ? `${rule}-${from.cidr}` : rule,
      {
        securityGroupId: this[group].id,
        ipProtocol: protocol,
        fromPort: first,
        toPort: last,
        description: role,
        tags: tagsOf[group],
        ...("cidr" in from ? { cidrIpv4: from.cidr } : { referencedSecurityGroupId: this[from.group].id }),
      },
      { parent: this },
    );
  }
}
