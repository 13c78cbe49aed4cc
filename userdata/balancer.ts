import { metadataFilter, renderCloudConfig, setupSteps } from "./cloud-config";
import { leanFile, machineFile, shellSettings } from "./files";

export interface BalancerSettings {
  domain: string;
  /** Names of the SSM parameters that hold the desired state, and the certificate with the status token. */
  stateParameter: string;
  secretParameter: string;
  /** Who may log in by SSH. @default nobody */
  sshPublicKey?: string;
  webSdk: { url: string; sha256?: string; stripComponents: number };
}

/** Where the guide keeps the PEM of certificate, chain and key. */
export function certificatePath(domain: string): string {
  return `/etc/pki/tls/${domain}/cert.pem`;
}

/** Where the guide's test begins: the Two Way Streaming page of the WebSDK. */
export const examplePage = "/wcs/examples/demo/streaming/two_way_streaming/two_way_streaming.html";

/** What browsers see when no node can take them. */
export const busyPage = "/etc/wcs-balancer/503.html";

/** User-data of the balancer: no certificate, no nodes, no secret. It fetches those, and never changes with them. */
export function renderBalancerUserData(settings: BalancerSettings): string {
  const { domain, stateParameter, secretParameter, webSdk } = settings;
  return renderCloudConfig({
    sshPublicKey: settings.sshPublicKey,
    packages: ["haproxy", "nginx", "nftables", "unattended-upgrades"],
    files: [
      { path: busyPage, content: machineFile("balancer/503.html") },
      { path: "/etc/wcs-balancer/no-websdk.html", content: machineFile("balancer/no-websdk.html") },
      { path: "/etc/nginx/nginx.conf", content: leanFile("balancer/nginx.conf") },
      {
        path: "/etc/systemd/system/haproxy.service.d/wcs-balancer.conf",
        content: leanFile("balancer/haproxy.conf"),
      },
      {
        path: "/etc/systemd/system/nginx.service.d/wcs-balancer.conf",
        content: leanFile("balancer/nginx-service.conf"),
      },
      ...metadataFilter(),
      {
        path: "/etc/systemd/system/apt-daily-upgrade.service.d/wcs-balancer.conf",
        content: leanFile("balancer/upgrade-reload.conf"),
      },
      {
        path: "/etc/apt/apt.conf.d/90wcs-balancer",
        content: machineFile("balancer/unattended-upgrades.conf"),
      },
      {
        path: "/etc/systemd/journald.conf.d/wcs-balancer.conf",
        content: leanFile("balancer/journald.conf"),
      },
      { path: "/etc/sysctl.d/90-wcs-balancer.conf", content: leanFile("balancer/sysctl.conf") },
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
        content: leanFile("balancer/wcs-balancer-sync.py"),
        permissions: "0755",
      },
      {
        path: "/usr/local/sbin/wcs-balancer",
        content: leanFile("balancer/wcs-balancer.py"),
        permissions: "0755",
      },
      ...["haproxy_plan.py", "haproxy_runtime.py"].map((name) => ({
        path: `/usr/local/lib/wcs-balancer/${name}`,
        content: leanFile(`balancer/${name}`),
      })),
      {
        path: "/etc/systemd/system/wcs-balancer-sync.service",
        content: leanFile("balancer/wcs-balancer-sync.service"),
      },
      { path: "/usr/local/lib/wcs-setup/aws_instance.py", content: leanFile("setup/aws_instance.py") },
      ...setupSteps([
        "setup/metadata.sh",
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
