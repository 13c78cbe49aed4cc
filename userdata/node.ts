import { metadataFilter, renderCloudConfig, setupSteps } from "./cloud-config";
import { fillIn, leanFile, machineFile, shellSettings } from "./files";

export type AgentListener = "xinetd" | "systemd";

export interface NodeSettings {
  /** Private addresses and networks of the balancers, the only ones besides localhost that the agent answers. */
  balancerAddresses: string[];
  agentListener: AgentListener;
  /** The WCS tarball to install; none when the image has WCS in it. */
  wcsPackage?: { url: string; sha256: string };
  javaPackage: string;
  /** Further lines for flashphoner.properties; they win over `neededProperties`. */
  wcsProperties: Record<string, string>;
  /** Java heap, such as 4g. @default half of the machine's memory */
  wcsHeap?: string;
  /** Name of the SSM parameter that holds the licence key; none when WCS is licensed another way. */
  licenseParameter?: string;
  /** Whether to install security updates by itself, with apt; an image of the user's own has its own way. */
  securityUpdates: boolean;
  /** Who may log in by SSH. @default nobody */
  sshPublicKey?: string;
}

/** What WCS must be told for the balancer to work (Flashphoner's guide, "WCS setup"). */
export const neededProperties: Record<string, string> = {
  "ws.port": "8080",
  "wss.port": "8443",
  "http.port": "8081",
  "ws.map_custom_headers": "true",
  "ws.ip_forward_header": "X-Client-IP",
  // Always: a threshold for bandwidth may come later, without a new node.
  global_bandwidth_check_enabled: "true",
};

/** What a user's own properties undo; one line each. */
export function propertyWarnings(wcsProperties: Record<string, string>): string[] {
  return Object.entries(neededProperties)
    .filter(([key, needed]) => (wcsProperties[key] ?? needed) !== needed)
    .map(
      ([key, needed]) =>
        `wcsProperties sets ${key} to "${wcsProperties[key]}"; the balancer needs "${needed}" there. It is done as ` +
        `you say. To take it back: pulumi config rm --path 'wcsProperties["${key}"]'`,
    );
}

const executable = "0755";

/** User-data of a WCS node. */
export function renderNodeUserData(settings: NodeSettings): string {
  const { wcsPackage, javaPackage, licenseParameter } = settings;
  const listener = renderAgentListener(settings);
  return renderCloudConfig({
    sshPublicKey: settings.sshPublicKey,
    packages: [
      "telnet",
      ...listener.packages,
      ...(wcsPackage ? [javaPackage, "wget", "nftables"] : []),
      ...(settings.securityUpdates ? ["unattended-upgrades"] : []),
    ],
    files: [
      {
        path: "/usr/local/bin/haproxy-agent-check.sh",
        content: machineFile("node/haproxy-agent-check.sh"),
        permissions: executable,
      },
      {
        path: "/usr/local/bin/haproxy-agent-check-launch.sh",
        content: machineFile("node/haproxy-agent-check-launch.sh"),
        permissions: executable,
      },
      ...Object.entries(listener.files).map(([path, content]) => ({ path, content })),
      {
        path: "/etc/wcs-node/settings",
        content: shellSettings({
          WCS_PACKAGE_URL: wcsPackage?.url ?? "",
          WCS_PACKAGE_SHA256: wcsPackage?.sha256 ?? "",
        }),
      },
      {
        path: "/etc/wcs-node/node.json",
        content: `${JSON.stringify(
          {
            properties: { ...neededProperties, ...settings.wcsProperties },
            heap: settings.wcsHeap,
            licenseParameter,
          },
          null,
          2,
        )}\n`,
      },
      { path: "/usr/local/lib/wcs-setup/aws_instance.py", content: leanFile("setup/aws_instance.py") },
      { path: "/usr/local/lib/wcs-setup/wcs_user.py", content: leanFile("node/wcs_user.py") },
      {
        path: "/usr/local/sbin/wcs-configure",
        content: leanFile("node/wcs-configure.py"),
        permissions: executable,
      },
      {
        path: "/etc/systemd/system/webcallserver.service.d/wcs-balancer.conf",
        content: machineFile("node/webcallserver.conf"),
      },
      {
        path: "/etc/systemd/system/webcallserver.service.d/wcs-hardening.conf",
        content: machineFile("node/webcallserver-hardening.conf"),
      },
      // With an image that brings WCS, the metadata service is WCS's too: its licence may come from there.
      ...(wcsPackage ? metadataFilter() : []),
      ...(settings.securityUpdates
        ? [
            {
              path: "/etc/apt/apt.conf.d/90wcs-balancer",
              content: machineFile("node/unattended-upgrades.conf"),
            },
          ]
        : []),
      ...(licenseParameter
        ? [
            {
              path: "/usr/local/sbin/wcs-license",
              content: leanFile("node/wcs-license.py"),
              permissions: executable,
            },
            {
              path: "/etc/systemd/system/wcs-license.service",
              content: machineFile("node/wcs-license.service"),
            },
          ]
        : []),
      // The agent first, so that it can say which of the other steps has failed.
      ...setupSteps([
        `node/steps/agent-${settings.agentListener}.sh`,
        ...(wcsPackage ? ["setup/metadata.sh"] : []),
        "setup/tools.sh",
        ...(wcsPackage
          ? ["node/steps/wcs-download.sh", "node/steps/wcs-checksum.sh", "node/steps/wcs-install.sh"]
          : []),
        ...(licenseParameter ? ["node/steps/wcs-license.sh"] : []),
        "node/steps/wcs-start.sh",
      ]),
    ],
  });
}

/** What listens on 9707 and runs the agent, for the balancers and localhost only. */
export function renderAgentListener({
  agentListener,
  balancerAddresses,
}: Pick<NodeSettings, "agentListener" | "balancerAddresses">): {
  packages: string[];
  files: Record<string, string>;
} {
  const allowed = { ALLOWED_ADDRESSES: [...balancerAddresses, "127.0.0.1"].join(" ") };
  switch (agentListener) {
    case "xinetd":
      return {
        packages: ["xinetd"],
        files: {
          "/etc/xinetd.d/haproxy-agent-check": fillIn(
            machineFile("node/haproxy-agent-check.xinetd"),
            allowed,
          ),
          "/etc/systemd/system/xinetd.service.d/wcs-balancer.conf": machineFile("node/xinetd.conf"),
        },
      };
    case "systemd":
      return {
        packages: [],
        files: {
          "/etc/systemd/system/haproxy-agent-check.socket": fillIn(
            machineFile("node/haproxy-agent-check.socket"),
            allowed,
          ),
          "/etc/systemd/system/haproxy-agent-check@.service": fillIn(
            machineFile("node/haproxy-agent-check@.service"),
            allowed,
          ),
        },
      };
    default:
      throw new Error(`no agent listener ${agentListener satisfies never}`);
  }
}
