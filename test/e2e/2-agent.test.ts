import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { cloud, connect, eventually, machine, nodeOf, onMachine, paths, sandboxAsync, up } from "./cluster";
import { publish } from "./publisher";

const minute = 60_000;

/** The nodes that some new clients land on; each leaves again. */
async function landings(count: number, headers: Record<string, string> = {}): Promise<string[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => connect(headers)));
  const nodes = await Promise.all(clients.map(nodeOf));
  await Promise.all(clients.map((client) => client.close()));
  return [...new Set(nodes)].sort();
}

/** What HAProxy's statistics page holds, as a table. */
async function haproxyStatistics(path = "/"): Promise<string> {
  return (await onMachine("balancer", `curl --silent --insecure "https://127.0.0.1:8404${path}"`)).output;
}

/** Whether HAProxy gives a node new clients: up, full (weight 0) or down. */
async function stateOf(node: string): Promise<"up" | "full" | "down"> {
  const [head = "", ...rows] = (await haproxyStatistics("/;csv")).replace(/^# /, "").split("\n");
  const columns = head.split(",");
  const row = rows.map((line) => line.split(",")).find((cells) => cells[1]?.startsWith(`${node}-`)) ?? [];
  if (!row[columns.indexOf("status")]?.startsWith("UP")) return "down";
  return row[columns.indexOf("weight")] === "0" ? "full" : "up";
}

/** Waits until HAProxy sees a node in a state, and gives the seconds that it took. */
async function secondsUntil(node: string, state: "up" | "full" | "down"): Promise<number> {
  const began = Date.now();
  await eventually(async () => expect(await stateOf(node)).toBe(state), 20);
  return (Date.now() - began) / 1000;
}

const other = (node: string) => (node === "wcs-1" ? "wcs-2" : "wcs-1");

describe("a node that is full, and one that is broken", () => {
  beforeAll(() => up("--config", 'checks={"publishers":3}', "--config", "stickiness=true"));

  test("gets no new clients within 2 s of reaching its threshold, keeps its own, and takes new ones within 2 s of falling below", async () => {
    const client = await connect();
    const full = await nodeOf(client);
    const cookie = client.cookie.split(";")[0] ?? "";
    for (const name of ["a", "b", "c"]) await publish(client, name);

    expect(await secondsUntil(full, "full")).toBeLessThan(2);
    expect(await landings(12)).toEqual([other(full)]);
    expect(client.socket.readyState).toBe(client.socket.OPEN);
    expect(await landings(3, { Cookie: cookie })).toEqual([full]);

    client.socket.send(JSON.stringify({ message: "unPublishStream", data: [{ mediaSessionId: "a" }] }));
    expect(await secondsUntil(full, "up")).toBeLessThan(2);
    await eventually(async () => expect(await landings(12)).toEqual(["wcs-1", "wcs-2"]));
    await client.close();
  });

  test("the cookie is secure, for scripts out of reach, and names the node", async () => {
    const client = await connect();
    const { id } = await machine(await nodeOf(client));
    expect(client.cookie).toMatch(
      /^SERVERID=wcs-[12]-[0-9a-f]{8}; path=\/; HttpOnly; Secure; SameSite=None$/,
    );
    expect(client.cookie).toContain(id.slice(-8));
    await client.close();
  });

  test("whose WCS hangs gets none within 3 s, and HAProxy's log and statistics page say why", async () => {
    await onMachine("wcs-1", "systemctl kill --signal=STOP webcallserver");
    try {
      expect(await secondsUntil("wcs-1", "down")).toBeLessThan(3);
      expect(await landings(12)).toEqual(["wcs-2"]);
      expect(await haproxyStatistics()).toContain("WCS does not answer on port 8081");
      const { output } = await onMachine("balancer", "journalctl --unit=haproxy --no-pager --since=-20s");
      expect(output).toMatch(/Server wcs_back\/wcs-1-\w+ is DOWN.*WCS does not answer on port 8081/);
    } finally {
      await onMachine("wcs-1", "systemctl kill --signal=CONT webcallserver");
    }
    await secondsUntil("wcs-1", "up");
  });

  test("whose agent is gone gets none within 3 s", async () => {
    await onMachine("wcs-2", "systemctl stop xinetd");
    try {
      expect(await secondsUntil("wcs-2", "down")).toBeLessThan(3);
      expect(await landings(12)).toEqual(["wcs-1"]);
    } finally {
      await onMachine("wcs-2", "systemctl start xinetd");
    }
    await secondsUntil("wcs-2", "up");
  });

  test("whose agent hangs gets none either", async () => {
    await onMachine("wcs-2", "systemctl kill --signal=STOP xinetd");
    try {
      expect(await secondsUntil("wcs-2", "down")).toBeLessThan(5);
      expect(await landings(12)).toEqual(["wcs-1"]);
    } finally {
      await onMachine("wcs-2", "systemctl kill --signal=CONT xinetd");
    }
    await secondsUntil("wcs-2", "up");
  });
});

const load = readFileSync(join(projectRoot, "test/e2e/agent-load.py"), "utf8");

/** What both listeners promise. */
function listenerPromises(): void {
  test("50 checks a second for 10 s, every one answered", { timeout: 2 * minute }, async () => {
    const { output } = await onMachine("wcs-1", `python3 - 127.0.0.1 50 10 <<'PYTHON'\n${load}\nPYTHON`);
    expect(output).toMatch(/^\{'up ': 500\} slowest/);
    console.log(`50 checks a second: ${output.trim()}`);
  });

  test("a burst does not switch the port off", async () => {
    const { output } = await onMachine("wcs-1", `python3 - 127.0.0.1 300 1 <<'PYTHON'\n${load}\nPYTHON`);
    expect(output).toMatch(/^\{'up ': 300\} slowest/);
    const { output: after } = await onMachine("wcs-1", "sleep 3 | telnet localhost 9707");
    expect(after).toMatch(/^up \d+%/m);
  });

  test("who connects and sends nothing, or never reads, holds nobody up", async () => {
    const idle =
      "import socket,time\ns=[socket.create_connection(('127.0.0.1',9707)) for _ in range(100)]\ntime.sleep(3)";
    const { output } = await onMachine(
      "wcs-1",
      `python3 -c "${idle}" & sleep 0.2; python3 - 127.0.0.1 10 2 <<'PYTHON'\n${load}\nPYTHON\nwait`,
    );
    expect(output).toMatch(/^\{'up ': 20\} slowest [01]\./m);
  });

  test("an address that is neither a balancer's nor localhost gets no answer", async () => {
    const { privateAddress } = await machine("wcs-1");
    const ask = (address: string) =>
      onMachine("wcs-1", `exec 3<>/dev/tcp/${address}/9707; printf 'cpu 90;' >&3; timeout 2 cat <&3`);
    expect((await ask("127.0.0.1")).output).toMatch(/^up \d+%\n$/);
    // From the node's own address, which the security group does not see.
    expect((await ask(privateAddress)).output).not.toMatch(/up|down/);
  });

  test("the agent runs as nobody in particular", async () => {
    const { output } = await onMachine(
      "wcs-1",
      "exec 3<>/dev/tcp/127.0.0.1/9707; sleep 0.1; ps -eo user:20,args | grep '[h]aproxy-agent-check-launch'",
    );
    expect(output).toMatch(/^(nobody|haproxy-agent) /);
  });
}

describe("with xinetd", listenerPromises);

describe("with systemd, and with a licence", () => {
  const key = "WCS-9F2C-TEST-KEY";
  const seen: string[] = [];
  let running = true;
  const wcs = "/usr/local/FlashphonerWebCallServer";

  /** Watches every process of this machine, those inside of the sandbox's machines included. */
  async function watchProcesses(): Promise<void> {
    while (running) {
      for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
        try {
          const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
          // The test itself hands the key to the sandbox's command.
          if (command.includes(key) && !command.includes("--secret"))
            seen.push(command.replaceAll("\0", " "));
        } catch {
          // It has ended.
        }
      }
      await sleep(20);
    }
  }

  beforeAll(async () => {
    const watching = watchProcesses();
    const { status, output } = await sandboxAsync(
      "up",
      "--config",
      "agentListener=systemd",
      "--config",
      'wcsProperties={"cdn_enabled":true,"cdn_ip":"{privateAddress}"}',
      "--config",
      "wcsHeap=640m",
      "--config",
      'openPorts=["cdn"]',
      "--secret",
      `wcsLicenseKey=${key}`,
    );
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).not.toContain(key);
    running = false;
    await watching;
  }, 5 * minute);

  afterAll(() => {
    running = false;
  });

  listenerPromises();

  test("the licence is activated, and its key was in no process list, log or user-data", async () => {
    expect((await onMachine("wcs-1", `cat ${wcs}/conf/flashphoner.license`)).output).toBe(
      `activated ${key}\n`,
    );
    expect(seen).toEqual([]);
    const { output } = await onMachine(
      "wcs-1",
      `grep -rl ${key} /var/log /var/lib/cloud /etc /run 2>/dev/null; journalctl --no-pager | grep -c ${key}`,
    );
    expect(output).toBe("0\n");
  });

  test("the node's role reads the licence and nothing else", async () => {
    const read = (name: string) =>
      onMachine(
        "wcs-1",
        `cd /usr/local/lib/wcs-setup && python3 -c 'from aws_instance import get_parameter; print(len(get_parameter("${name}")))'`,
      );
    expect((await read("/wcs-balancer/dev/wcs-license")).output).toBe(`${key.length}\n`);
    expect((await read("/wcs-balancer/dev/secret")).output).toContain("AccessDeniedException");
  });

  test("heap and CDN are as configured, with the node's own address", async () => {
    const { privateAddress } = await machine("wcs-1");
    const { output } = await onMachine(
      "wcs-1",
      `cat ${wcs}/conf/wcs-core.properties ${wcs}/conf/flashphoner.properties`,
    );
    expect(output.match(/^-Xmx.*$/gm)).toEqual(["-Xmx640m"]);
    expect(output.match(/^cdn_ip=.*$/gm)).toEqual([`cdn_ip=${privateAddress}`]);
  });

  test("8084 is open between the nodes, and to nobody else", async () => {
    const { privateAddress } = await machine("wcs-1");
    await onMachine("wcs-1", "systemd-run --quiet --unit=cdn python3 -m http.server 8084");
    const get = `curl --silent --output /dev/null --max-time 1 --retry 3 --retry-connrefused http://${privateAddress}:8084/`;
    expect((await onMachine("wcs-2", get)).status).toBe(0);
    expect((await onMachine("balancer", get)).status).not.toBe(0);
    await onMachine("wcs-1", "systemctl stop cdn");
  });

  test("a reboot keeps the licence", { timeout: 2 * minute }, async () => {
    const { leader } = await machine("wcs-1");
    await onMachine("wcs-1", "systemctl reboot");
    await eventually(async () => {
      expect((await machine("wcs-1")).leader).not.toBe(leader);
      expect((await onMachine("wcs-1", "systemctl is-active wcs-license webcallserver")).output).toBe(
        "active\nactive\n",
      );
    }, 60);
    expect((await onMachine("wcs-1", `cat ${wcs}/logs/license.log`)).output).toBe("activated\n");
  });

  test("a power-off gives it back; the next start activates it, with the new public address", {
    timeout: 2 * minute,
  }, async () => {
    const before = await machine("wcs-1");
    await cloud.call("stopInstance", { id: before.id });
    const disk = join(paths.machines, before.id, "root");
    const target = readdirSync(join(disk, "usr/local")).find((name) =>
      name.startsWith("FlashphonerWebCallServer-"),
    );
    const log = join(disk, "usr/local", target ?? "", "logs/license.log");
    expect(readFileSync(log, "utf8")).toBe("activated\ndeactivated\n");

    await cloud.call("startInstance", { id: before.id });
    await eventually(async () => {
      expect((await onMachine("wcs-1", "systemctl is-active wcs-license webcallserver")).output).toBe(
        "active\nactive\n",
      );
    }, 60);
    const after = await machine("wcs-1");
    expect(after.publicAddress).not.toBe(before.publicAddress);
    const { output } = await onMachine(
      "wcs-1",
      `grep -h '^ip' ${wcs}/conf/flashphoner.properties; cat ${wcs}/logs/license.log`,
    );
    expect(output).toBe(
      `ip=${after.publicAddress}\nip_local=${after.privateAddress}\nactivated\ndeactivated\nactivated\n`,
    );
  });
});
