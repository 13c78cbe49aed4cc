import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type PeerCertificate } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newKeys } from "../../sandbox/certificates";
import { projectRoot } from "../../sandbox/paths";
import { renderDesiredState, sha256 } from "../../userdata/desired-state";
import { certificateOptions, ownCertificate } from "../own-certificate";
import { during, status, workers } from "./changes";
import {
  authority,
  balancerAddress,
  cloud,
  connect,
  domain,
  eventually,
  furtherAuthorities,
  get,
  machine,
  onMachine,
  sandbox,
  sandboxName,
  startSandbox,
  up,
} from "./cluster";
import { serverOf } from "./fleet";

/** How long SSM and metadata are away: 15 s here, 5 minutes in the measurement. */
const outageSeconds = Number(process.env.WCS_OUTAGE_SECONDS ?? 15);

const base = ["--config", "stickiness=true", "--config", "maxConnectionsPerNode=300"];
const withNodes = (count: number, ...more: string[]) => ["--nodes", String(count), ...base, ...more];

const upWith = (count: number, ...more: string[]) => up(...withNodes(count, ...more));

/** The server name of a machine. */
async function serverName(name: string): Promise<string> {
  return `${name}-${(await machine(name)).id.slice(-8)}`;
}

/** Waits until a server gets no more clients and drains, and gives its sockets. */
async function draining(server: string): Promise<number> {
  return eventually(async () => {
    const found = (await status()).draining.find((candidate) => candidate.server === server);
    expect(found?.held).toBe(false);
    expect(found?.sockets).toBeGreaterThan(0);
    return found?.sockets ?? 0;
  }, 60);
}

beforeAll(() => upWith(2));

