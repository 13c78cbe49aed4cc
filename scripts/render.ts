/** Writes what the machines of a stack would get, offline: to read, to lint, to review. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { renderDesiredState, sha256 } from "../cluster/desired-state";
import { renderHaproxyBase, renderHaproxyConfig, serverName } from "../cluster/haproxy-config";
import { type MachineKind, machineSoftware, packMachineSoftware } from "../cluster/machine-software";
import { sizeProblems } from "../cluster/sizes";
import { packWebSdk } from "../cluster/websdk";
import { certificatesIn } from "../config/certificate";
import { ConfigError } from "../config/messages";
import { parseConfig } from "../config/parse";
import { balancerSettings, haproxySettings, nodeSettings, packageSources } from "../settings";
import { renderBalancerUserData } from "../userdata/balancer";
import { renderNodeUserData } from "../userdata/node";
import { encodeUserData, type Package, userDataLimitBytes } from "../userdata/user-data";

const usage = `Usage: npm run render -- --stack NAME --out DIR

Writes what the machines of stack NAME (Pulumi.NAME.yaml) would get to DIR: user-data of a node and of the balancer,
every file of their software, and haproxy.cfg; addresses, instance ids and the bucket's name are made up. Needs no
engine and no network.
`;

/** Stand-ins for what a stack file may leave open. */
const madeUp = {
  wcsPackageUrl: "https://downloads.example.com/FlashphonerWebCallServer.tar.gz",
  wcsPackageSha256: "0".repeat(64),
};
const balancerAddress = "10.0.0.10";

/**
 * Reads the plain values of a stack file. Secrets stay encrypted there, and nothing that is rendered holds
 * one: of the licence key counts only that there is one.
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

/** An object of the stack's bucket, whose name only AWS knows. */
function inBucket(stack: string, kind: MachineKind, name: string, sha256: string): Package {
  return {
    source: `s3://wcs-balancer-${stack}-00000000000000000000000000/${kind}/${name}-${sha256}`,
    sha256,
  };
}

/** Where nodes get WCS. Of a file the checksum is made up: it is on somebody's computer, and not in CI. */
function wcsOf(stack: string, config: Parameters<typeof packageSources>[0]): Package | undefined {
  const { wcsPackage } = packageSources(config);
  if (!wcsPackage || "source" in wcsPackage) return wcsPackage;
  return inBucket(stack, "node", "wcs", madeUp.wcsPackageSha256);
}

/** Every file by its name, for a stack's values. Of a user-supplied certificate only the issuer matters. */
export function renderStack(stack: string, values: Record<string, unknown>): Record<string, string> {
  const own = values.nodeAmi || values.wcsPackage ? {} : madeUp;
  const { tlsCertificate, tlsChain: _chain, tlsPrivateKey: _key, ...others } = values;
  const config = parseConfig({ ...own, ...others }, () => true, new Date(), sizeProblems);
  if (typeof tlsCertificate === "string") {
    if (!certificatesIn(tlsCertificate).length)
      throw new ConfigError("tlsCertificate holds no PEM CERTIFICATE");
    config.tlsCertificate = tlsCertificate;
  }
  const backends = config.nodes.toSorted().map((name, index) => ({
    serverName: serverName(name, `i-0000000000000${String(index + 1).padStart(4, "0")}`),
    address: `10.0.1.${index + 1}`,
  }));
  const haproxyBase = renderHaproxyBase(haproxySettings(config));
  const { stickiness, drainTimeoutSeconds } = config;
  const license = config.wcsLicenseKey ? `/wcs-balancer/${stack}/wcs-license` : undefined;
  const node = { ...nodeSettings(config, license), balancerAddresses: [balancerAddress] };
  const software = (kind: MachineKind) => inBucket(stack, kind, "software", packMachineSoftware(kind).sha256);
  const websdk = packageSources(config).webSdk ?? inBucket(stack, "balancer", "websdk", packWebSdk().sha256);
  const filesOf = (kind: MachineKind, files: Record<string, string>) =>
    Object.fromEntries(Object.entries(files).map(([path, content]) => [`${kind}/files${path}`, content]));
  return {
    "node/user-data.yaml": renderNodeUserData(node, {
      software: software("node"),
      wcs: wcsOf(stack, config),
    }),
    ...filesOf("node", machineSoftware("node")),
    "balancer/user-data.yaml": renderBalancerUserData(balancerSettings(config, `/wcs-balancer/${stack}`), {
      software: software("balancer"),
      websdk,
    }),
    ...filesOf("balancer", machineSoftware("balancer")),
    "balancer/haproxy.cfg": renderHaproxyConfig(haproxyBase, backends, stickiness),
    "balancer/desired-state.base64": renderDesiredState({
      haproxyBase,
      backends,
      stickiness,
      certificateHash: sha256(config.domain),
      drainTimeoutSeconds,
    }).document,
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
