import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { CloudClient, findMachine, type MachineStatus } from "../../sandbox/cloud/client";
import { projectRoot, sandboxPaths } from "../../sandbox/paths";
import { long } from "../long";
import {
  balancerAddress,
  type Client,
  clientAddress,
  domain,
  http2PriorKnowledge,
  openSession,
  ownAddress,
  rawAnswer,
  upgrade,
  upgradeRequest,
} from "./client";
import { slowerSeconds } from "./delays";
import { recordCommand } from "./evidence";
import { settingUp } from "./meter";

/** The sandbox of this test file. test/run/main.ts runs the file on the sandbox's internet. */
export const sandboxName = process.env.WCS_SANDBOX_NAME ?? "";
export const paths = sandboxPaths(sandboxName);
export const cloud = new CloudClient(paths);

export {
  balancerAddress,
  type Client,
  clientAddress,
  domain,
  http2PriorKnowledge,
  long,
  ownAddress,
  rawAnswer,
  upgrade,
  upgradeRequest,
};

/**
 * The tests find a fault within minutes, not within the rollout's quarter of an hour. Machines that boot on a busy machine
 * need some of them.
 */
const environment = { ...process.env, DEADLINE_SECONDS: String(400 + slowerSeconds) };

/** Far longer than a session takes: other tests may need the processors, too. */
const sessionSeconds = 30;

/** What `npm run sandbox` runs. */
const command = ["--import", "tsx", "sandbox/cli.ts"];

/** Runs a command of the sandbox as a person would. */
export function sandbox(...args: string[]): { status: number | null; output: string } {
  const record = recordCommand(`sandbox ${args.join(" ")}`);
  const result = spawnSync(process.execPath, [...command, ...args, "--name", sandboxName], {
    cwd: projectRoot,
    env: environment,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  const output = `${result.stdout}${result.stderr}`;
  record(output);
  return { status: result.status, output };
}

/** A command of the sandbox that runs beside the test. */
export interface Running {
  /** What it has printed so far. */
  output: string;
  /** When it printed each line, in milliseconds. */
  lines: { at: number; line: string }[];
  ended: Promise<{ status: number | null; output: string }>;
  /** Interrupts the command like Ctrl-C. */
  interrupt(): void;
  /** Kills the command and its children, which cannot tidy up. */
  kill(): void;
}

export function startSandbox(
  args: string[],
  variables: Record<string, string> = {},
  namespace = "/proc/self/ns/net",
): Running {
  const inNamespace = [`--net=${namespace}`, process.execPath, ...command, ...args, "--name", sandboxName];
  const child = spawn("nsenter", inNamespace, {
    cwd: projectRoot,
    env: { ...environment, ...variables },
    // A process group of its own, as a shell gives it.
    detached: true,
  });
  const record = recordCommand(`sandbox ${args.join(" ")}`);
  const running: Running = {
    output: "",
    lines: [],
    ended: new Promise((resolve) =>
      child.on("close", (status) => resolve({ status, output: running.output })),
    ),
    interrupt: () => {
      if (child.exitCode === null) process.kill(-(child.pid ?? 0), "SIGINT");
    },
    kill: () => {
      if (child.exitCode === null) process.kill(-(child.pid ?? 0), "SIGKILL");
    },
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      running.output += part;
      record(part);
      for (const line of part.split("\n")) running.lines.push({ at: Date.now(), line });
    });
  }
  return running;
}

/** The same, until it ends. */
export function sandboxAsync(...args: string[]): Promise<{ status: number | null; output: string }> {
  return startSandbox(args).ended;
}

/** Brings the stack up. If that fails, the error has the end of the output. */
export function up(...args: string[]): void {
  settingUp(() => {
    const { status, output } = sandbox("up", ...args);
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
  });
}

/** A machine by its name, as `npm run sandbox -- shell NAME` means it, or by the end of its id. */
export async function machine(name: string): Promise<MachineStatus> {
  const machines = await cloud.call("machines", {});
  const found = findMachine(machines, name) ?? machines.find(({ id }) => id.endsWith(name));
  if (!found) throw new Error(`no machine ${name}`);
  return found;
}

/** The server name of a machine. */
export async function serverName(name: string): Promise<string> {
  return `${name}-${(await machine(name)).id.slice(-8)}`;
}

