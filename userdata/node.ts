import { renderCloudConfig } from "./cloud-config";
import { fillIn, machineFile, shellSettings } from "./files";

export interface NodeSettings {
  /** Private addresses of the balancers, the only ones besides localhost that the agent answers. */
  balancerAddresses: string[];
  /** The WCS tarball to install; none when the image has WCS in it. */
  wcsPackage?: { url: string; sha256: string };
  javaPackage: string;
}

/** User-data of a WCS node. */
export function renderNodeUserData({ balancerAddresses, wcsPackage, javaPackage }: NodeSettings): string {
  const executable = "0755";
  return renderCloudConfig({
    // The guide's packages without bc, which our agent does not need, plus what the set-up itself uses.
    packages: ["curl", "jq", "telnet", "xinetd", ...(wcsPackage ? [javaPackage] : [])],
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
      { path: "/etc/xinetd.d/haproxy-agent-check", content: renderXinetdService(balancerAddresses) },
      {
        path: "/etc/wcs-node/settings",
        content: shellSettings({
          WCS_PACKAGE_URL: wcsPackage?.url ?? "",
          WCS_PACKAGE_SHA256: wcsPackage?.sha256 ?? "",
        }),
      },
      {
        path: "/usr/local/sbin/wcs-set-properties",
        content: machineFile("node/wcs-set-properties.py"),
        permissions: executable,
      },
      {
        path: "/usr/local/sbin/wcs-set-addresses",
        content: machineFile("node/wcs-set-addresses.sh"),
        permissions: executable,
      },
      {
        path: "/etc/systemd/system/webcallserver.service.d/addresses.conf",
        content: machineFile("node/wcs-set-addresses.conf"),
      },
      {
        path: "/usr/local/sbin/wcs-node-setup",
        content: machineFile("node/wcs-node-setup.sh"),
        permissions: executable,
      },
    ],
    setup: "/usr/local/sbin/wcs-node-setup",
  });
}

/** The agent's xinetd service, for the balancers and localhost only. */
export function renderXinetdService(balancerAddresses: string[]): string {
  return fillIn(machineFile("node/haproxy-agent-check.xinetd"), {
    BALANCER_ADDRESSES: balancerAddresses.join(" "),
  });
}
