export interface Rule {
  protocol: string;
  fromPort?: number;
  toPort?: number;
  /** The other side: a network, or the members of a security group. */
  cidr?: string;
  group?: string;
}

export interface Interface {
  privateAddress: string;
  publicAddress?: string;
  groups: string[];
}

export interface FirewallModel {
  interfaces: Interface[];
  groups: Record<string, { ingress: Rule[]; egress: Rule[] }>;
  publicServices: string;
  metadataService: string;
  dnsService: string;
  /** Where the internet's resolver is. */
  internetGateway: string;
}

function match(rule: Rule, direction: "ingress" | "egress", members: (group: string) => string[]): string[] {
  const other = direction === "ingress" ? "saddr" : "daddr";
  const ports = rule.protocol === "tcp" || rule.protocol === "udp";
  const protocol = ports
    ? `${rule.protocol} dport ${rule.fromPort}-${rule.toPort}`
    : rule.protocol === "-1"
      ? ""
      : `ip protocol ${rule.protocol}`;
  // A security group covers private addresses only. A packet to a public address comes from one.
  const sources = rule.cidr
    ? [`ip ${other} ${rule.cidr}`]
    : members(rule.group ?? "").map((ip) => `ip ${other} ${ip}`);
  return sources.map((source) => `${source} ${protocol} return`.replace(/ +/g, " "));
}

/**
 * The VPC's packet filter as an nftables script, which replaces the previous one in one step. Security groups apply to
 * every packet between machines, and to and from the internet. Public addresses are 1:1 NAT.
 */
export function renderFirewall(model: FirewallModel): string {
  const members = (group: string) =>
    model.interfaces
      .filter(({ groups }) => groups.includes(group))
      .map(({ privateAddress }) => privateAddress);
  const reachable = model.interfaces.filter(({ publicAddress }) => publicAddress !== undefined);
  const chains = model.interfaces.flatMap(({ groups }, index) =>
    (["ingress", "egress"] as const).map((direction) => {
      const rules = groups
        .flatMap((group) => model.groups[group]?.[direction] ?? [])
        .flatMap((rule) => match(rule, direction, members));
      return `  chain ${direction}-${index} {\n${[...new Set(rules), "drop"].map((rule) => `    ${rule}\n`).join("")}  }\n`;
    }),
  );
  const jumps = (direction: string) =>
    model.interfaces
      .map(
        ({ privateAddress }, index) =>
          `    ip ${direction === "egress" ? "saddr" : "daddr"} ${privateAddress} jump ${direction}-${index}\n`,
      )
      .join("");
  const elements = (pairs: string[]) => (pairs.length > 0 ? `    elements = { ${pairs.join(", ")} }\n` : "");
  return `table ip vpc {
}
delete table ip vpc
table ip vpc {
  map elastic-in {
    type ipv4_addr : ipv4_addr
${elements(reachable.map(({ publicAddress, privateAddress }) => `${publicAddress} : ${privateAddress}`))}  }
  map elastic-out {
    type ipv4_addr : ipv4_addr
${elements(reachable.map(({ publicAddress, privateAddress }) => `${privateAddress} : ${publicAddress}`))}  }
  set machines {
    type ipv4_addr
${elements(model.interfaces.map(({ privateAddress }) => privateAddress))}  }
  set public-machines {
    type ipv4_addr
${elements(reachable.map(({ privateAddress }) => privateAddress))}  }
${chains.join("")}  chain from-machine {
    ip saddr != @machines drop
${jumps("egress")}  }
  chain to-machine {
${jumps("ingress")}  }
  chain prerouting {
    type nat hook prerouting priority dstnat
    iifname igw dnat to ip daddr map @elastic-in
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname igw snat to ip saddr map @elastic-out
  }
  chain forward {
    type filter hook forward priority filter
    policy drop
    ct state established,related accept
    iifname igw oifname igw drop
    iifname vpc jump from-machine
    oifname vpc jump to-machine
    iifname vpc oifname igw ip saddr != @public-machines drop
    accept
  }
  chain input {
    type filter hook input priority filter
    policy drop
    iifname lo accept
    ct state established,related accept
    iifname igw ip daddr ${model.internetGateway} tcp dport 53 accept
    iifname vpc ip daddr ${model.metadataService} tcp dport 80 accept
    iifname vpc ip daddr ${model.dnsService} udp dport 53 accept
    iifname vpc ip saddr != @public-machines drop
    iifname vpc jump from-machine
    iifname vpc ip daddr ${model.publicServices} tcp dport { 80, 443 } accept
  }
}
`;
}
