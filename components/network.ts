import { createHash } from "node:crypto";
import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface NetworkArgs {
  /** VPC to use. @default the region's default VPC */
  vpcId?: string;
  /** Public subnets of that VPC. @default the default subnet of each zone */
  subnetIds?: string[];
}

/** The VPC and the subnets that the instances live in; looked up, not made. */
export class Network extends pulumi.ComponentResource {
  readonly vpcId: pulumi.Output<string>;
  private readonly subnetIds: pulumi.Output<string[]>;

  constructor(name: string, args: NetworkArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:network:Network", name, {}, opts);
    const parent = { parent: this };
    this.vpcId = args.vpcId ? pulumi.output(args.vpcId) : aws.ec2.getVpcOutput({ default: true }, parent).id;
    this.subnetIds = args.subnetIds
      ? pulumi.output(args.subnetIds)
      : aws.ec2.getSubnetsOutput(
          {
            filters: [
              { name: "vpc-id", values: [this.vpcId] },
              { name: "default-for-az", values: ["true"] },
            ],
          },
          parent,
        ).ids;
    this.registerOutputs({ vpcId: this.vpcId });
  }

  /**
   * The subnet of a machine, chosen by its name: neither the order in which AWS lists the subnets nor the
   * machine's place in a list may move it.
   */
  subnetFor(machine: string): pulumi.Output<string> {
    return this.subnetIds.apply((ids) => {
      const sorted = [...ids].sort();
      const subnet = sorted[createHash("sha256").update(machine).digest().readUInt32BE() % sorted.length];
      if (!subnet)
        throw new pulumi.ResourceError("the VPC has no default subnet; set vpcId and subnetIds", this);
      return subnet;
    });
  }
}
