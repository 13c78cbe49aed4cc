import * as pulumi from "@pulumi/pulumi";
import { deriveStatusToken, renderPem, renderStatusSecret, sha256 } from "../cluster/desired-state";
import { statusServerName } from "../contract/facts";
import type { CertificateAuthority } from "./certificate-authority";

export interface StatusAccessArgs {
  authority: CertificateAuthority;
}

/**
 * The certificate of the stack's own CA, and the token, with which `pulumi up` reads the balancers' detailed status.
 * Neither depends on the clients' certificate, so operators can read the status even if that has expired.
 */
export class StatusAccess extends pulumi.ComponentResource {
  /** The only CA that `pulumi up` trusts. */
  readonly trusted: pulumi.Output<string>;
  /** The token for the detailed status, secret. It is derived from the certificate's key, so no resource keeps it. */
  readonly token: pulumi.Output<string>;
  /** Certificate, key and token for the balancers, secret. */
  readonly secret: pulumi.Output<string>;
  /** The hash of `secret`; not secret. */
  readonly hash: pulumi.Output<string>;

  constructor(name: string, { authority }: StatusAccessArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:certificate:StatusAccess", name, {}, opts);
    const { certificate, privateKey } = authority.sign(name, statusServerName, this);
    this.trusted = authority.certificate;
    this.token = pulumi.secret(privateKey.apply(deriveStatusToken));
    this.secret = pulumi.secret(
      pulumi
        .all([certificate, privateKey, this.token])
        .apply(([crt, key, token]) => renderStatusSecret(renderPem(crt, undefined, key), token)),
    );
    this.hash = pulumi.unsecret(this.secret.apply(sha256));
    this.registerOutputs({ hash: this.hash });
  }
}
