import { createHash, createHmac } from "node:crypto";
import { gzipSync, strToU8 } from "fflate";
import type { AcmeSource } from "./acme";
import { documentContract } from "./contract";
import type { ClientPaths, Leave } from "./entry";
import { type Backend, renderServerOptions, type ServerSettings } from "./haproxy-config";

/** An SSM parameter of the Advanced tier holds 8 KB (AWS Systems Manager User Guide, "Parameter tiers"). */
const parameterLimitBytes = 8192;

/** A value does not fit into an SSM parameter. */
export class TooLargeError extends Error {}

interface DesiredState {
  /** The name of this state. It changes with any part of the state. */
  revision: string;
  /** The value of the SSM parameter: base64 of gzip of JSON. */
  document: string;
}

export function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** A target group, in which balancers register themselves with a port. */
export interface TargetGroup {
  arn: string;
  port: number;
}

interface DesiredStateContent {
  /** haproxy.cfg without the servers. */
  haproxyBase: string;
  /**
   * The nodes. An older balancer understands this field of the document, too. The balancer puts their lines
   * at the end of haproxy.cfg.
   */
  backends: Backend[];
  serverSettings: ServerSettings;
  /** `sha256` of the PEM in the secret parameter. With `acme` this PEM serves until the first ordered one is there. */
  certificateHash: string;
  /** `sha256` of the whole value of the status parameter, which `renderStatusSecret` makes. */
  statusHash: string;
  drainTimeoutSeconds: number;
  /** The wanted balancers: the instance id by the name. Any other balancer leaves. */
  balancerInstances: Record<string, string>;
  paths: ClientPaths;
  /** Target groups of the load balancer; none without one. */
  targetGroups: TargetGroup[];
  leave: Leave;
  /**
   * Where balancers order the certificate. An ordered certificate changes nothing here, so that a renewal makes no new
   * revision. @default they serve the secret parameter's PEM
   */
  acme?: AcmeSource;
}

/**
 * Renders the state that the balancer has to run.
 * @throws TooLargeError when it does not fit into the parameter
 */
export function renderDesiredState(state: DesiredStateContent): DesiredState {
  const { haproxyBase, backends, serverSettings, certificateHash, statusHash, drainTimeoutSeconds } = state;
  const content = {
    contract: documentContract,
    haproxyBase,
    servers: Object.fromEntries(
      backends.map((backend) => [backend.serverName, renderServerOptions(backend, serverSettings)]),
    ),
    certificateHash,
    statusHash,
    drainTimeoutSeconds,
    balancers: state.balancerInstances,
    address: state.paths.address,
    targetGroups: state.targetGroups,
    leave: state.leave,
    ...(state.acme && { acme: state.acme }),
  };
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
 * The content of the secret parameter: the PEM for clients.
 * @throws TooLargeError when it does not fit into the parameter
 */
export function renderSecret(pem: string): string {
  const content = JSON.stringify({ pem });
  if (content.length > parameterLimitBytes) {
    throw new TooLargeError(
      `tlsCertificate, tlsChain and tlsPrivateKey have ${content.length} bytes together; the most is ` +
        `${parameterLimitBytes}. Leave the root out of tlsChain, or use an ECDSA key.`,
    );
  }
  return content;
}

/** The token for the detailed status. It is as secret as the certificate's key, which cannot be computed from it. */
export function deriveStatusToken(privateKey: string): string {
  return createHmac("sha256", privateKey).update("wcs-balancer status token").digest("hex");
}

/**
 * The content of the status parameter: the PEM for the status, and the token for its details.
 * @throws TooLargeError when it does not fit into the parameter
 */
export function renderStatusSecret(pem: string, token: string): string {
  const content = JSON.stringify({ pem, token });
  if (content.length > parameterLimitBytes) {
    throw new TooLargeError(
      `the status's certificate, key and token have ${content.length} bytes together; the most is ${parameterLimitBytes}`,
    );
  }
  return content;
}

/** Certificate, chain and key as HAProxy needs them: in this order, without blank lines. */
export function renderPem(certificate: string, chain: string | undefined, privateKey: string): string {
  return [certificate, chain ?? "", privateKey]
    .flatMap((part) => part.split(/\r?\n/))
    .filter((line) => line.trim() !== "")
    .map((line) => `${line}\n`)
    .join("");
}
