import { renderCloudConfig, setupSteps } from "./cloud-config";
import { machineFile, shellSettings } from "./files";

export interface BalancerSettings {
  domain: string;
  /** Names of the SSM parameters that hold the desired state, and the certificate with the status token. */
  stateParameter: string;
  secretParameter: string;
  webSdk: { url: string; sha256?: string; stripComponents: number };
}

/** Where the guide keeps the PEM of certificate, chain and key. */
export function certificatePath(domain: string): string {
  return `/etc/pki/tls/${domain}/cert.pem`;
}

/** What browsers see when no node can take them. */
export const busyPage = "/etc/wcs-balancer/503.html";

/** User-data of the balancer: no certificate, no nodes, no secret. It fetches those, and never changes with them. */
export function renderBalancerUserData(settings: BalancerSettings): string {
  const { domain, stateParameter, secretParameter, webSdk } = settings;
  return renderCloudConfig({
    packages: ["haproxy", "nginx"],
    files: [
      { path: busyPage, content: machineFile("balancer/503.html") },
      { path: "/etc/nginx/nginx.conf", content: machineFile("balancer/nginx.conf") },
      {
        path: "/etc/systemd/system/haproxy.service.d/limits.conf",
        content: machineFile("balancer/haproxy-limits.conf"),
      },
      {
        path: "/etc/wcs-balancer/settings",
        content: shellSettings({
          WEBSDK_URL: webSdk.url,
          WEBSDK_SHA256: webSdk.sha256 ?? "",
          WEBSDK_STRIP_COMPONENTS: String(webSdk.stripComponents),
        }),
      },
      {
        path: "/etc/wcs-balancer/sync.json",
        content: `${JSON.stringify({ stateParameter, secretParameter, certificatePath: certificatePath(domain) }, null, 2)}\n`,
      },
      {
        path: "/usr/local/sbin/wcs-balancer-sync",
        content: machineFile("balancer/wcs-balancer-sync.py"),
        permissions: "0755",
      },
      {
        path: "/usr/local/sbin/wcs-balancer",
        content: machineFile("balancer/wcs-balancer.py"),
        permissions: "0755",
      },
      {
        path: "/etc/systemd/system/wcs-balancer-sync.service",
        content: machineFile("balancer/wcs-balancer-sync.service"),
      },
      { path: "/usr/local/lib/wcs-setup/aws_instance.py", content: machineFile("setup/aws_instance.py") },
      ...setupSteps([
        "balancer/steps/haproxy-version.sh",
        "balancer/steps/sync.sh",
        "setup/tools.sh",
        "balancer/steps/websdk-download.sh",
        "balancer/steps/websdk-checksum.sh",
        "balancer/steps/websdk-install.sh",
      ]),
    ],
  });
}
