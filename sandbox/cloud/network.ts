import { mkdirSync } from "node:fs";
import { subnets } from "../account";
import * as addresses from "../addresses";
import type { SandboxPaths } from "../paths";
import { run, succeeds } from "../shell";
import { zoneNamespaces } from "./zone-processes";

/** Locally administered. */
const routerMac = "02:00:00:00:00:01";

/** Makes the VPC and the internet of a sandbox: two network namespaces with a cable between them. */
export function makeNetworks({ vpcNamespace, internetNamespace }: SandboxPaths): void {
  mkdirSync("/run/netns", { recursive: true });
  // br_netfilter applies the rules also to packets between machines on one bridge.
  if (!succeeds("modprobe", ["br_netfilter"]) && !succeeds("test", ["-e", "/proc/sys/net/bridge"])) {
    throw new Error("the kernel module br_netfilter is missing; load it with: modprobe br_netfilter");
  }
  const ip = (...args: string[]) => run("ip", args);
  const inVpc = (...args: string[]) => run("ip", ["-n", vpcNamespace, ...args]);
  const inInternet = (...args: string[]) => run("ip", ["-n", internetNamespace, ...args]);

  ip("netns", "add", vpcNamespace);
  ip("netns", "add", internetNamespace);
  for (const namespace of [inVpc, inInternet]) namespace("link", "set", "lo", "up");

  // The bridge gets a fixed MAC address. Otherwise it takes the lowest one of its ports, which can change whenever a
  // machine is made or removed; the other machines then lose their router until they forget the old address.
  inVpc("link", "add", "vpc", "address", routerMac, "type", "bridge", "forward_delay", "0");
  // Each subnet has a router of its own. Packets to the other subnet pass it, and the same filter.
  for (const { network } of subnets) {
    const router = `${addresses.routerOf(network)}/${addresses.prefixLengthOf(network)}`;
    inVpc("addr", "add", router, "dev", "vpc");
  }
  inVpc("link", "set", "vpc", "up");
  for (const service of [addresses.metadataService, addresses.dnsService, addresses.publicServices]) {
    inVpc("addr", "add", `${service}/32`, "dev", "lo");
  }

  inVpc("link", "add", "igw", "type", "veth", "peer", "name", "wan", "netns", internetNamespace);
  inVpc("addr", "add", `${addresses.internetGateway}/24`, "dev", "igw");
  inVpc("link", "set", "igw", "up");
  // A packet to a public address, even to the sender's own, leaves the VPC and comes back, as on EC2. So it comes from
  // the sender's public address, and security groups see that.
  inVpc("route", "add", addresses.publicNetwork, "via", addresses.internetClient);
  // Packets of a program come from the first one, unless it asks for another.
  for (const address of [addresses.internetClient, addresses.certificateAuthority])
    inInternet("addr", "add", `${address}/24`, "dev", "wan");
  inInternet("link", "set", "wan", "up");
  inInternet("route", "add", addresses.publicNetwork, "via", addresses.internetGateway);

  run("nsenter", [
    `--net=/run/netns/${vpcNamespace}`,
    "sysctl",
    "--quiet",
    "--write",
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
    // Subnets share the bridge, and no machine shall learn of a shorter way to another subnet.
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.vpc.send_redirects=0",
  ]);
  run("nsenter", [
    `--net=/run/netns/${internetNamespace}`,
    "sysctl",
    "--quiet",
    "--write",
    "net.ipv4.ip_forward=1",
    // It sends back where the packets came from, and the VPC's gateway shall not learn a shorter way.
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.wan.send_redirects=0",
  ]);
}

export function removeNetworks(paths: SandboxPaths): void {
  const { vpcNamespace, internetNamespace } = paths;
  for (const namespace of [...zoneNamespaces(paths), vpcNamespace, internetNamespace]) {
    if (succeeds("test", ["-e", `/run/netns/${namespace}`])) run("ip", ["netns", "delete", namespace]);
  }
}
