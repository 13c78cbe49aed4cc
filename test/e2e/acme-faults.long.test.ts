import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import type { DirectoryFault } from "../../sandbox/cloud/client";
import { projectRoot } from "../../sandbox/paths";
import { certificateOptions, ownCertificate } from "../own-certificate";
import {
  acmeOf,
  addressesToName,
  certificateAt,
  certificateOf,
  changeLedger,
  endPebble,
  makeDue,
  makeRecords,
  nextCertificate,
  ordersSeen,
  readAccount,
  readLedger,
  trustPebble,
  twoBalancers,
  upQuickly,
  withAcme,
} from "./acme";
import { balancerIds, statusOn } from "./balancers";
import {
  balancerAddress,
  cloud,
  domain,
  eventually,
  furtherAuthorities,
  losePackets,
  machine,
  onMachine,
  ownAddress,
  sandbox,
} from "./cluster";
import { Fleet } from "./fleet";

/** Let's Encrypt's 45 days: no renewal is due while these tests run, unless they make one due. */
const settings = { profile: "tlsserver" };
const sockets = 200;
/** Drops what the directory asks of port 80. The check of the balancers themselves comes from other addresses. */
const dropDirectory = `chain on_input { type filter hook input priority 0; ip saddr ${ownAddress} tcp dport 80 drop; };`;
let addresses: string[];
const undo: (() => Promise<unknown> | unknown)[] = [];

beforeAll(async () => {
  await upQuickly(withAcme(settings));
  addresses = await addressesToName();
  const before = await certificateOf("balancer-1");
  makeRecords(addresses);
  await nextCertificate(before);
  await trustPebble();
}, 400_000);

afterEach(async () => {
  for (const again of undo.splice(0).reverse()) await again();
});

/** Waits until the balancer whose turn it is says why it has no new certificate. */
async function reasonOf(name: string, reason: RegExp, seconds = 60) {
  return eventually(async () => {
    const acme = await acmeOf(name);
    expect(acme.reason).toMatch(reason);
    return acme;
  }, seconds);
}

/** Makes an order due, waits for the reason why it fails, ends the fault, and waits for the next try's certificate. */
async function overcome(
  reason: RegExp,
  meanwhile: () => Promise<unknown> | unknown = () => {},
): Promise<void> {
  const before = await certificateOf("balancer-1");
  await makeDue();
  const acme = await reasonOf("balancer-1", reason);
  expect(Date.parse(acme.nextTry ?? "")).toBeGreaterThan(Date.now() - 5000);
  await meanwhile();
  for (const name of ["balancer-1", "balancer-2"]) expect(await certificateOf(name)).toBe(before);
  for (const again of undo.splice(0).reverse()) await again();
  await nextCertificate(before, 120);
  // Another balancer may have ordered it.
  await eventually(async () => {
    expect(await acmeOf("balancer-1")).toMatchObject({ state: "issued", reason: "" });
  });
}

/** Sets faults of the cloud until the test's end. */
async function fault(faults: { directory?: DirectoryFault; ssm?: "away" | "read only"; metadata?: "away" }) {
  undo.push(() => cloud.call("setFaults", {}));
  await cloud.call("setFaults", faults);
}

