import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import type { ClusterDescription } from "../cluster/description";
import { balancerTags as tags } from "./tags";

export interface AcmeAccountArgs {
  /** Name of the SSM parameter for the account's key. */
  accountParameter: string;
  /** Name of the SSM parameter for the certificate that the balancers order, with their ledger. */
  acmeParameter: string;
}

/**
 * The account at the ACME directory, and the place of its certificate. The stack makes the account's key, and the balancers
 * register it. They also write the certificate, which this program never reads.
 */
export class AcmeAccount extends pulumi.ComponentResource {
  constructor(name: string, args: AcmeAccountArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:certificate:AcmeAccount", name, {}, opts);
    const parent = { parent: this };
    const { privateKeyPem } = new tls.PrivateKey(name, { algorithm: "ECDSA", ecdsaCurve: "P256" }, parent);
    new aws.ssm.Parameter(
      name,
      {
        name: args.accountParameter,
        type: "SecureString",
        description: "Key of the account at the ACME directory",
        value: pulumi.secret(privateKeyPem),
        tags,
      },
      parent,
    );
    new aws.ssm.Parameter(
      `${name}-certificate`,
      {
        name: args.acmeParameter,
        type: "SecureString",
        tier: "Advanced",
        description:
          "Certificate and key from the ACME directory, and the ledger of orders; balancers write it",
        value: pulumi.secret("{}"),
        tags,
      },
      { ...parent, ignoreChanges: ignoredForGood },
    );
    this.registerOutputs({});
  }
}

/**
 * Nothing of the certificate's parameter may ever be updated. For every change but one of tags the provider puts the whole
 * parameter, with the value of the state, which is `{}` or as old as the last refresh (terraform-provider-aws,
 * `resourceParameterUpdate` in internal/service/ssm/parameter.go). So `value` alone would not do: a new description in a
 * later version would undo a renewal (pulumi-aws issue 2524 reports the same of another resource). With `*` the engine
 * resets every input to the state's (`processIgnoreChanges` in pkg/resource/deploy/step_generator.go, 3.246.0), so it never
 * calls the provider's update. A refresh takes input and output over together, so afterwards they do not differ either
 * (`RefreshStep` in step.go; `ExtractInputsFromOutputs` of pulumi-terraform-bridge, 3.120.0). The bridge itself knows only
 * properties by their names (`computeIgnoreChanges` in its pkg/tfbridge/diff.go), hence also `value`. With the real engine:
 * test/machine/ordered-certificate.test.ts.
 */
const ignoredForGood = ["*", "value"];

/** The account of a stack, if it has an ACME directory. */
export function acmeAccountOf({
  acme,
  balancer,
}: Pick<ClusterDescription, "acme" | "balancer">): AcmeAccount[] {
  return acme ? [new AcmeAccount("acme-account", balancer)] : [];
}
