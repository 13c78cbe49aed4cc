import { balancerShellSettingsFile, certificatePath, syncSettingsFile } from "../cluster/contract";
import { machineFile } from "./machine-file";
import { shellSettings } from "./shell-settings";
import { type Package, renderUserData } from "./user-data";

export interface BalancerSettings {
  domain: string;
  /** Names of the SSM parameters: the desired state; clients' certificate; the status's certificate and token. */
  stateParameter: string;
  secretParameter: string;
  statusParameter: string;
  /**
   * Names of two more, which exist only with `acme`: the account's key; the certificate that balancers order, with their
   * ledger. The names are always there, so that switching `acme` on or off replaces no balancer.
   */
  accountParameter: string;
  acmeParameter: string;
  /** The tags of the stack's balancers, by which they find each other. */
  balancerTags: Record<string, string>;
  /** The public key for SSH. @default no SSH */
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

/** User-data of the balancer: no certificate, no nodes, no secret. It fetches those, and never changes with them. */
export function renderBalancerUserData(settings: BalancerSettings, fetched: BalancerPackages): string {
  const { domain, webSdkStripComponents } = settings;
  const sync = {
    stateParameter: settings.stateParameter,
    secretParameter: settings.secretParameter,
    statusParameter: settings.statusParameter,
    accountParameter: settings.accountParameter,
    acmeParameter: settings.acmeParameter,
    certificatePath: certificatePath(domain),
    balancerTags: settings.balancerTags,
  };
  return renderUserData({
    sshPublicKey: settings.sshPublicKey,
    patienceSeconds: settings.patienceSeconds,
    packages: ["haproxy", "nginx", "nftables", "python3-acme", "python3-boto3", "unattended-upgrades"],
    fetched: { ...fetched },
    files: [
      {
        path: balancerShellSettingsFile,
        content: shellSettings({ WEBSDK_STRIP_COMPONENTS: String(webSdkStripComponents) }),
      },
      {
        path: syncSettingsFile,
        content: `${JSON.stringify(sync, null, 2)}\n`,
      },
      {
        path: "/etc/systemd/system/nginx.service.d/wcs-setup.conf",
        content: machineFile("setup/nginx-waits.conf"),
      },
    ],
    steps: ["metadata", "haproxy-version", "sync", "websdk-download", "websdk-checksum", "websdk-install"],
  });
}
