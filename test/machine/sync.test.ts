import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { busyPage } from "../../userdata/balancer";
import { DebianRoot } from "../debian-root";

async function lab(): Promise<DebianRoot> {
  const debian = await DebianRoot.with("haproxy");
  debian.copy(join(projectRoot, "machines"), "project/machines");
  debian.copy(join(projectRoot, "test/machine"), "project/test/machine");
  debian.copy(join(projectRoot, "machines/balancer/503.html"), busyPage);
  return debian;
}

/** haproxy.cfg with the lab's nodes by their numbers. */
function config(nodes: number[], values: Record<string, unknown> = {}): string {
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

test.concurrent.each([
  ["nodes, thresholds and the certificate", config([2, 3], { checks: { cpu: 50 } })],
  ["a reload", config([2, 3], { algorithm: "first" })],
])(
  "wcs-balancer-sync killed at every step of a change of %s: the next run completes it, no socket is lost",
  async (_, after) => {
    const debian = await lab();
    try {
      debian.write("before.cfg", config([1, 2]));
      debian.write("after.cfg", after);
      const command = ["python3", "/project/test/machine/sync_lab.py", "/before.cfg", "/after.cfg"];
      const { stdout } = await promisify(execFile)("unshare", ["--net", "chroot", debian.root, ...command], {
        timeout: 300_000,
      });
      expect(stdout).toMatch(/killed before step 0\n[\s\S]*all \d+ steps\n$/);
    } finally {
      debian.remove();
    }
  },
  310_000,
);
