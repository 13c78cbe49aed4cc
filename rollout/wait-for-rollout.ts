/**
 * Waits until the balancer runs a revision, nothing of it is away, every node is up and every removed node is drained;
 * what it waits for is printed while it does.
 * Asks the balancer's address with the domain as SNI, so it needs no DNS and nothing but port 443.
 *
 * Environment: BALANCER_ADDRESS, BALANCER_INSTANCE, DOMAIN, REVISION, SERVERS (server names, by blanks),
 * FURTHER_SERVERS (those that this stack does not make), TRUSTED (PEM besides the system's CAs), STATUS_TOKEN,
 * DEADLINE_SECONDS (default 900; time in which nothing but drains is missing does not count),
 * DRAIN_TIMEOUT_SECONDS.
 */
import { existsSync, readFileSync } from "node:fs";
import { request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";

const pollMilliseconds = 2000;
const requestMilliseconds = 5000;
/** How long after the drain time-out the balancer may still close sockets. */
const drainMarginSeconds = 60;
/** How long to wait for servers that this stack does not make, before a warning. */
const furtherSeconds = 20;

/** The detailed status of wcs-balancer-sync. */
export interface Status {
  revision: string | null;
  /** Null while AWS does not say what is wanted. */
  applied: boolean | null;
  error: string | null;
  /** The revision that cannot be applied, if it is the wanted one. */
  refused: string | null;
  /** What the set-up of the machine does, or where it has failed; null when it is complete. */
  setup: string | null;
  /** What of the balancer itself does not answer. A balancer that is older than this program does not say. */
  away?: string[];
  nodes: NodeStatus[];
  /** Servers that were removed and still have sockets. */
  draining: RemovedServer[];
  /** The certificate that is served. */
  certificate: { notAfter: string; daysLeft: number } | null;
  /** What is not wrong yet. */
  warnings: string[];
}

export interface NodeStatus {
  server: string;
  state: "up" | "full" | "down" | "maint" | "unknown";
  /** Why it is in this state; of a full node the threshold that is reached. */
  reason: string;
  /** The check that is nearest to its threshold; empty when the agent names none. */
  load: string;
  weight: number;
  /** Open sockets, over all of HAProxy's workers. */
  sockets: number;
}

export interface RemovedServer {
  server: string;
  /** The node's own while it may take clients. */
  state: NodeStatus["state"] | "draining";
  reason: string;
  /** Null where HAProxy does not say. */
  sockets: number | null;
  secondsLeft: number;
  /** Whether it serves on until the nodes that come in its place are up. */
  held: boolean;
  /** Whether it may take clients again, since every wanted node is down. */
  lastResort: boolean;
}

export interface Verdict {
  done: boolean;
  /** Cannot get better by waiting. */
  failed: boolean;
  /** What is missing, in an operator's words; empty when done. */
  waitingFor: string[];
  /** Whether nothing is missing but drains, which have a deadline of their own. */
  onlyDrains: boolean;
}

/** Which servers take no clients for another reason than that they are full, and why. */
export function notUp(status: Status, servers: string[]): string[] {
  return servers.flatMap((server) => {
    const node = status.nodes.find((candidate) => candidate.server === server);
    if (!node) return [`${server}: not in HAProxy`];
    if (node.state !== "down" && node.state !== "unknown") return [];
    return [`${server}: ${node.state}${node.reason ? `: ${node.reason}` : ""}`];
  });
}

/** What a removed server does, and for how long, as an operator reads it. */
export function removedServer({ state, reason, secondsLeft, held, lastResort }: RemovedServer): string {
  const why = reason ? `: ${reason}` : "";
  const serves = state === "up" || state === "full";
  if (held) return `${serves ? "serves on" : `${state}${why}; stays`} until the new nodes are up`;
  const left = `${Math.ceil(secondsLeft / 60)} min at most`;
  if (lastResort)
    return `${serves ? "takes clients" : `${state}${why}; stays`} while every wanted node is down, ${left}`;
  return `${left}${why}`;
}

/** Which servers are full, and which threshold each has reached. */
export function full(status: Status, servers: string[]): string[] {
  return status.nodes
    .filter(({ server, state }) => state === "full" && servers.includes(server))
    .map(({ server, reason }) => `${server}: full${reason ? `: ${reason}` : ""}`);
}

/** How many of the nodes are in which state, for the end of a rollout. */
export function inWhichState(status: Status, servers: string[]): string {
  const count = (state: NodeStatus["state"]) =>
    status.nodes.filter((node) => node.state === state && servers.includes(node.server)).length;
  const verb = (number: number) => (number === 1 ? "is" : "are");
  const others = [
    ["full", "full"],
    ["maint", "in maintenance"],
  ] as const;
  return [
    `${count("up")} of ${servers.length} nodes ${verb(count("up"))} up`,
    ...others.map(([state, words]) => (count(state) ? `${count(state)} ${verb(count(state))} ${words}` : "")),
  ]
    .filter(Boolean)
    .join(", ");
}

/** Judges a status: pure, so that every case can be tested. */
export function judge(status: Status, revision: string, servers: string[]): Verdict {
  if (status.revision !== revision) {
    const state = status.revision ? `still runs revision ${status.revision}` : "runs no revision yet";
    const why = status.error ? `: ${status.error}` : "";
    return {
      done: false,
      failed: status.refused === revision,
      waitingFor: [`the balancer ${state}${why}`],
      onlyDrains: false,
    };
  }
  const waitingFor: string[] = [];
  let failed = false;
  // An error of another revision that was wanted meanwhile: it has not been looked at again since.
  if (status.refused) waitingFor.push(`the balancer to leave revision ${status.refused}, which it refuses`);
  if (status.setup) {
    failed = status.setup.startsWith("setup failed");
    const step = status.setup.replace("setup running: ", "");
    waitingFor.push(
      failed ? `the balancer's ${status.setup}` : `the balancer to finish its set-up (${step})`,
    );
  }
  waitingFor.push(...(status.away ?? []).map((part) => `the balancer: ${part}`));
  const missing = notUp(status, servers);
  waitingFor.push(...missing);
  // The agent says so when a node's set-up has ended with an error: it will not be tried again.
  failed ||= missing.some((reason) => reason.includes("setup failed"));
  const drains = status.draining.map(
    (row) => `${row.server} to drain: ${row.sockets ?? "unknown"} sockets left, ${removedServer(row)}`,
  );
  return {
    done: waitingFor.length + drains.length === 0,
    failed,
    onlyDrains: waitingFor.length === 0 && drains.length > 0,
    waitingFor: [...waitingFor, ...drains],
  };
}

/**
 * What a status warns of: not while another revision runs, which this one may put right. A balancer that is being
 * replaced may be older than this script, and know no warnings.
 */
export function warningsOf(status: Pick<Status, "revision"> & Partial<Status>, revision: string): string[] {
  return status.revision === revision ? (status.warnings ?? []) : [];
}

/** The CAs that this machine's operator has added, on Debian's and Red Hat's families; Node knows only its own list. */
function systemAuthorities(): string[] {
  const files = [
    process.env.SSL_CERT_FILE,
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
  ];
  const found = files.find((file) => file && existsSync(file));
  return found ? [readFileSync(found, "utf8")] : [];
}

let trust: { pem: string; context: SecureContext } | undefined;

/** Trusts the system's CAs and a PEM. Made once, since reading some hundred certificates takes longer than the answer. */
function trusting(pem: string): SecureContext {
  if (trust?.pem !== pem) {
    trust = { pem, context: createSecureContext({ ca: [...rootCertificates, ...systemAuthorities(), pem] }) };
  }
  return trust.context;
}

/** An error of a connection in an operator's words. */
function explainConnection(error: NodeJS.ErrnoException, handshakeDone: boolean): Error {
  if (error.code !== "ECONNRESET" || handshakeDone) return error;
  return new Error(
    "the connection was closed before its TLS handshake. Perhaps this computer's public address has " +
      "maxConnectionsPerAddress connections already: end some, or add the address to trustedCidrs and run pulumi up again",
  );
}

/** Reads the detailed status. */
export function fetchStatus(target: {
  address: string;
  port?: number;
  domain: string;
  /** PEM of certificates to trust besides the system's CAs. */
  trusted: string;
  token: string;
}): Promise<Status> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: target.address,
        port: target.port ?? 443,
        servername: target.domain,
        path: "/.well-known/wcs-balancer/status",
        headers: { Host: target.domain, Authorization: `Bearer ${target.token}` },
        // Node passes it on to the socket; its types do not say so.
        ...{ secureContext: trusting(target.trusted) },
        agent: false,
        timeout: requestMilliseconds,
      },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("error", reject);
        response.on("data", (part: string) => {
          body += part;
        });
        response.on("end", () => {
          if (response.statusCode !== 200) {
            reject(new Error(`the status answers HTTP ${response.statusCode}`));
            return;
          }
          try {
            resolve(JSON.parse(body) as Status);
          } catch {
            reject(new Error("the status is no JSON"));
          }
        });
      },
    );
    call.on("timeout", () => call.destroy(new Error(`no answer within ${requestMilliseconds / 1000} s`)));
    let handshakeDone = false;
    call.on("socket", (socket) =>
      socket.on("secureConnect", () => {
        handshakeDone = true;
      }),
    );
    call.on("error", (error) => reject(explainConnection(error, handshakeDone)));
    call.end();
  });
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

