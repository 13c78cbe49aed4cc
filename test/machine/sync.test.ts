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

/** Runs a script of the lab in a network of its own; gives what it printed. */
async function inLab(script: string, before: string, after: string, ...rest: string[]): Promise<string> {
  const debian = await lab();
  try {
    debian.write("before.cfg", before);
    debian.write("after.cfg", after);
    const command = ["python3", `/project/test/machine/${script}`, "/before.cfg", "/after.cfg", ...rest];
    const { stdout } = await promisify(execFile)("unshare", ["--net", "chroot", debian.root, ...command], {
      timeout: 300_000,
    });
    return stdout;
  } finally {
    debian.remove();
  }
}

const long = process.env.WCS_TEST_LONG === "1";

test.concurrent.each([
  ["nodes, thresholds and the certificate", config([2, 3], { checks: { cpu: 50 } })],
  ["a reload", config([2, 3], { algorithm: "first" })],
  // Only the nodes of this one count.
  ...(long ? [["a document of a newer contract", config([2, 3], { algorithm: "first" }), "newer"]] : []),
])(
  "wcs-balancer-sync killed at every step of a change of %s: the next run completes it, no socket is lost",
  async (_, after = "", ...rest) => {
    expect(await inLab("sync_lab.py", config([1, 2]), after, ...rest)).toMatch(
      /killed before step 0\n[\s\S]*all \d+ steps\n$/,
    );
  },
  310_000,
);

test.concurrent("new nodes that die, a worker that hangs, a HAProxy that is dead: clients go on, the drain waits", async () => {
  const held = await inLab("sync_faults.py", config([1, 2]), config([3]));
  expect(held.trim().split("\n")).toEqual([
    expect.stringContaining("held servers serve until the new one has been up for long enough"),
    expect.stringContaining("when every new one is down the old ones take clients again"),
    "a service that was killed meanwhile goes on with it",
    "so does one whose HAProxy was reloaded",
    "an old one that dies itself takes nobody",
    "when a new one is back the old ones drain on, to the deadline that they had",
    "the last resort ends at the deadline of its drain",
    "the status counts the sockets of every worker",
    "a drain waits for a worker that does not answer",
    "a HAProxy that is dead is started, with what it had",
    "the last resort outlives a start of HAProxy",
    "a document of a newer contract changes the servers, nothing else, and no socket is lost",
  ]);
}, 310_000);
