import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { ConfigError, fixCommand, show } from "./messages";
import type { ConfigValues } from "./schema";

/**
 * The certificates of a PEM text, in their order.
 * @throws Error when one of them cannot be read
 */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

type CertificateKey = "tlsCertificate" | "tlsChain" | "tlsPrivateKey";

/** Checks the certificate, its chain and its key. Gives the first problem, or nothing. */
export function certificateProblems(config: ConfigValues, now: Date): string[] {
  const { tlsCertificate, tlsChain, tlsPrivateKey } = config;
  if (!tlsCertificate && !tlsChain && !tlsPrivateKey) return [];
  if (!tlsCertificate || !tlsPrivateKey) {
    const missing = tlsCertificate ? "tlsPrivateKey" : "tlsCertificate";
    return [
      `${missing} is missing; tlsCertificate and tlsPrivateKey go together. Set it with: ${fixCommand([missing])}`,
    ];
  }
  try {
    const [certificate, ...others] = readable("tlsCertificate", () => certificatesIn(tlsCertificate));
    const chain = tlsChain === undefined ? [] : readable("tlsChain", () => certificatesIn(tlsChain));
    const key = readable("tlsPrivateKey", () => createPrivateKey(tlsPrivateKey));
    if (others.length > 0) {
      throw new ConfigError(
        `tlsCertificate holds ${others.length + 1} certificates; it must hold the domain's certificate ` +
          `alone. Put the others into tlsChain. Set it with: ${fixCommand(["tlsCertificate"])}`,
      );
    }
    checkChain([certificate as X509Certificate, ...chain]);
    checkCertificate(certificate as X509Certificate, key, config.domain);
    checkValidity(config, now);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return [error.message];
    throw error;
  }
}

/** @throws ConfigError when the PEM of a key cannot be read */
function readable<T>(key: CertificateKey, read: () => T): T {
  try {
    const found = read();
    if (Array.isArray(found) && found.length === 0) throw new Error("no BEGIN CERTIFICATE");
    return found;
  } catch (error) {
    const label = key === "tlsPrivateKey" ? "PRIVATE KEY without a passphrase" : "CERTIFICATE";
    throw new ConfigError(
      `${key} cannot be read (${(error as Error).message}); it must be a PEM ${label}. ` +
        `Set it with: ${fixCommand([key])}`,
    );
  }
}

function checkChain(certificates: X509Certificate[]): void {
  for (const [index, issuer] of certificates.slice(1).entries()) {
    const issued = certificates[index];
    if (!issued || issued.checkIssued(issuer)) continue;
    throw new ConfigError(
      `tlsChain has ${show(issuer.subject)} after ${show(issued.subject)}, which was signed by ` +
        `${show(issued.issuer)}; tlsChain must begin with the certificate that signed tlsCertificate, and each ` +
        `further certificate must have signed the one before it. Set it with: ${fixCommand(["tlsChain"])}`,
    );
  }
}

/** Whether HAProxy and every browser can use a key (Mozilla, "Server Side TLS"). */
function isUsableKey({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): boolean {
  if (type === "rsa") return (details?.modulusLength ?? 0) >= 2048;
  return type === "ec" && ["prime256v1", "secp384r1"].includes(details?.namedCurve ?? "");
}

/** The purpose that a certificate must list, if it lists any (RFC 5280, extended key usage). */
const serverAuthentication = "1.3.6.1.5.5.7.3.1";

function checkCertificate(certificate: X509Certificate, key: KeyObject, domain: string): void {
  if (!isUsableKey(certificate.publicKey)) {
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
    throw new ConfigError(
      `tlsCertificate has a key of type ${[type, details?.modulusLength, details?.namedCurve].filter(Boolean).join(" ")}; ` +
        "it must be RSA of 2048 bits or more, or EC P-256 or P-384, or clients cannot use it. " +
        `Set it with: ${fixCommand(["tlsCertificate"])}`,
    );
  }
  // In Node, keyUsage is the extended key usage.
  if (certificate.keyUsage && !certificate.keyUsage.includes(serverAuthentication)) {
    throw new ConfigError(
      `tlsCertificate is for ${certificate.keyUsage.join(", ")} (extended key usage); it must be for servers ` +
        `(${serverAuthentication}), or clients refuse it. Set it with: ${fixCommand(["tlsCertificate"])}`,
    );
  }
  if (!certificate.checkPrivateKey(key)) {
    throw new ConfigError(
      `tlsPrivateKey does not fit tlsCertificate (subject ${show(certificate.subject)}); it must be the key ` +
        `that belongs to the certificate. Set it with: ${fixCommand(["tlsPrivateKey"])}`,
    );
  }
  if (!certificate.checkHost(domain, { subject: "never" })) {
    throw new ConfigError(
      `tlsCertificate is for ${show(certificate.subjectAltName ?? "no name (subjectAltName)")}; it must name the domain ${show(domain)}. ` +
        `Set it with: ${fixCommand(["tlsCertificate"])}`,
    );
  }
}

interface Validity {
  key: CertificateKey;
  subject: string;
  begin: Date;
  end: Date;
}

/** The validity of the certificate and of its issuer, the one that ends first in front. None without a certificate. */
export function validities({
  tlsCertificate,
  tlsChain,
}: Pick<ConfigValues, "tlsCertificate" | "tlsChain">): Validity[] {
  const first = (key: CertificateKey, pem: string | undefined) =>
    certificatesIn(pem ?? "")
      .slice(0, 1)
      .map(({ subject, validFrom, validTo }) => ({
        key,
        subject,
        begin: new Date(validFrom),
        end: new Date(validTo),
      }));
  // The issuer alone: chains may end with expired roots on purpose, for old clients.
  const found = [...first("tlsCertificate", tlsCertificate), ...first("tlsChain", tlsChain)];
  return found.sort((one, other) => one.end.getTime() - other.end.getTime());
}

/** The day of a moment, as `expiredCertificate` names it. */
export const dayOf = (moment: Date) => moment.toISOString().slice(0, 10);

/**
 * Browsers refuse a certificate that has expired or is not valid yet, so no client could connect. With a certificate that
 * has expired in use an operator must still be able to act, so its day can be named.
 */
function checkValidity(config: ConfigValues, now: Date): void {
  const all = validities(config);
  const early = all.find(({ begin }) => begin > now);
  const ended = all.find(({ end }) => end <= now);
  const wrong = early ?? ended;
  if (!wrong || (wrong === ended && config.expiredCertificate === dayOf(ended.end))) return;
  const { key, subject, begin, end } = wrong;
  const when = early ? `is valid only from ${begin.toISOString()} on` : `ended at ${end.toISOString()}`;
  const anyway = early
    ? ""
    : ". If it is in use, and something else cannot wait for a new one, go on with it: " +
      `pulumi config set expiredCertificate ${dayOf(end)}`;
  throw new ConfigError(
    `${key} (${show(subject)}) ${when}, and now it is ${now.toISOString()}; it must be valid now, or no ` +
      `client can connect. Set it with: ${fixCommand([key])}, or remove tlsCertificate, tlsChain and tlsPrivateKey ` +
      `with pulumi config rm: the stack's own CA then signs a certificate${anyway}`,
  );
}
