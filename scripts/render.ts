/** Writes what the machines of a stack would get, offline: to read, to lint, to review. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import {
  agentRequestVersion,
  loadBalancerHttpPort,
  loadBalancerHttpsPort,
  statusServerName,
} from "../cluster/contract";
import { type ClusterDescription, delaysOf, describeCluster } from "../cluster/description";
import { renderDesiredState, sha256 } from "../cluster/desired-state";
import type { PackageSources } from "../cluster/downloads";
import { renderIngressRules } from "../cluster/firewall";
import { furtherBackends, renderHaproxyConfig, serverName } from "../cluster/haproxy-config";
import { type MachineKind, machineSoftware, packMachineSoftware } from "../cluster/machine-software";
import { sizeProblems } from "../cluster/sizes";
import { packWebSdk } from "../cluster/websdk";
import { certificatesIn } from "../config/certificate";
import { ConfigError } from "../config/messages";
import { parseConfig } from "../config/parse";
import { isSecretKey } from "../config/schema";
import { type BalancerPackages, renderBalancerUserData } from "../userdata/balancer";
import { type NodePackages, renderNodeUserData } from "../userdata/node";
import { encodeUserData, type Package, userDataLimitBytes } from "../userdata/user-data";

const usage = `Usage: npm run render -- --stack NAME --out DIR

Writes what the machines of stack NAME (Pulumi.NAME.yaml) would get to DIR: user-data of a node and of a balancer,
every file of their software, haproxy.cfg, and what is open (firewall.txt); addresses, instance ids and the bucket's
name are made up, and nodes of another stack are missing. Needs no engine and no network.
`;

/** Values for keys that a stack file may leave out. */
const madeUp = {
  wcsPackageUrl: "https://downloads.example.com/FlashphonerWebCallServer.tar.gz",
  wcsPackageSha256: "0".repeat(64),
};
const vpcNetworks = ["10.0.0.0/16"];

/**
 * Reads the plain values of a stack file. Secrets stay encrypted there, and no rendered file holds one. The licence
 * key's value does not matter, only its presence.
 */
export function readStackFile(stack: string, directory: string): Record<string, unknown> {
  const file = parse(readFileSync(join(directory, `Pulumi.${stack}.yaml`), "utf8")) as {
    config?: Record<string, unknown>;
  };
  const prefix = "wcs-balancer:";
  const values = Object.entries(file.config ?? {})
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length), value] as const)
    .map(([key, value]) => [key, key === "wcsLicenseKey" ? "made-up" : value] as const);
  return Object.fromEntries(values);
}

/** The facts about balancers that only AWS knows. */
function madeUpBalancers({ balancers, paths }: ClusterDescription) {
  const arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup";
  const group = (name: string, port: number) => ({
    arn: `${arn}/load-balancer-${name}/0000000000000000`,
    port,
  });
  return {
    balancerInstances: Object.fromEntries(
      balancers.map((name, index) => [name, `i-0000000000001${String(index + 1).padStart(4, "0")}`]),
    ),
    targetGroups: paths.loadBalancer
      ? [group("https", loadBalancerHttpsPort), group("http", loadBalancerHttpPort)]
      : [],
  };
}

/** An object of the stack's bucket, whose name only AWS knows. */
function inBucket(stack: string, kind: MachineKind, name: string, sha256: string): Package {
  return {
    source: `s3://wcs-balancer-${stack}-00000000000000000000000000/${kind}/${name}-${sha256}`,
    sha256,
  };
}

/** The packages that machines fetch. The checksum of a local tarball is made up, since CI does not have the file. */
function packagesOf(
  stack: string,
  { wcsPackage, webSdk }: PackageSources,
): { balancer: BalancerPackages; node: NodePackages } {
  const software = (kind: MachineKind) => inBucket(stack, kind, "software", packMachineSoftware(kind).sha256);
  const wcs =
    wcsPackage && "file" in wcsPackage ? inBucket(stack, "node", "wcs", madeUp.wcsPackageSha256) : wcsPackage;
  const websdk = webSdk ?? inBucket(stack, "balancer", "websdk", packWebSdk().sha256);
  return { balancer: { software: software("balancer"), websdk }, node: { software: software("node"), wcs } };
}

/**
 * The description of a stack's cluster, by the values of its file and by this environment. For a user-supplied certificate
 * only the issuer matters.
 */
function describeStack(stack: string, values: Record<string, unknown>): ClusterDescription {
  const own = values.nodeAmi || values.wcsPackage ? {} : madeUp;
  const { tlsCertificate, tlsChain: _chain, tlsPrivateKey: _key, ...others } = values;
  const config = parseConfig({ ...own, ...others }, isSecretKey, new Date(), sizeProblems);
  if (typeof tlsCertificate === "string") {
    if (!certificatesIn(tlsCertificate).length)
      throw new ConfigError("tlsCertificate holds no PEM CERTIFICATE");
    config.tlsCertificate = tlsCertificate;
  }
  return describeCluster(config, `/wcs-balancer/${stack}`, delaysOf(process.env));
}

/** Every file by its name, for a stack's values. */
export function renderStack(stack: string, values: Record<string, unknown>): Record<string, string> {
  const cluster = describeStack(stack, values);
  const packages = packagesOf(stack, cluster.packages);
  const nodes = cluster.nodes.map((name, index) => ({
    serverName: serverName(name, `i-0000000000000${String(index + 1).padStart(4, "0")}`),
    address: `10.0.1.${index + 1}`,
    agentRequest: agentRequestVersion,
  }));
  // Only the engine knows the nodes of another stack.
  const backends = [...nodes, ...furtherBackends(cluster.externalNodes, [])];
  const filesOf = (kind: MachineKind) =>
    Object.fromEntries(
      Object.entries(machineSoftware(kind)).map(([path, content]) => [`${kind}/files${path}`, content]),
    );
  return {
    "node/user-data.yaml": renderNodeUserData(cluster.node, vpcNetworks, packages.node),
    ...filesOf("node"),
    "balancer/user-data.yaml": renderBalancerUserData(cluster.balancer, packages.balancer),
    ...filesOf("balancer"),
    "balancer/haproxy.cfg": renderHaproxyConfig(cluster.haproxyBase, backends, cluster.serverSettings),
    "balancer/desired-state.base64": renderDesiredState({
      ...cluster,
      ...madeUpBalancers(cluster),
      backends,
      certificateHash: sha256(cluster.balancer.domain),
      statusHash: sha256(statusServerName),
    }).document,
    "firewall.txt": renderIngressRules(cluster.ingress),
  };
}

function main(): void {
  const { values } = parseArgs({
    options: { stack: { type: "string" }, out: { type: "string" }, help: { type: "boolean" } },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  if (!values.stack || !values.out) throw new ConfigError(`--stack and --out are needed\n\n${usage}`);
  const files = renderStack(values.stack, readStackFile(values.stack, process.cwd()));
  for (const [name, content] of Object.entries(files)) {
    const path = join(values.out, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    const size = name.endsWith("user-data.yaml")
      ? `${Buffer.from(encodeUserData(content), "base64").length} of ${userDataLimitBytes} bytes compressed`
      : `${content.length} bytes`;
    console.log(`${path}  (${size})`);
  }
}

if (require.main === module) {
  try {
    main();
  } catch (error) {
    console.error(`render: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
