import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { TargetGroup } from "../cluster/desired-state";
import type { Subnet } from "../cluster/zones";
import {
  httpPort,
  httpsPort,
  loadBalancerHealthPort,
  loadBalancerHttpPort,
  loadBalancerHttpsPort,
} from "../contract/facts";
import type { Network } from "./network";
import { loadBalancerTags as tags } from "./tags";

export interface LoadBalancerArgs {
  network: Network;
  /** The subnet that the first balancer is in. It does not change when the VPC gets further subnets. */
  firstSubnet: pulumi.Input<string>;
  /** The number of balancers. */
  balancers: number;
  /** The group that lets clients in. */
  securityGroup: aws.ec2.SecurityGroup;
  /** Whether the addresses are protected against deletion. @default false */
  protect?: boolean;
}

/** How AWS asks whether a balancer runs with an applied state: two failures, or two answers, decide. */
const healthCheck = {
  protocol: "HTTP",
  port: String(loadBalancerHealthPort),
  path: "/",
  matcher: "200",
  interval: 5,
  timeout: 3,
  healthyThreshold: 2,
  unhealthyThreshold: 2,
};

/** AWS allows at most 6000 for TCP; WCS pings each WebSocket every five seconds. */
const idleTimeoutSeconds = 3600;

/** A deregistered balancer keeps its clients until its own drain ends: AWS must not end connections before. */
const deregistration = { deregistrationDelay: 3600, connectionTermination: false };

/**
 * A Network Load Balancer with an Elastic IP in each zone. It only passes connections on: TLS ends at the balancers,
 * which register themselves.
 */
export class LoadBalancer extends pulumi.ComponentResource {
  /** The Elastic IPs, sorted by the names of their zones. */
  readonly addresses: pulumi.Output<string[]>;
  /** Its subnets, and those of the balancers. The first balancer's zone is the first one. */
  readonly subnets: pulumi.Output<Subnet[]>;
  /** The target groups in which balancers register. */
  readonly targetGroups: pulumi.Output<TargetGroup[]>;

  constructor(name: string, args: LoadBalancerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:LoadBalancer", name, {}, opts);
    const parent = { parent: this };
    this.subnets = pulumi
      .output(args.firstSubnet)
      .apply((first) => args.network.balancerSubnets(first, args.balancers));
    const inZones = pulumi.output(
      this.subnets.apply((subnets) => this.allocate(name, subnets, args.protect)),
    );
    const loadBalancer = new aws.lb.LoadBalancer(
      name,
      {
        loadBalancerType: "network",
        subnetMappings: inZones.apply((all) =>
          all
            .map(({ subnetId, allocationId }) => ({ subnetId, allocationId }))
            .sort((one, other) => (one.subnetId < other.subnetId ? -1 : 1)),
        ),
        // Without a group from the start it could never get one.
        securityGroups: [args.securityGroup.id],
        enableCrossZoneLoadBalancing: true,
        tags,
      },
      {
        ...parent,
        // AWS adds zones in place. Anything else makes another load balancer, for which the addresses must be free.
        deleteBeforeReplace: true,
      },
    );
    const forward = (suffix: string, port: number, targetPort: number) => {
      const group = new aws.lb.TargetGroup(
        `${name}-${suffix}`,
        {
          targetType: "instance",
          protocol: "TCP",
          port: targetPort,
          vpcId: args.network.vpcId,
          // Tells the client's address. With preserved addresses two connections of a client could look like one.
          proxyProtocolV2: true,
          preserveClientIp: "false",
          healthCheck,
          ...deregistration,
          tags,
        },
        parent,
      );
      new aws.lb.Listener(
        `${name}-${suffix}`,
        {
          loadBalancerArn: loadBalancer.arn,
          protocol: "TCP",
          port,
          defaultActions: [{ type: "forward", targetGroupArn: group.arn }],
          tcpIdleTimeoutSeconds: idleTimeoutSeconds,
          tags,
        },
        parent,
      );
      return { arn: group.arn, port: targetPort };
    };
    this.targetGroups = pulumi.output([
      forward("https", httpsPort, loadBalancerHttpsPort),
      forward("http", httpPort, loadBalancerHttpPort),
    ]);
    this.addresses = inZones.apply((all) => all.map(({ publicIp }) => publicIp));
    this.registerOutputs({ addresses: this.addresses });
  }

  /** An Elastic IP for each zone, sorted by the zones' names. Only a look-up tells how many there are. */
  private allocate(name: string, subnets: Subnet[], protect: boolean | undefined) {
    return subnets
      .toSorted((one, other) => (one.zone < other.zone ? -1 : 1))
      .map(({ id: subnetId, zone }) => {
        const options = { parent: this, protect };
        const { allocationId, publicIp } = new aws.ec2.Eip(
          `${name}-${zone}`,
          { domain: "vpc", tags },
          options,
        );
        return { subnetId, allocationId, publicIp };
      });
  }
}
