import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { busyPage } from "../../cluster/contract";
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
  debian.copy(join(machines, "balancer/bootstrap.cfg"), "etc/wcs-balancer/bootstrap.cfg");
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