const names = (list: string) => list.split(" ").filter(Boolean);

async function main(): Promise<void> {
  const address = required("BALANCER_ADDRESS");
  const revision = required("REVISION");
  const servers = names(required("SERVERS"));
  const furtherServers = names(process.env.FURTHER_SERVERS ?? "");
  const target = {
    address,
    domain: required("DOMAIN"),
    trusted: required("TRUSTED"),
    token: required("STATUS_TOKEN"),
  };
  const deadlineSeconds = Number(process.env.DEADLINE_SECONDS ?? 900);
  const drainSeconds = Number(process.env.DRAIN_TIMEOUT_SECONDS ?? 0) + drainMarginSeconds;
  /** What is left of each deadline, in seconds. */
  const patience = { rollout: deadlineSeconds, drain: drainSeconds, further: furtherSeconds };

  let last = "";
  let reached = false;
  const warned = new Set<string>();
  while (true) {
    let verdict: Verdict;
    let furtherDown: string[] = [];
    let fullNodes: string[] = [];
    let states = "";
    const asked = Date.now();
    try {
      const status = await fetchStatus(target);
      verdict = judge(status, revision, servers);
      furtherDown = notUp(status, furtherServers);
      fullNodes = full(status, [...servers, ...furtherServers]);
      states = inWhichState(status, servers);
      reached = true;
      for (const warning of warningsOf(status, revision).filter((text) => !warned.has(text))) {
        console.log(`warning: ${warning}`);
        warned.add(warning);
      }
    } catch (error) {
      const reason = `https://${address} as ${target.domain}: ${(error as Error).message}`;
      verdict = { done: false, failed: false, waitingFor: [reason], onlyDrains: false };
    }
    if (verdict.done && (furtherDown.length === 0 || patience.further <= 0)) {
      for (const reason of furtherDown) console.log(`warning: ${reason}`);
      for (const reason of fullNodes) console.log(`${reason}; it takes no new clients until it is below`);
      console.log(`revision ${revision} is applied, ${states}`);
      return;
    }
    const message = (verdict.done ? furtherDown : verdict.waitingFor).join("; ");
    const command = `aws ec2 get-console-output --latest --output text --instance-id ${process.env.BALANCER_INSTANCE}`;
    const seeConsole = `. See the machine's console with: ${command}`;
    if (verdict.failed)
      throw new Error(message + (message.includes("the balancer's setup failed") ? seeConsole : ""));
    if (patience.rollout <= 0) {
      const hint = reached ? "" : seeConsole;
      throw new Error(`not done after ${deadlineSeconds} s: ${message}${hint}`);
    }
    if (patience.drain <= 0) throw new Error(`not drained after ${drainSeconds} s: ${message}`);
    if (message !== last) console.log(`waiting for ${message}`);
    last = message;
    await sleep(pollMilliseconds);
    const clock = verdict.done ? "further" : verdict.onlyDrains ? "drain" : "rollout";
    patience[clock] -= (Date.now() - asked) / 1000;
  }
}

if (require.main === module) {
  main().catch((error: Error) => {
    console.error(`rollout failed: ${error.message}`);
    process.exitCode = 1;
  });
}
