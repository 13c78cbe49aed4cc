import * as ipaddr from "ipaddr.js";
import { z } from "zod";

/** A schema's error text: what is allowed. The key and the bad value are put before it by `parseConfig`. */
export function mustBe(allowed: string) {
  return { error: `it must be ${allowed}` };
}

/** A whole number in a range; `what` names its unit, such as "a percentage". */
export function integer(minimum: number, maximum: number, what: string) {
  const error = mustBe(`${what} from ${minimum} to ${maximum}`);
  return z.int(error).min(minimum, error).max(maximum, error);
}

/** A text that matches a pattern; `allowed` describes the pattern in words. */
export function text(pattern: RegExp, allowed: string) {
  return z.string(mustBe(allowed)).regex(pattern, mustBe(allowed));
}

const heapRule = mustBe("megabytes or gigabytes from 64m to 4096g, such as 2048m or 4g");
/**
 * A Java heap. Java ends at once with a heap that it cannot address, and with one that is too small for its own start:
 * every new node would stay down. No machine type for WCS has more than 4 TB.
 */
export const heap = z.string(heapRule).refine((value) => {
  const megabytes = Number.parseInt(value, 10) * (value.endsWith("g") ? 1024 : 1);
  return /^[1-9][0-9]*[mg]$/.test(value) && megabytes >= 64 && megabytes <= 4096 * 1024;
}, heapRule);

function isCidr(value: string): boolean {
  // EC2 changes a prefix length with a leading zero, such as /08, so it is refused.
  if (!ipaddr.IPv4.isValidCIDR(value) || !/^[0-9.]+\/(0|[1-9][0-9]?)$/.test(value)) return false;
  // EC2 refuses a CIDR with host bits set, such as 203.0.113.7/24, in the middle of an update.
  return ipaddr.IPv4.networkAddressFromCIDR(value).toString() === value.split("/")[0];
}

/** Whether a value may be a private key, which no message may show. */
export function holdsPrivateKey(value: unknown): boolean {
  return /PRIVA?TE? KEY/.test(JSON.stringify(value) ?? "");
}

/** Whether an address has a user's name or password in it. */
export function hasCredentials(url: string): boolean {
  const { username, password } = URL.canParse(url) ? new URL(url) : { username: "", password: "" };
  return username !== "" || password !== "";
}

/** Whether every value occurs once. */
export function unique(values: string[]): boolean {
  return new Set(values).size === values.length;
}

const cidrRule = mustBe("an IPv4 network such as 203.0.113.0/24, without host bits");
export const cidr = z.string(cidrRule).refine(isCidr, cidrRule);
const ipv4Rule = mustBe("an IPv4 address of a machine, such as 203.0.113.7");
/** Ranges of addresses that do not belong to another machine. */
const specialRanges = ["unspecified", "broadcast", "multicast", "linkLocal", "loopback"];
export const ipv4 = z
  .string(ipv4Rule)
  .refine(
    (value) =>
      ipaddr.IPv4.isValidFourPartDecimal(value) && !specialRanges.includes(ipaddr.IPv4.parse(value).range()),
    ipv4Rule,
  );
export const sha256 = text(/^[0-9a-f]{64}$/, "a SHA-256 checksum of 64 lower-case hexadecimal digits");
const httpUrlRule = mustBe("an https:// or http:// address");
const withoutPassword = mustBe(
  "an address without user name and password, since everybody who reads the stack sees them",
);
export const httpUrl = z
  .url({ protocol: /^https?$/, ...httpUrlRule })
  .refine((value) => !hasCredentials(value), withoutPassword);
const httpsUrlRule = mustBe("an https:// address, 200 characters at most");
export const httpsUrl = z
  .url({ protocol: /^https$/, ...httpsUrlRule })
  .max(200, httpsUrlRule)
  .refine((value) => !hasCredentials(value), withoutPassword);
export const email = text(
  /^(?=.{1,100}$)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@([A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}$/,
  "an email address such as operations@example.com, 100 characters at most",
);
export const origin = text(
  /^(?=.{1,100}$)https:\/\/(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z][a-z0-9-]{0,61}[a-z0-9](:[1-9][0-9]{0,4})?$/,
  "a site such as https://www.example.com or https://*.example.com, without a path, 100 characters at most",
);
export const instanceType = text(/^[a-z][a-z0-9-]*\.[a-z0-9]+$/, "an EC2 instance type such as c7i.large");
export const ami = text(/^ami-[0-9a-f]{8,17}$/, "an AMI id such as ami-0123456789abcdef0");
export const pem = (label: string) =>
  text(new RegExp(`-----BEGIN [A-Z ]*${label}-----[^]+-----END [A-Z ]*${label}-----`), `a PEM ${label}`);
/** PEM that is stored in clear text. A combined file, as HAProxy reads it, is refused: it holds the key too. */
export const publicPem = pem("CERTIFICATE").refine(
  (value) => !holdsPrivateKey(value),
  mustBe(
    "a PEM CERTIFICATE alone; the key goes into tlsPrivateKey, a secret. Everybody who can read the stack's file has " +
      "this key now: make a new key, and request a new certificate for it",
  ),
);
