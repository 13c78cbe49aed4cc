import { beforeAll, expect, test } from "vitest";
import type { RemovedServer } from "../../contract/status";
import { draining, status, upWith, withNodes } from "./changes";
import { connect, eventually, onMachine, serverName, startSandbox } from "./cluster";
import { serverOf } from "./fleet";

beforeAll(() => upWith(2));

/** The node that a new client lands on. */
async function landing(): Promise<string> {
  const client = await connect();
  await client.close();
  return serverOf(client);
}

const idOf = (server: string) => server.slice(-8);
/** The ends of drains whose rows were asked for at a moment. */
const endsOf = (rows: RemovedServer[], askedAt: number) =>
  rows.map(({ secondsLeft }) => askedAt / 1000 + secondsLeft);

test("new nodes die after the removed nodes were taken out: clients get the removed nodes again, until the planned end of their drain", async () => {
  const old = [await serverName("wcs-1"), await serverName("wcs-2")];
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect()));
  const replacing = withNodes(2, "--config", 'wcsProperties={"keep_alive.probes": 12}');
  // This test stops new nodes meanwhile.
  const up = startSandbox(["up", ...replacing], { DEADLINE_SECONDS: "600" });
  try {
    for (const server of old) await draining(server);
    const askedAt = Date.now();
    const before = endsOf((await status()).draining, askedAt);
    const added = (await status()).nodes.map(({ server }) => server);
    const systemctl = (verb: string) =>
      Promise.all(added.map((server) => onMachine(idOf(server), `systemctl ${verb} webcallserver`)));

    await systemctl("stop");
    await eventually(async () => expect(old).toContain(await landing()), 120);
    const seen = await status();
    expect(seen.warnings.join()).toContain("every wanted node is down, so removed nodes take clients again");
    expect(seen.draining.map(({ lastResort, state }) => `${lastResort} ${state}`)).toContain("true up");
    expect(clients.map(({ socket }) => socket.readyState)).toEqual(clients.map(({ socket }) => socket.OPEN));

    await systemctl("start");
    await eventually(async () => expect(added).toContain(await landing()), 120);
    const after = await eventually(async () => {
      const again = Date.now();
      const rows = (await status()).draining;
      expect(rows.map(({ state, lastResort }) => `${state} ${lastResort}`)).toEqual(
        old.map(() => "draining false"),
      );
      return endsOf(rows, again);
    });
    // A drain that had begun anew would end more than half a minute later.
    for (const [index, end] of after.entries()) expect(Math.abs(end - (before[index] ?? 0))).toBeLessThan(15);
    expect(clients.map(({ socket }) => socket.readyState)).toEqual(clients.map(({ socket }) => socket.OPEN));
  } catch (error) {
    up.interrupt();
    await up.ended;
    throw error;
  }
  await Promise.all(clients.map((client) => client.close()));
  const { status: code, output } = await up.ended;
  expect(output, output.slice(-3000)).toSatisfy(() => code === 0);
}, 900_000);
