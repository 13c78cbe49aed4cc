/** Sandboxes of measurements, and clients on their internet, each group in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { removeSandbox } from "../sandbox/lifecycle";
import { projectRoot, sandboxPaths } from "../sandbox/paths";
import type { ClientReport } from "../test/e2e/returning-client";
import { perAddress } from "./gap-settings";

/** So that one client does not wait for the others' TLS handshakes. */
const clientProcesses = 4;
const clientsPerProcess = 50;
export const clients = clientProcesses * clientsPerProcess;
const newcomersAddress = 100;
const openSeconds = 60;
const upMinutes = 5;

/** A checkout of this project, and a sandbox that runs its program. */
export interface Way {
  name: string;
  checkout: string;
  sandbox: string;
}

/** A line of output, and when it came. */
export interface Line {
  at: number;
  line: string;
}

/** Processes that are left when a measurement fails. */
const running = new Set<ChildProcess>();

/** Ends everything that belongs to some sandboxes, and removes them. */
export function removeAll(ways: Way[]): void {
  for (const child of running) child.kill();
  for (const { sandbox } of ways) removeSandbox(sandboxPaths(sandbox));
}

/**
 * Brings a sandbox up with its way's own checkout.
 * @param environment of the command, besides this process's own
 * @returns what it has printed
 */
export async function up(
  way: Way,
  config: string[] = [],
  environment: Record<string, string> = {},
): Promise<Line[]> {
  const settings = ["maxConnectionsPerNode=300", ...config].flatMap((pair) => ["--config", pair]);
  const command = ["--import", "tsx", "sandbox/cli.ts", "up", "--name", way.sandbox, ...settings];
  const child = spawn(process.execPath, command, {
    cwd: way.checkout,
    // A machine that does not come up should not hold up the measurement for the usual quarter of an hour.
    env: { ...process.env, DEADLINE_SECONDS: "180", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const lines: Line[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface(stream).on("line", (line) => lines.push({ at: Date.now(), line }));
  const timer = setTimeout(() => child.kill("SIGINT"), upMinutes * 60_000);
  const status = await new Promise((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  running.delete(child);
  if (status !== 0) {
    const end = lines.slice(-30).map(({ line }) => line);
    throw new Error(`sandbox up with ${way.name} failed:\n${end.join("\n")}`);
  }
  return lines;
}

/** A program on a sandbox's internet. It prints single words on its way, and at its end what it saw, as JSON. */
class Place<Report> {
  private readonly child: ChildProcess;
  private readonly words = new Set<string>();
  private last = "";
  private readonly closed: Promise<number | null>;

  constructor({ sandbox }: Way, program: string, ...args: string[]) {
    const { internetNamespace, state } = sandboxPaths(sandbox);
    const inside = [process.execPath, "--import", "tsx", join(__dirname, program), join(state, "ca-dev.pem")];
    const command = [`--net=/run/netns/${internetNamespace}`, ...inside, ...args];
    const child = spawn("nsenter", command, { cwd: projectRoot, stdio: ["pipe", "pipe", "inherit"] });
    createInterface(child.stdout).on("line", (line) => {
      this.words.add(line);
      this.last = line;
    });
    this.child = child;
    running.add(child);
    this.closed = new Promise((resolve) => child.on("close", resolve));
  }

  /** Waits for a word; gives whether it came in time. */
  async says(word: string, seconds: number): Promise<boolean> {
    const deadline = Date.now() + seconds * 1000;
    while (!this.words.has(word)) {
      if (this.child.exitCode !== null)
        throw new Error("the clients of the measurement have ended, see above");
      if (Date.now() > deadline) return false;
      await sleep(50);
    }
    return true;
  }

  async finish(): Promise<Report> {
    this.child.stdin?.end();
    await this.closed;
    running.delete(this.child);
    return JSON.parse(this.last);
  }
}

/** The experience of the clients. Moments are in milliseconds since the epoch. */
export interface Seen {
  reports: ClientReport[];
  /** When new clients came that got a session. */
  newcomers: number[];
}

/** The longest time without a new client that got a session, in seconds. */
export function longestHole({ newcomers }: Seen): number {
  const holes = newcomers.slice(1).map((at, index) => at - (newcomers[index] ?? at));
  return Math.max(...holes) / 1000;
}

/** Clients of a sandbox, half of them silent, and new ones that come all the time. */
export class Clients {
  private constructor(
    private readonly groups: Place<ClientReport[]>[],
    private readonly newcomers: Place<number[]>,
  ) {}

  /**
   * @param entry the address to connect to
   * @throws Error when not all have a session in time
   */
  static async open(way: Way, entry: string): Promise<Clients> {
    const groups = Array.from({ length: clientProcesses }, (_, index) => {
      const firstAddress = 1 + (index * clientsPerProcess) / perAddress;
      return new Place<ClientReport[]>(
        way,
        "gap-clients.ts",
        entry,
        String(clientsPerProcess),
        String(firstAddress),
      );
    });
    const newcomers = new Place<number[]>(way, "gap-newcomers.ts", entry, String(newcomersAddress));
    for (const place of [...groups, newcomers]) {
      if (!(await place.says("open", openSeconds)))
        throw new Error(`the clients have no sessions with ${way.name} after ${openSeconds} s`);
    }
    return new Clients(groups, newcomers);
  }

  /** Waits until all are back, or until the time is over, and ends them. */
  async finish(seconds: number): Promise<Seen> {
    await Promise.all(this.groups.map((place) => place.says("back", seconds)));
    const reports = await Promise.all(this.groups.map((place) => place.finish()));
    return { reports: reports.flat(), newcomers: await this.newcomers.finish() };
  }
}
