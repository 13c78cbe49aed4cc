import { mkdirSync } from "node:fs";
import * as addresses from "../addresses";
import type { SandboxPaths } from "../paths";
import { run, succeeds } from "../shell";

/** Locally administered. */
const routerMac = "02:00:00:00:00:01";

/** Makes the VPC and the internet of a sandbox: two network namespaces with a cable between them. */
export function makeNetworks({ vpcNamespace, internetNamespace }: SandboxPaths): void {
  mkdirSync("/run/netns", { recursive: true });
  // Packets between machines of one bridge pass the same rules as all others.
  if (!succeeds("modprobe", ["br_netfilter"]) && !succeeds("test", ["-e", "/proc/sys/net/bridge"])) {
    throw new Error("the kernel module br_netfilter is missing; load it with: modprobe br_netfilter");
  }
  const ip = (...args: string[]) => run("ip", args);
  const inVpc = (...args: string[]) => run("ip", ["-n", vpcNamespace, ...args]);
  const inInternet = (...args: string[]) => run("ip", ["-n", internetNamespace, ...args]);

  ip("netns", "add", vpcNamespace);
  ip("netns", "add", internetNamespace);
  for (const namespace of [inVpc, inInternet]) namespace("link", "set", "lo", "up");

  // With an address of its own: otherwise a bridge takes the lowest of its ports, and each machine that comes or goes
  // may change it under the others, which then lose the way to their router for as long as they remember the old one.
  inVpc("link", "add", "vpc", "address", routerMac, "type", "bridge", "forward_delay", "0");
  inVpc("addr", "add", `${addresses.vpcRouter}/${addresses.vpcPrefixLength}`, "dev", "vpc");
  inVpc("link", "set", "vpc", "up");
  for (const service of [addresses.metadataService, addresses.dnsService, addresses.publicServices]) {
    inVpc("addr", "add", `${service}/32`, "dev", "lo");
  }

  inVpc("link", "add", "igw", "type", "veth", "peer", "name", "wan", "netns", internetNamespace);
  inVpc("addr", "add", `${addresses.internetGateway}/24`, "dev", "igw");
  inVpc("link", "set", "igw", "up");
  inInternet("addr", "add", `${addresses.internetClient}/24`, "dev", "wan");
  inInternet("link", "set", "wan", "up");
  inInternet("route", "add", addresses.publicNetwork, "via", addresses.internetGateway);

  run("nsenter", [
    `--net=/run/netns/${vpcNamespace}`,
    "sysctl",
    "--quiet",
    "--write",
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
  ]);
}

export function removeNetworks({ vpcNamespace, internetNamespace }: SandboxPaths): void {
  for (const namespace of [vpcNamespace, internetNamespace]) {
    if (succeeds("test", ["-e", `/run/netns/${namespace}`])) run("ip", ["netns", "delete", namespace]);
  }
}
