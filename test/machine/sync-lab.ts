import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { bootstrapConfig, busyPage } from "../../cluster/contract";
import { type ClusterStatus, parseCluster, parseStatus, type Status } from "../../cluster/status";
import { projectRoot } from "../../sandbox/paths";
import { builtPebble } from "../../sandbox/pebble";
import { renderStack } from "../../scripts/render";
import { DebianRoot } from "../debian-root";
import { filledMachines } from "./filled-machines";

/** Runs scripts with a real HAProxy, in a Debian root and in a network of their own. */

const machines = filledMachines();

async function lab(): Promise<DebianRoot> {
  const debian = await DebianRoot.with("haproxy", "python3-acme", "python3-boto3");
  debian.copy(machines, "project/machines");
  debian.copy(builtPebble(), "usr/local/bin/pebble");
  debian.copy(join(projectRoot, "test/machine"), "project/test/machine");
  debian.copy(join(machines, "balancer/503.html"), busyPage);
  debian.copy(join(machines, "balancer/bootstrap.cfg"), bootstrapConfig);
  return debian;
}

/** haproxy.cfg with the lab's nodes by their numbers. */
export function config(nodes: number[], values: Record<string, unknown> = {}): string {
  const names = nodes.map((number) => `wcs-${number}`);
  const { "balancer/haproxy.cfg": text = "" } = renderStack("dev", {
    domain: "wcs.example.com",
    maxConnections: 200,
    nodes: names,
    ...values,
  });
  // A server's name goes with its machine, and so with its address.
  return text
    .replace(/inter (1s|500ms)/g, "inter 100ms")
    .replace(
      /^( +server wcs-(\d))\S+ [\d.]+/gm,
      (_, server: string, number: string) => `${server}-0000000${number} 127.0.0.${Number(number) + 1}`,
    );
}

/** What a script of the lab has printed: the promises that held, and the statuses that it has seen. */
interface Kept {
  promises: string[];
  statuses: Status[];
  clusters: ClusterStatus[];
}

/**
 * Reads what a script has printed.
 * @throws StatusError for a status that is not what its schema says
 */
export function readKept(printed: string): Kept {
  const lines = printed.trim().split("\n");
  const seen = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return {
    promises: lines.filter((line) => !line.startsWith("{")),
    statuses: seen.flatMap(({ status }) => (status ? [parseStatus(JSON.stringify(status))] : [])),
    clusters: seen.flatMap(({ cluster }) => (cluster ? [parseCluster(JSON.stringify(cluster))] : [])),
  };
}

/** Runs a script of the lab in a network of its own; gives what it printed. */
export async function inLab(script: string, configs: string[], ...rest: string[]): Promise<string> {
  const debian = await lab();
  try {
    const files = configs.map((_, index) => `/${index}.cfg`);
    for (const [index, text] of configs.entries()) debian.write(`${index}.cfg`, text);
    const command = ["python3", `/project/test/machine/${script}`, ...files, ...rest];
    const { stdout } = await promisify(execFile)("unshare", ["--net", "chroot", debian.root, ...command], {
      timeout: 1_080_000,
    });
    return stdout;
  } finally {
    debian.remove();
  }
}
