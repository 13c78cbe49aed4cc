import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../sandbox/paths";
import { balancerAddress } from "../test/e2e/client";
import type { ClientReport } from "../test/e2e/returning-client";
import { maxPauseMilliseconds, newcomerMilliseconds, patienceSeconds } from "./gap-settings";
import { median, percentile, table, thisMachine, writeSection } from "./report";
import {
  Clients,
  clients,
  type Line,
  longestHole,
  removeAll,
  type Seen,
  up,
  type Way,
} from "./sandbox-clients";

/** The last commit that deletes the old balancer before it makes the new one. */
const commitBefore = "5813d7b";

const rounds = 3;
/** How long after the end of `up` a client may still come back. */
const lateSeconds = 20;

/** One replacement. */
interface Round extends Seen {
  /** What `up` printed. */
  lines: Line[];
  load: number;
}

/** Puts the commit's files beside each other in a folder, with this checkout's packages. */
function checkOut(commit: string, folder: string): void {
  mkdirSync(folder);
  const script = `git -C "$1" archive ${commit} | tar --extract --directory "$2"`;
  const { status, stderr } = spawnSync(
    "bash",
    ["-o", "pipefail", "-c", script, "bash", projectRoot, folder],
    {
      encoding: "utf8",
    },
  );
  if (status !== 0)
    throw new Error(
      `the commit ${commit}, with which this is compared, cannot be read: ${stderr.trim()}. ` +
        "In a shallow clone fetch the history with: git fetch --unshallow",
    );
  symlinkSync(join(projectRoot, "node_modules"), join(folder, "node_modules"));
}

/** Replaces the balancer once, with clients: another image makes another machine. */
async function replace(way: Way, round: number): Promise<Round> {
  const open = await Clients.open(way, balancerAddress);
  const lines = await up(way, [`balancerAmi=ami-0123456789abcde${round.toString().padStart(2, "0")}`]);
  const [load = 0] = loadavg();
  return { ...(await open.finish(lateSeconds)), lines, load };
}

/** Since when a talking client has no path: since its first message without an answer, or else since its end. */
function lostPath({ ended, unanswered }: ClientReport): number {
  return Math.min(ended ?? Number.POSITIVE_INFINITY, unanswered ?? Number.POSITIVE_INFINITY);
}

/** Seconds for the clients of one kind; infinite for those that were not back, or had not noticed, at the end. */
interface Times {
  /** Without a path. */
  gap: number[];
  /** Until the client knew that its path was gone. */
  noticed: number[];
}

/**
 * The times of a round. A silent client that is not told does not know since when it has no path: all use the same
 * machine, so it has none since the last talking client has none.
 */
function timesOf({ reports }: Round, talks: boolean): Times {
  const allLost = Math.max(...reports.filter((report) => report.talks).map(lostPath));
  const times: Times = { gap: [], noticed: [] };
  for (const report of reports.filter((candidate) => candidate.talks === talks)) {
    const { ended = Number.POSITIVE_INFINITY, back = Number.POSITIVE_INFINITY } = report;
    const lost = talks ? lostPath(report) : Math.min(ended, allLost);
    times.gap.push((back - lost) / 1000);
    times.noticed.push((ended - lost) / 1000);
  }
  return times;
}

function numbers(rows: Round[], times: (round: Round) => number[]): [number, number, number] {
  const all = rows.flatMap(times);
  return [median(all), percentile(all, 95), Math.max(...all)];
}

const seconds = (value: number) => (Number.isFinite(value) ? `${value.toFixed(1)} s` : "not at all");
/** Of times that take no time in either way a ratio says nothing. */
const ratio = (ours: number, theirs: number) =>
  Number.isFinite(theirs) && theirs >= 1 ? (ours / theirs).toFixed(2) : "";

/** The steps of a hand-over, each with the seconds since the one before it. */
function steps({ reports, lines }: Round): Record<string, number> {
  const at = (pattern: RegExp) => lines.find(({ line }) => pattern.test(line))?.at ?? Number.NaN;
  const ends = reports.map(({ ended }) => ended ?? Number.NaN);
  const backs = reports.map(({ back }) => back ?? Number.NaN);
  const moments: [string, number][] = [
    ["the first socket ends", Math.min(...ends)],
    ["the old balancer says that all are closed", at(/the old balancer closed/)],
    ["the address has moved", at(/EipAssociation.* created replacement/)],
    ["the first client is back", Math.min(...backs)],
    ["the last client is back", Math.max(...backs)],
  ];
  return Object.fromEntries(
    moments.slice(1).map(([name, moment], index) => [name, (moment - (moments[index]?.[1] ?? 0)) / 1000]),
  );
}

