import { beforeAll, describe, expect, test } from "vitest";
import {
  acmeOf,
  addressesToName,
  certificateAt,
  certificateOf,
  makeRecords,
  nextCertificate,
  onlyFirstOrders,
  readLedger,
  trustPebble,
  trustPebbleOn,
  upQuickly,
  withAcme,
} from "./acme";
import { loadBalancerAddress, statusOn } from "./balancers";
import { workers } from "./changes";
import {
  authority,
  balancerAddress,
  domain,
  eventually,
  get,
  long,
  machine,
  onMachine,
  sandbox,
} from "./cluster";
import { Fleet } from "./fleet";

const sockets = long ? 200 : 40;
const balancers = ["balancer-1", "balancer-2"];
let entry = "";
let addresses: string[];

const hsts = async () => (await get("/wcs/flashphoner-rest-api.js")).headers["strict-transport-security"];

describe("before there is a DNS record", () => {
  let output: string;

  beforeAll(async () => {
    output = await upQuickly(withAcme(), onlyFirstOrders);
    entry = await loadBalancerAddress();
    addresses = await addressesToName();
  }, 600_000);

  test("up succeeds, and warns with the records to make and the reason", () => {
    const warning = output
      .split("\n")
      .filter((line) => line.includes("warning"))
      .join("\n");
    expect(addresses.length).toBeGreaterThan(1);
    for (const address of addresses) expect(output).toContain(`${domain} A ${address}`);
    expect(warning).toContain(`${domain} has no address in DNS`);
  });

  test("the stack's own CA serves, without HSTS, and the status says what is missing", async () => {
    expect(authority()).toHaveLength(1);
    expect(await hsts()).toBeUndefined();
    for (const name of balancers) {
      const { certificate, acme } = await statusOn((await machine(name)).id);
      expect(certificate).toMatchObject({ source: "document" });
      expect(acme).toMatchObject({ state: "waiting" });
    }
    expect((await acmeOf("balancer-1")).reason).toContain(`${domain} has no address in DNS`);
    expect(await readLedger()).toEqual({});
  });
});

describe("when the DNS record is right", () => {
  test("the first certificate comes by itself, on every balancer and each of its addresses, without a reload", async () => {
    const before = await certificateOf("balancer-1");
    const workersBefore = await workers();
    makeRecords(addresses);
    await nextCertificate(before, 180);
    await trustPebble();
    const serials = await Promise.all(
      addresses.map(async (host) => (await certificateAt(host)).serialNumber),
    );
    expect(new Set(serials).size).toBe(1);
    expect(await workers()).toBe(workersBefore);
    const ledger = await readLedger();
    expect(ledger).toMatchObject({ order: null, failures: [], issued: [expect.any(Number)] });
    expect(ledger?.certificate?.by).toBe("balancer-1");
    for (const name of balancers) {
      await eventually(async () => expect(await acmeOf(name)).toMatchObject({ state: "issued", reason: "" }));
      const { output, status } = await onMachine(name, "wcs-balancer status");
      expect(output).toMatch(/acme/i);
      expect(status, output).toBe(0);
    }
  }, 400_000);

  test("its private key is only in SSM and in /etc/pki", async () => {
    const lines = (await readLedger())?.certificate?.pem.split("\n") ?? [];
    const secret = lines[lines.indexOf("-----BEGIN PRIVATE KEY-----") + 1] ?? "";
    expect(secret).toHaveLength(64);
    for (const name of balancers) {
      const { output } = await onMachine(
        name,
        `grep --recursive --files-with-matches --fixed-strings -e '${secret}' /etc /root /run /tmp /var/lib /var/log`,
      );
      expect(output.trim()).toBe(`/etc/pki/tls/${domain}/cert.pem`);
    }
  });
});

describe(`a renewal under ${sockets} open WebSockets`, () => {
  test("loses none; the next handshake gets the new certificate, with another key, on both balancers", async () => {
    // The certificate ends after two minutes.
    const [before, old] = [await certificateOf("balancer-1"), await certificateAt(balancerAddress)];
    await trustPebbleOn(...balancers);
    const workersBefore = await workers();
    const fleet = await Fleet.open(sockets, entry);
    await nextCertificate(before, 300);
    const now = await certificateAt(balancerAddress);
    expect((await certificateAt(entry)).serialNumber).toBe(now.serialNumber);
    expect(now.pubkey).not.toEqual(old.pubkey);
    const tally = await fleet.finish();
    expect(tally).toMatchObject({ sockets, lost: 0, closed: 0 });
    expect(tally.messages).toBeGreaterThan(sockets);
    expect(await workers()).toBe(workersBefore);
    expect((await readLedger())?.certificate?.by).toBe("balancer-1");
  }, 500_000);

  test("brings HSTS, since the balancers trust the directory's root now", async () => {
    await eventually(async () => expect(await hsts()).toBe("max-age=31536000"));
  });

  test("is not undone by a refresh and another up", async () => {
    const { certificate } = (await readLedger()) ?? {};
    const refreshed = sandbox("refresh");
    expect(refreshed.status, refreshed.output.slice(-3000)).toBe(0);
    expect(refreshed.output).toContain("Nothing that the program sets was changed behind Pulumi's back.");
    expect(refreshed.output).not.toContain("PRIVATE KEY");
    const again = withAcme(undefined, "--config", "drainTimeoutSeconds=500");
    const output = await upQuickly(again, onlyFirstOrders);
    expect(output).not.toContain("PRIVATE KEY");
    const after = (await readLedger())?.certificate;
    expect(after?.at).toBeGreaterThanOrEqual(certificate?.at ?? Number.POSITIVE_INFINITY);
  }, 600_000);
});
