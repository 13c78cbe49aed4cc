import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface DnsRecordArgs {
  domain: string;
  /** Id of the Route 53 zone that the domain is in. */
  hostedZone: string;
  /** Clients take any of them. */
  addresses: pulumi.Input<string[]>;
}

/** The A record of the domain. Its short TTL lets clients see a new address soon. */
export class DnsRecord extends pulumi.ComponentResource {
  constructor(name: string, args: DnsRecordArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:network:DnsRecord", name, {}, opts);
    new aws.route53.Record(
      name,
      { zoneId: args.hostedZone, name: args.domain, type: "A", ttl: 60, records: args.addresses },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
