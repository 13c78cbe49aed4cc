import * as ipaddr from "ipaddr.js";

type Range = [first: bigint, last: bigint];

/** Private networks, which do not exist on the internet (RFC 1918, RFC 4193, RFC 4291). */
const privateNetworks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"];

/**
 * Networks that together have more addresses than this count as the whole world; private addresses do not count. The
 * limit for IPv4 is the size of a /8, more than any one organisation has. The limit for IPv6 is the same part of all
 * addresses that are in use.
 */
const worldBegins = { ipv4: 2n ** 24n, ipv6: 2n ** 117n };

function rangeOf([address, prefixLength]: [ipaddr.IPv4 | ipaddr.IPv6, number]): Range {
  const bytes = address.toByteArray();
  const size = 2n ** BigInt(bytes.length * 8 - prefixLength);
  const number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const first = number - (number % size);
  return [first, first + size - 1n];
}

/** The IPv4 addresses that IPv6 writes as ::ffff:0:0/96 (RFC 4291, 2.5.5.2). */
const mapped: Range = [0xffff_0000_0000n, 0xffff_ffff_ffffn];

/** The IPv4 addresses in a range of IPv6. */
function mappedIn([first, last]: Range): Range[] {
  if (last < mapped[0] || first > mapped[1]) return [];
  const [begin, end] = [first > mapped[0] ? first : mapped[0], last < mapped[1] ? last : mapped[1]];
  return [[begin - mapped[0], end - mapped[0]]];
}

/** The number of addresses that are in at least one of the ranges. */
function count(ranges: Range[]): bigint {
  let next = 0n;
  let sum = 0n;
  for (const [first, last] of [...ranges].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
    if (last < next) continue;
    sum += last - (first > next ? first : next) + 1n;
    next = last + 1n;
  }
  return sum;
}

/**
 * Whether networks together cover so much of the internet that they count as the whole world.
 * @param networks CIDRs of IPv4 and IPv6
 */
export function areWorld(networks: string[]): boolean {
  const rangesOf = (cidrs: string[], kind: "ipv4" | "ipv6") =>
    cidrs
      .map((cidr) => ipaddr.parseCIDR(cidr))
      .filter(([address]) => address.kind() === kind)
      .map(rangeOf);
  return (["ipv4", "ipv6"] as const).some((kind) => {
    const open = rangesOf(networks, kind);
    if (kind === "ipv4") open.push(...rangesOf(networks, "ipv6").flatMap(mappedIn));
    const own = rangesOf(privateNetworks, kind);
    return count([...open, ...own]) - count(own) > worldBegins[kind];
  });
}
