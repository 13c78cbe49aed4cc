import { X509Certificate } from "node:crypto";
import type { PublicConfig } from "../config/schema";
import type { BalancerSettings } from "../userdata/balancer";
import type { NodeSettings } from "../userdata/node";
import { defaultPatienceSeconds } from "../userdata/user-data";
import { type IngressRule, ingressRules } from "./firewall";
import { type Backend, externalServerName, type HaproxySettings, renderHaproxyBase } from "./haproxy-config";
import { type PackageSources, packageSources } from "./packages";

/** How long a machine tries again to fetch its software. Tests that break it wait less. */
const patienceSeconds = Number(process.env.WCS_BALANCER_PATIENCE_SECONDS ?? defaultPatienceSeconds);

/**
 * All that a stack's configuration says of the cluster, before AWS has given a machine an address. The program makes
 * resources of it, `npm run render` files, and both put the addresses in by the same functions: `renderNodeUserData`,
 * `furtherBackends` and `renderDesiredState`.
 */
export interface ClusterDescription {
  /** What each kind of machine is told at its first boot. */
  balancer: BalancerSettings;
  node: NodeSettings;
  /** Names of the nodes, sorted: another order of the configuration changes nothing. */
  nodes: string[];
  /** WCS servers that exist already. */
  externalNodes: Backend[];
  /** haproxy.cfg without the servers. */
  haproxyBase: string;
  /** Whether a server's line in haproxy.cfg has a cookie. */
  stickiness: boolean;
  drainTimeoutSeconds: number;
  packages: PackageSources;
  /** Who reaches which port. Everything else is closed. */
  ingress: IngressRule[];
}

/**
 * Describes the cluster of a stack. Pure, but for the environment variable that shortens tests.
 * @param config of the licence key counts only whether there is one
 * @param parameterPath what the names of the stack's SSM parameters begin with, such as /wcs-balancer/dev
 */
export function describeCluster(
  config: PublicConfig & { wcsLicenseKey?: unknown },
  parameterPath: string,
): ClusterDescription {
  return {
    balancer: balancerSettings(config, parameterPath),
    node: nodeSettings(config, config.wcsLicenseKey ? `${parameterPath}/wcs-license` : undefined),
    nodes: config.nodes.toSorted(),
    externalNodes: config.externalNodes.map(({ name, address }) => ({
      serverName: externalServerName(name, address),
      address,
    })),
    haproxyBase: renderHaproxyBase(haproxySettings(config)),
    stickiness: config.stickiness,
    drainTimeoutSeconds: config.drainTimeoutSeconds,
    packages: packageSources(config),
    ingress: ingressRules(config),
  };
}

function balancerSettings(config: PublicConfig, parameterPath: string): BalancerSettings {
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

function haproxySettings(config: PublicConfig): HaproxySettings {
  return {
    domain: config.domain,
    maxConnections: config.maxConnections,
    maxConnectionsPerNode: config.maxConnectionsPerNode,
    maxConnectionsPerAddress: config.maxConnectionsPerAddress,
    trustedCidrs: config.trustedCidrs,
    frameAncestors: config.frameAncestors,
    checks: config.checks,
    algorithm: config.algorithm,
    stickiness: config.stickiness,
    strictTransportSecurity: config.tlsCertificate !== undefined && !isSelfSigned(config.tlsCertificate),
  };
}

function isSelfSigned(pem: string): boolean {
  const certificate = new X509Certificate(pem);
  return certificate.checkIssued(certificate);
}

function nodeSettings(config: PublicConfig, licenseParameter?: string): NodeSettings {
  return {
    balancerCidrs: config.balancerCidrs,
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
