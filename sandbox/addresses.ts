import * as ipaddr from "ipaddr.js";

/** Addresses of the sandbox. All live in namespaces of its own; the public ones are RFC 5737 and 2544 test networks. */

/** As AWS gives it to the default VPC. */
export const vpcNetwork = "172.31.0.0/16";

/** The VPC's DNS and metadata service, as on EC2. */
export const metadataService = "169.254.169.254";
export const dnsService = "169.254.169.253";

/** Public services: SSM, S3 and downloads. */
export const publicServices = "198.18.0.1";

export const internetGateway = "198.51.100.1";
/** Pebble, which plays Let's Encrypt. Clients reach it through the public services, by its name. */
export const certificateAuthority = "198.51.100.2";
/** The client in the internet namespace. */
export const internetClient = "198.51.100.10";
/** This machine and its router, while `open` runs. */
export const homeNetwork = "198.18.255.0/30";
export const home = "198.18.255.1";
export const homeRouter = "198.18.255.2";
export const publicNetwork = "203.0.113.0/24";

/** The address at a place in a network; the first one of a subnet is its router's, as on EC2. */
function addressIn(network: string, place: number): string {
  const [address] = ipaddr.IPv4.parseCIDR(network);
  const [first = 0, second = 0, third = 0, fourth = 0] = address.octets;
  const number = (third << 8) + fourth + place;
  return `${first}.${second}.${number >> 8}.${number & 255}`;
}

export const prefixLengthOf = (network: string) => ipaddr.IPv4.parseCIDR(network)[1];
export const routerOf = (network: string) => addressIn(network, 1);

/** The network of a subnet that an address belongs to. */
export function networkOf(address: string, networks: readonly string[]): string {
  const network = networks.find((one) => ipaddr.IPv4.parse(address).match(ipaddr.IPv4.parseCIDR(one)));
  if (!network) throw new Error(`${address} is in none of the networks ${networks.join(", ")}`);
  return network;
}

/** @param index of all addresses that the sandbox has given, in whichever network */
export function privateAddress(network: string, index: number): string {
  const place = index + 10;
  if (place > 2 ** (32 - prefixLengthOf(network)) - 2) throw new Error(`${network} has no address left`);
  return addressIn(network, place);
}

export function publicAddress(index: number): string {
  if (index > 240) throw new Error("the sandbox has no public address left");
  return `203.0.113.${index + 10}`;
}

export const downloadsHost = "downloads.sandbox.example";
