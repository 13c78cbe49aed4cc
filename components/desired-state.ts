import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { renderDesiredState, renderSecret } from "../userdata/desired-state";
import type { Certificate } from "./certificate";
import { balancerTags as tags } from "./tags";

export interface DesiredStateArgs {
  /** Name of the parameter that the balancer polls. */
  stateParameter: string;
  /** Name of the parameter that holds the certificate's key. */
  secretParameter: string;
  /** haproxy.cfg without the servers, and one line a node: a preview shows what is known of it. */
  haproxyBase: string;
  serverLines: pulumi.Input<string[]>;
  certificate: Certificate;
  drainTimeoutSeconds: number;
}

/** What the balancer is to run, where it fetches it. */
export class DesiredState extends pulumi.ComponentResource {
  readonly revision: pulumi.Output<string>;

  constructor(name: string, args: DesiredStateArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:DesiredState", name, {}, opts);
    const { certificate } = args;
    const state = pulumi
      .all([args.serverLines, certificate.hash])
      .apply(([lines, hash]) =>
        renderDesiredState(
          args.haproxyBase + lines.map((line) => `${line}\n`).join(""),
          hash,
          args.drainTimeoutSeconds,
        ),
      );
    const secret = new aws.ssm.Parameter(
      `${name}-secret`,
      {
        name: args.secretParameter,
        type: "SecureString",
        tier: "Advanced",
        description: "Certificate, chain and key of the balancer, and the token for its detailed status",
        value: pulumi
          .all([certificate.pem, certificate.statusToken])
          .apply(([pem, token]) => renderSecret(pem, token)),
        tags,
      },
      { parent: this },
    );
    new aws.ssm.Parameter(
      `${name}-document`,
      {
        name: args.stateParameter,
        type: "String",
        tier: "Advanced",
        description: "What the balancer is to run: gzip and base64 of JSON",
        // Holds no secret, and would be hidden in a preview as `value`.
        insecureValue: state.document,
        tags,
      },
      { parent: this, dependsOn: secret },
    );
    this.revision = state.revision;
    this.registerOutputs({ revision: this.revision });
  }
}
