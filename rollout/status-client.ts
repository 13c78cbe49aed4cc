/** Asks a balancer for its status, for the status of all, and for a hand-over. */
import { request } from "node:https";
import { z } from "zod";
import { clusterPath, handOverPath, httpsPort, statusPath, statusServerName } from "../contract/facts";
import {
  type ClusterStatus,
  type Identity,
  parseCluster,
  parseIdentity,
  parseStatus,
  type Status,
} from "../contract/status";

const requestMilliseconds = 5000;
/** A balancer may take 10 s to close every socket. */
const handOverMilliseconds = 15_000;

/** How to ask a balancer. */
export interface StatusAccess {
  address: string;
  /** @default 443 */
  port?: number;
  /** PEM of the only trusted CA: the one that signs the status's certificate. */
  trusted: string;
  token: string;
}

/** The result of a question. */
export type Answer<T> =
  | { kind: "status"; status: T }
  /** The connection is closed before its TLS handshake: a machine lives there, but refuses this computer. */
  | { kind: "refused"; reason: string }
  /** A machine answers, but not a balancer of this stack and version. */
  | { kind: "foreign"; reason: string }
  /** Nothing answers. */
  | { kind: "silent"; reason: string };

/** An answer of another kind than the one that was asked for. */
class ForeignError extends Error {}

/** A connection that the other side closes before its TLS handshake. */
class RefusedError extends Error {}

/** Error codes of Node.js and OpenSSL that mean: another server answers. */
const foreignCodes = /^(CERT_|ERR_TLS_|ERR_SSL_|EPROTO|HPE_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/;

/** A connection error as text for an operator. */
function explainConnection(error: NodeJS.ErrnoException, handshakeDone: boolean): Error {
  if (error.code === "ECONNREFUSED")
    return new Error(
      `${error.message}: HAProxy does not run there: the machine boots, or it cannot read its status's certificate from SSM`,
    );
  if (error.code !== "ECONNRESET" || handshakeDone) return error;
  return new RefusedError(
    "the connection was closed before its TLS handshake. If a balancer runs, this computer's public address already has " +
      "maxConnectionsPerAddress connections: end some, or add the address to trustedCidrs and run pulumi up again",
  );
}

/** The text of wcs-balancer-sync on one line; empty for a page of HAProxy for browsers. */
function reasonIn(body: string): string {
  const text = body.trim().replace(/\s+/g, " ");
  return text.startsWith("{") ? text : "";
}

/** An HTTP answer other than 200 as text for an operator. */
function explainStatus(status: number | undefined, body: string): Error {
  const said = `it answers HTTP ${status} ${reasonIn(body)}`.trim();
  const advice =
    ". If this lasts, somebody has changed the status's parameter in SSM: run pulumi refresh, then pulumi up";
  return new ForeignError(status === 403 ? said + advice : said);
}

/**
 * Sends a request and gives the body of the answer.
 * @throws ForeignError when the answer is not HTTP 200; RefusedError; otherwise a connection error
 */
function send(access: StatusAccess, method: "GET" | "POST", path: string, patience: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        method,
        host: access.address,
        port: access.port ?? httpsPort,
        servername: statusServerName,
        path,
        headers: { Host: statusServerName, Authorization: `Bearer ${access.token}`, "Content-Length": 0 },
        ca: access.trusted,
        agent: false,
        signal: AbortSignal.timeout(patience),
      },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("error", reject);
        response.on("data", (part: string) => {
          body += part;
        });
        response.on("end", () => {
          if (response.statusCode === 200) resolve(body);
          else reject(explainStatus(response.statusCode, body));
        });
      },
    );
    let handshakeDone = false;
    call.on("socket", (socket) =>
      socket.on("secureConnect", () => {
        handshakeDone = true;
      }),
    );
    call.on("error", (error: NodeJS.ErrnoException) =>
      reject(
        error.name === "AbortError" || error.name === "TimeoutError"
          ? new Error(`no answer within ${patience / 1000} s`)
          : explainConnection(error, handshakeDone),
      ),
    );
    call.end();
  });
}

/** The kind of answer that an error stands for. */
function kindOf(error: NodeJS.ErrnoException): "refused" | "foreign" | "silent" {
  if (error instanceof RefusedError) return "refused";
  return error instanceof ForeignError || foreignCodes.test(error.code ?? "") ? "foreign" : "silent";
}

/** The result of a request, whose answer has to be understood by `parse`. */
async function ask<T>(
  access: StatusAccess,
  sent: Promise<string>,
  parse: (body: string) => T,
): Promise<Answer<T>> {
  const because = (error: unknown) =>
    `https://${access.address} as ${statusServerName}: ${(error as Error).message}`;
  let body: string;
  try {
    body = await sent;
  } catch (error) {
    return { kind: kindOf(error as NodeJS.ErrnoException), reason: because(error) };
  }
  try {
    return { kind: "status", status: parse(body) };
  } catch (error) {
    return { kind: "foreign", reason: because(error) };
  }
}

/** The detailed status of the balancer at an address. A balancer of another version is foreign. */
export function askStatus(access: StatusAccess): Promise<Answer<Status>> {
  return ask(access, send(access, "GET", statusPath, requestMilliseconds), parseStatus);
}

/** The statuses of all balancers, by one of them. */
export function askCluster(access: StatusAccess): Promise<Answer<ClusterStatus>> {
  return ask(access, send(access, "GET", clusterPath, requestMilliseconds), parseCluster);
}

/** The identity of the machine at an address. Every version gives it, if it has the status's name and token. */
export function askIdentity(access: StatusAccess): Promise<Answer<Identity>> {
  return ask(access, send(access, "GET", statusPath, requestMilliseconds), parseIdentity);
}

const handedOverSchema = z.object({ closed: z.number() });
/** The result of a hand-over: how many sockets the balancer has closed. */
export type HandedOver = z.infer<typeof handedOverSchema>;

/**
 * Asks a balancer to close its clients' WebSockets, and to refuse new ones for some seconds.
 * @param patience how long it may take, in milliseconds
 */
export function askToHandOver(
  access: StatusAccess,
  seconds: number,
  patience = handOverMilliseconds,
): Promise<Answer<HandedOver>> {
  const sent = send(access, "POST", `${handOverPath}?seconds=${seconds}`, patience);
  return ask(access, sent, (body) => handedOverSchema.parse(JSON.parse(body)));
}
