import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { accountId, region } from "../../sandbox/account";
import { projectRoot } from "../../sandbox/paths";
import { balancerIds, bodyOnMachine, nodeIds } from "./balancers";
import { withNodes } from "./changes";
import { connect, engineState, eventually, machine, paths, sandbox, startSandbox } from "./cluster";
import { MoveWatch, measured, Returning } from "./returning";

/** The last version in which a balancer had a network interface of its own, and was deleted before it was replaced. */
const earlier = "5813d7b367c2cf9f974ec4eb4558acb14324c30b";

let checkout = "";

beforeAll(() => {
  checkout = mkdtempSync(join(tmpdir(), "wcs-earlier-"));
  const archive = execFileSync("git", ["archive", earlier], {
    cwd: projectRoot,
    maxBuffer: 256 * 1024 * 1024,
  });
  execFileSync("tar", ["x", "-C", checkout], { input: archive });
  symlinkSync(realpathSync(join(projectRoot, "node_modules")), join(checkout, "node_modules"));
});

afterAll(() => rmSync(checkout, { recursive: true, force: true }));

/** What no upgrade may exchange: the id and some inputs or outputs of each. */
function lasting(): Record<string, unknown> {
  const lastingTypes =
    /tls:index\/privateKey|tls:index\/selfSignedCert|ec2\/eip:Eip|s3\/bucket:|ec2\/securityGroup:/;
  return Object.fromEntries(
    engineState()
      .resources.filter(({ type }) => lastingTypes.test(type))
      .map(({ urn, type, id }) => [
        // The Elastic IP has another parent and name since.
        type.endsWith(":Eip") ? type : urn.split("$").at(-1),
        id,
      ]),
  );
}

/** The statement that docs/ci.md adds to the deploy role for this upgrade, and nothing of the earlier role. */
function giveOnlyNewRole(): void {
  const page = readFileSync(join(projectRoot, "docs/ci.md"), "utf8");
  const statements = [...page.matchAll(/```\n(\{[^`]*"DeleteInterface"[^`]*\})\n```/g)].map(
    ([, text]) => text ?? "",
  );
  expect(statements).toHaveLength(1);
  const values = { REGION: region, ACCOUNT: accountId, STACK: "dev" };
  const statement = Object.entries(values).reduce(
    (text, [name, value]) => text.replaceAll(name, value),
    statements[0] ?? "",
  );
  const policy = `{"Version": "2012-10-17", "Statement": [${statement}]}`;
  writeFileSync(join(paths.engineState, "deploy-role-dev.json"), JSON.stringify([policy]));
}

test("under 200 WebSockets: nodes and balancer are replaced in one up, and sockets end only by the announced move", async () => {
  expect(sandbox("destroy").status).toBe(0);
  const args = withNodes(2);
  const first = await startSandbox(["up", ...args], { WCS_SANDBOX_PROGRAM: checkout }).ended;
  expect(first.status, first.output.slice(-3000)).toBe(0);
  giveOnlyNewRole();
  const { id: old, publicAddress: address = "" } = await machine("balancer");
  const oldNodes = await nodeIds();
  const before = lasting();
  const authority = readFileSync(join(paths.state, "ca-dev.pem"), "utf8");
  const clients = await Returning.open(200, address);

  const move = await MoveWatch.start();
  const up = startSandbox(["up", ...args]);
  // The old balancer does not know this contract: it obeys the servers and says so.
  const newServers = await eventually(async () => {
    const servers = (await nodeIds()).filter((id) => !oldNodes.includes(id)).map((id) => id.slice(-8));
    expect(servers).toHaveLength(2);
    return servers;
  }, 90);
  const told = await eventually(async () => {
    const body = await bodyOnMachine(old);
    const { error, nodes } = JSON.parse(body) as {
      error: string;
      nodes: { server: string; state: string }[];
    };
    expect(error).toMatch(/contract/);
    for (const end of newServers)
      expect(nodes).toContainEqual(
        expect.objectContaining({ server: expect.stringMatching(end), state: "up" }),
      );
    return error;
  }, 120);
  console.log(`the old balancer says: ${told}`);
  const { status, output } = await up.ended;
  expect(status, output.slice(-3000)).toBe(0);
  await move.stop();
  await eventually(() => expect(clients.open).toBe(200), 30);

  const announced = output.match(/the old balancer .*/)?.[0];
  console.log(`up says: ${announced}`);
  measured("upgraded under 200 sockets", clients, { lastEndBeforeMove: (move.at ?? 0) - clients.lastEnd });
  // The earlier balancer cannot hand over, and up says so: a client that sends nothing does not notice the move.
  expect(announced).toContain("did not close its sockets");
  expect(clients.kept).toEqual({ silent: 100, talking: 0 });
  expect(clients.ends).toBe(100);
  clients.speak();
  await eventually(() => expect([clients.ends, clients.open]).toEqual([200, 200]), 30);
  // Once each: no node went with clients on it.
  expect(clients.ends).toBe(200);
  expect(clients.unexpected(move.at)).toEqual([]);
  expect(await clients.finish()).toBe(0);
  await (await connect({}, undefined, address)).close();

  expect(await balancerIds()).toHaveLength(1);
  const now = await machine("balancer");
  expect(now.id).not.toBe(old);
  expect(now.publicAddress).toBe(address);
  expect(await nodeIds()).toHaveLength(2);
  expect((await nodeIds()).filter((id) => oldNodes.includes(id))).toEqual([]);
  expect(lasting()).toMatchObject(before);
  expect(readFileSync(join(paths.state, "ca-dev.pem"), "utf8")).toBe(authority);
  // A replacement is made with the program's values, also with those that are ignored afterwards.
  const instances = engineState().resources.filter(({ type }) => type === "aws:ec2/instance:Instance");
  expect(instances.map(({ inputs }) => inputs.associatePublicIpAddress)).toEqual([true, true, true]);
  expect(sandbox("preview", ...args).output).toMatch(/Resources:\n\s+\d+ unchanged/);
}, 600_000);
