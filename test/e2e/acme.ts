import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { connect as connectTls, type PeerCertificate } from "node:tls";
import { expect } from "vitest";
import { endCgroup } from "../../sandbox/cloud/machine";
import { cached } from "../../sandbox/paths";
import { statusOn } from "./balancers";
import {
  cloud,
  domain,
  eventually,
  furtherAuthorities,
  machine,
  onMachine,
  paths,
  sandbox,
  startSandbox,
} from "./cluster";

/** Balancers take turns after seconds instead of minutes. */
const quick = {
  WCS_BALANCER_ACME: "turn=20,check=2,fail=4",
  WCS_BALANCER_LEAVE: "tail=6,quiet=3",
};

const accountName = "/wcs-balancer/dev/acme-account";
const ledgerName = "/wcs-balancer/dev/acme-certificate";
/** The sandbox's own profile, see sandbox/cloud/certificate-authority.ts. */
const profile = "minutes";

/** Arguments of `up` for two balancers, with the certificate of the stack's own CA. */
export const twoBalancers =
  "up --config balancers=2 --config entry=both --config maxConnectionsPerNode=300".split(" ");
/** The same with a certificate of Let's Encrypt. */
export const withAcme = (settings: { profile?: string } = { profile }, ...more: string[]) => [
  ...twoBalancers,
  ...["--config", `acme=${JSON.stringify({ email: "operator@example.com", ...settings })}`, ...more],
];

/** The same where only balancer-1 is to order, however long the machine takes until it does. */
export const onlyFirstOrders = { ...quick, WCS_BALANCER_ACME: "turn=600,check=2,fail=4" };

/** Brings the stack up; gives the output. */
export async function upQuickly(args: string[], delays = quick): Promise<string> {
  const { status, output } = await startSandbox(args, delays).ended;
  expect(status, output.slice(-3000)).toBe(0);
  return output;
}

/** The ledger of orders, which the balancers share. */
interface Ledger {
  certificate: { pem: string; by: string; at: number; profile: string | null } | null;
  order: { by: string; at: number } | null;
  issued: number[];
  failures: { by: string; reason: string }[];
  notBefore: number;
}

async function parameter(id: string): Promise<string | undefined> {
  const found = await cloud.call("read", { kind: "parameter", id });
  return found && String(found.inputs.value);
}

/** Undefined when there is no such parameter. */
export const readAccount = () => parameter(accountName);

export async function readLedger(): Promise<Ledger | undefined> {
  const text = await parameter(ledgerName);
  return text === undefined ? undefined : JSON.parse(text);
}

/** Changes the ledger as an operator can with aws ssm put-parameter. */
export async function changeLedger(change: (ledger: Ledger) => Partial<Ledger>): Promise<void> {
  const found = await cloud.call("read", { kind: "parameter", id: ledgerName });
  const ledger = JSON.parse(String(found?.inputs.value)) as Ledger;
  const value = JSON.stringify({ ...ledger, ...change(ledger) });
  await cloud.call("update", { kind: "parameter", id: ledgerName, inputs: { ...found?.inputs, value } });
}

/** Makes an order due at once, while the certificate that there is serves on; nothing has failed before. */
export function makeDue(): Promise<void> {
  return changeLedger(({ certificate }) => ({
    certificate: certificate && { ...certificate, profile: "another one" },
    order: null,
    issued: [],
    failures: [],
    notBefore: 0,
  }));
}

/** The certificate of the next handshake, whoever has signed it. */
export function certificateAt(host: string): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host, port: 443, servername: domain, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.setTimeout(5000, () => socket.destroy(new Error("no handshake within 5 s")));
    socket.on("error", reject);
  });
}

/** That of a balancer, asked on its own machine. */
export async function certificateOf(name: string): Promise<string> {
  const { output } = await onMachine(
    name,
    `openssl s_client -connect 127.0.0.1:443 -servername ${domain} </dev/null 2>/dev/null | openssl x509 -noout -serial`,
  );
  expect(output).toMatch(/^serial=/);
  return output.trim().slice("serial=".length);
}

export async function acmeOf(name: string) {
  const { acme } = await statusOn((await machine(name)).id);
  if (!acme) throw new Error(`${name} has no ACME state`);
  return acme;
}

/** Waits until both balancers serve a certificate that was issued after another one; gives its serial number. */
export async function nextCertificate(before: string, seconds = 60): Promise<string> {
  return eventually(async () => {
    const [one, two] = [await certificateOf("balancer-1"), await certificateOf("balancer-2")];
    expect(one).not.toBe(before);
    expect(two).toBe(one);
    return one;
  }, seconds);
}

/** The addresses that the domain's records have to name. */
export async function addressesToName(): Promise<string[]> {
  const { publicAddress = "" } = await machine("balancer-1");
  const [loadBalancer] = await cloud.call("loadBalancers", {});
  return [publicAddress, ...(loadBalancer?.addresses ?? [])];
}

export function makeRecords(addresses: string[]): void {
  expect(sandbox("dns", domain, ...addresses)).toMatchObject({ status: 0 });
}

/** The root of Pebble, from its own interface for tests. */
async function pebbleRoot(): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        ...{ host: "127.0.0.1", port: 15_000, servername: "localhost", path: "/roots/0", agent: false },
        ca: readFileSync(cached.authorityCertificate),
      },
      async (response) => {
        let text = "";
        for await (const part of response.setEncoding("utf8")) text += part;
        resolve(text);
      },
    );
    call.on("error", reject);
    call.end();
  });
}

/** Lets these tests' clients trust Pebble's present root. */
export async function trustPebble(): Promise<string> {
  const root = await pebbleRoot();
  furtherAuthorities.push(root);
  return root;
}

/** Lets balancers trust it, as they trust Let's Encrypt on AWS. */
export async function trustPebbleOn(...names: string[]): Promise<void> {
  const root = await pebbleRoot();
  for (const name of names) {
    const file = "/usr/local/share/ca-certificates/pebble.crt";
    const { status, output } = await onMachine(name, `echo '${root}' >${file} && update-ca-certificates`);
    expect(status, output).toBe(0);
  }
}

/** Ends Pebble. It starts anew at the next request, and has forgotten accounts and authorizations. */
export function endPebble(): void {
  endCgroup(join(paths.cgroup, "pebble"));
}

/** How many orders Pebble has got. */
export function ordersSeen(): number {
  const log = readFileSync(join(paths.state, "pebble.log"), "utf8");
  return log.match(/POST \/order-plz/g)?.length ?? 0;
}
