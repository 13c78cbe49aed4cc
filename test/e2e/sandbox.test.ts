import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { agentPort } from "../../cluster/contract";
import { parseStatus } from "../../cluster/status";
import { cgroupRoots, projectRoot } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";
import {
  balancerAddress,
  canConnect,
  closePort,
  cloud,
  engineState,
  eventually,
  long,
  machine,
  onMachine,
  ownAddress,
  paths,
  sandbox,
  startSandbox,
  up,
} from "./cluster";
import { commandsOf, documentedPages, runDocumented } from "./documented";
import { keepEvidenceOf } from "./evidence";

/** `npm run test:long` runs all of them. */
describe("documented commands that only look", () => {
  const look = /^npm run sandbox -- (status|shell|logs|help)\b/;
  const commands = documentedPages
    .flatMap((page) => commandsOf(page))
    .filter((command) => look.test(command));
  test.each([...new Set(commands)])("%s", (command) => {
    const { status, output } = runDocumented(command);
    expect(output, output.slice(-2000)).toSatisfy(() => status === 0);
  });
});

test("a failure leaves the status, haproxy.cfg, the packet filter and every machine's journal", async () => {
  sandbox("status");
  const folder = await keepEvidenceOf("an example of a failure", new Date(Date.now() - 120_000));
  const kept = readdirSync(folder).map((name) => name.replace(/-[0-9a-f]{8}\./, "-ID."));
  const ofMachines = ["balancer-1", "wcs-1", "wcs-2"].flatMap((name) => [
    `${name}-ID.console.txt`,
    `${name}-ID.journal.txt`,
  ]);
  expect(kept.sort()).toEqual(
    [...ofMachines, "haproxy.cfg", "machines.txt", "packet-filter.txt", "status.json"].sort(),
  );
  const read = (part: string) =>
    readFileSync(join(folder, readdirSync(folder).find((name) => name.includes(part)) ?? ""), "utf8");
  expect(parseStatus(read("status.json")).nodes).toHaveLength(2);
  expect(read("haproxy.cfg")).toContain("backend wcs_back");
  expect(read("packet-filter")).toContain("chain forward");
  for (const name of ["balancer-1", "wcs-1"]) expect(read(`${name}-`)).not.toBe("");
  const commands = join(folder, "../commands");
  const recorded = readdirSync(commands).find((name) => name.endsWith("-sandbox-status.txt")) ?? "";
  expect(readFileSync(join(commands, recorded), "utf8")).toContain("IN THE BALANCERS");
  rmSync(folder, { recursive: true });
});

test("a shell on a machine has no more rights than the machine, so it cannot set the clock of all machines", () => {
  // With -- the script gets the words that `sandbox` adds, and ignores them.
  const onNode = (script: string) => sandbox("shell", "wcs-1", "--", "sh", "-c", script);
  const rights = (process: string) =>
    onNode(`grep CapBnd /proc/${process}/status`).output.match(/^CapBnd:\s+([0-9a-f]+)$/m)?.[1];
  expect(rights("self")).toMatch(/^[0-9a-f]+$/);
  expect(rights("self")).toBe(rights("1"));
  // Even if this were allowed, the clock would stay as it is.
  const { status, output } = onNode('date --set "$(date --iso-8601=ns)"');
  expect(output).toContain("cannot set date: Operation not permitted");
  expect(status).not.toBe(0);
  expect(onNode("systemctl restart systemd-journald").status).toBe(0);
});

test("this machine's root may watch enough files for dozens of machines", () => {
  // At the default of 128 the 19th machine ends at once: "Failed to allocate manager object: Too many open files".
  const instances = readFileSync("/proc/sys/fs/inotify/max_user_instances", "utf8");
  expect(Number(instances)).toBeGreaterThanOrEqual(1024);
});

test("the VPC's router keeps its hardware address when machines are added, so that other machines still find it", () => {
  const vpc = ["-n", paths.vpcNamespace];
  const address = () => run("ip", [...vpc, "-brief", "link", "show", "vpc"]).split(/\s+/)[2];
  const before = address();
  const low = ["low", "address", "00:00:00:00:00:01"];
  run("ip", [...vpc, "link", "add", ...low, "type", "veth"]);
  try {
    run("ip", [...vpc, "link", "set", "low", "master", "vpc"]);
    expect(address()).toBe(before);
  } finally {
    run("ip", [...vpc, "link", "delete", "low"]);
  }
});

