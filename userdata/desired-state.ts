import { createHash } from "node:crypto";
import { gzipSync, strToU8 } from "fflate";
import { type HaproxySettings, renderHaproxyConfig, serverName } from "./haproxy-config";

/** An SSM parameter of the Advanced tier holds 8 KB (AWS Systems Manager User Guide, "Parameter tiers"). */
export const parameterLimitBytes = 8192;

/**
 * The number of the document's contract; machines/balancer/wcs_balancer/document.py has the same. A balancer that knows
 * a lower one obeys `revision` and `servers` alone, so these two never change their meaning. Another meaning of any
 * other field is a new contract, with a higher number.
 */
const contract = 1;

/** What does not fit into an SSM parameter. */
export class TooLargeError extends Error {}

export interface DesiredState {
  /** Names this state; changes with any part of it. */
  revision: string;
  /** What the SSM parameter holds: base64 of gzip of JSON. */
  document: string;
}

export function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/**
 * The `server` lines at the end of haproxy.cfg, which are the nodes: address and own options of each by its name. They
 * stand in the document once, as a field that also an older balancer understands; the balancer puts them back.
 */
function splitServers(haproxyConfig: string): { haproxyBase: string; servers: Record<string, string> } {
  const [lines = ""] = haproxyConfig.match(/( {4}server .*\n)*$/) ?? [];
  const servers = [...lines.matchAll(/server (\S+) (.*)/g)].map(([, name, options]) => [name, options]);
  return {
    haproxyBase: haproxyConfig.slice(0, haproxyConfig.length - lines.length),
    servers: Object.fromEntries(servers),
  };
}

/** Renders what the balancer is to run. */
export function renderDesiredState(
  haproxyConfig: string,
  certificateHash: string,
  drainTimeoutSeconds: number,
): DesiredState {
  const content = { contract, ...splitServers(haproxyConfig), certificateHash, drainTimeoutSeconds };
  const revision = sha256(JSON.stringify(content)).slice(0, 12);
  const json = JSON.stringify({ revision, ...content });
  // fflate, not Node's gzip: the bytes must be the same on every machine that runs `pulumi up`.
  const document = Buffer.from(gzipSync(strToU8(json), { level: 9, mtime: 0 })).toString("base64");
  if (document.length > parameterLimitBytes) {
    throw new TooLargeError(
      `the desired state has ${document.length} bytes; the most is ${parameterLimitBytes}`,
    );
  }
  return { revision, document };
}

/**
 * Checks before anything is created that the desired state of so many nodes will fit, with instance ids and
 * addresses that compress as badly as real ones.
 * @throws TooLargeError that names the key
 */
export function checkStateFits(settings: HaproxySettings, nodes: string[]): void {
  const backends = nodes.map((name, index) => {
    const digest = createHash("sha256").update(`${name} ${index}`).digest();
    return {
      serverName: serverName(name, digest.toString("hex", 0, 8)),
      address: `172.${digest[8]}.${digest[9]}.${digest[10]}`,
    };
  });
  try {
    renderDesiredState(renderHaproxyConfig(settings, backends), sha256(settings.domain), 0);
  } catch (error) {
    if (!(error instanceof TooLargeError)) throw error;
    const networks = settings.trustedCidrs.length;
    const andNetworks = networks > 0 ? ` and trustedCidrs ${networks} networks` : "";
    throw new TooLargeError(
      `nodes has ${nodes.length} names${andNetworks}; that is more than the desired state can hold (${error.message}). ` +
        `It must be fewer: ${networks > 0 ? "put networks together into larger ones, or " : ""}split them over several stacks.`,
    );
  }
}

/** The content of the secret parameter: the PEM that HAProxy reads, and the token for the detailed status. */
export function renderSecret(pem: string, token: string): string {
  const content = JSON.stringify({ pem, token });
  if (content.length > parameterLimitBytes) {
    throw new TooLargeError(
      `tlsCertificate, tlsChain and tlsPrivateKey have ${content.length} bytes together; the most is ` +
        `${parameterLimitBytes}. Leave the root out of tlsChain, or use an ECDSA key.`,
    );
  }
  return content;
}

/** Certificate, chain and key as HAProxy wants them: in this order, without blank lines. */
export function renderPem(certificate: string, chain: string | undefined, privateKey: string): string {
  return [certificate, chain ?? "", privateKey]
    .flatMap((part) => part.split(/\r?\n/))
    .filter((line) => line.trim() !== "")
    .map((line) => `${line}\n`)
    .join("");
}
