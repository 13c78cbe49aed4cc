import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { notUp } from "../../rollout/verdict";
import { status } from "./changes";
import {
  allUp,
  connect,
  eventually,
  get,
  logged,
  lose8080,
  losePackets,
  onMachine,
  sandbox,
  serverName,
  up,
  upgrade,
  whileAllUp,
} from "./cluster";
import { serverOf } from "./fleet";

/** Other tests may need the processors, too. The times are those in HAProxy's log. */
const busyMilliseconds = 1000;
/** The promise to a client whose node is gone, or hangs. Without these time-outs it would wait 5 s and 60 s. */
const goneMilliseconds = 2000 + busyMilliseconds;
const hangsMilliseconds = 5000 + busyMilliseconds;

beforeAll(() => up("--config", "stickiness=true"));

const wcs = (node: string, signal: "STOP" | "CONT") =>
  onMachine(node, `systemctl kill --signal=${signal} webcallserver`);

/** Asks for a WebSocket, and gives the answer with how long HAProxy took. */
async function ask(server = "") {
  const answer = await get("/", server ? { ...upgrade, Cookie: `SERVERID=${server}` } : upgrade);
  return { ...answer, ...(await logged(answer)) };
}

/** Clients that come at the same moment: new ones and one that was on a server before. */
async function askTogether(server: string) {
  const [before, ...newcomers] = await Promise.all([ask(server), ...Array.from({ length: 4 }, () => ask())]);
  return { before, newcomers, all: [before, ...newcomers] };
}

test("a node that hangs: clients get another node within 5 s, and open silent sockets stay", async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, () => connect()));
  const hanging = await serverName("wcs-1");
  let closed = 0;
  for (const { socket } of clients) socket.on("close", () => closed++);
  await whileAllUp(2, async () => {
    await wcs("wcs-1", "STOP");
    try {
      const { before, all } = await askTogether(hanging);
      expect(all.map((answer) => answer.status)).toEqual(all.map(() => 101));
      // So HAProxy asked the hanging node first. It does not, if the agent was faster to say that WCS hangs.
      expect(before.milliseconds).toBeGreaterThan(4000);
      for (const { milliseconds } of all) expect(milliseconds).toBeLessThan(hangsMilliseconds);
      // Be silent for longer than the time-out.
      await sleep(1000);
    } finally {
      await wcs("wcs-1", "CONT");
    }
  });
  expect(closed).toBe(0);
  const silent = clients.filter((client) => serverOf(client) === hanging);
  expect(silent.length).toBeGreaterThan(0);
  for (const { socket } of silent) {
    socket.ping();
    await once(socket, "pong");
  }
  await Promise.all(clients.map((client) => client.close()));
});

interface Fault {
  what: string;
  reason: string;
  break(node: string): Promise<unknown>;
  mend(node: string): Promise<unknown>;
}

/** A fault that one shell command on the node makes, and another one repairs. */
const onNode = (what: string, breaks: string, mends: string, reason: string): Fault => ({
  what,
  reason,
  break: (node) => onMachine(node, breaks),
  mend: (node) => onMachine(node, mends),
});

/** A fault of the network. */
function inNetwork(what: string, lose: (node: string) => Promise<() => void>, reason: string): Fault {
  let restore = () => {};
  return {
    what,
    reason,
    break: async (node) => {
      restore = await lose(node);
    },
    mend: async () => restore(),
  };
}

const service = (name: string, reason: string) =>
  onNode(`${name} stopped`, `systemctl stop ${name}`, `systemctl start ${name}`, reason);

const setupState = "/var/lib/wcs-setup/state";