/** Runs a shell command on a machine, without npm around it. */
export async function onMachine(
  name: string,
  command: string,
): Promise<{ status: number | null; output: string }> {
  const { leader } = await machine(name);
  if (!leader) throw new Error(`${name} does not run`);
  const { status, stdout, stderr } = spawnSync(
    "nsenter",
    [
      "--target",
      String(leader),
      "--all",
      "--wdns=/",
      "--",
      "env",
      "-i",
      "HOME=/root",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "bash",
      "-c",
      command,
    ],
    { encoding: "utf8" },
  );
  return { status, output: `${stdout}${stderr}` };
}

/** Drops packets of a machine silently, by default all, until the returned function is called. */
export async function losePackets(
  name: string,
  chains = ["input", "output"].map(
    (hook) => `chain on_${hook} { type filter hook ${hook} priority 0; policy drop; };`,
  ),
): Promise<() => void> {
  const { leader } = await machine(name);
  const nft = (rules: string) => {
    const { status, stderr } = spawnSync(
      "nsenter",
      ["--target", String(leader), "--net", "nft", "--file", "-"],
      { input: rules, encoding: "utf8" },
    );
    if (status !== 0) throw new Error(`nft on ${name}: ${stderr}`);
  };
  nft(`table ip lost { ${chains.join(" ")} }`);
  return () => nft("delete table ip lost");
}

/** The same for some of the packets that come to its port 8080. */
export function lose8080(name: string, which = ""): Promise<() => void> {
  return losePackets(name, [
    `chain on_input { type filter hook input priority 0; tcp dport 8080 ${which} drop; };`,
  ]);
}

/** Waits until a condition holds. At the deadline the last reason becomes the error. */
export async function eventually<T>(what: () => Promise<T> | T, seconds = 90): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  while (true) {
    try {
      return await what();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(200);
    }
  }
}

/**
 * Waits until HAProxy sees nginx and the given number of nodes up, each node with its full weight and limit: a node
 * that comes up starts slowly.
 */
export async function allUp(count: number): Promise<void> {
  await eventually(async () => {
    const { output } = await onMachine("balancer", "curl --silent --insecure 'https://127.0.0.1:8404/;csv'");
    const [head = [], ...rows] = output.split("\n").map((row) => row.split(","));
    const statesOf = (name: string) =>
      rows
        .filter(([backend, server]) => backend === name && server !== "BACKEND")
        .map((row) => ["status", "throttle"].map((column) => row[head.indexOf(column)]));
    expect(statesOf("wcs_web_admin")).toEqual([["UP", ""]]);
    expect(statesOf("wcs_back")).toEqual(Array.from({ length: count }, () => ["UP", ""]));
  }, 240);
}

/**
 * Does something up to five times, each time with all nodes up, until it succeeds: for what HAProxy promises only while it
 * takes every node for up, and a busy machine can let a check be late. HAProxy's log of it is in the error.
 */
export async function whileAllUp(count: number, what: () => Promise<void>): Promise<void> {
  for (let left = 5; ; left--) {
    await allUp(count);
    const since = Math.floor(Date.now() / 1000);
    try {
      return await what();
    } catch (error) {
      const log = `journalctl --unit=haproxy --no-pager --output=cat --since=@${since} | tail --lines=40`;
      const failure = error as Error;
      failure.message += `\nHAProxy's log: ${(await onMachine("balancer", log)).output}`;
      if (left === 1) throw failure;
      console.log(`once more: ${failure.message}`);
    }
  }
}

/** A request in HAProxy's access log. */
interface Logged {
  /** From the request to the answer. What a busy machine adds at the client is not in it. */
  milliseconds: number;
  /** How long it was in a queue. */
  queuedMilliseconds: number;
}

/** Waits until HAProxy has logged the request from a port of this client, with the answer's status. */
export async function logged({ localPort, status }: Response): Promise<Logged> {
  // Not an earlier one from the same port.
  const since = Math.floor(Date.now() / 1000) - 60;
  return eventually(async () => {
    const line = new RegExp(
      `:${localPort} \\[.*\\] \\S+ \\S+ (-?\\d+)/(-?\\d+)/(-?\\d+)/(-?\\d+)/(-?\\d+) ${status} `,
    );
    const { output } = await onMachine(
      "balancer",
      `journalctl --unit=haproxy --no-pager --output=cat --since=@${since} | grep ':${localPort} '`,
    );
    // Request, queue, connection, response, all; -1 for what did not come.
    const [, ...times] = output.match(line) ?? [];
    expect(times, output).toHaveLength(5);
    const [request = 0, queue = 0, connection = 0, response = 0, all = 0] = times.map(Number);
    const answered = request >= 0 && queue >= 0 && connection >= 0 && response >= 0;
    return {
      // The time of a WebSocket goes on after the answer.
      milliseconds: answered ? request + queue + connection + response : all,
      queuedMilliseconds: Math.max(queue, 0),
    };
  });
}

