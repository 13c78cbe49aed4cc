import * as ipaddr from "ipaddr.js";
import { z } from "zod";

/** A schema's error text: what is allowed. The key and the bad value are put before it by `parseConfig`. */
export function mustBe(allowed: string) {
  return { error: `it must be ${allowed}` };
}

/** A whole number in a range; `what` says of what, such as "a percentage". */
export function integer(minimum: number, maximum: number, what: string) {
  const error = mustBe(`${what} from ${minimum} to ${maximum}`);
  return z.int(error).min(minimum, error).max(maximum, error);
}

/** A text of a pattern; `allowed` says the pattern in words. */
export function text(pattern: RegExp, allowed: string) {
  return z.string(mustBe(allowed)).regex(pattern, mustBe(allowed));
}

function isCidr(value: string): boolean {
  // Without leading zeros, such as /08, which EC2 writes another way.
  if (!ipaddr.IPv4.isValidCIDR(value) || !/^[0-9.]+\/(0|[1-9][0-9]?)$/.test(value)) return false;
  // EC2 refuses a CIDR with host bits set, such as 203.0.113.7/24, and does so half way through an update.
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

/** Whether no value is there twice. */
export function unique(values: string[]): boolean {
  return new Set(values).size === values.length;
}

const cidrRule = mustBe("an IPv4 network such as 203.0.113.0/24, without host bits");
export const cidr = z.string(cidrRule).refine(isCidr, cidrRule);
const ipv4Rule = mustBe("an IPv4 address of a machine, such as 203.0.113.7");
/** What no other machine has. */
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
  "an address without a user's name and password, which every reader of the stack has",
);
export const httpUrl = z
  .url({ protocol: /^https?$/, ...httpUrlRule })
  .refine((value) => !hasCredentials(value), withoutPassword);
export const origin = text(
  /^(?=.{1,100}$)https:\/\/(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z][a-z0-9-]{0,61}[a-z0-9](:[1-9][0-9]{0,4})?$/,
  "a site such as https://www.example.com or https://*.example.com, without a path, 100 characters at most",
);
export const instanceType = text(/^[a-z][a-z0-9-]*\.[a-z0-9]+$/, "an EC2 instance type such as c7i.large");
export const ami = text(/^ami-[0-9a-f]{8,17}$/, "an AMI id such as ami-0123456789abcdef0");
export const pem = (label: string) =>
  text(new RegExp(`-----BEGIN [A-Z ]*${label}-----[^]+-----END [A-Z ]*${label}-----`), `a PEM ${label}`);
/** PEM that is stored in clear text. A combined file, as HAProxy reads it, has the key in it, too. */
export const publicPem = pem("CERTIFICATE").refine(
  (value) => !holdsPrivateKey(value),
  mustBe(
    "a PEM CERTIFICATE alone; the key goes into tlsPrivateKey, a secret. Whoever can read the stack's file has this " +
      "key now: have the certificate made anew with another one",
  ),
);
