import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { certificatePath } from "../../cluster/contract";
import { newKeys, pemOf, selfSigned, signServer } from "../../sandbox/certificates";
import { certificateOptions, ownCertificate } from "../own-certificate";
import { balancerIds, nodeIds, spoilDocument } from "./balancers";
import { status } from "./changes";
import {
  balancerAddress,
  type Client,
  cloud,
  connect,
  domain,
  engineState,
  eventually,
  furtherAuthorities,
  machine,
  onMachine,
  sandbox,
  startSandbox,
  up,
} from "./cluster";
import { MoveWatch, measured, Returning } from "./returning";

/** Enough to see that none is forgotten; replacement.test.ts has the large number. */
const few = 40;

/** What `up` would replace the balancer with; each test begins with what the one before has left. */
const type = (name: string) => ["--config", `balancerInstanceType=${name}`];

/** The inputs that the engine has of the machines of a name. */
const inputsOf = (name: string) =>
  engineState()
    .resources.filter(({ urn }) => urn.endsWith(`aws:ec2/instance:Instance::${name}`))
    .map(({ inputs }) => inputs);

/** Checks that all is as after any other `up`. */
async function endedWell(id: string, nodes: string[]): Promise<void> {
  expect(await balancerIds()).toEqual([id]);
  expect((await machine("balancer")).publicAddress).toBe(balancerAddress);
  expect(await nodeIds()).toEqual(nodes);
  await (await connect()).close();
  const { applied, error, handedOver } = await status();
  expect({ applied, error, handedOver }).toEqual({ applied: true, error: null, handedOver: null });
}

afterEach(() => cloud.call("setFaults", {}));

describe.each([
  ["the next up", "c7i.large", false],
  ["a refresh that forgets what was under way, and the next up", "c7i.xlarge", true],
])("up killed right after the address has moved", (what, instanceType, refreshes) => {
  test(`${what}: ends well`, async () => {
    const nodes = await nodeIds();
    const clients = await Returning.open(few);
    const move = await MoveWatch.start();
    const killed = startSandbox(["up", ...type(instanceType)]);
    await eventually(() => expect(move.at).toBeDefined(), 90);
    killed.kill();
    expect((await killed.ended).status).not.toBe(0);
    await move.stop();
    const { id } = await machine("balancer");
    await eventually(() => expect(clients.open).toBe(few), 20);
    if (refreshes) {
      const { status, output } = sandbox("refresh", "--clear-pending-creates");
      expect(status, output.slice(-3000)).toBe(0);
    }
    clients.forget();
    const { status, output } = await startSandbox(["up", ...type(instanceType)]).ended;
    expect(status, output.slice(-3000)).toBe(0);
    expect(output).not.toContain("refuses new ones");
    // The address is where it was to be: nobody loses a socket a second time.
    expect(clients.ends).toBe(0);
    expect(await clients.finish()).toBe(0);
    await endedWell(id, nodes);
    expect(sandbox("preview", ...type(instanceType)).output).toMatch(/Resources:\n\s+\d+ unchanged/);
  }, 300_000);
});

describe("a new machine that never serves", () => {
  test("its document stays unreadable: up fails at its deadline with the reason, the next one goes on", async () => {
    const nodes = await nodeIds();
    const [old] = await balancerIds();
    const clients = await Returning.open(few);
    const failing = startSandbox(["up", ...type("c7i.2xlarge")], { DEADLINE_SECONDS: "45" });
    const putRight = await spoilDocument(failing);
    const failed = await failing.ended;
    expect(failed.status).toBe(1);
    expect(failed.output).toMatch(
      /hand-over failed: not done after 45 s: the new balancer: .*: the desired state cannot be read/,
    );
    expect(clients.ends).toBe(0);
    const [, coming = "none"] = await balancerIds();
    expect((await machine("balancer")).id).toBe(old);
    await putRight();
    const { status, output } = await startSandbox(["up", ...type("c7i.2xlarge")]).ended;
    expect(status, output.slice(-3000)).toBe(0);
    await eventually(() => expect(clients.open).toBe(few), 20);
    expect(await clients.finish()).toBe(0);
    await endedWell(coming, nodes);
  }, 300_000);

  test("its set-up fails: up says at which step, and with another setting it is replaced, too", async () => {
    const nodes = await nodeIds();
    const [old] = await balancerIds();
    const clients = await Returning.open(few);
    await cloud.call("setFaults", { objects: { "balancer-1": "corrupt" } });
    const began = Date.now();
    const failed = await startSandbox(["up", ...type("c7i.4xlarge")], { DEADLINE_SECONDS: "60" }).ended;
    expect(failed.status).toBe(1);
    console.log(
      `a set-up that fails: ${failed.output.match(/hand-over failed: .*/)?.[0]} (${Date.now() - began} ms)`,
    );
    expect(failed.output).toMatch(/hand-over failed: .*the new balancer: .*get-console-output/);
    expect(clients.ends).toBe(0);
    expect((await machine("balancer")).id).toBe(old);
    expect(await balancerIds()).toHaveLength(2);
    await cloud.call("setFaults", {});
    const { status, output } = await startSandbox(["up", ...type("c7i.8xlarge")]).ended;
    expect(status, output.slice(-3000)).toBe(0);
    await eventually(() => expect(clients.open).toBe(few), 20);
    expect(await clients.finish()).toBe(0);
    // Both the old one and the one that never served are gone.
    await endedWell((await machine("balancer")).id, nodes);
  }, 300_000);
});