describe("a refresh", () => {
  const nothing = "Nothing that the program sets was changed behind Pulumi's back.";

  test("finds no change when nothing was changed, and shows no secret", () => {
    const { status, output } = sandbox("refresh");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).toContain(nothing);
    expect(output).toMatch(/^Resources:\n {4}\d+ unchanged$/m);
    expect(output).not.toContain("PRIVATE KEY");
    expect(JSON.stringify(engineState())).not.toContain("PRIVATE KEY");
  });

  test("finds a rule that was changed behind Pulumi's back, which the next up puts right", async () => {
    await eventually(() => expect(canConnect(balancerAddress, 80)).toBe(true));
    await closePort(80, 1);
    expect(canConnect(balancerAddress, 80)).toBe(false);
    const { status, output } = sandbox("refresh");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).toMatch(/SecurityGroupIngressRule \S+ has changed: fromPort, toPort/);
    expect(output).toMatch(/^ {4}~ 1 updated$/m);
    expect(engineState().resources.map(({ inputs }) => inputs?.fromPort)).toContain(1);
    expect(canConnect(balancerAddress, 80)).toBe(false);
    up();
    await eventually(() => expect(canConnect(balancerAddress, 80)).toBe(true));
    expect(sandbox("refresh").output).toContain(nothing);
  });
});

if (long)
  test("a killed up leaves pending resources, until a refresh is told to forget them", async () => {
    const pending = () =>
      (engineState().pending_operations ?? []).map(
        ({ type, resource }) => `${resource.urn.split("::").at(-1)} ${type}`,
      );
    const killed = startSandbox(["up", "--nodes", "3"]);
    // The cloud stops, the request arrives, and the cloud continues after the client has gone.
    await eventually(() => expect(killed.output).toContain("Updating (dev):"), 180);
    const { pid } = await cloud.call("ping", {});
    process.kill(pid, "SIGSTOP");
    try {
      await eventually(() => expect(killed.output).toContain("aws:ec2:Instance wcs-3 creating"), 180);
    } finally {
      killed.kill();
      await killed.ended;
      process.kill(pid, "SIGCONT");
    }
    expect(pending()).toEqual(["wcs-3 creating"]);
    await eventually(async () => expect((await machine("wcs-3")).state).toBe("running"));

    const { status, output } = sandbox("up");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    expect(output).toContain("with 1 pending operations from previous deployment");
    expect(output).toMatch(/Instance::wcs-3, interrupted while creating/);
    expect(sandbox("refresh").status).toBe(0);
    expect(pending()).toEqual(["wcs-3 creating"]);
    expect(sandbox("refresh", "--clear-pending-creates").status).toBe(0);
    expect(pending()).toEqual([]);
    expect(sandbox("up").output).not.toContain("pending operations");
  });

describe("an Elastic IP that moves from one machine to another", () => {
  /** Of those that clients reach on a node. */
  const port = 32_999;

  /** Starts a program on a machine whose connections tick, see ticker.py. */
  async function startTicker(name: string, ...args: string[]): Promise<void> {
    const { id } = await machine(name);
    copyFileSync(join(projectRoot, "test/e2e/ticker.py"), join(paths.machines, id, "root/root/ticker.py"));
    const command = `systemd-run --quiet --unit=ticker-${args[0]} python3 /root/ticker.py ${args.join(" ")}`;
    const { status, output } = await onMachine(name, command);
    expect(output).toSatisfy(() => status === 0);
    await eventually(async () => expect(await wordsOf(name, args[0] ?? "")).toContain("ready"));
  }

  const wordsOf = async (name: string, ticker: string) =>
    (await onMachine(name, `journalctl --output=cat --unit=ticker-${ticker}`)).output;

  /** A connection, with all that it has seen. */
  function watch(socket: Socket): { socket: Socket; received: string; ended?: string } {
    const seen: { socket: Socket; received: string; ended?: string } = { socket, received: "" };
    socket.setEncoding("utf8");
    socket.on("data", (part) => {
      seen.received += part;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      seen.ended = error.code;
    });
    socket.on("end", () => {
      seen.ended ??= "closed";
    });
    return seen;
  }

  async function dial(host: string): Promise<ReturnType<typeof watch>> {
    const connection = watch(createConnection({ host, port }));
    await eventually(() => expect(connection.received).toContain("tick"));
    return connection;
  }

  test("keeps no connection, tells no client, and leads new connections to the new machine at once", async () => {
    const [one, two] = [await machine("wcs-1"), await machine("wcs-2")];
    const { id, outputs } = await cloud.call("create", { kind: "elasticIp", inputs: { domain: "vpc" } });
    const address = String(outputs.publicIp);
    const move = (instanceId: string) =>
      cloud.call("create", {
        kind: "elasticIpAssociation",
        inputs: { allocationId: id, instanceId, allowReassociation: true },
      });
    await move(one.id);
    for (const name of ["wcs-1", "wcs-2"]) await startTicker(name, "listen", String(port), name);
    const client = await dial(address);
    expect(client.received).toContain("wcs-1");

    // The new machine is about to lose its automatic address, and the connections through it.
    const accepted: ReturnType<typeof watch>[] = [];
    const server = createServer((socket) => accepted.push(watch(socket))).listen(port, ownAddress);
    await startTicker("wcs-2", "dial", String(port), ownAddress);
    const outbound = await eventually(() => {
      const [first] = accepted;
      if (!first?.received.includes("tick")) throw new Error("no word from the machine");
      return first;
    });
    expect(outbound.socket.remoteAddress).toBe(two.publicAddress);

    await move(two.id);
    const next = await dial(address);
    expect(next.received).toContain("wcs-2");
    // All earlier packets have arrived by now: the new connection is younger.
    const received = [client.received, outbound.received];
    // Their machines continue to send, from other addresses, which no client knows.
    await eventually(async () => {
      expect(await wordsOf("wcs-1", "listen")).toContain("ended");
      expect(await wordsOf("wcs-2", "dial")).toContain("ended");
    });
    expect([client.received, outbound.received]).toEqual(received);
    expect([client.ended, outbound.ended]).toEqual([undefined, undefined]);
    // A client that sends reaches the new machine, which does not know its connection.
    client.socket.write("hello\n");
    await eventually(() => expect(client.ended).toBe("ECONNRESET"));
    expect(client.received).toBe(received[0]);
    for (const name of ["wcs-1", "wcs-2"]) expect(await wordsOf(name, "listen")).not.toContain("hello");
    next.socket.write("hello\n");
    await eventually(async () => expect(await wordsOf("wcs-2", "listen")).toContain("hello"));

    const after = await machine("wcs-1");
    expect(after.publicAddress).not.toBe(one.publicAddress);
    expect((await dial(after.publicAddress ?? "")).received).toContain("wcs-1");
    expect((await machine("wcs-2")).publicAddress).toBe(address);
    const { output } = sandbox("status");
    expect(output).toContain(`${address} (Elastic IP)`);
    server.close();
    for (const { socket } of [client, outbound, next]) socket.destroy();
  });
});

