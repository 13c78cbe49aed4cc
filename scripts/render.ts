/** Writes what the machines of a stack would get, offline: to read, to lint, to review. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { ConfigError, certificatesIn, parseConfig } from "../config";
import { balancerSettings, haproxySettings, nodeSettings } from "../settings";
import { renderBalancerUserData } from "../userdata/balancer";
import { encodeUserData, userDataLimitBytes } from "../userdata/cloud-config";
import { renderDesiredState, sha256 } from "../userdata/desired-state";
import { machineFile } from "../userdata/files";
import { renderHaproxyConfig, serverName } from "../userdata/haproxy-config";
import { renderAgentListener, renderNodeUserData } from "../userdata/node";

const usage = `Usage: npm run render -- --stack NAME --out DIR

Writes user-data of a node and of the balancer, haproxy.cfg and the agent's files of stack NAME
(Pulumi.NAME.yaml) to DIR, with made-up addresses and instance ids. Needs no engine and no network.
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

/** Every file by its name, for a stack's values. Of a certificate of one's own counts only who has signed it. */
export function renderStack(stack: string, values: Record<string, unknown>): Record<string, string> {
  const own = values.nodeAmi ? {} : madeUp;
  const { tlsCertificate, tlsChain: _chain, tlsPrivateKey: _key, ...others } = values;
  const config = parseConfig({ ...own, ...others }, () => true);
  if (typeof tlsCertificate === "string") {
    if (!certificatesIn(tlsCertificate).length)
      throw new ConfigError("tlsCertificate holds no PEM CERTIFICATE");
    config.tlsCertificate = tlsCertificate;
  }
  const backends = config.nodes.toSorted().map((name, index) => ({
    serverName: serverName(name, `i-0000000000000${String(index + 1).padStart(4, "0")}`),
    address: `10.0.1.${index + 1}`,
  }));
  const haproxyConfig = renderHaproxyConfig(haproxySettings(config), backends);
  const license = config.wcsLicenseKey ? `/wcs-balancer/${stack}/wcs-license` : undefined;
  const node = { ...nodeSettings(config, license), balancerAddresses: [balancerAddress] };
  const listener = Object.entries(renderAgentListener(node).files);
  return {
    "node/user-data.yaml": renderNodeUserData(node),
    ...Object.fromEntries(listener.map(([path, content]) => [`node${path}`, content])),
    "node/haproxy-agent-check.sh": machineFile("node/haproxy-agent-check.sh"),
    "node/haproxy-agent-check-launch.sh": machineFile("node/haproxy-agent-check-launch.sh"),
    "balancer/user-data.yaml": renderBalancerUserData(balancerSettings(config, `/wcs-balancer/${stack}`)),
    "balancer/haproxy.cfg": haproxyConfig,
    "balancer/desired-state.base64": renderDesiredState(
      haproxyConfig,
      sha256(config.domain),
      config.drainTimeoutSeconds,
    ).document,
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