test("the old balancer is off and a node is down: the new one gets the address with one node", async () => {
  const nodes = await nodeIds();
  const [old = ""] = await balancerIds();
  const { id: down } = await machine("wcs-2");
  await cloud.call("stopInstance", { id: down });
  await cloud.call("stopInstance", { id: old });
  const move = await MoveWatch.start();
  const failed = await startSandbox(["up", ...type("m7i.large")], { DEADLINE_SECONDS: "60" }).ended;
  expect(move.at).toBeDefined();
  await move.stop();
  // Clients are served, and whoever ran it hears what is missing.
  expect(failed.status).toBe(1);
  expect(failed.output).toMatch(/rollout failed: not done after 60 s: wcs-2-\w+: down/);
  expect(failed.output).toMatch(/warning: nothing answered for 10 s at the Elastic IP \(https:/);
  const { id } = await machine("balancer");
  expect(id).not.toBe(old);
  await (await connect()).close();
  await cloud.call("startInstance", { id: down });
  up(...type("m7i.large"));
  await endedWell(id, nodes);
}, 300_000);

test("up's own address has all its connections: up waits, and the old balancer hands over in the end", async () => {
  const nodes = await nodeIds();
  const [old] = await balancerIds();
  const clients: Client[] = [];
  // maxConnectionsPerAddress
  while (clients.length < 100)
    clients.push(...(await Promise.all(Array.from({ length: 20 }, () => connect()))));
  const replacing = startSandbox(["up", ...type("m7i.4xlarge")]);
  await eventually(
    () => expect(replacing.output).toMatch(/waiting for the old balancer: .*before its TLS handshake/),
    90,
  );
  // Longer than a dead balancer has.
  await sleep(15_000);
  expect((await machine("balancer")).id).toBe(old);
  for (const client of clients.splice(0, 20)) client.socket.terminate();
  const { status, output } = await replacing.ended;
  expect(status, output.slice(-3000)).toBe(0);
  expect(output).toContain(`the old balancer closed ${clients.length} sockets`);
  await endedWell((await machine("balancer")).id, nodes);
}, 200_000);

test("somebody has moved the Elastic IP: up says what to do, and that helps", async () => {
  const nodes = await nodeIds();
  const [balancer = ""] = await balancerIds();
  const elasticIp = engineState().resources.find(({ urn }) => urn.includes("aws:ec2/eip:Eip::"));
  const inputs = { allocationId: elasticIp?.id, instanceId: nodes[0], allowReassociation: true };
  await cloud.call("create", { kind: "elasticIpAssociation", inputs });
  const change = [...type("m7i.4xlarge"), "--config", 'checks={"cpu":80}'];
  const failed = await startSandbox(["up", ...change], { DEADLINE_SECONDS: "20" }).ended;
  expect(failed.status).toBe(1);
  expect(failed.output).toMatch(
    /rollout failed: not done after 20 s: .*somebody has moved the Elastic IP, run pulumi refresh, then pulumi up/,
  );
  const refresh = sandbox("refresh");
  expect(refresh.status, refresh.output.slice(-3000)).toBe(0);
  up(...change);
  await endedWell(balancer, nodes);
}, 200_000);

describe("certificates that hide nothing from up", () => {
  /** Whether a client of the stack's CA would refuse what the balancer shows, and why. */
  const refusedBecause = () =>
    new Promise<string>((resolve, reject) => {
      const socket = connectTls(
        {
          host: balancerAddress,
          port: 443,
          servername: domain,
          rejectUnauthorized: false,
        },
        () => {
          const { valid_to: end, issuer } = socket.getPeerCertificate();
          socket.destroy();
          resolve(`${new Date(end) < new Date() ? "expired" : "valid"}, by ${issuer.CN}`);
        },
      );
      socket.on("error", reject);
    });

  test("an expired and foreign one, put into HAProxy by hand", async () => {
    const nodes = await nodeIds();
    const authorityKeys = (await newKeys()).keys;
    const authority = await selfSigned({ keys: authorityKeys, commonName: "a foreign CA", hours: 1 });
    const { keys, pem } = await newKeys();
    const signed = await signServer({
      publicKey: keys.publicKey,
      commonName: domain,
      dnsNames: [domain],
      hours: 2 / 3600,
      authority,
      authorityKeys,
    });
    const chain = [pemOf(signed), pemOf(authority), pem].join("");
    // Only into its memory: wcs-balancer-sync puts a file that was changed right within seconds.
    const set = `haproxy_runtime.set_certificate("${certificatePath(domain)}", open("/root/foreign.pem").read())`;
    const { output } = await onMachine(
      "balancer",
      `cat > /root/foreign.pem <<'PEM'\n${chain}PEM\nPYTHONPATH=/usr/local/lib python3 -c 'from wcs_balancer import haproxy_runtime; ${set}'`,
    );
    await eventually(async () => expect(await refusedBecause(), output).toBe("expired, by a foreign CA"), 20);
    const { status, output: said } = await startSandbox(["up", ...type("m7i.xlarge")]).ended;
    expect(status, said.slice(-3000)).toBe(0);
    expect(said).toContain("sockets and refuses new ones");
    await endedWell((await machine("balancer")).id, nodes);
  }, 200_000);

  test("a user-supplied one of another CA", async () => {
    const nodes = await nodeIds();
    const own = await ownCertificate(domain);
    furtherAuthorities.push(own.tlsChain);
    const options = [...certificateOptions(own), ...type("m7i.2xlarge")];
    const { status, output } = await startSandbox(["up", ...options]).ended;
    expect(status, output.slice(-3000)).toBe(0);
    expect(await refusedBecause()).toBe("valid, by another CA");
    await endedWell((await machine("balancer")).id, nodes);
  }, 200_000);
});

describe("rollout: skip", () => {
  const skip = ["--config", "rollout=skip"];

  test("the warning says what happens to clients, and it happens", async () => {
    const nodes = await nodeIds();
    const clients = await Returning.open(few);
    const move = await MoveWatch.start();
    const skipping = startSandbox(["up", ...skip, ...type("r7i.large")]);
    const { status, output } = await skipping.ended;
    expect(status, output.slice(-3000)).toBe(0);
    await move.stop();
    expect(output).toContain("whose successors do not serve yet: clients wait for a boot");
    expect(output).toContain("a client that sends nothing may never learn that its socket is dead");
    // The address is at a machine that boots, and the old one is gone.
    expect(move.at).toBeLessThanOrEqual(Date.now());
    await expect(connect()).rejects.toThrow();
    const { id } = await machine("balancer");
    expect(await balancerIds()).toEqual([id]);
    await eventually(async () => (await connect()).close(), 90);
    await eventually(() => expect(clients.kept.talking).toBe(0), 20);
    expect(clients.kept.silent).toBe(few / 2);
    clients.speak();
    await eventually(() => expect([clients.ends, clients.open]).toEqual([few, few]), 30);
    // Until a state is applied, the new machine has no certificate for clients.
    expect(clients.unexpected().filter((text) => !/unrecognized name/i.test(text))).toEqual([]);
    expect(await clients.finish()).toBe(0);
    measured(`rollout: skip under ${few} sockets`, clients);
    up(...type("r7i.large"));
    await endedWell(id, nodes);
  }, 300_000);
});

describe("a machine that was stopped", () => {
  afterAll(() => up(...type("r7i.large")));

  test("is replaced neither then nor after a refresh, and a new one has a public address and the newest image", async () => {
    const { id: balancer } = await machine("balancer");
    const { id: node } = await machine("wcs-1");
    for (const id of [node, balancer]) await cloud.call("stopInstance", { id });
    const refresh = sandbox("refresh");
    expect(refresh.status, refresh.output.slice(-3000)).toBe(0);
    expect(sandbox("preview", ...type("r7i.large")).output).not.toMatch(/\(replace\)|to replace/);
    for (const id of [node, balancer]) await cloud.call("startInstance", { id });
    await eventually(async () => (await connect()).close(), 60);
    const newest = "ami-0d3b1a13000000002";
    const args = ["up", ...type("r7i.xlarge"), "--config", "nodeInstanceType=r7i.xlarge"];
    const { status, output } = await startSandbox(args, { WCS_SANDBOX_NEWEST_AMI: newest }).ended;
    expect(status, output.slice(-3000)).toBe(0);
    for (const name of ["balancer-1", "wcs-1", "wcs-2"]) {
      expect(inputsOf(name)).toMatchObject([{ associatePublicIpAddress: true, ami: newest }]);
      expect((await machine(name)).publicAddress).toMatch(/^203\.0\.113\./);
    }
  }, 300_000);
});
