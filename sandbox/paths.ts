import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The folder of downloads and builds that all sandboxes share; `down` keeps it. */
export const cache = process.env.WCS_SANDBOX_CACHE ?? "/var/cache/wcs-balancer-sandbox";

export const cached = {
  engine: join(cache, "engine"),
  pebble: join(cache, "pebble"),
  /** A Debian 13 as a machine finds it at its first boot. */
  image: join(cache, "image"),
  /** Packages that machines install, with an index for apt. */
  packages: join(cache, "packages"),
  /** Packages that tests install over the image, one folder for each set. */
  layers: join(cache, "layers"),
  /** The CA of the services that the sandbox plays; every machine trusts it. */
  authorityKey: join(cache, "ca.key"),
  authorityCertificate: join(cache, "ca.pem"),
  downloads: join(cache, "downloads"),
};

export const projectRoot = join(__dirname, "..");
/** The checkout whose program is deployed. A test that upgrades a stack names one of another version. */
export const programRoot = process.env.WCS_SANDBOX_PROGRAM ?? projectRoot;
const stateRoot = "/var/lib/wcs-balancer-sandbox";

/** The files and namespaces of one sandbox; `down` removes all of them. */
export interface SandboxPaths {
  name: string;
  state: string;
  socket: string;
  machines: string;
  /** The content of S3's buckets. */
  objects: string;
  /** The cloud's state when the sandbox was hibernated. */
  savedCloud: string;
  /** Working folder of the Pulumi engine: state of the stacks, a copy of the stack's file. */
  engineState: string;
  vpcNamespace: string;
  internetNamespace: string;
  /** Every process of the sandbox's machines. */
  cgroup: string;
  /** Every process of a test that uses it, so that none outlives the sandbox. */
  testCgroup: string;
}

/** Sandboxes whose names begin with this belong to `npm test`, which makes and removes them. */
export const testPrefix = "test";

export function sandboxPaths(name: string): SandboxPaths {
  const state = join(stateRoot, name);
  const cgroups = join(cgroupRoots().unified, "wcs-balancer-sandbox");
  return {
    name,
    state,
    socket: join(state, "cloud.sock"),
    machines: join(state, "machines"),
    objects: join(state, "objects"),
    savedCloud: join(state, "cloud.json"),
    engineState: join(state, "engine"),
    vpcNamespace: `wcs-${name}-vpc`,
    internetNamespace: `wcs-${name}-internet`,
    cgroup: join(cgroups, name),
    testCgroup: join(cgroups, `${name}-test`),
  };
}

/** Names of the sandboxes that are here, up or not. */
export function sandboxNames(): string[] {
  return existsSync(stateRoot) ? readdirSync(stateRoot) : [];
}

/** The option that names this sandbox, in commands that messages propose. */
export function nameOption({ name }: SandboxPaths): string {
  return name === "default" ? "" : ` --name ${name}`;
}

/** Where the unified control groups are mounted, and the ones that systemd-nspawn mirrors beside them. */
export function cgroupRoots(): { unified: string; all: string[] } {
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "));
  const unified = mounts.find(([, , type]) => type === "cgroup2")?.[1];
  if (!unified) throw new Error("no unified control groups (cgroup2) are mounted on this machine");
  const all = mounts
    .filter(([, , type]) => type === "cgroup2" || type === "cgroup")
    .map(([, path]) => path ?? "");
  return { unified, all };
}
