import { connect as connectTls, type PeerCertificate } from "node:tls";
import { beforeAll, describe, expect, test } from "vitest";
import { renderDesiredState, sha256 } from "../../cluster/desired-state";
import { defaultLeave } from "../../cluster/entry";
import { agentRequestVersion } from "../../contract/facts";
import { newKeys } from "../../sandbox/certificates";
import { certificateOptions, ownCertificate } from "../own-certificate";
import { during, status, upWith, withNodes, workers } from "./changes";
import {
  authority,
  balancerAddress,
  cloud,
  connect,
  domain,
  eventually,
  furtherAuthorities,
  get,
  long,
  machine,
  onMachine,
  serverName,
} from "./cluster";
import { serverOf } from "./fleet";

beforeAll(() => upWith(2));

/** The certificate of the next handshake. */
function certificate(): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { host: balancerAddress, port: 443, servername: domain, ca: authority() },
      () => {
        resolve(socket.getPeerCertificate());
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

test("the certificate of the stack's own CA is renewed by an ordinary up after its renewal date, for the next handshake, without a reload", async () => {
  const [before, workersBefore] = [await certificate(), await workers()];
  await during({
    name: "renew the certificate",
    args: withNodes(2),
    variables: { WCS_SANDBOX_DATE: "2031-05-01" },
  });
  const after = await certificate();
  expect(after.serialNumber).not.toBe(before.serialNumber);
  expect(after.pubkey).toEqual(before.pubkey);
  expect(await workers()).toBe(workersBefore);
});

describe("a change that cannot be applied", () => {
  test("a configuration that HAProxy refuses: the old one keeps serving, up fails with the reason, the next good one is applied", async () => {
    const before = await workers();
    const { output } = await during({
      name: "a desired state that cannot run",
      args: withNodes(2, "--config", "maxConnections=50000"),
      fails: true,
    });
    expect(output).toMatch(/rollout failed: .*maxConnections needs 100500 open files/);
    expect(await workers()).toBe(before);
    upWith(2);
    await eventually(async () => expect((await status()).error).toBeNull());
  });

  if (long)
    test("a parameter that is cut in half", async () => {
      const before = await workers();
      await cloud.call("setFaults", { ssm: "half" });
      try {
        const { output } = await during({
          name: "a parameter that is cut in half",
          args: withNodes(2, "--config", 'checks={"cpu":80}'),
          variables: { DEADLINE_SECONDS: "20" },
          fails: true,
        });
        expect(output).toMatch(/rollout failed: not done after 20 s: .*the desired state cannot be read/);
      } finally {
        await cloud.call("setFaults", {});
      }
      expect(await workers()).toBe(before);
      await eventually(async () => expect((await status()).error).toBeNull());
    });

  if (long)
    test("a key that does not fit the certificate", async () => {
      const { output: pem } = await onMachine("balancer", `cat /etc/pki/tls/${domain}/cert.pem`);
      const { output: haproxyConfig } = await onMachine("balancer", "cat /etc/haproxy/haproxy.cfg");
      const { output: statusSecret } = await onMachine("balancer", "cat /var/lib/wcs-balancer/status.json");
      const wrong = pem.replace(/-----BEGIN (EC )?PRIVATE KEY-----[\s\S]*$/, (await newKeys()).pem);
      expect(wrong).not.toBe(pem);
      const write = (name: string, type: string, value: string) =>
        cloud.call("update", {
          kind: "parameter",
          id: `/wcs-balancer/dev/${name}`,
          inputs: { name: `/wcs-balancer/dev/${name}`, type, value },
        });
      const before = await workers();
      await during({
        name: "a key that does not fit",
        args: withNodes(2, "--config", 'checks={"cpu":70}'),
        async meanwhile(_, up) {
          await up.ended;
          await write("secret", "SecureString", JSON.stringify({ pem: wrong }));
          const { document, revision } = renderDesiredState({
            haproxyBase: haproxyConfig.replace(/( {4}server .*\n)+$/, ""),
            backends: [...haproxyConfig.matchAll(/server (wcs-\S+) ([\d.]+):8080/g)].map(
              ([, serverName = "", address = ""]) => ({
                serverName,
                address,
                agentRequest: agentRequestVersion,
              }),
            ),
            serverSettings: { checks: { cpu: 70 }, stickiness: false },
            certificateHash: sha256(wrong),
            statusHash: sha256(statusSecret),
            drainTimeoutSeconds: 600,
            balancerInstances: { "balancer-1": (await machine("balancer")).id },
            paths: { address: true, loadBalancer: false },
            targetGroups: [],
            leave: defaultLeave,
          });
          await write("desired-state", "String", document);
          await eventually(async () => expect((await status()).refused).toBe(revision));
          expect((await status()).error).toMatch(
            /inconsistencies between private key and certificate|No Private Key|key values mismatch/i,
          );
          await certificate();
        },
      });
      expect(await workers()).toBe(before);
      // The next change brings the document with it.
      await write("secret", "SecureString", JSON.stringify({ pem }));
    });
});

describe("settings", () => {
  test("checks are in force on every node in seconds, without a reload or a new node", async () => {
    const [before, machines] = [await workers(), await cloud.call("machines", {})];
    const { times } = await during({
      name: "change checks",
      args: withNodes(2, "--config", 'checks={"cpu":1}'),
      // Every node counts as full at 1 % of CPU, so no client gets a node.
      outage: true,
      async meanwhile(_, up) {
        await up.ended;
        // Nothing is left of the state that could not be applied before.
        expect((await status()).error).toBeNull();
        await eventually(async () =>
          expect((await status()).nodes.map(({ state }) => state)).toEqual(["full", "full"]),
        );
      },
    });
    expect(times.seen).toBeLessThan(60);
    expect(await workers()).toBe(before);
    expect((await cloud.call("machines", {})).map(({ id }) => id)).toEqual(machines.map(({ id }) => id));
  });

  test("after a reload full and dead nodes are not taken for free ones", async () => {
    upWith(3);
    const [full, dead] = [await serverName("wcs-2"), await serverName("wcs-3")];
    await onMachine("wcs-2", "echo '9.00 9.00 9.00 1/100 1000' > /var/lib/sandbox/loadavg");
    await onMachine("wcs-3", "systemctl stop xinetd");
    try {
      await eventually(async () =>
        expect((await status()).nodes.map(({ state }) => state)).toEqual(["up", "full", "down"]),
      );
      const before = await workers();
      const { newcomers, output } = await during({
        name: "change the algorithm, with a full node and a dead one",
        args: withNodes(3, "--config", "algorithm=leastconn"),
        variables: { DEADLINE_SECONDS: "20" },
        fails: true,
      });
      expect(await workers()).not.toBe(before);
      expect(output).toContain(`${dead}: down: does not answer on port`);
      // Cookies outlive the reload: a full node keeps its clients, those of a dead one go elsewhere.
      for (const [server, landing] of [
        [await serverName("wcs-1"), ""],
        [full, ""],
        [dead, await serverName("wcs-1")],
      ]) {
        const client = await eventually(() => connect({ Cookie: `SERVERID=${server}` }));
        expect(serverOf(client)).toBe(landing);
        await client.close();
      }
      const landed = new Set(newcomers.landings.map(({ server }) => server));
      expect([...landed]).toEqual([await serverName("wcs-1")]);
      expect(landed).not.toContain(full);
    } finally {
      await onMachine("wcs-2", "echo '0.10 0.10 0.10 1/100 1000' > /var/lib/sandbox/loadavg");
      await onMachine("wcs-3", "systemctl start xinetd");
    }
  });
});

// The last test: later ones would have to trust another CA.
test("another certificate with another key is in force for the next handshake", async () => {
  const own = await ownCertificate(domain);
  furtherAuthorities.push(own.tlsChain);
  const before = await certificate();
  await during({
    name: "another certificate and key",
    args: withNodes(3, ...certificateOptions(own)),
  });
  expect((await certificate()).pubkey).not.toEqual(before.pubkey);
  expect((await get("/wcs/flashphoner-rest-api.js")).headers["strict-transport-security"]).toBe(
    "max-age=31536000",
  );
  if (!long) return;
  // Back to the stack's own CA. It is a new one, so clients cannot trust it before.
  upWith(3);
  const after = await certificate();
  expect(after.issuer).toEqual(before.issuer);
  expect(after.pubkey).not.toEqual(before.pubkey);
  expect((await get("/wcs/flashphoner-rest-api.js")).headers["strict-transport-security"]).toBeUndefined();
});