describe("the old certificate serves on, the reason is in the status, and the next try comes by itself, when", () => {
  test("the directory is away", async () => {
    await fault({ directory: "away" });
    await overcome(/acme-v02\.api\.letsencrypt\.org\S* (cannot be reached|gives no answer)/);
  }, 240_000);

  test("the directory is slow, and the balancers go on with all else", async () => {
    await fault({ directory: "slow" });
    await overcome(/gives no answer in time/, async () => {
      const began = Date.now();
      expect(await statusOn((await machine("balancer-1")).id)).toMatchObject({ error: null });
      expect(Date.now() - began).toBeLessThan(3000);
    });
  }, 240_000);

  test("the directory answers nonsense", async () => {
    await fault({ directory: "nonsense" });
    await overcome(/gives an answer that cannot be understood|without an ACME error/);
  }, 240_000);

  test("the directory refuses, with Retry-After", async () => {
    await fault({ directory: { retryAfterSeconds: 40 } });
    await overcome(/rateLimited: too many new orders/, async () => {
      const { notBefore = 0 } = (await readLedger()) ?? {};
      expect(notBefore - Date.now() / 1000).toBeGreaterThan(25);
      await eventually(async () => {
        const { nextTry } = await acmeOf("balancer-1");
        expect(Date.parse(nextTry ?? "") / 1000).toBeGreaterThanOrEqual(notBefore - 1);
      }, 15);
    });
  }, 240_000);

  test("an address of the domain leads elsewhere, and the directory is not asked", async () => {
    makeRecords([...addresses, ownAddress]);
    undo.push(() => makeRecords(addresses));
    const orders = ordersSeen();
    await overcome(
      new RegExp(`port 80 of ${ownAddress}, which DNS gives for ${domain}, does not answer`),
      () => expect(ordersSeen()).toBe(orders),
    );
  }, 240_000);

  test("an IPv6 address of the domain leads elsewhere", async () => {
    makeRecords([...addresses, "2001:db8::1"]);
    undo.push(() => makeRecords(addresses));
    await overcome(/port 80 of 2001:db8::1/);
  }, 240_000);

  test("the directory cannot reach the challenge, though the balancers can", async () => {
    // So that no authorization is left that it could use again.
    endPebble();
    undo.push(await losePackets("balancer-1", [dropDirectory]));
    await overcome(/the directory could not validate the domain: .*timeout|could not validate.*deadline/i);
  }, 240_000);

  test("the account is deactivated", async () => {
    const account = await readAccount();
    const script = readFileSync(join(projectRoot, "test/e2e/deactivate.py"), "utf8");
    const { status, output } = await onMachine(
      "balancer-1",
      `cat >/root/account.pem <<'KEY'\n${account}\nKEY\npython3 - /root/account.pem <<'SCRIPT'\n${script}\nSCRIPT\nrm /root/account.pem`,
    );
    expect(status, output).toBe(0);
    expect(output).toContain("deactivated");
    // A directory that has forgotten the account takes the key for a new one.
    undo.push(endPebble);
    await overcome(/deactivated/i);
  }, 240_000);

  test("SSM cannot be written, and the directory is not asked", async () => {
    const orders = ordersSeen();
    await fault({ ssm: "read only" });
    await overcome(/ssm|parameter|Systems Manager/i, () => expect(ordersSeen()).toBe(orders));
  }, 240_000);
});

test("the balancer whose turn it is dies in the middle: the next one orders, and all serve its certificate", async () => {
  const before = await certificateOf("balancer-1");
  endPebble();
  // The directory waits for the challenge's answer, and the order with it.
  await losePackets("balancer-1", [dropDirectory]);
  await makeDue();
  await eventually(async () => expect((await readLedger())?.order?.by).toBe("balancer-1"), 30);
  const { id } = await machine("balancer-1");
  await cloud.call("stopInstance", { id });
  expect((await readLedger())?.order?.by).toBe("balancer-1");
  // Its address leads nowhere now.
  makeRecords(addresses.slice(1));
  await reasonOf("balancer-2", /balancer-1 is ordering a certificate/);
  expect(await certificateOf("balancer-2")).toBe(before);
  // As if ten minutes had passed.
  await changeLedger(({ order }) => ({ order: order && { ...order, at: order.at - 600 } }));
  await reasonOf("balancer-2", /by balancer-1, failed: .*in the middle/);
  await eventually(async () => expect(await certificateOf("balancer-2")).not.toBe(before), 120);
  expect((await readLedger())?.certificate?.by).toBe("balancer-2");
  await cloud.call("startInstance", { id });
  await nextCertificate(before, 90);
  makeRecords(addresses);
}, 400_000);

