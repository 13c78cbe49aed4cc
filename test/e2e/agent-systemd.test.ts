import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listenerPromises } from "./agent-listener";
import { cloud, eventually, machine, onMachine, paths, sandboxAsync } from "./cluster";

const minute = 60_000;

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
      "--config",
      'balancerCidrs=["10.2.0.0/16","172.29.0.10/32"]',
      "--secret",
      `wcsLicenseKey=${key}`,
    );
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).not.toContain(key);
    running = false;
    await watching;
  }, 10 * minute);

  afterAll(() => {
    running = false;
  });

  listenerPromises();

  test("networks in balancerCidrs get answers, neighbouring networks get none", async () => {
    const sources = ["10.2.200.7", "172.29.0.10", "10.3.0.1", "172.29.0.11"];
    const { output } = await onMachine(
      "wcs-1",
      `python3 - <<'PYTHON'
import socket, subprocess
for source in ${JSON.stringify(sources)}:
    subprocess.run(["ip", "address", "add", f"{source}/32", "dev", "lo"], check=True)
    with socket.create_connection(("127.0.0.1", 9707), source_address=(source, 0)) as client:
        client.sendall(b";")
        try:
            print(source, client.makefile().readline().strip() or "nothing")
        except ConnectionResetError:
            print(source, "nothing")
    subprocess.run(["ip", "address", "del", f"{source}/32", "dev", "lo"], check=True)
PYTHON`,
    );
    expect(output.trim().split("\n")).toEqual([
      "10.2.200.7 down #empty request",
      "172.29.0.10 down #empty request",
      "10.3.0.1 nothing",
      "172.29.0.11 nothing",
    ]);
  });

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
        `cd /usr/local/lib/wcs-setup && python3 -c 'from aws_parameters import get_parameter; print(len(get_parameter("${name}")))'`,
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

  test("8084 is open only between the nodes", async () => {
    const { privateAddress } = await machine("wcs-1");
    await onMachine("wcs-1", "systemd-run --quiet --unit=cdn python3 -m http.server 8084");
    const get = `curl --silent --output /dev/null --max-time 2 http://${privateAddress}:8084/`;
    await eventually(async () => expect((await onMachine("wcs-2", get)).status).toBe(0));
    expect((await onMachine("balancer", get)).status).not.toBe(0);
    await onMachine("wcs-1", "systemctl stop cdn");
  });

  test("a reboot keeps the licence", { timeout: 7 * minute }, async () => {
    const { leader } = await machine("wcs-1");
    await onMachine("wcs-1", "systemctl reboot");
    await eventually(async () => {
      expect((await machine("wcs-1")).leader).not.toBe(leader);
      expect((await onMachine("wcs-1", "systemctl is-active wcs-license webcallserver")).output).toBe(
        "active\nactive\n",
      );
    }, 240);
    expect((await onMachine("wcs-1", `cat ${wcs}/logs/license.log`)).output).toBe("activated\n");
  });

  test("a power-off gives the licence back; the next start activates it, with the new public address", {
    timeout: 7 * minute,
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
    }, 240);
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
