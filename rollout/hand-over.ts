/**
 * Prepares the move of the Elastic IP to a new balancer. Waits until the new machine serves. Then tells the old one to
 * close its sockets and refuse new ones, so that clients connect again at once. Otherwise a client that never sends
 * anything would keep a dead socket for ever.
 *
 * Environment: ENTRY_ADDRESS (the Elastic IP), FIRST_ADDRESS (the new machine's own address), LOAD_BALANCER_ADDRESSES
 * (separated by blanks; none without one), INSTANCE (the new machine's id), REVISION, SERVERS (server names, separated
 * by blanks), FURTHER_SERVERS (servers that this stack does not make), TRUSTED (PEM of the CA of the status),
 * STATUS_TOKEN, PROGRAM (the process that moves the address afterwards), DEADLINE_SECONDS (default 900),
 * HAND_OVER_SECONDS (default 60).
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Identity, Status } from "../contract/status";
import { askMachine } from "./ask-machine";
import { deadlineSeconds, furtherSeconds } from "./deadlines";
import {
  accessTo,
  names,
  onceEach,
  required,
  runProgram,
  seeConsole,
  type WantedState,
  wantedState,
} from "./environment";
import { takenOutElsewhere } from "./maintenance";
import { type Answer, askIdentity, askToHandOver, type HandedOver, type StatusAccess } from "./status-client";
import { judge, notUp, type Wanted } from "./verdict";

const pollMilliseconds = 2000;
/** The old balancer refuses clients for this time. If the address has not moved by then, it serves again. */
const handOverSeconds = Number(process.env.HAND_OVER_SECONDS ?? 60);
/** A balancer that applies a change is busy for some seconds. */
const handOverAttempts = 3;
/** The time for the answer of a machine that did not answer before. */
const shortMilliseconds = 5000;

/**
 * Without an answer for this time, the machine at the Elastic IP counts as dead: a single answer may get lost. Without
 * a balancer's answer for this time, it counts as foreign: a balancer's service may be starting again.
 */
const silenceSeconds = 10;

/** How long something has lasted, in seconds. */
interface Waited {
  /** Nothing answers at the Elastic IP. */
  silent: number;
  /** No balancer of this stack answers there. */
  foreign: number;
  /** The new machine serves with every node that this stack makes. */
  serving: number;
}

/** The new machine, and what it has to serve. */
type WantedMachine = Wanted & WantedState;

type Step =
  /**
   * The address can move. Before that the machine that has it is asked to close its sockets: until it does so, or only
   * once if it does not answer as a balancer, or not at all if it is the new machine.
   */
  | { kind: "move"; handOver: "insist" | "once" | "no"; warnings: string[] }
  | { kind: "wait"; reason: string }
  /** Waiting does not help. */
  | { kind: "fail"; reason: string };

/**
 * Decides the next step. A pure function, so that every case can be tested.
 * @param entry the answer at the Elastic IP
 * @param next the answer at the new machine's own address
 */
export function nextStep(
  wanted: WantedMachine,
  entry: Answer<Identity>,
  next: Answer<Status>,
  waited: Waited,
): Step {
  // An earlier run has moved the address, and was ended before it learnt that.
  if (entry.kind === "status" && entry.status.instance === wanted.instance)
    return { kind: "move", handOver: "no", warnings: [] };
  if (next.kind !== "status") return { kind: "wait", reason: `the new balancer: ${next.reason}` };
  const { status } = next;
  const warnings = notUp(status, wanted.furtherServers);
  const nobodyServes = entry.kind === "silent" && waited.silent >= silenceSeconds;
  // A part of the nodes is better than none.
  if (nobodyServes && servesSome(status, wanted)) return { kind: "move", handOver: "once", warnings };
  if (!servesAll(status, wanted)) {
    const { failed, waitingFor } = judge(status, wanted, "");
    return { kind: failed ? "fail" : "wait", reason: `the new balancer: ${waitingFor.join("; ")}` };
  }
  if (warnings.length > 0 && waited.serving < furtherSeconds)
    return { kind: "wait", reason: `the new balancer: ${warnings.join("; ")}` };
  if (entry.kind === "status") return { kind: "move", handOver: "insist", warnings };
  return nobodyServes || (entry.kind === "foreign" && waited.foreign >= silenceSeconds)
    ? { kind: "move", handOver: "once", warnings }
    : { kind: "wait", reason: `the old balancer: ${entry.reason}` };
}

/** The nodes that an operator has taken out of the old balancer and not of the new one. */
export function takenOutBefore(wanted: WantedState, entry: Answer<Identity>, next: Answer<Status>): string[] {
  if (entry.kind !== "status" || next.kind !== "status") return [];
  const view = (which: string, { instance, nodes }: Identity) => ({
    balancer: `the ${which} balancer (${instance})`,
    nodes,
  });
  const servers = [...wanted.servers, ...wanted.furtherServers];
  return takenOutElsewhere(servers, [view("new", next.status)], [view("old", entry.status)]);
}

