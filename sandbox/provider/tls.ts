import { randomBytes } from "node:crypto";
import { z } from "zod";
import {
  alternativeNames,
  newKeys,
  pemOf,
  readKeys,
  selfSigned,
  signing,
  signServer,
  x509,
} from "../certificates";
import type { ResourceType } from "./resource-type";

const text = z.string();
const subject = z.strictObject({ commonName: text.max(64), organization: text.optional() });
const use = z.enum([
  "cert_signing",
  "crl_signing",
  "server_auth",
  "client_auth",
  "digital_signature",
  "key_encipherment",
]);

const privateKey = z.strictObject({
  algorithm: z.literal("ECDSA", "the sandbox makes ECDSA keys only"),
  ecdsaCurve: z.literal("P256", "the sandbox makes P256 keys only (the real default is P224)"),
});
const selfSignedCert = z.strictObject({
  privateKeyPem: text,
  subject,
  isCaCertificate: z.literal(true),
  allowedUses: z.array(use),
  validityPeriodHours: z.number().positive(),
});
const certRequest = z.strictObject({
  privateKeyPem: text,
  subject,
  dnsNames: z.array(text).optional(),
});
const locallySignedCert = z.strictObject({
  certRequestPem: text,
  caPrivateKeyPem: text,
  caCertPem: text,
  allowedUses: z.array(use),
  validityPeriodHours: z.number().positive(),
  earlyRenewalHours: z.number().optional(),
});

function newId(): string {
  return randomBytes(16).toString("hex");
}

/** The provider's clock, which tests can move forward. */
function now(): Date {
  return new Date(process.env.WCS_SANDBOX_DATE ?? Date.now());
}

function times(certificate: x509.X509Certificate) {
  return {
    validityStartTime: certificate.notBefore.toISOString(),
    validityEndTime: certificate.notAfter.toISOString(),
    readyForRenewal: false,
  };
}

/** The types of the tls provider. A change of nearly every property makes a new resource. */
export const tlsTypes: Record<string, ResourceType> = {
  "tls:index/privateKey:PrivateKey": {
    inputs: privateKey,
    replaceOn: [],
    computed: ["privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem"],
    async create() {
      const { keys, pem } = await newKeys();
      const publicKey = await x509.PublicKey.create(keys.publicKey);
      return {
        id: newId(),
        outputs: {
          privateKeyPem: pem,
          privateKeyPemPkcs8: pem,
          publicKeyPem: `${publicKey.toString("pem")}\n`,
        },
      };
    },
  },
  "tls:index/selfSignedCert:SelfSignedCert": {
    inputs: selfSignedCert,
    replaceOn: [],
    computed: ["certPem", "validityStartTime", "validityEndTime", "readyForRenewal"],
    async create(inputs) {
      const values = selfSignedCert.parse(inputs);
      const certificate = await selfSigned({
        keys: await readKeys(values.privateKeyPem),
        commonName: values.subject.commonName,
        hours: values.validityPeriodHours,
      });
      return { id: newId(), outputs: { certPem: pemOf(certificate), ...times(certificate) } };
    },
  },
  "tls:index/certRequest:CertRequest": {
    inputs: certRequest,
    replaceOn: [],
    computed: ["certRequestPem"],
    async create(inputs) {
      const values = certRequest.parse(inputs);
      const request = await x509.Pkcs10CertificateRequestGenerator.create({
        name: [{ CN: [values.subject.commonName] }],
        keys: await readKeys(values.privateKeyPem),
        signingAlgorithm: signing,
        extensions: [alternativeNames(values.dnsNames ?? [])],
      });
      return { id: newId(), outputs: { certRequestPem: `${request.toString("pem")}\n` } };
    },
  },
  "tls:index/locallySignedCert:LocallySignedCert": {
    inputs: locallySignedCert,
    // All but earlyRenewalHours, which changes in place (tested with the provider's version 5.3.0).
    replaceOn: ["certRequestPem", "caPrivateKeyPem", "caCertPem", "allowedUses", "validityPeriodHours"],
    renewal({ validityEndTime, earlyRenewalHours = 0 }) {
      const begins = Date.parse(String(validityEndTime)) - Number(earlyRenewalHours) * 3_600_000;
      return now().getTime() >= begins ? "readyForRenewal" : undefined;
    },
    computed: ["certPem", "validityStartTime", "validityEndTime", "readyForRenewal"],
    update: async () => ({}),
    async create(inputs) {
      const values = locallySignedCert.parse(inputs);
      const request = new x509.Pkcs10CertificateRequest(values.certRequestPem);
      const names =
        request.extensions.find((extension) => extension instanceof x509.SubjectAlternativeNameExtension)
          ?.names.items ?? [];
      const certificate = await signServer({
        publicKey: request.publicKey,
        commonName: request.subjectName.getField("CN")[0] ?? "",
        dnsNames: names.map((name) => name.value),
        hours: values.validityPeriodHours,
        authority: new x509.X509Certificate(values.caCertPem),
        authorityKeys: await readKeys(values.caPrivateKeyPem),
      });
      return { id: newId(), outputs: { certPem: pemOf(certificate), ...times(certificate) } };
    },
  },
};
