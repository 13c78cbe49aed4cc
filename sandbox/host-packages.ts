import { runAsync, succeeds } from "./shell";

/** A command that the sandbox needs on this machine, and the Debian or Ubuntu package that has it. */
const needed: Record<string, string> = {
  conntrack: "conntrack",
  "dpkg-scanpackages": "dpkg-dev",
  ip: "iproute2",
  mmdebstrap: "mmdebstrap",
  modprobe: "kmod",
  mount: "mount",
  nft: "nftables",
  nsenter: "util-linux",
  sysctl: "procps",
  "systemd-nspawn": "systemd-container",
};

/** The keys that sign Debian 13, which Ubuntu has in a package of its own. */
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

export function missingPackages(): string[] {
  const missing = Object.entries(needed)
    .filter(([command]) => !succeeds("sh", ["-c", `command -v ${command}`]))
    .map(([, name]) => name);
  if (!succeeds("test", ["-e", keyring])) missing.push("debian-archive-keyring");
  return missing;
}

export async function installPackages(names: string[]): Promise<void> {
  if (!succeeds("sh", ["-c", "command -v apt-get"])) {
    throw new Error(`the sandbox needs these packages, and this machine has no apt-get: ${names.join(", ")}`);
  }
  await runAsync("apt-get", ["update", "--quiet"]);
  await runAsync("apt-get", ["install", "--quiet", "--yes", "--no-install-recommends", ...names]);
}
