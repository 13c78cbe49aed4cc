import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { base, draining, during, status, upWith, withNodes, workers } from "./changes";
import { cloud, connect, eventually, machine, sandboxName, serverName, startSandbox } from "./cluster";
import { type Fleet, serverOf } from "./fleet";

beforeAll(() => upWith(2));

/** Waits until a server drains, and has no sockets but the fleet's: new clients of before have left. Gives their number. */
async function drainingFleet(server: string, fleet: Fleet): Promise<number> {
  await draining(server);
  return eventually(async () => {
    const { sockets } = (await status()).draining.find((candidate) => candidate.server === server) ?? {};
    expect(sockets).toBe(fleet.perServer()[server]);
    return sockets ?? 0;
  });
}

describe("nodes", () => {
  test("another order of the nodes, a newer default AMI, and an up from another machine replace nothing", () => {
    const copy = mkdtempSync(join(tmpdir(), "wcs-other-"));
    try {
      cpSync(projectRoot, copy, {
        recursive: true,
        // Other tests write their results meanwhile.
        filter: (path) => !/node_modules|test-results|\.git($|\/)/.test(path.slice(projectRoot.length)),
      });
      symlinkSync(join(projectRoot, "node_modules"), join(copy, "node_modules"));
      const args = ["preview", "--name", sandboxName, ...base, "--config", 'nodes=["wcs-2","wcs-1"]'];
      const { stdout: output } = spawnSync("npm", ["run", "--silent", "sandbox", "--", ...args], {
        cwd: copy,
        encoding: "utf8",
        env: { ...process.env, WCS_SANDBOX_NEWEST_AMI: "ami-0d3b1a13000000002" },
      });
      expect(output).toMatch(/Resources:\n\s+\d+ unchanged\n/);
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  });

  test("scale out by two: they take clients as soon as they are healthy, without a reload", async () => {
    const before = await workers();
    await during({
      name: "scale out by two nodes",
      args: withNodes(4),
      async meanwhile(_, up, newcomers) {
        await up.ended;
        // The command ends when the cluster serves, not earlier.
        await eventually(async () => {
          const states = (await status()).nodes.map(({ state }) => state);
          expect(states).toEqual(["up", "up", "up", "up"]);
        }, 10);
        const added = await Promise.all(["wcs-3", "wcs-4"].map(serverName));
        await eventually(() =>
          expect(newcomers.landings.map(({ server }) => server)).toEqual(expect.arrayContaining(added)),
        );
      },
    });
    expect(await workers()).toBe(before);
  });

  test("scale in by one: the removed node gets no new clients, and is deleted when its last socket has ended by itself", async () => {
    const before = await workers();
    const leaving = await serverName("wcs-4");
    const { output } = await during({
      name: "scale in by one node",
      args: withNodes(3),
      async meanwhile(fleet, up, newcomers) {
        const sockets = await drainingFleet(leaving, fleet);
        const changed = Date.now();
        for (let count = 0; count < 5; count++) {
          const client = await connect({ Cookie: `SERVERID=${leaving}` });
          expect(serverOf(client)).toMatch(/^wcs-[123]-/);
          await client.close();
        }
        await eventually(() => expect(up.output).toContain(`${leaving} to drain: ${sockets} sockets left`));
        expect((await machine("wcs-4")).state).toBe("running");
        expect(newcomers.landings.filter(({ at, server }) => at > changed && server === leaving)).toEqual([]);
        await fleet.close((server) => server === leaving);
      },
    });
    expect(await workers()).toBe(before);
    expect(output).toMatch(/aws:ec2:Instance wcs-4 deleted/);
  });

  test("scale in after a reload: sockets in the old worker count, and are closed properly at the time-out", async () => {
    const leaving = await serverName("wcs-3");
    let sockets = 0;
    const { output, tally } = await during({
      name: "scale in by one node after a reload, to the drain time-out",
      args: withNodes(3, "--config", "algorithm=leastconn"),
      closes: "any",
      async meanwhile(fleet, first) {
        await first.ended;
        sockets = fleet.perServer()[leaving] ?? 0;
        expect(sockets).toBeGreaterThan(0);
        const args = withNodes(2, "--config", "algorithm=leastconn", "--config", "drainTimeoutSeconds=20");
        const second = startSandbox(["up", ...args]);
        expect(await drainingFleet(leaving, fleet)).toBe(sockets);
        let looks = 0;
        while (true) {
          const open = fleet.perServer()[leaving];
          const row = (await status()).draining.find(({ server }) => server === leaving);
          if (!row || row.secondsLeft < 2) break;
          expect(open).toBe(sockets);
          looks++;
          await sleep(500);
        }
        expect(looks).toBeGreaterThan(0);
        expect((await second.ended).status).toBe(0);
        expect(fleet.ended("orderly", leaving)).toBe(sockets);
        expect(fleet.ended("broken")).toBe(0);
        return second;
      },
    });
    expect(tally.closed).toBe(sockets);
    expect(output).toContain("is applied");
    expect((await cloud.call("machines", {})).map(({ name }) => name)).not.toContain("wcs-3");
  });

  test("replace every node: new nodes with other names come first, then the removed nodes drain and are deleted", async () => {
    const old = [await serverName("wcs-1"), await serverName("wcs-2")];
    await during({
      name: "replace every node",
      args: withNodes(
        2,
        "--config",
        'wcsProperties={"keep_alive.probes": 12}',
        "--config",
        "nodeAmi=ami-0123456789abcdef0",
      ),
      async meanwhile(fleet) {
        for (const server of old) await draining(server);
        const nodes = await eventually(async () => {
          const { nodes } = await status();
          expect(nodes.filter(({ state }) => state === "up")).toHaveLength(2);
          return nodes;
        });
        for (const { server } of nodes) expect(old).not.toContain(server);
        const client = await connect();
        expect(old).not.toContain(serverOf(client));
        await client.close();
        await fleet.close((server) => old.includes(server));
      },
    });
  });
});
