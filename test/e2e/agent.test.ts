import { beforeAll, describe, expect, test } from "vitest";
import { listenerPromises } from "./agent-listener";
import { status } from "./changes";
import { connect, eventually, long, machine, nodeOf, onMachine, up } from "./cluster";
import { publish } from "./publisher";

/** The nodes that some new clients land on. Who finds no node, since a check was late, tries again; all disconnect. */
async function landings(count: number, headers: Record<string, string> = {}): Promise<string[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => eventually(() => connect(headers))));
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
  const row = rows.map((line) => line.split(",")).find((cells) => cells[1]?.startsWith(`${node}-`));
  // A missing answer tells nothing about the node.
  if (!row) throw new Error(`the statistics page has no ${node}`);
  if (!row[columns.indexOf("status")]?.startsWith("UP")) return "down";
  return row[columns.indexOf("weight")] === "0" ? "full" : "up";
}

/** In seconds: how soon HAProxy sees a node in a state; far more where other tests need the processors, too. */
const soon = long ? 5 : 60;

async function until(node: string, state: "up" | "full" | "down"): Promise<void> {
  const began = Date.now();
  await eventually(async () => expect(await stateOf(node)).toBe(state), soon);
  console.log(`${node} ${state} after ${(Date.now() - began) / 1000} s`);
}

const other = (node: string) => (node === "wcs-1" ? "wcs-2" : "wcs-1");

describe("a node that is full, and one that is broken", () => {
  beforeAll(() => up("--config", 'checks={"publishers":3}', "--config", "stickiness=true"));

  test("gets no new clients once it reaches its threshold, keeps its own, and takes new ones when it falls below", async () => {
    const client = await connect();
    const full = await nodeOf(client);
    const cookie = client.cookie.split(";")[0] ?? "";
    for (const name of ["a", "b", "c"]) await publish(client, name);

    await until(full, "full");
    await eventually(async () => {
      const { nodes } = await status();
      expect(nodes.find(({ server }) => server.startsWith(`${full}-`))).toMatchObject({
        state: "full",
        reason: "publishers 3 of 3",
      });
    });
    expect(await landings(12)).toEqual([other(full)]);
    expect(client.socket.readyState).toBe(client.socket.OPEN);
    expect(await landings(3, { Cookie: cookie })).toEqual([full]);

    client.socket.send(JSON.stringify({ message: "unPublishStream", data: [{ mediaSessionId: "a" }] }));
    await until(full, "up");
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

  test("whose WCS hangs gets no clients, and HAProxy's log and statistics page say why", async () => {
    const since = Math.floor(Date.now() / 1000);
    await onMachine("wcs-1", "systemctl kill --signal=STOP webcallserver");
    try {
      await until("wcs-1", "down");
      expect(await landings(12)).toEqual(["wcs-2"]);
      // HAProxy shows the reason of its last check, which may be any of the two.
      await eventually(async () =>
        expect(await haproxyStatistics()).toContain("WCS hangs: no answer on port 8081"),
      );
      await eventually(async () => {
        const { output } = await onMachine(
          "balancer",
          `journalctl --unit=haproxy --no-pager --since=@${since}`,
        );
        expect(output).toMatch(/wcs_back\/wcs-1-\w+ (is DOWN|.*agent).*WCS hangs: no answer on port 8081/);
      });
    } finally {
      await onMachine("wcs-1", "systemctl kill --signal=CONT webcallserver");
    }
    await until("wcs-1", "up");
  });

  test("whose agent is gone gets no clients", async () => {
    await onMachine("wcs-2", "systemctl stop xinetd");
    try {
      await until("wcs-2", "down");
      expect(await landings(12)).toEqual(["wcs-1"]);
    } finally {
      await onMachine("wcs-2", "systemctl start xinetd");
    }
    await until("wcs-2", "up");
  });

  test("whose agent hangs gets no clients", async () => {
    await onMachine("wcs-2", "systemctl kill --signal=STOP xinetd");
    try {
      await until("wcs-2", "down");
      expect(await landings(12)).toEqual(["wcs-1"]);
    } finally {
      await onMachine("wcs-2", "systemctl kill --signal=CONT xinetd");
    }
    await until("wcs-2", "up");
  });
});

describe("with xinetd", listenerPromises);
