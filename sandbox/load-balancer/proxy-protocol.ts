/** The header of PROXY protocol version 2 (proxy-protocol.txt of HAProxy), as a Network Load Balancer sends it. */

export interface Endpoint {
  address: string;
  port: number;
}

const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
/** Version 2, for a client: PROXY. */
const forClient = 0x21;
/** For a connection that the sender has opened for itself: LOCAL. */
const forItself = 0x20;
const tcpOverIpv4 = 0x11;
const checksumType = 0x03;
const paddingType = 0x04;
/** Every header of AWS's has this length. (Those of an endpoint service have its id as well, with type 0xEA.) */
const headerLength = 100;

const castagnoli = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C, which receivers such as HAProxy verify. */
export function crc32c(bytes: Buffer): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ (castagnoli[(value ^ byte) & 255] ?? 0);
  return (value ^ 0xffffffff) >>> 0;
}

function octets(address: string): number[] {
  return address.split(".").map(Number);
}

/** A header with a checksum, and padding to the length of AWS's. */
function header(command: number, addresses: Buffer): Buffer {
  const start = Buffer.from([...signature, command, tcpOverIpv4, 0, 0]);
  const checksum = Buffer.from([checksumType, 0, 4, 0, 0, 0, 0]);
  const padding = Buffer.alloc(headerLength - start.length - addresses.length - checksum.length);
  padding.writeUInt8(paddingType);
  padding.writeUInt16BE(padding.length - 3, 1);
  const bytes = Buffer.concat([start, addresses, checksum, padding]);
  bytes.writeUInt16BE(bytes.length - start.length, 14);
  // Over the whole header, with zeros in the place of the checksum.
  bytes.writeUInt32BE(crc32c(bytes), start.length + addresses.length + 3);
  return bytes;
}

/**
 * The header of a health check, byte for byte as it was seen from AWS (kubernetes/kubernetes, issue 57250): LOCAL
 * for TCP over IPv4, yet without addresses. HAProxy 3.0 accepts it; with addresses it refuses a LOCAL header.
 */
export const localHeader = header(forItself, Buffer.alloc(0));

/** The header of a connection from the client `source` to `destination`. */
export function proxyHeader(source: Endpoint, destination: Endpoint): Buffer {
  const addresses = Buffer.alloc(12);
  addresses.set([...octets(source.address), ...octets(destination.address)]);
  addresses.writeUInt16BE(source.port, 8);
  addresses.writeUInt16BE(destination.port, 10);
  return header(forClient, addresses);
}
