import { createHash } from "node:crypto";
import { gzipSync, strToU8 } from "fflate";
import { type Backend, renderServerOptions } from "./haproxy-config";

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

export interface DesiredStateContent {
  /** haproxy.cfg without the servers. */
  haproxyBase: string;
  /**
   * The nodes. They stand in the document once, as a field that also an older balancer understands; the balancer puts
   * their lines at the end of haproxy.cfg.
   */
  backends: Backend[];
  stickiness: boolean;
  /** Of the PEM, as `sha256` gives it. */
  certificateHash: string;
  drainTimeoutSeconds: number;
}

/**
 * Renders what the balancer is to run.
 * @throws TooLargeError when it does not fit into the parameter
 */
export function renderDesiredState(state: DesiredStateContent): DesiredState {
  const { haproxyBase, backends, stickiness, certificateHash, drainTimeoutSeconds } = state;
  const servers = Object.fromEntries(
    backends.map((backend) => [backend.serverName, renderServerOptions(backend, stickiness)]),
  );
  const content = { contract, haproxyBase, servers, certificateHash, drainTimeoutSeconds };
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
