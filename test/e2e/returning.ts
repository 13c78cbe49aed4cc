import { setTimeout as sleep } from "node:timers/promises";
import { balancerAddress, clientAddress, cloud, connect, eventually, long, machine } from "./cluster";
import { serverOf } from "./fleet";
import { type ClientReport, type Failure, ReturningClient } from "./returning-client";

/** Sockets that are open while the balancer is replaced. */
export const returningSize = long ? 200 : 40;

/** How often a client that talks sends a message. */
const intervalMilliseconds = 500;
/** How long a client that has lost its socket, or was refused, waits before it tries. */
const againMilliseconds = 300;
const batchSize = 20;

/** What a client may be told while an address moves: a 503, or a connection that ends at once. */
const refusal =
  /Unexpected server response: 503|ECONNRESET|ECONNREFUSED|EHOSTUNREACH|socket hang up|socket disconnected before|closed before there was a session/;

/**
 * Whether this design knows a failure.
 * @param movedAt when the address moved: an attempt that had begun before may be told nothing at all
 */
export function isExpected({ error, began }: Failure, movedAt = 0): boolean {
  return refusal.test(error) || (began < movedAt && error.startsWith("no session within "));
}

/** Milliseconds, of the clients in the middle and of the last one. */
interface Spread {
  median: number;
  last: number;
}

function spread(values: number[]): Spread {
  const sorted = [...values].sort((one, other) => one - other);
  return { median: sorted[Math.floor(sorted.length / 2)] ?? 0, last: sorted.at(-1) ?? 0 };
}

/** Clients that connect again when their sockets end. Every other one is silent. */
export class Returning {
  private constructor(private readonly members: ReturningClient[]) {}

  static async open(count: number, address = balancerAddress): Promise<Returning> {
    const members: ReturningClient[] = [];
    while (members.length < count) {
      const first = members.length;
      const localAddress = clientAddress(1 + first / batchSize);
      const options = { connect: () => connect({}, localAddress, address), pause: () => againMilliseconds };
      const opened = Array.from({ length: Math.min(batchSize, count - first) }, (_, index) =>
        eventually(() =>
          ReturningClient.open(
            index % 2 === 0 ? options : { ...options, talkMilliseconds: intervalMilliseconds },
          ),
        ),
      );
      members.push(...(await Promise.all(opened)));
    }
    return new Returning(members);
  }

  private get reports(): ClientReport[] {
    return this.members.map(({ report }) => report);
  }

  /** Lets the silent ones send something, by which they learn that a socket is dead. */
  speak(): void {
    for (const { report, isOpen, client } of this.members) if (!report.talks && isOpen) client.socket.ping();
  }

  /** How many clients have a socket that is open, as far as they know. */
  get open(): number {
    return this.members.filter(({ isOpen }) => isOpen).length;
  }

  /** How often sockets have ended in all. */
  get ends(): number {
    return this.reports.reduce((sum, { ends }) => sum + ends, 0);
  }

  /** Sockets that have not ended since the clients were opened, or forgotten. */
  get kept(): { silent: number; talking: number } {
    const kept = this.reports.filter(({ ended }) => ended === undefined);
    const talking = kept.filter(({ talks }) => talks).length;
    return { silent: kept.length - talking, talking };
  }

  /** Counts anew from here on. */
  forget(): void {
    for (const member of this.members) member.forget();
  }

  get lastEnd(): number {
    return Math.max(...this.reports.map(({ ended }) => ended ?? 0));
  }

  /** Answers that are neither a session nor a failure that this design knows, see `isExpected`. */
  unexpected(movedAt?: number): string[] {
    const failures = this.reports.flatMap(({ failures }) => failures);
    return failures.filter((failure) => !isExpected(failure, movedAt)).map(({ error }) => error);
  }

  get refusals(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { error } of this.reports.flatMap(({ failures }) => failures))
      counts[error] = (counts[error] ?? 0) + 1;
    return counts;
  }

  /** How long clients were without a socket. */
  without(talking: boolean): Spread {
    return spread(
      this.reports
        .filter(({ talks }) => talks === talking)
        .flatMap(({ ended, back }) => (ended && back ? [back - ended] : [])),
    );
  }

  /** Servers that clients are on now. */
  servers(): string[] {
    return [...new Set(this.members.map(({ client }) => serverOf(client)))].sort();
  }

  /**
   * Asks each client's node for an answer, also those of the silent ones, and ends all.
   * @returns how many did not get one
   */
  async finish(): Promise<number> {
    const asked = this.members.map(
      (member) =>
        new Promise<boolean>((resolve) => {
          member.stopTalking();
          if (!member.isOpen) return resolve(false);
          const { socket } = member.client;
          const deadline = setTimeout(() => resolve(false), 30_000);
          socket.on("pong", (data) => {
            if (data.toString() !== "last") return;
            clearTimeout(deadline);
            resolve(true);
          });
          socket.ping("last");
        }),
    );
    const answered = await Promise.all(asked);
    for (const member of this.members) member.stayAway();
    const lost = this.members.reduce((sum, { waiting }) => sum + waiting.length, 0);
    await Promise.all(this.members.filter(({ isOpen }) => isOpen).map(({ client }) => client.close()));
    return answered.filter((answer) => !answer).length + lost;
  }
}

/** Prints what a replacement was like for its clients. */
export function measured(name: string, clients: Returning, more: Record<string, unknown> = {}): void {
  const figures = {
    silent: clients.without(false),
    talking: clients.without(true),
    refusals: clients.refusals,
    ...more,
  };
  console.log(`${name}: milliseconds without a socket ${JSON.stringify(figures)}`);
}

/** Notes when the Elastic IP gets to another machine. */
export class MoveWatch {
  private running = true;
  private readonly done: Promise<void>;
  /** The moment at which another machine was seen to have it, in milliseconds. */
  at?: number;

  private constructor(private readonly before: string) {
    this.done = this.run();
  }

  static async start(): Promise<MoveWatch> {
    return new MoveWatch((await machine("balancer")).id);
  }

  private async run(): Promise<void> {
    while (this.running && this.at === undefined) {
      const holder = (await cloud.call("machines", {})).find(({ hasElasticIp }) => hasElasticIp);
      if (holder && holder.id !== this.before) this.at = Date.now();
      await sleep(20);
    }
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }
}