/** CAs to trust besides the stack's own. */
export const furtherAuthorities: string[] = [];

export function authority(): string[] {
  return [readFileSync(join(paths.state, "ca-dev.pem"), "utf8"), ...furtherAuthorities];
}

/**
 * Connects a WebSocket through the balancer, verifies the certificate, and gives the session that WCS makes of it.
 * @param localAddress whose client this is, see `clientAddress`
 * @param address of the balancer
 */
export function connect(
  headers: Record<string, string> = {},
  localAddress = ownAddress,
  address = balancerAddress,
): Promise<Client> {
  return openSession({
    trust: { ca: authority() },
    headers,
    localAddress,
    address,
    patienceSeconds: sessionSeconds,
  });
}

/** The node that a client has landed on. */
export async function nodeOf({ localPort }: Client): Promise<string> {
  const log = "/usr/local/FlashphonerWebCallServer/logs/server_logs/flashphoner.log";
  const nodes = (await cloud.call("machines", {})).filter(({ name }) => name.startsWith("wcs-"));
  for (const { name } of nodes) {
    if ((await onMachine(name, `grep -q ':${localPort}/' ${log}`)).status === 0) return name;
  }
  throw new Error("the client is on no node");
}

/** Whether a TCP connection from here to an address succeeds within a second. */
export function canConnect(address: string, port: number): boolean {
  const { status } = spawnSync("timeout", ["1", "bash", "-c", `exec 3<>/dev/tcp/${address}/${port}`]);
  return status === 0;
}

/** A resource in the engine's state. */
interface StateResource {
  urn: string;
  id: string;
  type: string;
  inputs: Record<string, unknown>;
}

/** An operation of an `up` that was killed. */
interface PendingOperation {
  type: "creating" | "updating" | "deleting";
  resource: StateResource;
}

/** The engine's state of the stack dev. */
export function engineState(): { resources: StateResource[]; pending_operations?: PendingOperation[] } {
  const file = join(paths.engineState, "backend/.pulumi/stacks/wcs-balancer/dev.json");
  return JSON.parse(readFileSync(file, "utf8")).checkpoint.latest;
}

/**
 * Closes the first port of a range outside Pulumi, as in the console. Gives a function that opens it again.
 *
 * @param count of the rules that it takes, one for each group and protocol
 */
export async function closePort(fromPort: number, count: number): Promise<() => Promise<void>> {
  const rules = engineState().resources.filter(
    ({ type, inputs }) => type.endsWith(":SecurityGroupIngressRule") && inputs.fromPort === fromPort,
  );
  expect(rules).toHaveLength(count);
  const update = async (ports: Record<string, number>) => {
    for (const { id, inputs } of rules)
      await cloud.call("update", { kind: "ingressRule", id, inputs: { ...inputs, ...ports } });
  };
  await update({ fromPort: 1, toPort: 1 });
  return () => update({});
}

/** The balancer's answer to a client. */
interface Response {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
  /** The body as it came, compressed or not. */
  raw: Buffer;
  /** The port that it was asked from. */
  localPort: number;
}

/** The page that WCS shows on a node, as the guide looks at it. */
export async function statisticsPage(node: string): Promise<string> {
  return (await onMachine(node, "curl --silent --max-time 5 'http://localhost:8081/?action=stat'")).output;
}

/** Asks the balancer over https, with its certificate verified. */
export function get(path: string, headers: Record<string, string> = {}, port = 443): Promise<Response> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: balancerAddress,
        port,
        servername: domain,
        path,
        headers: { Host: domain, ...headers },
        ca: authority(),
        agent: false,
      },
      (response) => {
        const localPort = response.socket.localPort ?? 0;
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("end", () => {
          const raw = Buffer.concat(parts);
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: raw.toString("utf8"),
            raw,
            localPort,
          });
        });
      },
    );
    call.on("upgrade", (response, socket) => {
      const localPort = response.socket.localPort ?? 0;
      socket.destroy();
      resolve({ status: 101, headers: {}, body: "", raw: Buffer.alloc(0), localPort });
    });
    call.on("error", reject);
    call.setTimeout(sessionSeconds * 1000, () =>
      call.destroy(new Error(`no answer within ${sessionSeconds} s`)),
    );
    call.end();
  });
}
