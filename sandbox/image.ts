import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import * as addresses from "./addresses";
import { newKeys, pemOf, selfSigned } from "./certificates";
import { mountRoot, removeWithMounts } from "./overlay";
import { cache, cached } from "./paths";
import { run, runAsync } from "./shell";

const release = "trixie";

/** The packages of Debian's cloud image that the machines' user-data needs. */
const imagePackages = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "udev",
  "cloud-init",
  "netplan.io",
  "iproute2",
  "locales",
  "openssh-server",
  "ca-certificates",
  "curl",
  "python3-apt",
  "sudo",
  "procps",
  "netbase",
  "nftables",
  "unattended-upgrades",
];

const imageFiles: Record<string, string> = {
  // The machines' only source of packages.
  "etc/apt/sources.list": "deb [trusted=yes] file:/opt/packages ./\n",
  "etc/cloud/cloud.cfg.d/90-sandbox.cfg":
    "datasource_list: [NoCloud, None]\napt:\n  preserve_sources_list: true\n",
  "etc/resolv.conf": `nameserver ${addresses.dnsService}\n`,
  // The machines are temporary, so dpkg need not flush the disk after every file.
  "etc/dpkg/dpkg.cfg.d/sandbox": "force-unsafe-io\n",
  "etc/machine-id": "uninitialized\n",
  // Containers show the host's load average, so every node would look full while other machines boot.
  "var/lib/sandbox/loadavg": "0.10 0.10 0.10 1/100 1000\n",
  "etc/systemd/system/sandbox-loadavg.service": `[Unit]
Description=A load average of this machine's own
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/usr/bin/mount --bind /var/lib/sandbox/loadavg /proc/loadavg

[Install]
WantedBy=sysinit.target
`,
};

const distributionSources = join(cache, "sources.list");

function keyOf(...parts: unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

function hasKey(path: string, key: string): boolean {
  return existsSync(path) && existsSync(`${path}.key`) && readFileSync(`${path}.key`, "utf8") === key;
}

const imageKey = keyOf(release, imagePackages, imageFiles);

export function imageIsReady(): boolean {
  return hasKey(cached.image, imageKey) && existsSync(cached.authorityKey);
}

/** Makes the Debian 13 that machines boot, as they find it at their first boot. */
export async function buildImage(): Promise<void> {
  mkdirSync(cache, { recursive: true, mode: 0o755 });
  const root = `${cached.image}.new`;
  rmSync(root, { recursive: true, force: true });
  rmSync(cached.image, { recursive: true, force: true });
  rmSync(cached.layers, { recursive: true, force: true });
  await runAsync("mmdebstrap", ["--variant=minbase", `--include=${imagePackages.join(",")}`, release, root]);
  renameSync(join(root, "etc/apt/sources.list"), distributionSources);

  const { keys, pem } = await newKeys();
  const authority = pemOf(await selfSigned({ keys, commonName: "wcs-balancer sandbox CA", hours: 87_600 }));
  writeFileSync(cached.authorityKey, pem, { mode: 0o600 });
  writeFileSync(cached.authorityCertificate, authority);

  mkdirSync(join(root, "opt/packages"), { recursive: true });
  mkdirSync(join(root, "var/log/journal"), { recursive: true });
  const files = { ...imageFiles, "usr/local/share/ca-certificates/sandbox.crt": authority };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    rmSync(join(root, path), { force: true });
    writeFileSync(join(root, path), content);
  }
  run("chroot", [root, "update-ca-certificates"]);
  run("chroot", [root, "systemctl", "enable", "sandbox-loadavg.service"]);
  renameSync(root, cached.image);
  writeFileSync(`${cached.image}.key`, imageKey);
}

/** Calls `use` with a temporary root over the image that installs packages from the distribution. */
async function withDistribution<T>(use: (root: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(cache, "distribution-"));
  const root = mountRoot(folder);
  try {
    writeFileSync(join(root, "etc/apt/sources.list"), readFileSync(distributionSources));
    writeFileSync(join(root, "etc/resolv.conf"), readFileSync("/etc/resolv.conf"));
    await runAsync("chroot", [root, "apt-get", "update", "--quiet"]);
    return await use(root);
  } finally {
    removeWithMounts(folder);
  }
}

/** The packages that user-data installs. */
export function packagesOf(userData: string): string[] {
  return (parse(userData) as { packages: string[] }).packages;
}

/** Another image, or another way of packing, needs other packages. */
const packagesKey = keyOf(imageKey, "not compressed");

/** The names that the folder of packages was made for. */
function packagesThere(): string[] {
  try {
    const { image, names } = JSON.parse(readFileSync(`${cached.packages}.key`, "utf8"));
    return image === packagesKey && existsSync(cached.packages) ? names : [];
  } catch {
    return [];
  }
}

export function packagesAreReady(names: string[]): boolean {
  const there = packagesThere();
  return names.every((name) => there.includes(name));
}

/** Packs a package again without compression, which saves each booting machine a second or two. */
async function packAgain(from: string, to: string, work: string): Promise<void> {
  await runAsync("dpkg-deb", ["--raw-extract", from, work]);
  await runAsync("dpkg-deb", ["-Znone", "--build", work, to]);
  rmSync(work, { recursive: true });
}

/** Downloads packages and their dependencies into a folder for apt; the packages that are there already stay. */
export async function downloadPackages(needed: string[]): Promise<void> {
  const names = [...new Set([...packagesThere(), ...needed])];
  const folder = `${cached.packages}.new`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await withDistribution(async (root) => {
    await runAsync("chroot", [
      root,
      "apt-get",
      "install",
      "--quiet",
      "--yes",
      "--download-only",
      "--no-install-recommends",
      ...names,
    ]);
    const archives = join(root, "var/cache/apt/archives");
    for (const name of readdirSync(archives).filter((file) => file.endsWith(".deb"))) {
      await packAgain(join(archives, name), join(folder, name), join(root, "tmp/package"));
    }
  });
  writeFileSync(join(folder, "Packages"), run("dpkg-scanpackages", ["--multiversion", "."], { cwd: folder }));
  // apt reads as its own user.
  chmodSync(folder, 0o755);
  rmSync(cached.packages, { recursive: true, force: true });
  rmSync(cached.layers, { recursive: true, force: true });
  renameSync(folder, cached.packages);
  writeFileSync(`${cached.packages}.key`, JSON.stringify({ image: packagesKey, names }));
}

/** Unpacks a Go from the distribution into the cache, for a machine that has none, and gives its command. */
export async function unpackGo(): Promise<string> {
  const target = join(cache, "go");
  const command = join(target, "usr/lib/go-1.24/bin/go");
  if (existsSync(command)) return command;
  await withDistribution(async (root) => {
    await runAsync("chroot", [
      root,
      "sh",
      "-c",
      "cd /tmp && apt-get download golang-1.24-go golang-1.24-src",
    ]);
    for (const name of readdirSync(join(root, "tmp")).filter((file) => file.endsWith(".deb"))) {
      run("dpkg-deb", ["--extract", join(root, "tmp", name), target]);
    }
  });
  return command;
}