describe("nodes", () => {
  test("scale out by two: they take clients as soon as they are healthy, without a reload", async () => {
    const before = await workers();
    await during({
      name: "scale out by two nodes",
      args: withNodes(4),
      async meanwhile(_, up, newcomers) {
        await up.ended;
        const added = await Promise.all(["wcs-3", "wcs-4"].map(serverName));
        await eventually(() =>
          expect(newcomers.landings.map(({ server }) => server)).toEqual(expect.arrayContaining(added)),
        );
      },
    });
    expect(await workers()).toBe(before);
  });

  test("scale in by one: no new client from the moment of the change, and deleted when its last socket has ended by itself", async () => {
    const before = await workers();
    const leaving = await serverName("wcs-4");
    const { output } = await during({
      name: "scale in by one node",
      args: withNodes(3),
      async meanwhile(fleet, up, newcomers) {
        const sockets = await draining(leaving);
        expect(sockets).toBe(fleet.perServer()[leaving]);
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

  test("scale in after a reload: sockets in the old worker count, and are closed in good order at the time-out", async () => {
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
        const args = withNodes(2, "--config", "algorithm=leastconn", "--config", "drainTimeoutSeconds=8");
        const second = startSandbox(["up", ...args]);
        expect(await draining(leaving)).toBe(sockets);
        await sleep(5000);
        expect(fleet.perServer()[leaving]).toBe(sockets);
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

  test("replace every node: new ones first, under names of their own, then the old drain and go", async () => {
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
        const { nodes } = await status();
        expect(nodes.filter(({ state }) => state === "up")).toHaveLength(2);
        for (const { server } of nodes) expect(old).not.toContain(server);
        const client = await connect();
        expect(old).not.toContain(serverOf(client));
        await client.close();
        await fleet.close((server) => old.includes(server));
      },
    });
    upWith(2);
  });

  test("another order of the nodes replaces nothing, nor does a newer default AMI, nor another machine's up", () => {
    const copy = mkdtempSync(join(tmpdir(), "wcs-other-"));
    try {
      cpSync(projectRoot, copy, {
        recursive: true,
        filter: (path) => !/node_modules|\.git($|\/)/.test(path.slice(projectRoot.length)),
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
});

/** The certificate of the next handshake. */
function certificate(): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { host: balancerAddress, port: 443, servername: domain, ca: authority() },
      () => {
        resolve(socket.getPeerCertificate());
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

describe("the certificate", () => {
  test("the stack's own is renewed by an ordinary up after its renewal date, for the next handshake, without a reload", async () => {
    const [before, workersBefore] = [await certificate(), await workers()];
    await during({
      name: "renew the certificate",
      args: withNodes(2),
      variables: { WCS_BALANCER_DATE: "2031-05-01" },
    });
    const after = await certificate();
    expect(after.serialNumber).not.toBe(before.serialNumber);
    expect(after.pubkey).toEqual(before.pubkey);
    expect(await workers()).toBe(workersBefore);
  });

  test("another certificate with another key is in force for the next handshake", async () => {
    const own = await ownCertificate(domain);
    furtherAuthorities.push(own.tlsChain);
    const before = await certificate();
    await during({
      name: "another certificate and key",
      args: withNodes(2, ...certificateOptions(own)),
    });
    expect((await certificate()).pubkey).not.toEqual(before.pubkey);
    expect((await get("/wcs/README.md")).headers["strict-transport-security"]).toBe("max-age=31536000");
    upWith(2);
  });
});

describe("settings", () => {
  test("checks are in force on every node within 10 s, without a reload or a new node", async () => {
    const [before, machines] = [await workers(), await cloud.call("machines", {})];
    const { times } = await during({
      name: "change checks",
      args: withNodes(2, "--config", 'checks={"cpu":1}'),
      // Every node counts as full at 1 % of CPU, so nobody gets in.
      outage: true,
      async meanwhile(_, up) {
        await up.ended;
        const { nodes } = await status();
        expect(nodes.map(({ state }) => state)).toEqual(["full", "full"]);
      },
    });
    expect(times.seen).toBeLessThan(10);
    expect(await workers()).toBe(before);
    expect((await cloud.call("machines", {})).map(({ id }) => id)).toEqual(machines.map(({ id }) => id));
    upWith(2);
  });

  test("a reload never takes a full or a dead node for a free one", async () => {
    upWith(3);
    const [full, dead] = [await serverName("wcs-2"), await serverName("wcs-3")];
    await onMachine("wcs-2", "echo '9.00 9.00 9.00 1/100 1000' > /var/lib/sandbox/loadavg");
    await onMachine("wcs-3", "systemctl stop xinetd");
    try {
      await eventually(async () =>
        expect((await status()).nodes.map(({ state }) => state)).toEqual(["up", "full", "down"]),
      );
      const before = await workers();
      const { newcomers, output } = await during({
        name: "change the algorithm, with a full node and a dead one",
        args: withNodes(3, "--config", "algorithm=leastconn"),
        variables: { DEADLINE_SECONDS: "12" },
        fails: true,
      });
      expect(await workers()).not.toBe(before);
      expect(output).toContain(`${dead}: down: Connection refused`);
      // Cookies outlive the reload: a full node keeps its clients, those of a dead one go elsewhere.
      for (const [server, landing] of [
        [await serverName("wcs-1"), ""],
        [full, ""],
        [dead, await serverName("wcs-1")],
      ]) {
        const client = await connect({ Cookie: `SERVERID=${server}` });
        expect(serverOf(client)).toBe(landing);
        await client.close();
      }
      const landed = new Set(newcomers.landings.map(({ server }) => server));
      expect([...landed]).toEqual([await serverName("wcs-1")]);
      expect(landed).not.toContain(full);
    } finally {
      await onMachine("wcs-2", "echo '0.10 0.10 0.10 1/100 1000' > /var/lib/sandbox/loadavg");
      await onMachine("wcs-3", "systemctl start xinetd");
    }
    upWith(2);
  });
});

describe("what cannot be applied", () => {
  test("a configuration that HAProxy refuses: the old one serves on, up fails with the reason, the next good one heals", async () => {
    const before = await workers();
    const { output } = await during({
      name: "a desired state that cannot run",
      args: withNodes(2, "--config", "maxConnections=50000"),
      fails: true,
    });
    expect(output).toMatch(/rollout failed: .*maxConnections needs 100300 open files/);
    expect(await workers()).toBe(before);
    upWith(2);
    await eventually(async () => expect((await status()).error).toBeNull());
  });

  test("a parameter that is cut in half", async () => {
    const before = await workers();
    await cloud.call("setFaults", { ssm: "half" });
    try {
      const { output } = await during({
        name: "a parameter that is cut in half",
        args: withNodes(2, "--config", 'checks={"cpu":80}'),
        variables: { DEADLINE_SECONDS: "10" },
        fails: true,
      });
      expect(output).toMatch(/rollout failed: not done after 10 s: .*the desired state cannot be read/);
    } finally {
      await cloud.call("setFaults", {});
    }
    expect(await workers()).toBe(before);
    await eventually(async () => expect((await status()).error).toBeNull());
    upWith(2);
  });

  test("a key that does not fit the certificate", async () => {
    const { output: pem } = await onMachine("balancer", `cat /etc/pki/tls/${domain}/cert.pem`);
    const { output: haproxyConfig } = await onMachine("balancer", "cat /etc/haproxy/haproxy.cfg");
    const { output: token } = await onMachine("balancer", "cat /var/lib/wcs-balancer/status-token");
    const wrong = pem.replace(/-----BEGIN (EC )?PRIVATE KEY-----[\s\S]*$/, (await newKeys()).pem);
    expect(wrong).not.toBe(pem);
    const write = (name: string, type: string, value: string) =>
      cloud.call("update", {
        kind: "parameter",
        id: `/wcs-balancer/dev/${name}`,
        inputs: { name: `/wcs-balancer/dev/${name}`, type, value },
      });
    const before = await workers();
    await during({
      name: "a key that does not fit",
      args: withNodes(2, "--config", 'checks={"cpu":70}'),
      async meanwhile(_, up) {
        await up.ended;
        await write("secret", "SecureString", JSON.stringify({ pem: wrong, token }));
        const { document, revision } = renderDesiredState(haproxyConfig, sha256(wrong), 600);
        await write("desired-state", "String", document);
        await eventually(async () => expect((await status()).refused).toBe(revision));
        expect((await status()).error).toMatch(
          /inconsistencies between private key and certificate|No Private Key|key values mismatch/i,
        );
        await certificate();
      },
    });
    expect(await workers()).toBe(before);
    upWith(2);
    await eventually(async () => expect((await status()).error).toBeNull());
    await write("secret", "SecureString", JSON.stringify({ pem, token }));
  });
});

describe("outages", () => {
  afterAll(() => cloud.call("setFaults", {}));

  test(
    `SSM and metadata away for ${outageSeconds} s: serving goes on, then it catches up`,
    async () => {
      const { times } = await during({
        name: `SSM and metadata away for ${outageSeconds} s`,
        args: withNodes(2, "--config", 'checks={"cpu":75}'),
        variables: { DEADLINE_SECONDS: String(outageSeconds + 90) },
        async meanwhile() {
          await cloud.call("setFaults", { ssm: "away", metadata: "away" });
          await sleep(outageSeconds * 1000);
          await cloud.call("setFaults", {});
        },
      });
      expect(times.seen).toBeLessThan(outageSeconds + 20);
      upWith(2);
    },
    (outageSeconds + 150) * 1000,
  );

  test("a reboot of the balancer meanwhile: it comes up with the last good state from its disk", async () => {
    await cloud.call("setFaults", { ssm: "away", metadata: "away" });
    try {
      const { revision } = await status();
      const { id } = await machine("balancer");
      await cloud.call("stopInstance", { id });
      await cloud.call("startInstance", { id });
      await eventually(async () => {
        await (await connect()).close();
        expect((await status()).revision).toBe(revision);
      }, 60);
      await eventually(async () =>
        expect((await status()).error).toMatch(/instance metadata cannot be reached/),
      );
    } finally {
      await cloud.call("setFaults", {});
    }
    await eventually(async () => expect((await status()).error).toBeNull());
  });

  test("the balancer replaced: its addresses and the nodes stay, the wait runs again, clients come back", async () => {
    const machines = await cloud.call("machines", {});
    const before = machines.find(({ name }) => name === "balancer");
    const { newcomers, output } = await during({
      name: "replace the balancer",
      args: withNodes(2, "--config", "balancerAmi=ami-0123456789abcdef0"),
      closes: "any",
      outage: true,
    });
    const after = await machine("balancer");
    expect(after.id).not.toBe(before?.id);
    expect([after.privateAddress, after.publicAddress]).toEqual([
      before?.privateAddress,
      before?.publicAddress,
    ]);
    expect(output).toMatch(/command:local:Command rollout updating/);
    expect(
      (await cloud.call("machines", {})).filter(({ name }) => name.startsWith("wcs-")).map(({ id }) => id),
    ).toEqual(machines.filter(({ name }) => name.startsWith("wcs-")).map(({ id }) => id));
    expect(newcomers.outage()).toBeGreaterThan(1000);
    await (await connect()).close();
  });
});

describe("an up that is cancelled while a node drains", () => {
  test("then the node is wanted again: it takes clients again, and nobody has noticed", async () => {
    upWith(3);
    const returning = await serverName("wcs-3");
    const { newcomers } = await during({
      name: "a cancelled scale-in",
      args: withNodes(2),
      fails: true,
      async meanwhile(_, first) {
        await draining(returning);
        first.interrupt();
        await first.ended;
        const second = startSandbox(["up", ...withNodes(3)]);
        const { status, output } = await second.ended;
        expect(status, output.slice(-2000)).toBe(0);
        await sleep(6000);
        return second;
      },
    });
    expect(await serverName("wcs-3")).toBe(returning);
    expect(newcomers.landings.at(-1) && newcomers.landings.slice(-30).map(({ server }) => server)).toContain(
      returning,
    );
  });

  test("then another change: nothing is deleted early, and the end state is right", async () => {
    const leaving = await serverName("wcs-3");
    await during({
      name: "a cancelled up, then another change",
      args: withNodes(2),
      fails: true,
      async meanwhile(fleet, first) {
        await draining(leaving);
        await eventually(() => expect(first.output).toContain(`${leaving} to drain`));
        first.interrupt();
        expect((await first.ended).status).not.toBe(0);
        expect((await machine("wcs-3")).state).toBe("running");
        const second = startSandbox(["up", ...withNodes(2, "--config", 'checks={"cpu":85}')]);
        await eventually(() => expect(second.output).toContain(`${leaving} to drain`), 60);
        await sleep(3000);
        expect((await machine("wcs-3")).state).toBe("running");
        await fleet.close((server) => server === leaving);
        expect((await second.ended).status).toBe(0);
        return second;
      },
    });
    expect((await cloud.call("machines", {})).map(({ name }) => name)).not.toContain("wcs-3");
    expect((await status()).draining).toEqual([]);
  });
});

describe("nodes from elsewhere", () => {
  const second = ["--stack", "second", "--file", "Pulumi.dev.yaml", "--config", "domain=second.example.com"];

  beforeAll(() => {
    const args = [...second, "--config", 'nodes=["edge-1"]', "--config", 'balancerCidrs=["172.31.0.10/32"]'];
    const { status, output } = sandbox("up", ...args);
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
  });

  test("another stack's nodes come and go", async () => {
    const server = await serverName("edge-1");
    const reference = ["--config", "nodeStack=organization/wcs-balancer/second"];
    await during({
      name: "add another stack's nodes",
      args: withNodes(2, ...reference),
      async meanwhile(_, up, newcomers) {
        await up.ended;
        await eventually(() => expect(newcomers.landings.map((landing) => landing.server)).toContain(server));
      },
    });
    await during({
      name: "take them out again",
      args: withNodes(2),
      async meanwhile(fleet) {
        await draining(server);
        await fleet.close((candidate) => candidate === server);
      },
    });
  });

  test("a server that exists already comes and goes, and is only warned of when it is down", async () => {
    const { privateAddress } = await machine("edge-1");
    const external = ["--config", `externalNodes=[{"name":"hardware","address":"${privateAddress}"}]`];
    let server = "";
    await during({
      name: "add an external node",
      args: withNodes(2, ...external),
      async meanwhile(_, up, newcomers) {
        await up.ended;
        await eventually(() => {
          const names = newcomers.landings.map((landing) => landing.server);
          server = names.find((name) => name.startsWith("hardware-")) ?? "";
          expect(server).not.toBe("");
        });
      },
    });
    await onMachine("edge-1", "systemctl stop xinetd");
    const { output } = await during({
      name: "a change while it is down",
      args: withNodes(2, ...external, "--config", 'checks={"cpu":60}'),
    });
    expect(output).toContain(`warning: ${server}: down: Connection refused`);
    upWith(2);
  });
});
