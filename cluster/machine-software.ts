import { machineFile } from "../userdata/machine-file";
import { type Archive, packTar } from "./archive";
import {
  balancerFacts,
  bootstrapConfig,
  busyPage,
  metadataRulesFile,
  noPagesPage,
  setupLibrary,
} from "./contract";

export type MachineKind = "balancer" | "node";

/** The files on a machine: the path there, and the file in `machines/` that it comes from. */
const files: Record<MachineKind, Record<string, string>> = {
  balancer: {
    [busyPage]: "balancer/503.html",
    [bootstrapConfig]: "balancer/bootstrap.cfg",
    [noPagesPage]: "balancer/no-websdk.html",
    [metadataRulesFile]: "setup/metadata.nft",
    "/etc/nginx/nginx.conf": "balancer/nginx.conf",
    "/etc/systemd/system/haproxy.service.d/wcs-balancer.conf": "balancer/haproxy-service.conf",
    "/etc/systemd/system/nginx.service.d/wcs-balancer.conf": "balancer/nginx-service.conf",
    "/etc/systemd/system/wcs-metadata.service": "setup/wcs-metadata.service",
    "/etc/systemd/system/nftables.service.d/wcs-metadata.conf": "setup/nftables-service.conf",
    "/etc/systemd/system/apt-daily-upgrade.service.d/wcs-balancer.conf": "balancer/upgrade-reload.conf",
    "/etc/systemd/system/wcs-balancer-sync.service": "balancer/wcs-balancer-sync.service",
    "/etc/systemd/journald.conf.d/wcs-balancer.conf": "balancer/journald.conf",
    "/etc/apt/apt.conf.d/90wcs-balancer": "balancer/unattended-upgrades.conf",
    "/etc/sysctl.d/90-wcs-balancer.conf": "balancer/sysctl.conf",
    "/usr/local/sbin/wcs-balancer-sync": "balancer/wcs-balancer-sync.py",
    "/usr/local/sbin/wcs-balancer": "balancer/wcs-balancer.py",
    "/usr/local/lib/wcs_balancer/__init__.py": "balancer/wcs_balancer/__init__.py",
    "/usr/local/lib/wcs_balancer/acme.py": "balancer/wcs_balancer/acme.py",
    "/usr/local/lib/wcs_balancer/acme_connections.py": "balancer/wcs_balancer/acme_connections.py",
    "/usr/local/lib/wcs_balancer/acme_map.py": "balancer/wcs_balancer/acme_map.py",
    "/usr/local/lib/wcs_balancer/acme_order.py": "balancer/wcs_balancer/acme_order.py",
    "/usr/local/lib/wcs_balancer/acme_serving.py": "balancer/wcs_balancer/acme_serving.py",
    "/usr/local/lib/wcs_balancer/apply.py": "balancer/wcs_balancer/apply.py",
    "/usr/local/lib/wcs_balancer/aws.py": "balancer/wcs_balancer/aws.py",
    "/usr/local/lib/wcs_balancer/certificates.py": "balancer/wcs_balancer/certificates.py",
    "/usr/local/lib/wcs_balancer/changes.py": "balancer/wcs_balancer/changes.py",
    "/usr/local/lib/wcs_balancer/client_paths.py": "balancer/wcs_balancer/client_paths.py",
    "/usr/local/lib/wcs_balancer/cluster.py": "balancer/wcs_balancer/cluster.py",
    "/usr/local/lib/wcs_balancer/command.py": "balancer/wcs_balancer/command.py",
    "/usr/local/lib/wcs_balancer/desired_state.py": "balancer/wcs_balancer/desired_state.py",
    "/usr/local/lib/wcs_balancer/disk.py": "balancer/wcs_balancer/disk.py",
    "/usr/local/lib/wcs_balancer/document.py": "balancer/wcs_balancer/document.py",
    "/usr/local/lib/wcs_balancer/errors.py": "balancer/wcs_balancer/errors.py",
    "/usr/local/lib/wcs_balancer/files.py": "balancer/wcs_balancer/files.py",
    "/usr/local/lib/wcs_balancer/hand_over.py": "balancer/wcs_balancer/hand_over.py",
    "/usr/local/lib/wcs_balancer/haproxy_plan.py": "balancer/wcs_balancer/haproxy_plan.py",
    "/usr/local/lib/wcs_balancer/haproxy_runtime.py": "balancer/wcs_balancer/haproxy_runtime.py",
    "/usr/local/lib/wcs_balancer/haproxy_service.py": "balancer/wcs_balancer/haproxy_service.py",
    "/usr/local/lib/wcs_balancer/instance.py": "balancer/wcs_balancer/instance.py",
    "/usr/local/lib/wcs_balancer/last_resort.py": "balancer/wcs_balancer/last_resort.py",
    "/usr/local/lib/wcs_balancer/leaving.py": "balancer/wcs_balancer/leaving.py",
    "/usr/local/lib/wcs_balancer/node_states.py": "balancer/wcs_balancer/node_states.py",
    "/usr/local/lib/wcs_balancer/peers.py": "balancer/wcs_balancer/peers.py",
    "/usr/local/lib/wcs_balancer/places.py": "balancer/wcs_balancer/places.py",
    "/usr/local/lib/wcs_balancer/reachable.py": "balancer/wcs_balancer/reachable.py",
    "/usr/local/lib/wcs_balancer/reconcile.py": "balancer/wcs_balancer/reconcile.py",
    "/usr/local/lib/wcs_balancer/removed_servers.py": "balancer/wcs_balancer/removed_servers.py",
    "/usr/local/lib/wcs_balancer/renewal.py": "balancer/wcs_balancer/renewal.py",
    "/usr/local/lib/wcs_balancer/server.py": "balancer/wcs_balancer/server.py",
    "/usr/local/lib/wcs_balancer/service.py": "balancer/wcs_balancer/service.py",
    "/usr/local/lib/wcs_balancer/set_up.py": "balancer/wcs_balancer/set_up.py",
    "/usr/local/lib/wcs_balancer/status.py": "balancer/wcs_balancer/status.py",
    "/usr/local/lib/wcs_balancer/status_certificate.py": "balancer/wcs_balancer/status_certificate.py",
    "/usr/local/lib/wcs_balancer/steps.py": "balancer/wcs_balancer/steps.py",
    "/usr/local/lib/wcs_balancer/targets.py": "balancer/wcs_balancer/targets.py",
    "/usr/local/lib/wcs_balancer/trust.py": "balancer/wcs_balancer/trust.py",
    "/usr/local/lib/wcs_balancer/watchdog.py": "balancer/wcs_balancer/watchdog.py",
    [`${setupLibrary}/steps/metadata`]: "setup/steps/metadata.sh",
    [`${setupLibrary}/steps/haproxy-version`]: "balancer/steps/haproxy-version.sh",
    [`${setupLibrary}/steps/sync`]: "balancer/steps/sync.sh",
    [`${setupLibrary}/fetch.py`]: "setup/fetch.py",
    [`${setupLibrary}/steps/websdk-download`]: "balancer/steps/websdk-download.sh",
    [`${setupLibrary}/steps/websdk-checksum`]: "balancer/steps/websdk-checksum.sh",
    [`${setupLibrary}/steps/websdk-install`]: "balancer/steps/websdk-install.sh",
  },
  node: {
    [metadataRulesFile]: "setup/metadata.nft",
    "/etc/systemd/system/wcs-metadata.service": "setup/wcs-metadata.service",
    "/etc/systemd/system/nftables.service.d/wcs-metadata.conf": "setup/nftables-service.conf",
    "/etc/systemd/system/xinetd.service.d/wcs-balancer.conf": "node/xinetd-service.conf",
    "/etc/systemd/system/webcallserver.service.d/wcs-balancer.conf": "node/webcallserver.conf",
    "/etc/systemd/system/webcallserver.service.d/wcs-hardening.conf": "node/webcallserver-hardening.conf",
    "/etc/systemd/system/wcs-license.service": "node/wcs-license.service",
    "/usr/local/bin/haproxy-agent-check.sh": "node/haproxy-agent-check.sh",
    "/usr/local/bin/haproxy-agent-check-launch.sh": "node/haproxy-agent-check-launch.sh",
    "/usr/local/share/wcs-node/haproxy-agent-check.xinetd": "node/haproxy-agent-check.xinetd",
    "/usr/local/share/wcs-node/haproxy-agent-check.socket": "node/haproxy-agent-check.socket",
    "/usr/local/share/wcs-node/haproxy-agent-check@.service": "node/haproxy-agent-check@.service",
    "/usr/local/share/wcs-node/unattended-upgrades.conf": "node/unattended-upgrades.conf",
    "/usr/local/share/wcs-node/needed-properties.json": "node/needed-properties.json",
    "/usr/local/sbin/wcs-configure": "node/wcs-configure.py",
    "/usr/local/sbin/wcs-license": "node/wcs-license.py",
    [`${setupLibrary}/aws_parameters.py`]: "setup/aws_parameters.py",
    [`${setupLibrary}/wcs_user.py`]: "node/wcs_user.py",
    [`${setupLibrary}/steps/metadata`]: "setup/steps/metadata.sh",
    [`${setupLibrary}/steps/security-updates`]: "node/steps/security-updates.sh",
    [`${setupLibrary}/steps/agent-systemd`]: "node/steps/agent-systemd.sh",
    [`${setupLibrary}/steps/agent-xinetd`]: "node/steps/agent-xinetd.sh",
    [`${setupLibrary}/steps/tools`]: "setup/steps/tools.sh",
    [`${setupLibrary}/fetch.py`]: "setup/fetch.py",
    [`${setupLibrary}/steps/wcs-download`]: "node/steps/wcs-download.sh",
    [`${setupLibrary}/steps/wcs-checksum`]: "node/steps/wcs-checksum.sh",
    [`${setupLibrary}/steps/wcs-install`]: "node/steps/wcs-install.sh",
    [`${setupLibrary}/steps/wcs-license`]: "node/steps/wcs-license.sh",
    [`${setupLibrary}/steps/wcs-start`]: "node/steps/wcs-start.sh",
  },
};

/** The part of the contract for the balancer's Python, as a file beside it. */
export const contractJson = `${JSON.stringify(balancerFacts, null, 2)}\n`;

/** Files that are generated, and are not in `machines/`. */
const made: Record<MachineKind, Record<string, string>> = {
  balancer: { "/usr/local/lib/wcs_balancer/contract.json": contractJson },
  node: {},
};

/** The software of a kind of machine, by its path there. It is the same for every stack. */
export function machineSoftware(kind: MachineKind): Record<string, string> {
  const filled = Object.entries(files[kind]).map(([path, name]) => [path, machineFile(name)] as const);
  return { ...Object.fromEntries(filled), ...made[kind] };
}

/** The archive that a machine unpacks at its root. Files that begin with `#!` are executable. */
export function packMachineSoftware(kind: MachineKind): Archive {
  return packTar(
    Object.entries(machineSoftware(kind)).map(([path, content]) => ({
      path: path.slice(1),
      content: Buffer.from(content),
      mode: content.startsWith("#!") ? 0o755 : 0o644,
    })),
  );
}
