/** Judges a balancer's status for a rollout. Pure functions. */
import type { RemovedServer, Status } from "../cluster/status";

interface Verdict {
  done: boolean;
  /** Waiting does not help. */
  failed: boolean;
  /** What is missing, in an operator's words; empty when done. */
  waitingFor: string[];
  /** Whether only drains are missing, which have their own deadline. */
  onlyDrains: boolean;
}

/** The progress of a set-up, as text for an operator. */
export function setupProgress({ state, step }: NonNullable<Status["setup"]>): string {
  return state === "failed" ? `its set-up failed at step ${step}` : `its set-up is at step ${step}`;
}

/** The servers that take no clients, with the reason. Full servers are not among them. */
export function notUp(status: Status, servers: string[]): string[] {
  return servers.flatMap((server) => {
    const node = status.nodes.find((candidate) => candidate.server === server);
    if (!node) return [`${server}: not in HAProxy`];
    if (node.state !== "down" && node.state !== "unknown") return [];
    if (node.setup) return [`${server}: ${setupProgress(node.setup)}`];
    return [`${server}: ${node.state}${node.reason ? `: ${node.reason}` : ""}`];
  });
}

/** The state of a removed server and its remaining time, as text for an operator. */
export function removedServer({ state, reason, secondsLeft, held, lastResort }: RemovedServer): string {
  const why = reason ? `: ${reason}` : "";
  const serves = state === "up" || state === "full";
  if (held) return `${serves ? "serves" : `${state}${why}; stays`} until the new nodes are up`;
  const left = `${Math.ceil(secondsLeft / 60)} min at most`;
  if (lastResort)
    return `${serves ? "takes clients" : `${state}${why}; stays`} while every wanted node is down, ${left}`;
  return `${left}${why}`;
}

/** The machine, revision and servers that a rollout waits for. */
export interface Wanted {
  instance: string;
  revision: string;
  servers: string[];
}

/**
 * Judges a status. A pure function, so that every case can be tested.
 * @param beginning of each line about the balancer itself
 */
export function judge(
  status: Status,
  { instance, revision, servers }: Wanted,
  beginning = "the balancer: ",
): Verdict {
  if (status.instance !== instance) {
    const reason = status.instance
      ? `another machine answers: ${status.instance}, not ${instance}`
      : "the machine does not know its instance id yet";
    return { done: false, failed: false, onlyDrains: false, waitingFor: [reason] };
  }
  if (status.revision !== revision) {
    const state = status.revision ? `still runs revision ${status.revision}` : "runs no revision yet";
    const why = status.error ? `: ${status.error}` : "";
    return {
      done: false,
      failed: status.refused === revision,
      waitingFor: [`${beginning}it ${state}${why}`],
      onlyDrains: false,
    };
  }
  const waitingFor: string[] = [];
  let failed = false;
  // Another revision was wanted meanwhile and refused. The balancer has not asked AWS again since then.
  if (status.refused)
    waitingFor.push(`${beginning}it still reports revision ${status.refused}, which it refused`);
  if (status.setup) {
    failed = status.setup.state === "failed";
    waitingFor.push(beginning + setupProgress(status.setup));
  }
  waitingFor.push(...status.away.map((part) => beginning + part));
  waitingFor.push(...notUp(status, servers));
  // A failed set-up is not started again.
  failed ||= status.nodes.some(({ server, setup }) => setup?.state === "failed" && servers.includes(server));
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

/** The warnings of a status. None while another revision runs, since the wanted one may remove their cause. */
export function warningsOf(status: Status, revision: string): string[] {
  return status.revision === revision ? status.warnings : [];
}
