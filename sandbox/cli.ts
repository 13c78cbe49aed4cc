import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ParseArgsConfig, parseArgs } from "node:util";
import type { Status } from "../rollout/wait-for-rollout";
import { splitArguments } from "./arguments";
import { inTheBalancer, summary } from "./balancer-status";
import { CloudClient, type MachineStatus } from "./cloud/client";
import type { Deployment } from "./deploy";
import { removeSandbox } from "./lifecycle";
import { underLock } from "./lock";
import { open } from "./open";
import { cache, sandboxPaths, testPrefix } from "./paths";
import { CommandError, run } from "./shell";

const usage = `Usage: npm run sandbox [-- COMMAND] [OPTIONS]

The whole cluster on this machine, without AWS.

Commands:
  up                    bring the stack up, or to what its file says now (the default)
  preview               show what 'up' would change
  refresh               take what there is into the state, and say what was changed behind Pulumi's back
  status                the machines, and what the balancer says of its nodes
  shell NAME [CMD...]   a shell on a machine, or one command there; options of this program stand before CMD, and
                        what stands behind CMD is CMD's (with -- before CMD even a --name)
  logs NAME             what a machine wrote to its console, and its journal
  open [NAME]           the balancer's pages in this machine's own browser, until Ctrl-C; with the name of a node its
                        statistics page, with 'statistics' HAProxy's
  destroy               delete the stack as 'pulumi destroy' does; the sandbox stays
  down                  remove everything but the cache
  help                  this text

NAME is balancer, a node such as wcs-1, or internet: a client's place, outside of the VPC.

Options:
  --nodes N             with up and preview: N nodes, wcs-1 to wcs-N, instead of the file's, this time
  --config KEY=VALUE    with up and preview: another value of the configuration, this time; repeatable
  --secret KEY=VALUE    the same for a value that is stored encrypted
  --stack NAME          the stack to use (default dev); one sandbox can hold several
  --file FILE           the file to read the stack's configuration from (default Pulumi.STACK.yaml)
  --port PORT           with open: the port on localhost (default 8443; a node's 8081; HAProxy's 8404)
  --clear-pending-creates
                        with refresh: forget what a killed 'up' was making
  --name NAME           the sandbox to use, so that several can stand side by side
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
  help: { type: "boolean", short: "h" },
} as const satisfies ParseArgsConfig["options"];

interface Options extends Deployment {
  /** Of this machine's localhost. */
  port: number | undefined;
  clearPendingCreates: boolean;
  /** What stands behind the command. */
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

/** Runs a command where the machine's own processes run. */
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
  return ["--target", String(machine.leader), "--all", "--wdns=/", "--", ...environment, ...command];
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

/** The detailed status, read on the balancer itself. */
function balancerStatus(
  balancer: MachineStatus | undefined,
): Partial<Status> & Pick<Status, "nodes" | "draining"> {
  const nothing = { nodes: [], draining: [] };
  if (!balancer?.leader) return nothing;
  const read =
    'curl --silent --fail --max-time 5 --header "Authorization: Bearer $(cat /var/lib/wcs-balancer/status-token)" http://127.0.0.1:8181/';
  try {
    return JSON.parse(run("nsenter", onMachine(balancer, ["sh", "-c", read])));
  } catch {
    return { error: "wcs-balancer-sync does not answer yet", ...nothing };
  }
}

async function status({ paths }: Options): Promise<void> {
  const machines = await new CloudClient(paths).call("machines", {});
  const balancer = machines.find(({ name }) => name === "balancer");
  const seen = balancerStatus(balancer);
  const rows = machines
    .sort((one, other) => one.name.localeCompare(other.name))
    .map((machine) => [
      machine.name,
      machine.id,
      machine.state,
      machine.privateAddress,
      machine.publicAddress ?? "",
      inTheBalancer(seen, machine.id),
    ]);
  const table = [["NAME", "INSTANCE", "MACHINE", "PRIVATE", "PUBLIC", "IN THE BALANCER"], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length))) ?? [];
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  console.log(`\n${summary(seen).join("\n")}`);
}

function down({ paths }: Options): void {
  const there = existsSync(paths.state);
  removeSandbox(paths);
  console.log(
    there
      ? `The sandbox is gone; ${cache} keeps what was downloaded and built.`
      : "There was nothing to remove.",
  );
}

const commands: Record<string, { changes: boolean; run(options: Options): unknown }> = {
  // The engine's SDK takes a second to load: only these need it, and not before they have the lock.
  up: { changes: true, run: async (options) => (await import("./deploy.js")).up(options) },
  preview: { changes: true, run: async (options) => (await import("./deploy.js")).preview(options) },
  refresh: {
    changes: true,
    run: async (options) => (await import("./deploy.js")).refresh(options, options.clearPendingCreates),
  },
  status: { changes: false, run: status },
  shell: { changes: false, run: shell },
  logs: { changes: false, run: logs },
  open: { changes: false, run: ({ paths, port, rest: [name] }) => open(paths, name, port) },
  destroy: { changes: true, run: async (options) => (await import("./deploy.js")).destroy(options) },
  down: { changes: true, run: down },
};

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const { own, command: machineCommand } = splitArguments(args, optionTypes);
  const { values, positionals } = parseArgs({ args: own, allowPositionals: true, options: optionTypes });
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
  if (values["clear-pending-creates"] && name !== "refresh") {
    throw new Error(`--clear-pending-creates stands with ${name}; it goes with refresh only`);
  }
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
    rest: [...rest, ...machineCommand],
  };
  const run = async () => {
    const status = await command.run(options);
    return typeof status === "number" ? status : 0;
  };
  // One command changes a sandbox at a time.
  const busy = `another command is changing the sandbox ${values.name}`;
  return command.changes ? underLock(values.name, busy, run) : run();
}

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
