import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildGoCommand } from "./go";
import { cached } from "./paths";

const source = join(__dirname, "pebble");
const command = "github.com/letsencrypt/pebble/v2/cmd/pebble";

/** The version that pebble/go.mod pins. */
function pinnedVersion(): string {
  const module = readFileSync(join(source, "go.mod"), "utf8");
  const version = module.match(/letsencrypt\/pebble\/v2 (v\S+)/)?.[1];
  if (!version) throw new Error("sandbox/pebble/go.mod names no version of Pebble");
  return version;
}

/** Where Pebble is, once it is built. */
export function builtPebble(): string {
  return join(cached.pebble, pinnedVersion(), "pebble");
}

export function pebbleIsReady(): boolean {
  return existsSync(builtPebble());
}

/** Builds Pebble, Let's Encrypt's ACME server for tests, from its Go module. */
export function buildPebble(): Promise<void> {
  return buildGoCommand({ directory: source, command, output: builtPebble() });
}
