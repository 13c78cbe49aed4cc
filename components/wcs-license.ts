import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { ParameterReader } from "./parameter-reader";
import { nodeTags as tags } from "./tags";

export interface WcsLicenseArgs {
  /** Name of the parameter that holds the key. */
  parameter: string;
  key: pulumi.Input<string>;
}

/** The licence key where the nodes fetch it, and the role with which they may. */
export class WcsLicense extends pulumi.ComponentResource {
  readonly parameter: string;
  readonly role: ParameterReader;

  constructor(name: string, args: WcsLicenseArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:cluster:WcsLicense", name, {}, opts);
    this.parameter = args.parameter;
    const parameter = new aws.ssm.Parameter(
      name,
      {
        name: args.parameter,
        type: "SecureString",
        description: "Licence key of Web Call Server",
        value: pulumi.secret(args.key),
        tags,
      },
      { parent: this },
    );
    this.role = new ParameterReader(
      name,
      { parameters: [args.parameter], tags },
      { parent: this, dependsOn: parameter },
    );
    this.registerOutputs({});
  }
}