test("a balancer that boots while SSM and metadata are away serves the certificate that it had", async () => {
  const before = await certificateOf("balancer-1");
  await fault({ ssm: "away", metadata: "away" });
  const { id } = await machine("balancer-1");
  await cloud.call("stopInstance", { id });
  await cloud.call("startInstance", { id });
  await eventually(async () => {
    expect((await certificateAt(balancerAddress)).serialNumber).toBe(before);
    expect((await statusOn(id)).error).toMatch(/instance metadata cannot be reached/);
  }, 90);
  expect((await statusOn(id)).certificate).toMatchObject({ source: "acme" });
}, 200_000);

test("HAProxy answers challenges after a reload and after a restart", async () => {
  const path = `http://127.0.0.1/.well-known/acme-challenge/token-1`;
  const ask = async () => (await onMachine("balancer-1", `curl --silent --max-time 3 ${path}`)).output;
  const answer = await ask();
  expect(answer).toMatch(/^token-1\.[\w-]{43}$/);
  for (const command of ["reload", "restart"]) {
    expect((await onMachine("balancer-1", `systemctl ${command} haproxy`)).status).toBe(0);
    await eventually(async () => expect(await ask()).toBe(answer), 10);
  }
  expect((await onMachine("balancer-2", `curl --silent ${path}`)).output).toBe(answer);
});

describe("with an expired certificate", () => {
  test("up succeeds; a renewal comes when the directory's limits allow it", async () => {
    const week = Math.floor(Date.now() / 1000);
    const before = await certificateOf("balancer-1");
    await upQuickly(withAcme());
    const short = await nextCertificate(before, 90);
    // Four certificates in this week: no more are ordered.
    await changeLedger(() => ({ issued: [week, week, week, week] }));
    await reasonOf("balancer-1", /4 certificates came within a week/, 150);
    await eventually(async () => {
      const { valid_to } = await certificateAt(balancerAddress);
      expect(Date.parse(valid_to)).toBeLessThan(Date.now());
    }, 150);
    expect(await certificateOf("balancer-1")).toBe(short);
    await upQuickly(withAcme(undefined, "--config", "drainTimeoutSeconds=400"));
    await changeLedger(() => ({ issued: [] }));
    await nextCertificate(short, 60);
    await upQuickly(withAcme(settings));
    await nextCertificate(short, 60);
  }, 600_000);
});

describe(`under ${sockets} open WebSockets`, () => {
  test("from acme to a user-supplied certificate and back: none is lost, and the ledger goes and comes", async () => {
    const own = await ownCertificate(domain);
    furtherAuthorities.push(own.tlsChain);
    // Tests before this one have ended Pebble, so it has another root.
    await trustPebble();
    const before = await certificateOf("balancer-1");
    const fleet = await Fleet.open(sockets);
    await upQuickly([...twoBalancers, ...certificateOptions(own)]);
    const supplied = await nextCertificate(before);
    for (const id of await balancerIds()) {
      const { acme, certificate } = await statusOn(id);
      expect([acme, certificate?.source]).toEqual([null, "document"]);
    }
    expect(await readLedger()).toBeUndefined();
    expect(await readAccount()).toBeUndefined();

    await upQuickly(withAcme(settings));
    await eventually(async () => expect((await acmeOf("balancer-2")).state).toBe("issued"), 90);
    const back = await nextCertificate(supplied);
    expect(back).not.toBe(before);
    expect(await fleet.finish()).toMatchObject({ sockets, lost: 0, closed: 0 });
  }, 400_000);
});

test("destroy leaves nothing, and no balancer brings the ledger back", async () => {
  // An order is under way while the stack goes.
  await makeDue();
  const { status, output } = sandbox("destroy");
  expect(status, output.slice(-3000)).toBe(0);
  await sleep(10_000);
  expect(await readLedger()).toBeUndefined();
  expect(await readAccount()).toBeUndefined();
  expect(await cloud.call("machines", {})).toEqual([]);
}, 200_000);
