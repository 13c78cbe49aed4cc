import { createHash } from "node:crypto";
import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { balancerSubnets, type Subnet, SubnetsError, zoneWarnings } from "../cluster/zones";
import { LookUpError } from "./look-up-error";

export interface NetworkArgs {
  /** VPC to use. @default the region's default VPC */
  vpcId?: string;
  /** Public subnets of that VPC. @default the default subnet of each zone */
  subnetIds?: string[];
}

/** The VPC and the subnets of the instances. They are looked up, not made. */
export class Network extends pulumi.ComponentResource {
  readonly vpcId: pulumi.Output<string>;
  /** The IPv4 networks of the VPC, sorted. */
  readonly cidrBlocks: pulumi.Output<string[]>;
  private readonly subnetIds: Promise<string[]>;
  private readonly areNamed: boolean;

  constructor(name: string, args: NetworkArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:network:Network", name, {}, opts);
    const parent = { parent: this };
    const vpc = aws.ec2.getVpc(args.vpcId ? { id: args.vpcId } : { default: true }, parent);
    this.vpcId = pulumi.output(vpc).id;
    this.cidrBlocks = pulumi.output(vpc).cidrBlockAssociations.apply((associations) =>
      associations
        .filter(({ state }) => state === "associated")
        .map(({ cidrBlock }) => cidrBlock)
        .sort(),
    );
    this.areNamed = args.subnetIds !== undefined;
    this.subnetIds = args.subnetIds ? Promise.resolve(args.subnetIds) : this.defaultSubnets(vpc);
    this.registerOutputs({ vpcId: this.vpcId });
  }

  private async defaultSubnets(vpc: Promise<aws.ec2.GetVpcResult>): Promise<string[]> {
    const filters = [
      { name: "vpc-id", values: [(await vpc).id] },
      { name: "default-for-az", values: ["true"] },
    ];
    const { ids } = await aws.ec2.getSubnets({ filters }, { parent: this });
    if (ids.length === 0) throw new LookUpError("the VPC has no default subnet; set vpcId and subnetIds");
    return ids;
  }

  /**
   * The subnet of a machine, chosen by the machine's name. So it depends neither on the order in which AWS lists the
   * subnets nor on the machine's place in a list.
   */
  subnetFor(machine: string): pulumi.Output<string> {
    return pulumi.output(this.subnetIds).apply((ids) => chosenSubnet(ids, machine));
  }

  /**
   * The subnets of the load balancer and its balancers, one in each zone. The first balancer's zone is the first one.
   * @param first the subnet that the first balancer is in
   * @param balancers their number: several in one zone are worth a warning
   */
  async balancerSubnets(first: string, balancers: number): Promise<Subnet[]> {
    const ids = await this.subnetIds;
    const subnets = await Promise.all(ids.map((id) => this.zoneOf(id)));
    const own = subnets.find(({ id }) => id === first) ?? (await this.zoneOf(first));
    try {
      const inZones = balancerSubnets(subnets, own, this.areNamed);
      for (const warning of zoneWarnings(inZones, balancers)) pulumi.log.warn(warning);
      return inZones;
    } catch (error) {
      if (error instanceof SubnetsError) throw new LookUpError(error.message);
      throw error;
    }
  }

  private async zoneOf(id: string): Promise<Subnet> {
    try {
      const { availabilityZone: zone, availabilityZoneId: zoneId } = await aws.ec2.getSubnet(
        { id },
        { parent: this },
      );
      return { id, zone, zoneId };
    } catch (error) {
      throw new LookUpError(
        `the zone of the subnet ${id} was not found: ${(error as Error).message}. If subnetIds is set, it must name ` +
          "subnets of vpcId that exist. Set it with: pulumi config set --path 'subnetIds[0]' subnet-0123456789abcdef0",
      );
    }
  }
}

function chosenSubnet(ids: string[], machine: string): string {
  const sorted = ids.toSorted();
  return sorted[createHash("sha256").update(machine).digest().readUInt32BE() % sorted.length] as string;
}
