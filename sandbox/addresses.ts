/** Addresses of the sandbox. All live in namespaces of its own; the public ones are RFC 5737 and 2544 test networks. */

/** The VPC's router, DNS and metadata service, as on EC2. */
export const vpcRouter = "172.31.0.1";
export const vpcPrefixLength = 20;
export const metadataService = "169.254.169.254";
export const dnsService = "169.254.169.253";

/** Public services: SSM, S3 and downloads. */
export const publicServices = "198.18.0.1";

export const internetGateway = "198.51.100.1";
/** The client in the internet namespace. */
export const internetClient = "198.51.100.10";
/** This machine and its router, while `open` runs. */
export const homeNetwork = "198.18.255.0/30";
export const home = "198.18.255.1";
export const homeRouter = "198.18.255.2";
export const publicNetwork = "203.0.113.0/24";

export function privateAddress(index: number): string {
  const number = index + 10;
  return `172.31.${number >> 8}.${number & 255}`;
}

export function publicAddress(index: number): string {
  if (index > 240) throw new Error("the sandbox has no public address left");
  return `203.0.113.${index + 10}`;
}

export const downloadsHost = "downloads.sandbox.example";
