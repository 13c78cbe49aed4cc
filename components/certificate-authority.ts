import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";

export interface CertificateAuthorityArgs {
  /** The name that clients use. It distinguishes the CAs of several stacks. */
  domain: string;
  /** Whether the CA's key is protected against deletion. @default false */
  protect?: boolean;
}

/** A certificate with its key, both PEM. */
interface SignedCertificate {
  certificate: pulumi.Output<string>;
  privateKey: pulumi.Output<string>;
}

const key = { algorithm: "ECDSA", ecdsaCurve: "P256" };
const hoursPerYear = 8766;

/** The stack's own CA. It signs the status's certificate, and the clients' certificate unless the user supplies one. */
export class CertificateAuthority extends pulumi.ComponentResource {
  /** The CA's certificate, PEM. */
  readonly certificate: pulumi.Output<string>;
  private readonly privateKey: pulumi.Output<string>;

  /** @param name of the resources. With another name an existing stack gets a new CA. */
  constructor(name: string, args: CertificateAuthorityArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:certificate:CertificateAuthority", name, {}, opts);
    // In earlier versions these were parts of the clients' certificate.
    const former = pulumi.createUrn("certificate", "wcs-balancer:certificate:Certificate");
    const options = { parent: this, aliases: [{ parent: former }] };
    const { privateKeyPem } = new tls.PrivateKey(name, key, { ...options, protect: args.protect });
    const { certPem } = new tls.SelfSignedCert(
      name,
      {
        privateKeyPem,
        isCaCertificate: true,
        subject: { commonName: `wcs-balancer CA for ${args.domain}`.slice(0, 64) },
        allowedUses: ["cert_signing", "crl_signing"],
        validityPeriodHours: 10 * hoursPerYear,
      },
      options,
    );
    this.certificate = certPem;
    this.privateKey = privateKeyPem;
    this.registerOutputs({ certificate: this.certificate });
  }

  /**
   * Signs a server's certificate for a year. The first `pulumi up` in the second half of the year replaces it (tested
   * with the provider's version 5.3.0).
   * @param parent the resource that the certificate belongs to
   */
  sign(name: string, serverName: string, parent: pulumi.Resource): SignedCertificate {
    const { privateKeyPem } = new tls.PrivateKey(name, key, { parent });
    const request = new tls.CertRequest(
      name,
      { privateKeyPem, subject: { commonName: serverName }, dnsNames: [serverName] },
      { parent },
    );
    const { certPem } = new tls.LocallySignedCert(
      name,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: this.privateKey,
        caCertPem: this.certificate,
        allowedUses: ["server_auth", "digital_signature"],
        validityPeriodHours: hoursPerYear,
        earlyRenewalHours: hoursPerYear / 2,
      },
      { parent },
    );
    return { certificate: certPem, privateKey: privateKeyPem };
  }
}