describe("what a machine sends to a public address", () => {
  /** Of those that clients reach on a node. */
  const port = 32_998;
  const tellPeer = [
    "import socket",
    `server = socket.create_server(("", ${port}))`,
    "while True:",
    "    connection, (address, _) = server.accept()",
    "    connection.sendall(address.encode())",
    "    connection.close()",
  ].join("\n");
  const sourceAt = async (from: string, address: string) =>
    (await onMachine(from, `timeout 20 cat < /dev/tcp/${address}/${port}`)).output;

  beforeAll(async () => {
    await onMachine("wcs-1", `systemd-run --quiet python3 -c '${tellPeer}'`);
    await eventually(async () => expect(await sourceAt("wcs-1", "127.0.0.1")).toBe("127.0.0.1"));
  });

  test("comes from the sender's public address, also when it is the machine's own", async () => {
    const [node, other] = [await machine("wcs-1"), await machine("wcs-2")];
    const there = node.publicAddress ?? "";
    expect(await sourceAt("wcs-2", there)).toBe(other.publicAddress);
    expect(await sourceAt("wcs-1", there)).toBe(there);
    expect(await sourceAt("wcs-2", node.privateAddress)).toBe(other.privateAddress);
  });

  test("a rule for a security group does not let in", async () => {
    const { privateAddress, publicAddress } = await machine("wcs-1");
    const asks = async (address = "") =>
      (await onMachine("balancer", `timeout 1 bash -c 'exec 3<>/dev/tcp/${address}/${agentPort}'`)).status;
    await eventually(async () => expect(await asks(privateAddress)).toBe(0));
    expect(await asks(publicAddress)).not.toBe(0);
  });

  test("reaches the balancer's own port 80 at its Elastic IP", async () => {
    const { output } = await onMachine(
      "balancer",
      `curl --silent --max-time 30 --output /dev/null --write-out '%{http_code}' http://${balancerAddress}/`,
    );
    expect(output).toBe("301");
  });
});

test("down leaves no mount, namespace, process or file outside the cache", async () => {
  const name = paths.name;
  const { status } = sandbox("down");
  expect(status).toBe(0);
  expect(existsSync(paths.state)).toBe(false);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(paths.state);
  expect(readdirSync("/run/netns").filter((entry) => entry.startsWith(`wcs-${name}-`))).toEqual([]);
  for (const root of cgroupRoots().all) {
    expect(existsSync(join(root, "wcs-balancer-sandbox", name))).toBe(false);
  }
  const processes = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" }).stdout;
  expect(processes.split("\n").filter((line) => line.includes(`${paths.machines}/`))).toEqual([]);
  expect(existsSync(dirname(paths.state)) ? readdirSync(dirname(paths.state)) : []).not.toContain(name);
});
