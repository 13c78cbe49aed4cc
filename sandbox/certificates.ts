import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** Import it from here: `reflect-metadata` must be loaded before it. */
export { x509 };

x509.cryptoProvider.set(webcrypto as Crypto);

export const signing = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export async function newKeys(): Promise<{ keys: CryptoKeyPair; pem: string }> {
  const keys = (await webcrypto.subtle.generateKey(signing, true, ["sign", "verify"])) as CryptoKeyPair;
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey as webcrypto.CryptoKey);
  return { keys, pem: `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n` };
}

/** Reads an ECDSA P-256 key pair from its private key. */
export async function readKeys(pem: string): Promise<CryptoKeyPair> {
  const [pkcs8] = x509.PemConverter.decode(pem);
  if (!pkcs8) throw new Error("no PEM private key");
  const privateKey = await webcrypto.subtle.importKey("pkcs8", pkcs8, signing, true, ["sign"]);
  const jwk = await webcrypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await webcrypto.subtle.importKey(
    "jwk",
    { ...jwk, d: undefined, key_ops: ["verify"] },
    signing,
    true,
    ["verify"],
  );
  return { privateKey, publicKey } as CryptoKeyPair;
}

function period(hours: number): { notBefore: Date; notAfter: Date } {
  const notBefore = new Date(Math.floor(Date.now() / 1000) * 1000);
  return { notBefore, notAfter: new Date(notBefore.getTime() + hours * 3_600_000) };
}

export function alternativeNames(dnsNames: string[]): x509.SubjectAlternativeNameExtension {
  return new x509.SubjectAlternativeNameExtension(dnsNames.map((value) => ({ type: "dns" as const, value })));
}

export async function selfSigned(options: {
  keys: CryptoKeyPair;
  commonName: string;
  hours: number;
}): Promise<x509.X509Certificate> {
  return x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [options.commonName] }],
    keys: options.keys,
    signingAlgorithm: signing,
    ...period(options.hours),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(options.keys.publicKey),
    ],
  });
}

export async function signServer(options: {
  publicKey: x509.PublicKeyType;
  commonName: string;
  dnsNames: string[];
  hours: number;
  authority: x509.X509Certificate;
  authorityKeys: CryptoKeyPair;
}): Promise<x509.X509Certificate> {
  return x509.X509CertificateGenerator.create({
    subject: [{ CN: [options.commonName] }],
    issuer: options.authority.subject,
    publicKey: options.publicKey,
    signingKey: options.authorityKeys.privateKey,
    signingAlgorithm: signing,
    ...period(options.hours),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      alternativeNames(options.dnsNames),
      await x509.AuthorityKeyIdentifierExtension.create(options.authority),
    ],
  });
}

export function pemOf(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}