function report(now: Round[], before: Round[]): string {
  const figures: [string, (round: Round) => number[]][] = [
    ["a talking client without a path", (round) => timesOf(round, true).gap],
    ["a silent client without a path", (round) => timesOf(round, false).gap],
    ["until a talking client notices", (round) => timesOf(round, true).noticed],
    ["until a silent client notices", (round) => timesOf(round, false).noticed],
    ["no new client got in", (round) => [longestHole(round)]],
  ];
  const names = ["median", "95 %", "last"];
  const rows = figures.flatMap(([name, times]) => {
    const [ours, theirs] = [numbers(now, times), numbers(before, times)];
    return names.map((which, index) => {
      const [our = Number.NaN, their = Number.NaN] = [ours[index], theirs[index]];
      return [`${name}, ${which}`, seconds(our), seconds(their), ratio(our, their)];
    });
  });
  const perRound = now.map(steps);
  const stepRows = Object.keys(perRound[0] ?? {}).map((name) => {
    const values = perRound.map((step) => step[name] ?? Number.NaN);
    return [name, seconds(median(values)), seconds(Math.max(...values))];
  });
  const lastOfEach = now.map((round) =>
    Math.max(...[true, false].flatMap((talks) => timesOf(round, talks).gap)),
  );
  const loads = [...now, ...before].map(({ load }) => load);
  const again = [...now, ...before].flatMap(({ reports }) => reports).filter(({ ends }) => ends > 1);
  return `## A new balancer: \`npm run bench -- gap\`

${thisMachine()}, which runs everything: balancers, nodes, clients and engine.
Its load average at the ends of the rounds was ${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}. Two sandboxes stand side
by side. One has this program, which makes the new balancer first. The other one has the program and the sandbox of commit ${commitBefore}, which deletes the old balancer first. In turn each gets a new
\`balancerAmi\`, ${rounds} times, with ${clients} WebSockets. One half sends a message each second. The other half sends nothing and
only answers the pings of WCS. After the end of its socket a client waits a random time of up to ${maxPauseMilliseconds} ms before each
attempt to connect again, and gives an attempt ${patienceSeconds} s. "Without a path" begins with the end of the socket, or with the first
message that had no answer before. It ends when WCS has accepted the new session. A new client comes every
${newcomerMilliseconds} ms; "no new client got in" is the longest time between two that got a session. Sockets that ended a second time: ${again.length}.

${table(["", "the new balancer first", "the old one deleted first", "ratio"], rows)}

With the new balancer first, the last client of each round was without a path for ${lastOfEach.map(seconds).join(", ")}.
Where the time goes when the new balancer comes first, each step from the end of the one before it:

${table(["until", "median", "longest"], stepRows)}`;
}

/** Measures how long clients are without a path while the balancer is replaced, and writes it to docs/benchmarks.md. */
export async function benchGap(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "wcs-gap-"));
  const now: Way = { name: "this program", checkout: projectRoot, sandbox: "benchnow" };
  const before: Way = {
    name: `the program of ${commitBefore}`,
    checkout: join(folder, "before"),
    sandbox: "benchbefore",
  };
  const ways = [now, before];
  const results = new Map<Way, Round[]>(ways.map((way) => [way, []]));
  try {
    checkOut(commitBefore, before.checkout);
    removeAll(ways);
    for (const way of ways) {
      console.error(`${way.name}: bringing the sandbox ${way.sandbox} up`);
      await up(way);
    }
    for (let round = 1; round <= rounds; round++) {
      for (const way of ways) {
        console.error(`round ${round} of ${rounds}: ${way.name}`);
        results.get(way)?.push(await replace(way, round));
      }
    }
    const text = report(results.get(now) ?? [], results.get(before) ?? []);
    console.log(text);
    writeSection("gap", text);
  } finally {
    removeAll(ways);
    rmSync(folder, { recursive: true, force: true });
  }
}
