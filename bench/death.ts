import { spawnSync } from "node:child_process";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { CloudClient } from "../sandbox/cloud/client";
import { projectRoot, sandboxPaths } from "../sandbox/paths";
import { maxPauseMilliseconds, newcomerMilliseconds, patienceSeconds } from "./gap-settings";
import { median, table, thisMachine, writeSection } from "./report";
import { Clients, clients, longestHole, removeAll, type Seen, up, type Way } from "./sandbox-clients";

const rounds = 3;
/** The seconds between two health checks of the load balancer, as on AWS. */
const checkSeconds = 5;
/** How long after a death clients may come back. */
const watchSeconds = 30;
/** How long a balancer that lives again takes to be a healthy target. */
const healthySeconds = 120;
const victim = "balancer-2";

const way: Way = { name: "this program", checkout: projectRoot, sandbox: "benchdeath" };
const cloud = new CloudClient(sandboxPaths(way.sandbox));

/** Runs a command of the sandbox; gives what it has printed. */
function sandbox(...args: string[]): string {
  const command = [
    "--import",
    "tsx",
    "sandbox/cli.ts",
    ...args.slice(0, 1),
    "--name",
    way.sandbox,
    ...args.slice(1),
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    cwd: projectRoot,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`sandbox ${args.join(" ")} failed: ${stderr}`);
  return stdout;
}

const onVictim = (script: string) => sandbox("shell", victim, "sh", "-c", script);

/** A way for a balancer to die, and to live again. */
interface Death {
  name: string;
  die(): Promise<unknown> | unknown;
  revive(): Promise<unknown> | unknown;
}

const deaths: Death[] = [
  {
    name: "HAProxy is stopped and does not come back",
    die: () => onVictim("systemctl mask --runtime haproxy && systemctl kill --signal=KILL haproxy"),
    revive: () => onVictim("systemctl unmask --runtime haproxy && systemctl start haproxy"),
  },
  {
    name: "HAProxy is frozen",
    die: () => onVictim("systemctl kill --signal=STOP haproxy"),
    revive: () => onVictim("systemctl kill --signal=CONT haproxy"),
  },
  {
    name: "the network is cut",
    die: () =>
      onVictim(
        "nft 'table ip cut { chain i { type filter hook input priority 0; policy drop; }; chain o { type filter hook output priority 0; policy drop; }; }'",
      ),
    revive: () => onVictim("nft delete table ip cut"),
  },
  {
    name: "the machine is shut down",
    die: async () => cloud.call("stopInstance", { id: (await cloud.machine(victim)).id }),
    revive: async () => cloud.call("startInstance", { id: (await cloud.machine(victim)).id }),
  },
];

async function allHealthy(): Promise<void> {
  const deadline = Date.now() + healthySeconds * 1000;
  while ((sandbox("status").match(/serves, target healthy/g) ?? []).length < 2) {
    if (Date.now() > deadline) throw new Error(`not both balancers are healthy after ${healthySeconds} s`);
    await sleep(1000);
  }
}

/** One death, with the moments in milliseconds since the epoch. */
interface Round extends Seen {
  died: number;
  load: number;
}

async function kill(death: Death, entry: string): Promise<Round> {
  await allHealthy();
  const open = await Clients.open(way, entry);
  const died = Date.now();
  await death.die();
  await sleep(watchSeconds * 1000);
  const seen = await open.finish(0);
  const [load = 0] = loadavg();
  await death.revive();
  return { ...seen, died, load };
}

/** Seconds from the death until each client of one kind was back; infinite for those that did not notice. */
function back({ reports, died }: Round, talks: boolean): number[] {
  // The other balancer's clients have lost nothing: they are neither ended nor without an answer.
  return reports
    .filter((report) => report.talks === talks && report.ended !== undefined)
    .map((report) => ((report.back ?? Number.POSITIVE_INFINITY) - died) / 1000);
}

const seconds = (value: number) => (Number.isFinite(value) ? `${value.toFixed(1)} s` : "-");

function report(results: [Death, Round[]][]): string {
  const loads = results.flatMap(([, all]) => all.map(({ load }) => load));
  const rows = results.map(([{ name }, all]) => {
    const talking = all.flatMap((round) => back(round, true));
    const silent = all.flatMap((round) => back(round, false));
    return [
      name,
      String(talking.length),
      seconds(median(talking)),
      seconds(Math.max(...talking)),
      String(silent.length),
      seconds(Math.max(...silent)),
      seconds(Math.max(...all.map(longestHole))),
    ];
  });
  return `## A balancer dies: \`npm run bench -- death\`

${thisMachine()}, which runs everything. Its load average at the ends of the rounds was ${Math.min(...loads).toFixed(1)} to
${Math.max(...loads).toFixed(1)}. Two balancers behind the sandbox's load balancer, which checks them every ${checkSeconds} s, as on AWS. Each death
happens ${rounds} times, with ${clients} WebSockets on both balancers. One half sends a message each second; the other half sends
nothing. After the end of its socket a client waits a random time of up to ${maxPauseMilliseconds} ms before each attempt to connect
again, and gives an attempt ${patienceSeconds} s. The times begin with the death. A new client comes every ${newcomerMilliseconds} ms; "no new client got in" is the longest time
between two that got a session. Silent clients of a dead machine get no reset, on AWS neither: within ${watchSeconds} s they
notice only if the machine itself closed their sockets. AWS may take longer: see [operations](operations.md#when-a-balancer-dies).

${table(["", "talking clients that lost their socket", "back, median", "back, last", "silent ones that noticed", "back, last", "no new client got in"], rows)}`;
}

/** Measures how soon clients are back after a balancer has died, and writes it to docs/benchmarks.md. */
export async function benchDeath(): Promise<void> {
  try {
    removeAll([way]);
    console.error(`bringing the sandbox ${way.sandbox} up`);
    await up(way, ["balancers=2"], { WCS_SANDBOX_LOAD_BALANCER: `check=${checkSeconds}` });
    const [loadBalancer] = await cloud.call("loadBalancers", {});
    const entry = loadBalancer?.addresses[0] ?? "";
    const results: [Death, Round[]][] = [];
    for (const death of deaths) {
      const all: Round[] = [];
      for (let round = 1; round <= rounds; round++) {
        console.error(`${death.name}: round ${round} of ${rounds}`);
        all.push(await kill(death, entry));
      }
      results.push([death, all]);
    }
    const text = report(results);
    console.log(text);
    writeSection("death", text);
  } finally {
    removeAll([way]);
  }
}
