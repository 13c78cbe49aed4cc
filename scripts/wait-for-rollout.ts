/**
 * Waits until the balancer runs a revision and every node is up; what it waits for is printed while it does.
 * Asks the balancer's address with the domain as SNI, so it needs no DNS and nothing but port 443.
 *
 * Environment: BALANCER_ADDRESS, BALANCER_INSTANCE, DOMAIN, REVISION, SERVERS (server names, by blanks),
 * CERTIFICATE_AUTHORITY (PEM, may be empty), STATUS_TOKEN, DEADLINE_SECONDS (default 900).
 */
import { request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { rootCertificates } from "node:tls";

const pollMilliseconds = 2000;
const requestMilliseconds = 5000;

/** The detailed status of wcs-balancer-sync. */
export interface Status {
  revision: string | null;
  applied: boolean;
  error: string | null;
  /** The revision that cannot be applied, if it is the wanted one. */
  refused: string | null;
  /** What the set-up of the machine does, or where it has failed; null when it is complete. */
  setup: string | null;
  nodes: { server: string; state: "up" | "full" | "down" | "maint" | "unknown"; reason: string }[];
  /** Servers that were removed and still have sockets. */
  draining: { server: string; sockets: number; secondsLeft: number }[];
}

export interface Verdict {
  done: boolean;
  /** Cannot get better by waiting. */
  failed: boolean;
  /** What is missing, in an operator's words; empty when done. */
  waitingFor: string[];
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
    };
  }
  const waitingFor: string[] = [];
  let failed = false;
  if (status.setup) {
    waitingFor.push(`the balancer's ${status.setup}`);
    failed = status.setup.startsWith("setup failed");
  }
  for (const server of servers) {
    const node = status.nodes.find((candidate) => candidate.server === server);
    if (!node) {
      waitingFor.push(`${server}: not in HAProxy`);
    } else if (node.state === "down" || node.state === "unknown") {
      waitingFor.push(`${server}: ${node.state}${node.reason ? `: ${node.reason}` : ""}`);
      // The agent says so when a node's set-up has ended with an error: it will not be tried again.
      failed ||= node.reason.includes("setup failed");
    }
  }
  for (const { server, sockets, secondsLeft } of status.draining) {
    waitingFor.push(`${server} to drain: ${sockets} sockets left, ${secondsLeft} s at most`);
  }
  return { done: waitingFor.length === 0, failed, waitingFor };
}

/** Reads the detailed status. */
export function fetchStatus(target: {
  address: string;
  port?: number;
  domain: string;
  certificateAuthority: string;
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
        ca: [...rootCertificates, ...(target.certificateAuthority ? [target.certificateAuthority] : [])],
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
    call.on("error", reject);
    call.end();
  });
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

async function main(): Promise<void> {
  const address = required("BALANCER_ADDRESS");
  const revision = required("REVISION");
  const servers = required("SERVERS").split(" ").filter(Boolean);
  const target = {
    address,
    domain: required("DOMAIN"),
    certificateAuthority: required("CERTIFICATE_AUTHORITY"),
    token: required("STATUS_TOKEN"),
  };
  const deadlineSeconds = Number(process.env.DEADLINE_SECONDS ?? 900);
  const deadline = Date.now() + deadlineSeconds * 1000;

  let last = "";
  let reached = false;
  while (true) {
    let verdict: Verdict;
    try {
      verdict = judge(await fetchStatus(target), revision, servers);
      reached = true;
    } catch (error) {
      verdict = {
        done: false,
        failed: false,
        waitingFor: [`https://${address} as ${target.domain}: ${(error as Error).message}`],
      };
    }
    if (verdict.done) {
      console.log(`revision ${revision} is applied, ${servers.length} of ${servers.length} nodes are up`);
      return;
    }
    const message = verdict.waitingFor.join("; ");
    if (verdict.failed) throw new Error(message);
    if (Date.now() > deadline) {
      const console_ = `aws ec2 get-console-output --latest --output text --instance-id ${process.env.BALANCER_INSTANCE}`;
      throw new Error(
        `not done after ${deadlineSeconds} s: ${message}${reached ? "" : `. See the machine's console with: ${console_}`}`,
      );
    }
    if (message !== last) console.log(`waiting for ${message}`);
    last = message;
    await sleep(pollMilliseconds);
  }
}

if (require.main === module) {
  main().catch((error: Error) => {
    console.error(`rollout failed: ${error.message}`);
    process.exitCode = 1;
  });
}
