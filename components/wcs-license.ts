import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { StackConfig } from "../config/load";
import { nodeTags as tags } from "./tags";

export interface WcsLicenseArgs {
  /** Name of the parameter that holds the key. */
  parameter: string;
  key: pulumi.Input<string>;
}

/** The SSM parameter from which the nodes fetch the licence key. */
class WcsLicense extends pulumi.ComponentResource {
  readonly parameter: string;

  constructor(name: string, args: WcsLicenseArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:cluster:WcsLicense", name, {}, opts);
    this.parameter = args.parameter;
    new aws.ssm.Parameter(
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
    this.registerOutputs({});
  }
}

/** The parameter of the configured licence key, if there is one. */
export function licenseOf(
  { wcsLicenseKey: key }: StackConfig,
  { licenseParameter: parameter }: { licenseParameter?: string },
): WcsLicense[] {
  return key && parameter ? [new WcsLicense("wcs-license", { parameter, key })] : [];
}
