import * as pulumi from "@pulumi/pulumi";
import { renderPem, sha256 } from "../cluster/desired-state";
import type { StackConfig } from "../config/load";
import type { CertificateAuthority } from "./certificate-authority";

export interface CertificateArgs {
  /** The name that the certificate is for. */
  domain: string;
  /** Signs the certificate, unless the user supplies one. */
  authority: CertificateAuthority;
  /** A user-supplied certificate. @default one that `authority` signs */
  supplied?: { certificate: string; chain?: string; privateKey: pulumi.Input<string> };
}

/** The user-supplied certificate in the configuration, if there is one. */
export function suppliedCertificate(config: StackConfig): CertificateArgs["supplied"] {
  const { tlsCertificate: certificate, tlsChain: chain, tlsPrivateKey: privateKey } = config;
  return certificate && privateKey ? { certificate, chain, privateKey } : undefined;
}

/** The certificate that clients get, with its key. */
export class Certificate extends pulumi.ComponentResource {
  /** Certificate, chain and key in one PEM, secret. */
  readonly pem: pulumi.Output<string>;
  /** Hash of the PEM. It is not secret, since the key cannot be computed from it. */
  readonly hash: pulumi.Output<string>;
  /** The CA that clients have to trust; undefined with a user-supplied certificate. */
  readonly certificateAuthority?: pulumi.Output<string>;

  constructor(name: string, args: CertificateArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:certificate:Certificate", name, {}, opts);
    const { domain, authority, supplied } = args;
    if (!supplied) this.certificateAuthority = authority.certificate;
    const { certificate, chain, privateKey } = supplied ?? {
      ...authority.sign(`${name}-server`, domain, this),
      chain: authority.certificate,
    };
    this.pem = pulumi.secret(
      pulumi.all([certificate, chain, privateKey]).apply(([crt, ca, key]) => renderPem(crt, ca, key)),
    );
    this.hash = pulumi.unsecret(this.pem.apply(sha256));
    this.registerOutputs({ hash: this.hash });
  }
}
