import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ParseArgsConfig, parseArgs } from "node:util";
import {
  clusterPath,
  nodeStatisticsPort,
  statisticsPort,
  statusPort,
  statusTokenFile,
} from "../contract/facts";
import { type ClusterStatus, parseCluster } from "../contract/status";
import { refuseOthers, splitArguments } from "./arguments";
import { inTheBalancers, nameEach, summary } from "./balancer-status";
import { CloudClient, findMachine, type MachineStatus } from "./cloud/client";
import type { Deployment } from "./deploy";
import { dns } from "./dns";
import { removeSandbox } from "./lifecycle";
import { underLock } from "./lock";
import { localPort, open } from "./open";
import { cache, sandboxPaths, testPrefix } from "./paths";
import { CommandError, inMachine, run } from "./shell";

const usage = `Usage: npm run sandbox [-- COMMAND] [OPTIONS]

The whole cluster on this machine, without AWS.

Commands:
  up                    create the stack, or change it to what its file says now (the default)
  preview               show what 'up' would change
  refresh               update the state from the sandbox's resources, and show what was changed outside Pulumi
  status                the machines, and the states of balancers and nodes
  shell NAME [CMD...]   a shell on a machine, or one command there. Options of this program stand before CMD; words
                        after CMD belong to CMD (with -- before CMD even a --name)
  logs NAME             a machine's console and its journal
  open [NAME]           the balancer's pages in this machine's own browser, until Ctrl-C; with a node's name that
                        node's statistics page, with 'statistics' HAProxy's statistics page
  dns                   the DNS records that were made by hand, as at a registrar
  dns DOMAIN ADDRESS... make the records of a name, which machines and Let's Encrypt then find; a hosted zone of the
                        stack makes its records itself
  dns DOMAIN --remove   remove them
  destroy               delete the stack as 'pulumi destroy' does; the sandbox stays
  down                  remove everything except the cache
  help                  this text

NAME is a balancer such as balancer-1 (or balancer, the first), a node such as wcs-1, an instance id as 'status' shows
it, or internet: the clients' place, outside the VPC. While a machine is being replaced, two machines have its name.
Then NAME means the one with the Elastic IP, or else the newest one that runs.

Options:
  --nodes N             with up and preview: use N nodes, wcs-1 to wcs-N, instead of the file's, for this command
  --config KEY=VALUE    with up and preview: use another value of the configuration, for this command; repeatable
  --secret KEY=VALUE    the same for a value that is stored encrypted
  --stack NAME          with up, preview, refresh and destroy: the stack to use (default dev); one sandbox can hold
                        several
  --file FILE           with the same: the file to read the stack's configuration from (default Pulumi.STACK.yaml)
  --port PORT           with open: the port on localhost (default ${localPort}; a node's ${nodeStatisticsPort}; HAProxy's ${statisticsPort})
  --clear-pending-creates
                        with refresh: forget the resources that a killed 'up' was making
  --remove              with dns: remove the records
  --name NAME           the sandbox to use, so that several can run at the same time
                        (default $WCS_SANDBOX_NAME, or else default)
`;

const optionTypes = {
  nodes: { type: "string" },
  config: { type: "string", multiple: true },
  secret: { type: "string", multiple: true },
  stack: { type: "string", default: "dev" },
  file: { type: "string" },
  port: { type: "string" },
  name: { type: "string", default: process.env.WCS_SANDBOX_NAME ?? "default" },
  "clear-pending-creates": { type: "boolean", default: false },
  remove: { type: "boolean", default: false },
  help: { type: "boolean", short: "h" },
} as const satisfies ParseArgsConfig["options"];

interface Options extends Deployment {
  /** A port of this machine's localhost. */
  port: number | undefined;
  clearPendingCreates: boolean;
  /** Whether `dns` removes records. */
  remove: boolean;
  /** The words after the command. */
  rest: string[];
}

function parsePair(option: string, pair: string): [string, string] {
  const [key, ...value] = pair.split("=");
  if (!key || value.length === 0) throw new Error(`--${option} is "${pair}"; it must be KEY=VALUE`);
  return [key, value.join("=")];
}

