import { setTimeout as sleep } from "node:timers/promises";
import {
  balancerAddress,
  type Client,
  clientAddress,
  cloud,
  connect,
  eventually,
  long,
  onMachine,
} from "./cluster";
import type { Failure } from "./returning-client";

/** The number of sockets that are open during a change. */
export const fleetSize = long ? 200 : 100;

/** How often each sends a message. */
const intervalMilliseconds = long ? 200 : 500;

/** How many of them come at a time. */
const batchSize = 20;

/**
 * A new client that waits longer counts as not let in. Generous, since other tests may need the processors, too: HAProxy
 * refuses a client for which it finds no node within 3 s.
 */
const slowMilliseconds = 20_000;

/** How long HAProxy may miss a node after a check that was too late, in seconds. */
const missedSeconds = 15;

interface Member {
  client: Client;
  /** The server that the balancer has chosen, read from its cookie. */
  server: string;
  sent: number;
  received: number;
  /** How the socket has ended; undefined while it is open. */
  ended?: "by us" | "orderly" | "broken";
}

export interface Tally {
  sockets: number;
  messages: number;
  lost: number;
  /** Sockets that ended although the test did not close them. */
  closed: number;
}

/** The server that a client is on, by the cookie that it got. */
export function serverOf(client: Client): string {
  return client.cookie.match(/^SERVERID=([^;]+)/)?.[1] ?? "";
}

/**
 * WebSockets through the balancer, each of which sends numbered messages and gets them back: as pings,
 * which a WebSocket server has to answer with their content, in order.
 */
export class Fleet {
  private readonly members: Member[] = [];
  private timer?: NodeJS.Timeout;

  /** @param entry the address to connect to */
  static async open(count: number, entry = balancerAddress): Promise<Fleet> {
    const fleet = new Fleet();
    while (fleet.members.length < count) {
      const batch = Math.min(batchSize, count - fleet.members.length);
      // Each batch has its own client address, since a single one may not have so many connections.
      const address = clientAddress(1 + fleet.members.length / batchSize);
      const clients = await Promise.all(
        Array.from({ length: batch }, () => eventually(() => connect({}, address, entry))),
      );
      for (const client of clients) fleet.add(client);
    }
    fleet.timer = setInterval(() => fleet.ping(), intervalMilliseconds);
    return fleet;
  }

  private add(client: Client): void {
    const member: Member = { client, server: serverOf(client), sent: 0, received: 0 };
    this.members.push(member);
    let broken = false;
    client.socket.on("pong", (data) => {
      // One that is missing makes every later one count as lost.
      if (Number(data.toString()) === member.received + 1) member.received++;
    });
    client.socket.on("error", () => {
      broken = true;
    });
    client.socket.on("close", () => {
      member.ended ??= broken ? "broken" : "orderly";
    });
  }

  private ping(): void {
    for (const member of this.members) {
      if (member.ended) continue;
      member.sent++;
      member.client.socket.ping(String(member.sent));
    }
  }

  /** Open sockets by server. */
  perServer(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { server, ended } of this.members) if (!ended) counts[server] = (counts[server] ?? 0) + 1;
    return counts;
  }

  ended(how: Member["ended"], server?: string): number {
    return this.members.filter((member) => member.ended === how && (!server || member.server === server))
      .length;
  }

  /** Ends the sockets of some servers as clients do, when every answer is there. */
  async close(servers?: (server: string) => boolean): Promise<void> {
    const leaving = this.members.filter(({ server, ended }) => !ended && (!servers || servers(server)));
    for (const member of leaving) member.ended = "by us";
    const deadline = Date.now() + 30_000;
    while (leaving.some(({ sent, received }) => received < sent) && Date.now() < deadline) await sleep(20);
    await Promise.all(leaving.map(({ client }) => client.close()));
  }

  /** Ends all sockets and counts. Messages in flight on a socket that the other side closed are not counted. */
  async finish(): Promise<Tally> {
    await this.close();
    clearInterval(this.timer);
    const ours = this.members.filter(({ ended }) => ended === "by us");
    return {
      sockets: this.members.length,
      messages: this.members.reduce((sum, { received }) => sum + received, 0),
      lost: ours.reduce((sum, { sent, received }) => sum + sent - received, 0),
      closed: this.members.length - ours.length,
    };
  }
}

interface NewcomerFailure extends Failure {
  at: number;
}

/** New clients, one after the other, for as long as something lasts: each must get a session, and soon. */
export class Newcomers {
  private running = true;
  private readonly done: Promise<void>;
  /** The servers that clients landed on, with the time. */
  readonly landings: { server: string; at: number }[] = [];
  readonly failures: NewcomerFailure[] = [];

  /** @param entry the address to connect to */
  constructor(private readonly entry = balancerAddress) {
    this.done = this.run();
  }

  private async run(): Promise<void> {
    while (this.running) {
      const began = Date.now();
      try {
        const client = await connect({}, undefined, this.entry);
        const at = Date.now();
        this.landings.push({ server: serverOf(client), at });
        if (at - began > slowMilliseconds)
          this.failures.push({ error: `a session after ${(at - began) / 1000} s`, began, at });
        await client.close();
      } catch (error) {
        this.failures.push({ error: (error as Error).message, began, at: Date.now() });
      }
      await sleep(200);
    }
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }

  /**
   * The failures that count. On a busy machine the checks of all nodes can be too late. HAProxy then refuses clients for a
   * moment, as it must, and its log has the reason: refusals of this kind are only printed.
   */
  async countedFailures(): Promise<NewcomerFailure[]> {
    const counted: NewcomerFailure[] = [];
    for (const failure of this.failures) {
      const late = failure.error.endsWith("response: 503") ? await lateChecks(failure.at) : "";
      if (late) console.log(`a client was refused since a check was too late: ${late}`);
      else counted.push(failure);
    }
    return counted;
  }

  /** The longest time without a client that got a session, in milliseconds. */
  outage(): number {
    let longest = 0;
    for (const [index, { at }] of this.landings.entries()) {
      longest = Math.max(longest, at - (this.landings[index - 1]?.at ?? at));
    }
    return longest;
  }
}

/** If a balancer has missed every node in the seconds before a moment, what its log says of a check that was too late. */
async function lateChecks(at: number): Promise<string> {
  const [since, until] = [Math.floor(at / 1000) - missedSeconds, Math.ceil(at / 1000)];
  const log = `journalctl --unit=haproxy --no-pager --output=cat --since=@${since} --until=@${until}`;
  const isWithoutNodes = `grep --quiet 'wcs_back has no server available' <<<"$log"`;
  const late = `grep --extended-regexp --max-count=1 'wcs_back/.*(WCS hangs|timeout)' <<<"$log"`;
  const balancers = (await cloud.call("machines", {})).filter(
    ({ name, leader }) => name.startsWith("balancer") && leader,
  );
  const logs = await Promise.all(
    balancers.map(({ id }) => onMachine(id, `log=$(${log}); ${isWithoutNodes} && ${late}`)),
  );
  return logs.map(({ output }) => output.trim()).join("");
}
