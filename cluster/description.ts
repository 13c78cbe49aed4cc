import { X509Certificate } from "node:crypto";
import type { PublicConfig } from "../config/schema";
import type { BalancerSettings } from "../userdata/balancer";
import type { NodeSettings } from "../userdata/node";
import { defaultPatienceSeconds, patienceSecondsOf } from "../userdata/user-data";
import { type AcmeDelays, type AcmeSource, acmeDelaysOf, acmeSource, defaultAcmeDelays } from "./acme";
import { type PackageSources, packageSources } from "./downloads";
import { balancerNames, type ClientPaths, clientPathsOf, defaultLeave, type Leave, leaveOf } from "./entry";
import { type IngressRule, ingressRules } from "./firewall";
import {
  type Backend,
  externalServerName,
  type HaproxySettings,
  renderHaproxyBase,
  type ServerSettings,
} from "./haproxy-config";

/**
 * The cluster of a stack's configuration, before AWS has given addresses to machines. The program makes resources from
 * it, and `npm run render` makes files. Both add the addresses with the same functions: `renderNodeUserData`,
 * `furtherBackends` and `renderDesiredState`.
 */
export interface ClusterDescription {
  /** The settings that each kind of machine gets at its first boot. */
  balancer: BalancerSettings;
  node: NodeSettings;
  /** Names of the balancers. */
  balancers: string[];
  /** The ways of clients to them. */
  paths: ClientPaths;
  /** How long a balancer that leaves keeps serving. */
  leave: Leave;
  /** The directory of public certificates. @default the configuration's certificate, or the stack's own CA */
  acme?: AcmeSource;
  /** Names of the nodes, sorted: their order in the configuration does not matter. */
  nodes: string[];
  /** WCS servers that exist already. */
  externalNodes: Backend[];
  /** haproxy.cfg without the servers. */
  haproxyBase: string;
  /** The settings that a server's line in haproxy.cfg depends on. */
  serverSettings: ServerSettings;
  drainTimeoutSeconds: number;
  packages: PackageSources;
  /** The open ports with their sources. Everything else is closed. */
  ingress: IngressRule[];
}

/** Times that tests shorten. */
interface Delays {
  /** How long a machine retries to fetch its software. */
  patienceSeconds: number;
  leave: Leave;
  acme: AcmeDelays;
}

export const defaultDelays: Delays = {
  patienceSeconds: defaultPatienceSeconds,
  leave: defaultLeave,
  acme: defaultAcmeDelays,
};

/**
 * The times of an environment.
 * @throws Error for a value of another form
 */
export function delaysOf(environment: Record<string, string | undefined>): Delays {
  return {
    patienceSeconds: patienceSecondsOf(environment),
    leave: leaveOf(environment),
    acme: acmeDelaysOf(environment),
  };
}

/**
 * Describes the cluster of a stack.
 * @param config the value of the licence key does not matter, only whether there is one
 * @param parameterPath the beginning of the names of the stack's SSM parameters, such as /wcs-balancer/dev
 */
export function describeCluster(
  config: PublicConfig & { wcsLicenseKey?: unknown },
  parameterPath: string,
  { patienceSeconds, leave, acme }: Delays,
): ClusterDescription {
  return {
    balancer: { ...balancerSettings(config, parameterPath), patienceSeconds },
    node: {
      ...nodeSettings(config, config.wcsLicenseKey ? `${parameterPath}/wcs-license` : undefined),
      patienceSeconds,
    },
    balancers: balancerNames(config.balancers),
    paths: clientPathsOf(config),
    leave,
    acme: acmeSource(config, acme),
    nodes: config.nodes.toSorted(),
    externalNodes: config.externalNodes.map(({ name, address, agentRequest }) => ({
      serverName: externalServerName(name, address),
      address,
      agentRequest,
    })),
    haproxyBase: renderHaproxyBase(haproxySettings(config)),
    serverSettings: { checks: config.checks, stickiness: config.stickiness },
    drainTimeoutSeconds: config.drainTimeoutSeconds,
    packages: packageSources(config),
    ingress: ingressRules(config),
  };
}

function balancerSettings(
  config: PublicConfig,
  parameterPath: string,
): Omit<BalancerSettings, "patienceSeconds"> {
  return {
    domain: config.domain,
    stateParameter: `${parameterPath}/desired-state`,
    secretParameter: `${parameterPath}/secret`,
    statusParameter: `${parameterPath}/status`,
    accountParameter: `${parameterPath}/acme-account`,
    acmeParameter: `${parameterPath}/acme-certificate`,
    balancerTags: balancerTags(parameterPath),
    sshPublicKey: config.sshPublicKey,
    // The pages that this project packs have no folders to strip.
    webSdkStripComponents: config.webSdkUrl ? config.webSdkStripComponents : 0,
  };
}

/** The tags that the program gives every balancer of the stack (components/tags.ts), among others. */
function balancerTags(parameterPath: string): Record<string, string> {
  const [, project = "", stack = ""] = parameterPath.split("/");
  return { Project: project, Stack: stack, Role: "balancer" };
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
    acme: config.acme !== undefined,
  };
}

function isSelfSigned(pem: string): boolean {
  const certificate = new X509Certificate(pem);
  return certificate.checkIssued(certificate);
}

function nodeSettings(
  config: PublicConfig,
  licenseParameter?: string,
): Omit<NodeSettings, "patienceSeconds"> {
  return {
    balancerCidrs: config.balancerCidrs,
    agentListener: config.agentListener,
    wcsProperties: config.wcsProperties,
    wcsHeap: config.wcsHeap,
    licenseParameter,
    sshPublicKey: config.sshPublicKey,
    javaPackage: config.javaPackage,
    securityUpdates: config.nodeAmi === undefined,
  };
}
