import * as ipaddr from "ipaddr.js";
import type { CloudClient } from "./cloud/client";

const label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
const domainPattern = new RegExp(`^${label}(\\.${label})+$`);

/** The task of `dns`. */
type DnsCommand =
  | { kind: "list" }
  | { kind: "put"; name: string; addresses: string[] }
  | { kind: "remove"; name: string };

/** @throws Error that says what is allowed */
export function parseDns([domain, ...addresses]: string[], remove: boolean): DnsCommand {
  if (domain === undefined) {
    if (remove)
      throw new Error("--remove is given without a DOMAIN; write: npm run sandbox -- dns DOMAIN --remove");
    return { kind: "list" };
  }
  const name = domain.toLowerCase().replace(/\.$/, "");
  if (!domainPattern.test(name) || ipaddr.isValid(name))
    throw new Error(`DOMAIN is "${domain}"; it must be a name such as wcs.dev.example.com`);
  if (remove) {
    if (addresses.length > 0)
      throw new Error(`--remove is given with ${addresses.join(", ")}; it removes all records of ${name}`);
    return { kind: "remove", name };
  }
  if (addresses.length === 0)
    throw new Error(
      `ADDRESS is missing; write: npm run sandbox -- dns ${name} 203.0.113.10, or --remove to remove the records of ${name}`,
    );
  const bad = addresses.find(
    (address) => !ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address),
  );
  if (bad !== undefined) throw new Error(`ADDRESS is "${bad}"; it must be an IPv4 or IPv6 address`);
  return { kind: "put", name, addresses };
}

const listOf = (addresses: string[]) => addresses.join(", ");

/** Shows, makes or removes DNS records on the sandbox's internet. */
export async function dns(cloud: CloudClient, words: string[], remove: boolean): Promise<void> {
  const command = parseDns(words, remove);
  switch (command.kind) {
    case "list": {
      const records = Object.entries(await cloud.call("records", {})).sort();
      const lines = records.map(([name, addresses]) => `${name} is ${listOf(addresses)}`);
      console.log(
        lines.join("\n") ||
          "No records were made by hand. Those of a stack's hosted zone are not listed here.",
      );
      return;
    }
    case "put":
      await cloud.call("putRecords", command);
      console.log(`${command.name} is ${listOf(command.addresses)} now, for machines and for Let's Encrypt.`);
      return;
    case "remove":
      await cloud.call("removeRecords", command);
      console.log(`The records of ${command.name} are removed.`);
      return;
  }
}
