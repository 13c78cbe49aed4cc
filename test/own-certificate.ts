import { newKeys, pemOf, selfSigned, signServer } from "../sandbox/certificates";

/** The configuration of a user-supplied certificate, signed by a CA that is not the stack's. */
export async function ownCertificate(domain: string) {
  const authorityKeys = (await newKeys()).keys;
  const { keys, pem } = await newKeys();
  const authority = await selfSigned({ keys: authorityKeys, commonName: "another CA", hours: 24 });
  const names = { commonName: domain, dnsNames: [domain], hours: 24 };
  const signed = await signServer({ publicKey: keys.publicKey, ...names, authority, authorityKeys });
  return { tlsCertificate: pemOf(signed), tlsChain: pemOf(authority), tlsPrivateKey: pem };
}

/** The same as options of the sandbox's command. */
export function certificateOptions({
  tlsCertificate,
  tlsChain,
  tlsPrivateKey,
}: Awaited<ReturnType<typeof ownCertificate>>): string[] {
  return [
    ...["--config", `tlsCertificate=${tlsCertificate}`],
    ...["--config", `tlsChain=${tlsChain}`],
    ...["--secret", `tlsPrivateKey=${tlsPrivateKey}`],
  ];
}