function parseOverrides(nodes: string | undefined, config: string[]): Record<string, unknown> {
  const overrides: Record<string, unknown> = {};
  for (const [key, text] of config.map((pair) => parsePair("config", pair))) {
    try {
      overrides[key] = JSON.parse(text);
    } catch {
      overrides[key] = text;
    }
  }
  if (nodes !== undefined) {
    const count = Number(nodes);
    if (!Number.isInteger(count) || count < 1) {
      throw new Error(`--nodes is "${nodes}"; it must be a number from 1 on`);
    }
    overrides.nodes = Array.from({ length: count }, (_, index) => `wcs-${index + 1}`);
  }
  return overrides;
}

function parsePort(port: string | undefined): number | undefined {
  if (port === undefined) return undefined;
  const number = Number(port);
  if (!Number.isInteger(number) || number < 1 || number > 65_535) {
    throw new Error(`--port is "${port}"; it must be a number from 1 to 65535`);
  }
  return number;
}

/** The arguments of nsenter that run a command on a machine, in a clean environment. */
function onMachine(machine: MachineStatus, command: string[]): string[] {
  if (!machine.leader) throw new Error(`${machine.name} is ${machine.state} and has no processes yet`);
  const environment = [
    "env",
    "-i",
    `TERM=${process.env.TERM ?? "dumb"}`,
    "HOME=/root",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
  ];
  return inMachine(machine.leader, [...environment, ...command]);
}

async function shell({ paths, rest: [name, ...command] }: Options): Promise<number> {
  const interactive = command.length > 0 ? command : ["/bin/bash", "--login"];
  if (name === "internet") {
    const cloud = new CloudClient(paths);
    await cloud.call("ping", {});
    return (
      spawnSync("nsenter", [`--net=${cloud.internetNamespace}`, "--", ...interactive], { stdio: "inherit" })
        .status ?? 1
    );
  }
  const machine = await new CloudClient(paths).machine(name);
  return spawnSync("nsenter", onMachine(machine, interactive), { stdio: "inherit" }).status ?? 1;
}

async function logs({ paths, rest: [name] }: Options): Promise<void> {
  const machine = await new CloudClient(paths).machine(name);
  process.stdout.write(readFileSync(join(paths.machines, machine.id, "console.log"), "utf8"));
  if (machine.leader) process.stdout.write(run("nsenter", onMachine(machine, ["journalctl", "--no-pager"])));
}

/** The status of all balancers, as one of them sees it, or the reason why there is none. */
function clusterStatus(machines: MachineStatus[]): ClusterStatus | string {
  const ask = `curl --silent --fail --max-time 5 --header "Authorization: Bearer $(cat ${statusTokenFile})" http://127.0.0.1:${statusPort}${clusterPath}`;
  const first = findMachine(machines, "balancer");
  const others = machines.filter((machine) => /^balancer-/.test(machine.name) && machine !== first);
  const running = [first, ...others].flatMap((machine) => (machine?.leader ? [machine] : []));
  if (running.length === 0) return "no balancer runs";
  let reason = "wcs-balancer-sync does not answer yet";
  for (const balancer of running) {
    const { status, stdout } = spawnSync("nsenter", onMachine(balancer, ["sh", "-c", ask]), {
      encoding: "utf8",
    });
    if (status !== 0) continue;
    try {
      return nameEach(parseCluster(stdout), balancer.id, new Map(machines.map(({ id, name }) => [id, name])));
    } catch (error) {
      // Perhaps a balancer of another version, which is being replaced.
      reason = (error as Error).message;
    }
  }
  return reason;
}

async function status({ paths }: Options): Promise<void> {
  const cloud = new CloudClient(paths);
  const machines = await cloud.call("machines", {});
  const seen = clusterStatus(machines);
  const rows = machines
    .sort((one, other) => one.name.localeCompare(other.name))
    .map((machine) => [
      machine.name,
      machine.id,
      machine.state,
      machine.privateAddress,
      `${machine.publicAddress ?? ""}${machine.hasElasticIp ? " (Elastic IP)" : ""}`,
      typeof seen === "string" ? "" : inTheBalancers(seen, machine.id),
    ]);
  const table = [["NAME", "INSTANCE", "MACHINE", "PRIVATE", "PUBLIC", "IN THE BALANCERS"], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length))) ?? [];
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  const loadBalancers = (await cloud.call("loadBalancers", {})).map(
    ({ name, addresses }) => `${name}: clients connect to ${addresses.join(" or ")}`,
  );
  const below = typeof seen === "string" ? [`no status of the balancers: ${seen}`] : summary(seen);
  console.log(`\n${[...loadBalancers, ...below].join("\n")}`);
}

