import { X509Certificate } from "node:crypto";
import type { CertificateArgs } from "./components/certificate";
import type { MachineSoftwareArgs } from "./components/machine-software";
import { localWcsPackage, type PublicConfig, type StackConfig } from "./config";
import type { BalancerSettings } from "./userdata/balancer";
import type { HaproxySettings } from "./userdata/haproxy-config";
import { type NodeSettings, propertyWarnings } from "./userdata/node";
import { defaultPatienceSeconds } from "./userdata/user-data";

/** How long a machine tries again to fetch its software. Tests that break it wait less. */
const patienceSeconds = Number(process.env.WCS_BALANCER_PATIENCE_SECONDS ?? defaultPatienceSeconds);

/** What the configuration tells each kind of machine; shared by the program and `npm run render`. */
export function balancerSettings(config: PublicConfig, parameterPath: string): BalancerSettings {
  return {
    domain: config.domain,
    stateParameter: `${parameterPath}/desired-state`,
    secretParameter: `${parameterPath}/secret`,
    sshPublicKey: config.sshPublicKey,
    // The pages that this project packs itself have none.
    webSdkStripComponents: config.webSdkUrl ? config.webSdkStripComponents : 0,
    patienceSeconds,
  };
}

export function haproxySettings(config: PublicConfig): HaproxySettings {
  return {
    domain: config.domain,
    maxConnections: config.maxConnections,
    maxConnectionsPerNode: config.maxConnectionsPerNode,
    checks: config.checks,
    algorithm: config.algorithm,
    stickiness: config.stickiness,
    strictTransportSecurity: config.tlsCertificate !== undefined && !isSelfSigned(config.tlsCertificate),
  };
}

/** What a configuration is allowed to say, and should be known to do; one line each. */
export function warnings(config: PublicConfig, now: Date): string[] {
  return [
    ...propertyWarnings(config.wcsProperties),
    ...capacityWarnings(config),
    ...rolloutWarnings(config),
    ...certificateWarnings(config, now),
  ];
}

/** As for machines/balancer/wcs_balancer/status.py, whose warnings an `up` that changes nothing does not see. */
const expiryWarningDays = 21;

/** That a user-supplied certificate ends soon. One of the stack's own CA is renewed by `pulumi up` itself. */
export function certificateWarnings(
  { tlsCertificate }: Pick<PublicConfig, "tlsCertificate">,
  now: Date,
): string[] {
  if (tlsCertificate === undefined) return [];
  const end = new Date(new X509Certificate(tlsCertificate).validTo);
  const days = Math.floor((end.getTime() - now.getTime()) / 86_400_000);
  if (days > expiryWarningDays) return [];
  return [
    `tlsCertificate ends in ${days} days, on ${end.toISOString().slice(0, 10)}. To renew it: ` +
      "pulumi config set tlsCertificate < cert.pem, and with it tlsChain and tlsPrivateKey",
  ];
}

/** What the balancer's limits make impossible. */
export function capacityWarnings(config: PublicConfig): string[] {
  const { maxConnectionsPerNode, maxConnections } = config;
  const count = config.nodes.length + config.externalNodes.length;
  const capacity = count * maxConnectionsPerNode;
  if (capacity <= maxConnections) return [];
  return [
    `maxConnections is ${maxConnections}, less than the ${capacity} WebSockets that ${count} nodes with ` +
      `maxConnectionsPerNode ${maxConnectionsPerNode} take: the last ${capacity - maxConnections} are never used. ` +
      `To use them: pulumi config set maxConnections ${capacity}`,
  ];
}

function rolloutWarnings({ rollout }: PublicConfig): string[] {
  if (rollout === "wait") return [];
  return [
    "rollout is skip: nobody waits for the balancer, and a node that is removed or replaced goes at once, with the " +
      "sockets that it has. To take it back: pulumi config rm rollout",
  ];
}

function isSelfSigned(pem: string): boolean {
  const certificate = new X509Certificate(pem);
  return certificate.checkIssued(certificate);
}

export function nodeSettings(
  config: PublicConfig,
  licenseParameter?: string,
): Omit<NodeSettings, "balancerAddresses"> {
  return {
    agentListener: config.agentListener,
    wcsProperties: config.wcsProperties,
    wcsHeap: config.wcsHeap,
    licenseParameter,
    sshPublicKey: config.sshPublicKey,
    javaPackage: config.javaPackage,
    securityUpdates: config.nodeAmi === undefined,
    patienceSeconds,
  };
}

/** What the configuration says of the packages that machines fetch. */
export function packageSources(config: PublicConfig): Pick<MachineSoftwareArgs, "wcsPackage" | "webSdk"> {
  const { wcsPackage, wcsPackageUrl, wcsPackageSha256, webSdkUrl, webSdkSha256 } = config;
  const file = localWcsPackage(config);
  const wcs = wcsPackage ?? wcsPackageUrl;
  return {
    wcsPackage: file
      ? { file }
      : wcs && wcsPackageSha256
        ? { source: wcs, sha256: wcsPackageSha256 }
        : undefined,
    webSdk: webSdkUrl && webSdkSha256 ? { source: webSdkUrl, sha256: webSdkSha256 } : undefined,
  };
}

export function ownCertificate(config: StackConfig): CertificateArgs["own"] {
  const { tlsCertificate: certificate, tlsChain: chain, tlsPrivateKey: privateKey } = config;
  return certificate && privateKey ? { certificate, chain, privateKey } : undefined;
}
