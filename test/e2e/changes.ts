import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { statusPath, statusTokenFile } from "../../cluster/contract";
import { parseStatus, type Status } from "../../cluster/status";
import { notUp } from "../../rollout/verdict";
import { eventually, get, onMachine, type Running, startSandbox, up } from "./cluster";
import { Fleet, fleetSize, Newcomers, type Tally } from "./fleet";

/** Seconds from the moment at which the desired state was written. */
interface Times {
  /** The balancer has applied it. */
  seen?: number;
  /** Every node takes clients. */
  serving?: number;
  /** The last removed node has no socket left. */
  drained?: number;
}

let token = "";

/** The detailed status, as `pulumi up` sees it. */
export async function status(): Promise<Status> {
  const ask = () => get(statusPath, { Authorization: `Bearer ${token}` });
  let { status: answer, body } = await ask();
  if (answer === 403) {
    // The token changes with the certificate's key.
    token = (await onMachine("balancer", `cat ${statusTokenFile}`)).output;
    ({ status: answer, body } = await ask());
  }
  if (answer !== 200) throw new Error(`the status answers HTTP ${answer}`);
  return parseStatus(body);
}

/** Process ids of HAProxy's workers. A reload makes a new one. */
export async function workers(): Promise<string> {
  return (await onMachine("balancer", "pgrep -P $(systemctl show -p MainPID --value haproxy) | sort | xargs"))
    .output;
}

/** Watches the balancer while something changes. */
class Watcher {
  private running = true;
  private readonly done: Promise<void>;
  readonly seen: { at: number; status: Status }[] = [];

  constructor() {
    this.done = this.run();
  }

  private async run(): Promise<void> {
    while (this.running) {
      try {
        this.seen.push({ at: Date.now(), status: await status() });
      } catch {
        // No balancer, for the moment.
      }
      await sleep(500);
    }
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }

  times(written: number | undefined): Times {
    if (written === undefined) return {};
    const last = this.seen.at(-1)?.status;
    const after = this.seen.filter(({ at, status }) => at >= written && status.revision === last?.revision);
    const first = (condition: (status: Status) => boolean) => {
      const found = after.find(({ status }) => condition(status));
      return found && Math.max(0, Math.round((found.at - written) / 100) / 10);
    };
    const drains = after.some(({ status }) => status.draining.length > 0);
    return {
      seen: first(() => true),
      serving: first((status) => notUp(status, last?.nodes.map(({ server }) => server) ?? []).length === 0),
      drained: drains ? first(({ draining }) => draining.length === 0) : undefined,
    };
  }
}

interface Change {
  /** The name of the change in the table. */
  name: string;
  /** Arguments of `sandbox up`. */
  args: string[];
  variables?: Record<string, string>;
  /** Runs beside the change. If it gives another `up`, the times of that one count. */
  meanwhile?(fleet: Fleet, up: Running, newcomers: Newcomers): Promise<Running> | Promise<void>;
  /** Whether the command is to fail. */
  fails?: boolean;
  /** Sockets that end by design: a count, or any number. @default 0 */
  closes?: number | "any";
  /** Whether new clients may have to wait, because the balancer itself is away. */
  outage?: boolean;
}

interface Outcome {
  tally: Tally;
  times: Times;
  newcomers: Newcomers;
  output: string;
  seconds: number;
}

/** Makes a change while sockets exchange messages and new clients connect, and checks that no client has noticed. */
export async function during(change: Change): Promise<Outcome> {
  const fleet = await Fleet.open(fleetSize);
  const newcomers = new Newcomers();
  const watcher = new Watcher();
  const began = Date.now();
  let output = "";
  let written: number | undefined;
  const up = startSandbox(["up", ...change.args], change.variables);
  try {
    const counts = (await change.meanwhile?.(fleet, up, newcomers)) ?? up;
    const ended = await up.ended;
    output = ended.output;
    expect(ended.status === 0, output.slice(-3000)).toBe(!change.fails);
    // A change that was not applied has no times.
    if (!change.fails || counts !== up)
      written = counts.lines.find(({ line }) => /desired-state-document (updated|created)/.test(line))?.at;
  } catch (error) {
    up.interrupt();
    await up.ended;
    throw error;
  } finally {
    await sleep(500);
    await Promise.all([newcomers.stop(), watcher.stop()]);
  }
  const tally = await fleet.finish();
  const outcome = {
    tally,
    times: watcher.times(written),
    newcomers,
    output,
    seconds: (Date.now() - began) / 1000,
  };
  report(change.name, outcome);
  expect(tally.lost).toBe(0);
  if (change.closes !== "any") expect(tally.closed).toBe(change.closes ?? 0);
  expect(tally.messages).toBeGreaterThan(tally.sockets);
  if (!change.outage) expect(await newcomers.countedFailures()).toEqual([]);
  expect(newcomers.landings.length).toBeGreaterThan(0);
  return outcome;
}

/** A line for `npm run bench -- changes`. */
function report(name: string, { tally, times, newcomers, seconds }: Outcome): void {
  const file = process.env.WCS_CHANGES_REPORT;
  if (!file) return;
  const row = {
    name,
    ...tally,
    ...times,
    newClients: newcomers.landings.length,
    refusedClients: newcomers.failures.length,
    outage: newcomers.outage() / 1000,
    seconds,
  };
  appendFileSync(file, `${JSON.stringify(row)}\n`);
}
/** The settings for changes: clients keep their node, and the fleet fits on two nodes. */
export const base = ["--config", "stickiness=true", "--config", "maxConnectionsPerNode=300"];
/** Arguments of `up` for so many nodes. */
export const withNodes = (count: number, ...more: string[]) => ["--nodes", String(count), ...base, ...more];

export const upWith = (count: number, ...more: string[]) => up(...withNodes(count, ...more));

/** Waits until a server gets no more clients and drains, and gives its sockets. */
export async function draining(server: string): Promise<number> {
  return eventually(async () => {
    const found = (await status()).draining.find((candidate) => candidate.server === server);
    expect(found?.held).toBe(false);
    expect(found?.sockets).toBeGreaterThan(0);
    return found?.sockets ?? 0;
  }, 300);
}
