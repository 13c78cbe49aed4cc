import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { subnets } from "../account";
import * as addresses from "../addresses";
import type { ConfigureMessage } from "../load-balancer/main";
import type { HealthReport, ZoneConfig } from "../load-balancer/zone";
import { projectRoot, type SandboxPaths } from "../paths";
import { run, succeeds } from "../shell";
import type { ZoneRunner } from "./load-balancing";
import { endCgroup, inCgroup } from "./machine";

const answerMilliseconds = 20_000;
const restartMilliseconds = 1000;

type Message = { report: HealthReport } | { configured: number; error?: string };

interface ZoneProcess {
  child: ChildProcess;
  config: ZoneConfig;
  isEnding: boolean;
}

const namespacePrefix = ({ name }: Pick<SandboxPaths, "name">) => `wcs-${name}-lb-`;
/** The last two numbers are different in each sandbox's VPC. */
const placeOf = (address: string) => address.split(".").slice(2).join("-");

/** The namespaces of load balancers that a sandbox has. */
export function zoneNamespaces(paths: Pick<SandboxPaths, "name">): string[] {
  if (!existsSync("/run/netns")) return [];
  return readdirSync("/run/netns").filter((name) => name.startsWith(namespacePrefix(paths)));
}

/** Load balancers as one process for each zone, in a network namespace of its own on the VPC's bridge. */
export class ZoneProcesses implements ZoneRunner {
  report: ZoneRunner["report"] = () => {};
  private readonly processes = new Map<string, ZoneProcess>();
  private number = 0;

  constructor(private readonly paths: SandboxPaths) {}

  async configure(key: string, config: ZoneConfig): Promise<void> {
    const known = this.processes.get(key);
    if (!known) this.makeNetwork(config.address);
    const process = known ?? this.start(key, config);
    process.config = config;
    await this.tell(process);
  }

  async remove(key: string): Promise<void> {
    const process = this.processes.get(key);
    if (!process) return;
    this.processes.delete(key);
    process.isEnding = true;
    const place = placeOf(process.config.address);
    endCgroup(this.cgroupOf(place));
    run("ip", ["netns", "delete", namespacePrefix(this.paths) + place]);
  }

  private cgroupOf(place: string): string {
    return join(this.paths.cgroup, `lb-${place}`);
  }

  /** Makes the namespace with a cable to the bridge. The packet filter treats its packets like a machine's. */
  private makeNetwork(address: string): void {
    const place = placeOf(address);
    const namespace = namespacePrefix(this.paths) + place;
    const network = addresses.networkOf(
      address,
      subnets.map((subnet) => subnet.network),
    );
    if (succeeds("test", ["-e", `/run/netns/${namespace}`])) run("ip", ["netns", "delete", namespace]);
    run("ip", ["netns", "add", namespace]);
    const cable = `lb-${place}`;
    run("ip", ["link", "add", cable, "type", "veth", "peer", "name", "vpc", "netns", namespace]);
    run("ip", ["link", "set", cable, "master", "vpc", "up"]);
    const inside = (...args: string[]) => run("ip", ["-n", namespace, ...args]);
    inside("link", "set", "lo", "up");
    inside("addr", "add", `${address}/${addresses.prefixLengthOf(network)}`, "dev", "vpc");
    inside("link", "set", "vpc", "up");
    inside("route", "add", "default", "via", addresses.routerOf(network));
  }

  private start(key: string, config: ZoneConfig): ZoneProcess {
    const place = placeOf(config.address);
    const [command = "", ...args] = inCgroup(this.cgroupOf(place), [
      "nsenter",
      `--net=/run/netns/${namespacePrefix(this.paths)}${place}`,
      process.execPath,
      "--import",
      "tsx",
      join(projectRoot, "sandbox/load-balancer/main.ts"),
    ]);
    const log = openSync(join(this.paths.state, "load-balancer.log"), "a");
    const child = spawn(command, args, { cwd: projectRoot, stdio: ["ignore", log, log, "ipc"] });
    closeSync(log);
    const started: ZoneProcess = { child, config, isEnding: false };
    this.processes.set(key, started);
    child.on("message", (message: Message) => {
      if ("report" in message) this.report(key, message.report);
    });
    child.on("exit", (status) => {
      if (started.isEnding) return;
      console.error(
        `the load balancer at ${config.address} has ended with status ${status}; starting it anew`,
      );
      setTimeout(() => {
        if (started.isEnding) return;
        this.tell(this.start(key, started.config)).catch((error: Error) => console.error(error.message));
      }, restartMilliseconds);
    });
    return started;
  }

  /** Sends a process its configuration, and waits until it has taken it. */
  private tell({ child, config }: ZoneProcess): Promise<void> {
    const number = ++this.number;
    return new Promise((resolve, reject) => {
      const end = (problem?: string) => {
        clearTimeout(timer);
        child.off("message", hear);
        child.off("exit", exited);
        if (problem === undefined) resolve();
        else reject(new Error(`the load balancer at ${config.address}: ${problem}`));
      };
      const hear = (message: Message) => {
        if ("configured" in message && message.configured === number) end(message.error);
      };
      const exited = () => end("its process has ended");
      const seconds = answerMilliseconds / 1000;
      const timer = setTimeout(() => end(`no answer within ${seconds} s`), answerMilliseconds);
      child.on("message", hear);
      child.on("exit", exited);
      child.send({ number, config } satisfies ConfigureMessage);
    });
  }
}
