import { createHmac } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import { renderPem, sha256 } from "../cluster/desired-state";
import type { StackConfig } from "../config/load";

export interface CertificateArgs {
  /** The name that the certificate is for. */
  domain: string;
  /** A certificate of one's own. @default one signed by a CA of the stack's own */
  own?: { certificate: string; chain?: string; privateKey: pulumi.Input<string> };
  /** Whether the key of the stack's own CA is protected against deletion. @default false */
  protect?: boolean;
}

/** A user-supplied certificate of the configuration, where there is one. */
export function ownCertificate(config: StackConfig): CertificateArgs["own"] {
  const { tlsCertificate: certificate, tlsChain: chain, tlsPrivateKey: privateKey } = config;
  return certificate && privateKey ? { certificate, chain, privateKey } : undefined;
}

const key = { algorithm: "ECDSA", ecdsaCurve: "P256" };
const hoursPerYear = 8766;

/** The balancer's certificate with its key. */
export class Certificate extends pulumi.ComponentResource {
  /** Certificate, chain and key in one PEM, secret. */
  readonly pem: pulumi.Output<string>;
  /** Hash of the PEM; no secret, since it tells nothing of the key. */
  readonly hash: pulumi.Output<string>;
  /** What opens the detailed status; derived from the key, so that it is as secret and needs no keeping. */
  readonly statusToken: pulumi.Output<string>;
  /** The CA to trust besides the system's; none with a certificate of one's own. */
  readonly certificateAuthority?: pulumi.Output<string>;
  /** What `pulumi up` itself trusts besides the system's CAs: the chain, with a certificate of one's own as well. */
  readonly trusted: pulumi.Output<string>;

  constructor(name: string, args: CertificateArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:certificate:Certificate", name, {}, opts);
    const { certificate, chain, privateKey, authority } = args.own
      ? { ...args.own, authority: undefined }
      : this.sign(name, args);

    this.certificateAuthority = authority;
    this.trusted = pulumi.all([certificate, chain]).apply((parts) => parts.filter(Boolean).join("\n"));
    this.pem = pulumi.secret(
      pulumi.all([certificate, chain, privateKey]).apply(([crt, ca, key]) => renderPem(crt, ca, key)),
    );
    this.hash = pulumi.unsecret(this.pem.apply(sha256));
    this.statusToken = pulumi.secret(
      pulumi
        .output(privateKey)
        .apply((key) => createHmac("sha256", key).update("wcs-balancer status token").digest("hex")),
    );
    this.registerOutputs({ hash: this.hash });
  }

  private sign(name: string, { domain, protect }: CertificateArgs) {
    const parent = { parent: this };
    const authorityKey = new tls.PrivateKey(`${name}-ca`, key, { ...parent, protect });
    const authority = new tls.SelfSignedCert(
      `${name}-ca`,
      {
        privateKeyPem: authorityKey.privateKeyPem,
        isCaCertificate: true,
        subject: { commonName: `wcs-balancer CA for ${domain}`.slice(0, 64) },
        allowedUses: ["cert_signing", "crl_signing"],
        validityPeriodHours: 10 * hoursPerYear,
      },
      parent,
    );
    const serverKey = new tls.PrivateKey(`${name}-server`, key, parent);
    const request = new tls.CertRequest(
      `${name}-server`,
      { privateKeyPem: serverKey.privateKeyPem, subject: { commonName: domain }, dnsNames: [domain] },
      parent,
    );
    const server = new tls.LocallySignedCert(
      `${name}-server`,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: authorityKey.privateKeyPem,
        caCertPem: authority.certPem,
        allowedUses: ["server_auth", "digital_signature"],
        validityPeriodHours: hoursPerYear,
        // The first `up` after that replaces it (tried with the provider's version 5.3.0).
        earlyRenewalHours: hoursPerYear / 2,
      },
      parent,
    );
    return {
      certificate: server.certPem,
      chain: authority.certPem,
      privateKey: serverKey.privateKeyPem,
      authority: authority.certPem,
    };
  }
}