function down({ paths }: Options): void {
  const there = existsSync(paths.state);
  removeSandbox(paths);
  console.log(
    there
      ? `The sandbox is removed; ${cache} keeps the downloads and builds.`
      : "There was nothing to remove.",
  );
}

interface Command {
  /** Whether it changes the sandbox. */
  changes: boolean;
  /** The options that it takes, beside --name and --help. */
  takes: (keyof typeof optionTypes)[];
  run(options: Options): unknown;
}

const ofStack = ["stack", "file"] as const;
const ofConfiguration = [...ofStack, "nodes", "config", "secret"] as const;

const commands: Record<string, Command> = {
  // The engine's SDK takes a second to load. Only these commands load it, and only after they have the lock.
  up: {
    changes: true,
    takes: [...ofConfiguration],
    run: async (options) => (await import("./deploy.js")).up(options),
  },
  preview: {
    changes: true,
    takes: [...ofConfiguration],
    run: async (options) => (await import("./deploy.js")).preview(options),
  },
  refresh: {
    changes: true,
    takes: [...ofStack, "clear-pending-creates"],
    run: async (options) => (await import("./deploy.js")).refresh(options, options.clearPendingCreates),
  },
  status: { changes: false, takes: [], run: status },
  shell: { changes: false, takes: [], run: shell },
  logs: { changes: false, takes: [], run: logs },
  // Takes no lock: a running `up` may be waiting for this record.
  dns: {
    changes: false,
    takes: ["remove"],
    run: ({ paths, rest, remove }) => dns(new CloudClient(paths), rest, remove),
  },
  open: { changes: false, takes: ["port"], run: ({ paths, port, rest: [name] }) => open(paths, name, port) },
  destroy: {
    changes: true,
    takes: [...ofStack],
    run: async (options) => (await import("./deploy.js")).destroy(options),
  },
  down: { changes: true, takes: [], run: down },
};

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const { own, command: machineCommand } = splitArguments(args, optionTypes);
  const { values, positionals, tokens } = parseArgs({
    args: own,
    allowPositionals: true,
    options: optionTypes,
    tokens: true,
  });
  const [name = "up", ...rest] = positionals;
  if (values.help || name === "help") {
    process.stdout.write(usage);
    return 0;
  }
  const command = commands[name];
  if (!command) throw new Error(`there is no command "${name}"; see: npm run sandbox -- help`);
  if (!/^[a-z][a-z0-9]{0,15}$/.test(values.name)) {
    throw new Error(`--name is "${values.name}"; it must be up to 16 lower-case letters and digits`);
  }
  const given = tokens.flatMap((token) =>
    token.kind === "option" && token.name !== "name" ? [token.name] : [],
  );
  refuseOthers(
    name,
    given,
    Object.fromEntries(Object.entries(commands).map(([other, { takes }]) => [other, takes])),
  );
  if (process.platform !== "linux") {
    throw new Error(
      `the sandbox needs Linux, and this is ${process.platform}; npm run test:unit runs everywhere`,
    );
  }
  if (process.getuid?.() !== 0)
    throw new Error("the sandbox needs root: it boots machines and makes networks");
  const paths = sandboxPaths(values.name);
  if (values.name.startsWith(testPrefix) && !existsSync(paths.state) && !process.env.WCS_TEST_RESULTS) {
    throw new Error(
      `--name is "${values.name}"; names that begin with ${testPrefix} are for npm test, which removes such sandboxes`,
    );
  }
  const options = {
    paths,
    stack: values.stack,
    overrides: parseOverrides(values.nodes, values.config ?? []),
    secrets: Object.fromEntries((values.secret ?? []).map((pair) => parsePair("secret", pair))),
    file: values.file,
    port: parsePort(values.port),
    clearPendingCreates: values["clear-pending-creates"],
    remove: values.remove,
    rest: [...rest, ...machineCommand],
  };
  const run = async () => {
    const status = await command.run(options);
    return typeof status === "number" ? status : 0;
  };
  // Only one command at a time may change a sandbox.
  const busy = `another command is changing the sandbox ${values.name}`;
  return command.changes ? underLock(values.name, busy, run) : run();
}

// A command whose reader has gone, as in `up | head`, runs to its end, without an error for each failed write.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: Error) => {
    console.error(`sandbox: ${error.message}`);
    if (process.env.DEBUG && !(error instanceof CommandError)) console.error(error.stack);
    process.exitCode = 1;
  },
);
