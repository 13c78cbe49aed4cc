import { machineFile, shellSettings } from "./files";
import { type Package, renderUserData } from "./user-data";

export interface BalancerSettings {
  domain: string;
  /** Names of the SSM parameters that hold the desired state, and the certificate with the status token. */
  stateParameter: string;
  secretParameter: string;
  /** Who may log in by SSH. @default nobody */
  sshPublicKey?: string;
  /** Leading folders to strip from the WebSDK bundle. */
  webSdkStripComponents: number;
  patienceSeconds: number;
}

/** What the balancer fetches at its first boot. */
export interface BalancerPackages {
  software: Package;
  websdk: Package;
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
export function renderBalancerUserData(settings: BalancerSettings, fetched: BalancerPackages): string {
  const { domain, stateParameter, secretParameter, webSdkStripComponents } = settings;
  return renderUserData({
    sshPublicKey: settings.sshPublicKey,
    patienceSeconds: settings.patienceSeconds,
    packages: ["haproxy", "nginx", "nftables", "unattended-upgrades"],
    fetched: { ...fetched },
    files: [
      {
        path: "/etc/wcs-balancer/settings",
        content: shellSettings({ WEBSDK_STRIP_COMPONENTS: String(webSdkStripComponents) }),
      },
      {
        path: "/etc/wcs-balancer/sync.json",
        content: `${JSON.stringify({ stateParameter, secretParameter, certificatePath: certificatePath(domain) }, null, 2)}\n`,
      },
      {
        path: "/etc/systemd/system/nginx.service.d/wcs-setup.conf",
        content: machineFile("setup/nginx-waits.conf"),
      },
    ],
    steps: ["metadata", "haproxy-version", "sync", "websdk-download", "websdk-checksum", "websdk-install"],
  });
}
