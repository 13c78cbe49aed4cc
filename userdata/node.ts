import { nodeSettingsFile, nodeShellSettingsFile } from "../cluster/contract";
import { machineFile } from "./machine-file";
import { shellSettings } from "./shell-settings";
import { type Package, renderUserData } from "./user-data";

type AgentListener = "xinetd" | "systemd";

export interface NodeSettings {
  /** Networks of other stacks' balancers, which the agent answers, too. */
  balancerCidrs: string[];
  agentListener: AgentListener;
  javaPackage: string;
  /** Further lines for flashphoner.properties; they win over `neededProperties`. */
  wcsProperties: Record<string, string>;
  /** Java heap, such as 4g. @default half of the machine's memory */
  wcsHeap?: string;
  /** Name of the SSM parameter that holds the licence key; none when WCS is licensed another way. */
  licenseParameter?: string;
  /** Whether apt installs security updates automatically. A user-supplied image has its own way of updating. */
  securityUpdates: boolean;
  /** The public key for SSH. @default no SSH */
  sshPublicKey?: string;
  patienceSeconds: number;
}

/** What a node fetches at its first boot. */
export interface NodePackages {
  software: Package;
  /** The WCS tarball to install; none when the image has WCS in it. */
  wcs?: Package;
}

/**
 * The properties of WCS that the balancer needs (Flashphoner's guide, "WCS setup"). Bandwidth is always counted: a
 * threshold for it may come later, without a new node.
 */
const neededProperties = JSON.parse(machineFile("node/needed-properties.json")) as Record<string, string>;

/** Warns of properties that differ from what the balancer needs; one line each. */
export function propertyWarnings(wcsProperties: Record<string, string>): string[] {
  return Object.entries(neededProperties)
    .filter(([key, needed]) => (wcsProperties[key] ?? needed) !== needed)
    .map(
      ([key, needed]) =>
        `wcsProperties sets ${key} to "${wcsProperties[key]}"; the balancer needs "${needed}". Your value is ` +
        `used. To use the needed one: pulumi config rm --path 'wcsProperties["${key}"]'`,
    );
}

/** The service that runs the agent for each connection to its port. */
const listenerPackages: Record<AgentListener, string[]> = { xinetd: ["xinetd"], systemd: [] };

/**
 * User-data of a WCS node.
 * @param balancerNetworks networks that this stack's balancers are in
 */
export function renderNodeUserData(
  settings: NodeSettings,
  balancerNetworks: string[],
  fetched: NodePackages,
): string {
  const { javaPackage, licenseParameter } = settings;
  // The agent answers only these.
  const allowed = [...balancerNetworks, ...settings.balancerCidrs, "127.0.0.1"];
  const node = { properties: settings.wcsProperties, heap: settings.wcsHeap, licenseParameter };
  return renderUserData({
    sshPublicKey: settings.sshPublicKey,
    patienceSeconds: settings.patienceSeconds,
    packages: [
      "telnet",
      ...listenerPackages[settings.agentListener],
      ...(fetched.wcs ? [javaPackage, "wget", "nftables"] : []),
      ...(settings.securityUpdates ? ["unattended-upgrades"] : []),
    ],
    fetched: { ...fetched },
    files: [
      { path: nodeSettingsFile, content: `${JSON.stringify(node, null, 2)}\n` },
      {
        path: nodeShellSettingsFile,
        content: shellSettings({ ALLOWED_ADDRESSES: allowed.join(" ") }),
      },
      ...["wcs-setup-failed.socket", "wcs-setup-failed@.service"].map((unit) => ({
        path: `/etc/systemd/system/${unit}`,
        content: machineFile(`setup/${unit}`),
      })),
    ],
    // The agent first, so that it can say which of the other steps has failed.
    steps: [
      `agent-${settings.agentListener}`,
      // An image with WCS in it may ask the metadata service for its licence.
      ...(fetched.wcs ? ["metadata"] : []),
      ...(settings.securityUpdates ? ["security-updates"] : []),
      "tools",
      ...(fetched.wcs ? ["wcs-download", "wcs-checksum", "wcs-install"] : []),
      ...(licenseParameter ? ["wcs-license"] : []),
      "wcs-start",
    ],
  });
}