describe("the reason of a node that is down is the same in every answer", () => {
  const pairs: [Fault, Fault][] = [
    [
      service("webcallserver", "down: WCS does not answer on port 8081"),
      onNode(
        "WCS hanging",
        "systemctl kill --signal=STOP webcallserver",
        "systemctl kill --signal=CONT webcallserver",
        "down: WCS hangs: no answer on port 8081",
      ),
    ],
    [
      service("xinetd", "down: does not answer on port 9707"),
      inNetwork("the machine unreachable", losePackets, "down: does not answer on ports 8080 and 9707"),
    ],
    [
      onNode(
        "its set-up failed, so no WCS",
        `echo setup failed: wcs-checksum >${setupState} && systemctl stop webcallserver`,
        `rm ${setupState}; systemctl start webcallserver`,
        "its set-up failed at step wcs-checksum",
      ),
      inNetwork("port 8080 unreachable", lose8080, "down: does not answer on port 8080"),
    ],
  ];

  test.each(
    pairs.map((pair) => [`${pair[0].what}; ${pair[1].what}`, pair] as const),
  )("%s", async (_, pair) => {
    const faults = [
      ["wcs-1", pair[0]],
      ["wcs-2", pair[1]],
    ] as const;
    const servers = await Promise.all(faults.map(([node]) => serverName(node)));
    const expected = faults.map(([, { reason }], index) => `${servers[index]}: ${reason}`);
    try {
      for (const [node, fault] of faults) await fault.break(node);
      await eventually(async () => expect(notUp(await status(), servers)).toEqual(expected));
      // A busy machine may be late with an answer, which is another reason for a second.
      await eventually(async () => {
        for (let look = 0; look < 12; look++) {
          expect(notUp(await status(), servers)).toEqual(expected);
          await sleep(150);
        }
      });
    } finally {
      for (const [node, fault] of faults) await fault.mend(node);
    }
  });
});

describe("with haproxy.cfg changed by hand", () => {
  const file = "/etc/haproxy/haproxy.cfg";

  /** A restart, since HAProxy then takes every node for up and at full weight. */
  async function change(expression: string): Promise<void> {
    const { output } = await onMachine(
      "balancer",
      `sed -i '${expression}' ${file} && systemctl restart haproxy`,
    );
    expect(output).toBe("");
    await eventually(async () => (await connect()).close());
  }

  beforeAll(async () => {
    await allUp(2);
    await onMachine("balancer", `cp ${file} /root/before.cfg && systemctl stop wcs-balancer-sync`);
  });

  // The sync service sees that the file has changed, and writes it again.
  afterAll(async () => {
    await onMachine("balancer", "systemctl start wcs-balancer-sync");
    await eventually(async () =>
      expect((await onMachine("balancer", `cmp /root/before.cfg ${file}`)).status).toBe(0),
    );
    await allUp(2);
  });

  test.each([
    "roundrobin",
    "leastconn",
    "first",
  ])("a node that is unreachable, with %s: clients get another one within 2 s", async (algorithm) => {
    await change(`s/^    balance .*/    balance ${algorithm}/`);
    await whileAllUp(2, async () => {
      const restore = await losePackets("wcs-1");
      try {
        const { before, newcomers, all } = await askTogether(await serverName("wcs-1"));
        expect(all.map((answer) => answer.status)).toEqual(all.map(() => 101));
        // So HAProxy asked the lost node first, also for some of the new clients.
        expect(before.milliseconds).toBeGreaterThan(1000);
        expect(Math.max(...newcomers.map(({ milliseconds }) => milliseconds))).toBeGreaterThan(1000);
        for (const { milliseconds } of all) expect(milliseconds).toBeLessThan(goneMilliseconds);
      } finally {
        restore();
      }
    });
  });

  test("no node answers, though all accept connections: the busy page, with Retry-After", async () => {
    await change("s/timeout server 4500ms/timeout server 500ms/");
    const nodes = ["wcs-1", "wcs-2"];
    // The request is lost, the handshake before it is not.
    await whileAllUp(2, async () => {
      const restores = await Promise.all(nodes.map((node) => lose8080(node, "meta length > 100")));
      try {
        const answer = await ask();
        expect(answer.status).toBe(504);
        expect(answer.headers["retry-after"]).toBe("10");
        expect(answer.body).toContain("All servers are busy");
        // One try on each of two nodes.
        expect(answer.milliseconds).toBeLessThan(1000 + busyMilliseconds);
      } finally {
        for (const restore of restores) restore();
      }
    });
  });
});

test("nginx away: every status names it, and /healthz still says that nodes take clients", async () => {
  const away = "nginx does not answer on port 8180, so there are no pages";
  // Something else would start it again.
  await onMachine("balancer", "systemctl mask --runtime --now nginx");
  try {
    await eventually(async () => expect((await status()).away).toEqual([away]));
    const { status: exit, output } = await onMachine("balancer", "wcs-balancer status");
    expect(output).toContain(`away         ${away}`);
    expect(exit).toBe(1);
    expect(sandbox("status").output).toContain(`balancer-1: ${away}`);
    expect((await get("/healthz")).status).toBe(200);
    await (await connect()).close();
  } finally {
    await onMachine("balancer", "systemctl unmask --runtime nginx && systemctl start nginx");
  }
  await eventually(async () => expect((await status()).away).toEqual([]));
});
