/**
 * Waits until every wanted balancer runs the revision, all its parts answer, and the load balancer sends it clients. Every
 * node must be up, every removed node drained, and every other balancer gone. Prints what is missing. Any balancer
 * answers for all. Asks the addresses under the status's own name, so it needs only port 443 and no DNS.
 *
 * Environment: ENTRY_ADDRESSES (separated by blanks), BALANCERS (JSON: the wanted balancers' instance ids by their
 * names), LOAD_BALANCER (true or false), REVISION, SERVERS (server names, separated by blanks), FURTHER_SERVERS (servers
 * that this stack does not make), TRUSTED (PEM of the CA of the status), STATUS_TOKEN, DEADLINE_SECONDS (default 900,
 * without the time in which only drains and balancers that leave are waited for), DRAIN_TIMEOUT_SECONDS, LEAVE_SECONDS
 * (how long a balancer that leaves keeps serving before its drain), ACME_DOMAIN (set when balancers order a certificate
 * for it), MAKES_RECORD (true or false: whether the stack makes that domain's DNS record), UNTIL (`serving`: it is enough
 * that the wanted balancers serve; without it every removed node must be drained, too, and every other balancer must have
 * left).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { ClusterStatus } from "../contract/status";
import { pendingCertificateWarnings } from "./certificate-warning";
import { type Clock, judgeCluster, silentSince, type WantedBalancers } from "./cluster-verdict";
import { deadlineSeconds, drainMarginSeconds, furtherSeconds, leaveMarginSeconds } from "./deadlines";
import {
  accessTo,
  names,
  nothingAnswered,
  onceEach,
  required,
  runProgram,
  seeConsole,
  throughLoadBalancer,
  wantedState,
} from "./environment";
import { takenOutInPart } from "./maintenance";
import { type Answer, askCluster, type StatusAccess } from "./status-client";

const pollMilliseconds = 2000;

/** Asks one address after the other until a balancer answers; otherwise gives the first reason. */
async function askAny(accesses: StatusAccess[]): Promise<Answer<ClusterStatus>> {
  let first: Answer<ClusterStatus> | undefined;
  for (const access of accesses) {
    const answer = await askCluster(access);
    if (answer.kind === "status") return answer;
    first ??= answer;
  }
  return first ?? { kind: "silent", reason: "there is no address to ask" };
}

/** Says that a public certificate has not come yet. */
function aboutCertificate(cluster: ClusterStatus, { balancers, untilServing }: WantedBalancers): string[] {
  const { ACME_DOMAIN: domain, MAKES_RECORD } = process.env;
  // The last wait of an `up` says it, not the one that ends when the balancers serve.
  if (!domain || untilServing) return [];
  const addresses = names(required("ENTRY_ADDRESSES"));
  return pendingCertificateWarnings(cluster, balancers, {
    domain,
    addresses,
    makesRecord: MAKES_RECORD === "true",
  });
}

async function main(): Promise<void> {
  const wanted: WantedBalancers = {
    balancers: z.record(z.string(), z.string()).parse(JSON.parse(required("BALANCERS"))),
    hasLoadBalancer: required("LOAD_BALANCER") === "true",
    untilServing: process.env.UNTIL === "serving",
    ...wantedState(),
  };
  const accesses = names(required("ENTRY_ADDRESSES")).map(accessTo);
  const drainSeconds = Number(process.env.DRAIN_TIMEOUT_SECONDS ?? 0) + drainMarginSeconds;
  const leaveSeconds = Number(process.env.LEAVE_SECONDS ?? 0) + drainSeconds + leaveMarginSeconds;
  /** The rest of each deadline, in seconds. */
  const patience = {
    rollout: deadlineSeconds,
    drain: drainSeconds,
    leave: leaveSeconds,
    further: furtherSeconds,
  };

  let last = "";
  let reached = false;
  const warn = onceEach();
  let comparedNodes = false;
  /** Since when each silent balancer has been silent, in milliseconds. */
  let silent = new Map<string | null, number>();
  const silentSeconds = (instance: string | null) =>
    (Date.now() - (silent.get(instance) ?? Date.now())) / 1000;
  while (true) {
    const asked = Date.now();
    const answer = await askAny(accesses);
    reached ||= answer.kind === "status" || answer.kind === "foreign";
    if (answer.kind === "status") silent = silentSince(answer.status, silent, asked);
    const verdict = answer.kind === "status" ? judgeCluster(answer.status, wanted, silentSeconds) : undefined;
    warn(verdict?.warnings ?? []);
    // Once, when new clients may come to every wanted balancer. The removed balancers still run then. Also at the deadline:
    // it may be such a node that does not come up.
    const isTime = patience.rollout <= 0 || (verdict?.allServe && !wanted.untilServing);
    if (answer.kind === "status" && isTime && !comparedNodes) {
      warn(takenOutInPart(answer.status, wanted));
      comparedNodes = true;
    }
    const mayEnd = verdict?.done && (verdict.furtherDown.length === 0 || patience.further <= 0);
    if (answer.kind === "status" && verdict && mayEnd) {
      const warnings = [...verdict.furtherDown, ...aboutCertificate(answer.status, wanted)];
      for (const warning of warnings) console.log(`warning: ${warning}`);
      for (const line of verdict.summary) console.log(line);
      return;
    }
    const missing = verdict?.done
      ? verdict.furtherDown
      : (verdict?.waitingFor ?? [reasonOf(answer, wanted.hasLoadBalancer && !reached)]);
    const message = missing.join("; ");
    const suspect = verdict?.suspect;
    const hint = suspect
      ? seeConsole(suspect)
      : reached
        ? ""
        : nothingAnswered(wanted.balancers, wanted.hasLoadBalancer);
    if (verdict?.failed) throw new Error(message + hint);
    if (patience.rollout <= 0) throw new Error(`not done after ${deadlineSeconds} s: ${message}${hint}`);
    if (patience.drain <= 0) throw new Error(`not drained after ${drainSeconds} s: ${message}`);
    if (patience.leave <= 0) throw new Error(`not left after ${leaveSeconds} s: ${message}`);
    if (message !== last) console.log(`waiting for ${message}`);
    last = message;
    await sleep(pollMilliseconds);
    const clock: Clock | "further" = verdict?.done ? "further" : (verdict?.clock ?? "rollout");
    patience[clock] -= (Date.now() - asked) / 1000;
  }
}

function reasonOf(answer: Answer<ClusterStatus>, hasNoTarget: boolean): string {
  if (answer.kind === "status") return "";
  return hasNoTarget ? throughLoadBalancer(answer.reason) : answer.reason;
}

if (require.main === module) runProgram("rollout", main);