/** Whether a machine serves with every node that this stack makes. */
function servesAll(status: Status, wanted: WantedMachine): boolean {
  const verdict = judge(status, wanted);
  return verdict.done || verdict.onlyDrains;
}

/** Whether a machine serves with a part of its nodes. */
function servesSome(status: Status, wanted: WantedMachine): boolean {
  const all = [...wanted.servers, ...wanted.furtherServers];
  const up = all.filter((server) => notUp(status, [server]).length === 0);
  return up.length > 0 && judge(status, { ...wanted, servers: up }).done;
}

/**
 * @throws Error when the process that moves the address has ended. A killed `pulumi up` does not end this program, and
 * a hand-over without a move would only shut clients out.
 */
function checkRuns(program: number): void {
  try {
    process.kill(program, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") return;
    throw new Error("pulumi up has ended, so the address stays where it is. Run pulumi up again");
  }
}

/** Asks the machine that has the Elastic IP to close its sockets, several times or once. */
async function handOver(access: StatusAccess, how: "insist" | "once"): Promise<Answer<HandedOver>> {
  if (how === "once") return askToHandOver(access, handOverSeconds, shortMilliseconds);
  let answer = await askToHandOver(access, handOverSeconds);
  for (let attempt = 1; attempt < handOverAttempts; attempt++) {
    // A refused computer waits for its turn, however long that takes.
    if (answer.kind === "status" || answer.kind === "refused") return answer;
    await sleep(pollMilliseconds);
    answer = await askToHandOver(access, handOverSeconds);
  }
  return answer;
}

/**
 * The result of a hand-over, or its effect on clients when the old balancer does not close its sockets.
 * @param wasSilent whether nothing answered before either
 */
export function explainHandOver(answer: Answer<HandedOver>, wasSilent: boolean): string {
  if (answer.kind === "status")
    return (
      `the old balancer closed ${answer.status.closed} sockets and refuses new ones for ${handOverSeconds} s. To end that ` +
      "earlier if the address does not move, run on it: wcs-balancer take-back"
    );
  const effect = "a client that sends nothing finds out only by its own time-out that its socket is dead";
  return wasSilent
    ? `warning: nothing answered for ${silenceSeconds} s at the Elastic IP (${answer.reason}), so the address moves ` +
        `without a hand-over. For the first balancer this is normal; otherwise ${effect}`
    : `warning: the old balancer did not close its sockets (${answer.reason}). The address moves anyway: ${effect}`;
}

async function main(): Promise<void> {
  const wanted = { instance: required("INSTANCE"), ...wantedState() };
  const [entry, next] = [accessTo(required("ENTRY_ADDRESS")), accessTo(required("FIRST_ADDRESS"))];
  const loadBalancer = names(process.env.LOAD_BALANCER_ADDRESSES ?? "").map(accessTo);
  const program = Number(required("PROGRAM"));
  const began = Date.now();
  const deadline = began + deadlineSeconds * 1000;
  /** The last moment at which something answered, a balancer answered, and the new machine did not serve. */
  const last = { answer: began, balancer: began, incomplete: began };
  let printed = "";
  const warn = onceEach();
  while (true) {
    const [current, coming] = await Promise.all([
      askIdentity(entry),
      askMachine(wanted.instance, next, loadBalancer),
    ]);
    checkRuns(program);
    const now = Date.now();
    if (current.kind !== "silent") last.answer = now;
    if (current.kind === "status" || current.kind === "refused") last.balancer = now;
    if (coming.kind !== "status" || !servesAll(coming.status, wanted)) last.incomplete = now;
    let step = nextStep(wanted, current, coming, {
      silent: (now - last.answer) / 1000,
      foreign: (now - last.balancer) / 1000,
      serving: (now - last.incomplete) / 1000,
    });
    // Also while it waits: a node that is out because it is broken keeps the new balancer waiting. With a load balancer the
    // rollout knows the old balancer, too, and says it.
    const isLate = Date.now() > deadline;
    if (loadBalancer.length === 0 || isLate) warn(takenOutBefore(wanted, current, coming));
    if (step.kind === "move") {
      const answer = step.handOver === "no" ? undefined : await handOver(entry, step.handOver);
      if (answer?.kind === "refused") {
        step = { kind: "wait", reason: `the old balancer: ${answer.reason}` };
      } else {
        warn(step.warnings);
        if (answer) console.log(explainHandOver(answer, current.kind === "silent"));
        console.log(`${wanted.instance} serves: ${entry.address} moves to it`);
        return;
      }
    }
    if (step.kind === "fail") throw new Error(step.reason + seeConsole(wanted.instance));
    if (isLate)
      throw new Error(`not done after ${deadlineSeconds} s: ${step.reason}${seeConsole(wanted.instance)}`);
    if (step.reason !== printed) console.log(`waiting for ${step.reason}`);
    printed = step.reason;
    await sleep(pollMilliseconds);
  }
}

if (require.main === module) runProgram("hand-over", main);
