import { describe, expect, test } from "vitest";
import { acmeDelaysOf, acmeSource, defaultAcmeDelays } from "../../cluster/acme";
import { defaultDelays, delaysOf } from "../../cluster/description";
import { type ClusterStatus, parseStatus, type Status, StatusError } from "../../contract/status";
import { pendingCertificateWarnings } from "../../rollout/certificate-warning";
import { renderStack } from "../../scripts/render";
import { exampleStatus } from "../example-status";

const domain = "wcs.example.com";
const email = "operations@example.com";
const directory = "https://acme-v02.api.letsencrypt.org/directory";

describe("haproxy.cfg", () => {
  const textOf = (values: Record<string, unknown>) =>
    renderStack("dev", { domain, ...values })["balancer/haproxy.cfg"] ?? "";
  const withAcme = textOf({ acme: { email } });
  const file = "/var/lib/wcs-balancer/acme";

  test("answers challenges before the redirect and after the limits, on both ways of clients", () => {
    const frontends =
      withAcme.match(/^frontend (redirect-to-https|load-balancer-redirect)\n( .*\n)+/gm) ?? [];
    expect(frontends).toHaveLength(2);
    for (const frontend of frontends)
      expect(frontend).toContain(`    http-request reject if has_body
    # For the ACME directory.
    http-request return status 200 content-type text/plain lf-string "%[path,field(-1,/)].%[str(thumbprint),map_str(opt@${file})]" if { method GET } { path_reg ^/\\.well-known/acme-challenge/[A-Za-z0-9_-]+$ } { str(thumbprint),map_str(opt@${file}) -m found }
    # Not to the host that the request names.
    http-request redirect prefix https://wcs.example.com code 301
`);
  });

  test("makes browsers remember TLS only while a public certificate is served", () => {
    expect(withAcme.match(/^.*Strict-Transport-Security.*$/gm)).toEqual(
      Array(2).fill(
        `    http-response set-header Strict-Transport-Security "max-age=31536000" if { str(public),map_str(opt@${file}) -m found }`,
      ),
    );
  });

  test("has nothing of it without acme", () => {
    const lines = withAcme.split("\n").filter((line) => !line.includes(file) && !line.includes("ACME"));
    expect(lines.join("\n")).toBe(textOf({}));
    expect(withAcme.split("\n").length - lines.length).toBe(6);
  });
});

describe("the waits between orders", () => {
  test("are Let's Encrypt's limits with room, unless the environment shortens them", () => {
    expect(acmeDelaysOf({})).toEqual({ turnSeconds: 180, checkSeconds: 60, failSeconds: 300 });
    const short = { turnSeconds: 10, checkSeconds: 2, failSeconds: 5 };
    expect(acmeDelaysOf({ WCS_BALANCER_ACME: "turn=10,check=2,fail=5" })).toEqual(short);
    expect(delaysOf({ WCS_BALANCER_ACME: "turn=10,check=2,fail=5" })).toEqual({
      ...defaultDelays,
      acme: short,
    });
  });

  test.each([
    "",
    "10",
    "turn=10",
    "turn=10,check=2",
    "turn=a,check=2,fail=5",
    "check=2,turn=10,fail=5",
  ])("of another form are refused: %j", (text) => {
    expect(() => acmeDelaysOf({ WCS_BALANCER_ACME: text })).toThrow(
      `WCS_BALANCER_ACME is "${text}"; it must be three numbers of seconds, such as turn=10,check=2,fail=5. Without it they are 180, 60 and 300`,
    );
  });
});

test("a document without acme has no such field, and with it no certificate and no key", () => {
  expect(acmeSource({ domain }, defaultAcmeDelays)).toBeUndefined();
  expect(acmeSource({ domain, acme: { email, directory } }, defaultAcmeDelays)).toEqual({
    domain,
    email,
    directory,
    profile: null,
    delays: defaultAcmeDelays,
  });
});

const waiting = { state: "waiting" as const, reason: "", nextTry: null, directory };

describe("the status", () => {
  test("has the orders at the directory, in a fixed form", () => {
    const status: Status = {
      ...exampleStatus,
      certificate: { source: "acme", notAfter: "2027-01-01T00:00:00Z", daysLeft: 30 },
      acme: { ...waiting, state: "issued" },
    };
    expect(parseStatus(JSON.stringify(status))).toEqual(status);
    const wrong = { ...exampleStatus, acme: { ...waiting, state: "done", thumbprint: "x" } };
    expect(() => parseStatus(JSON.stringify(wrong))).toThrow(StatusError);
    expect(() => parseStatus(JSON.stringify(wrong))).toThrow(
      'acme.state is "done"; it must be "waiting" or "ordering" or "issued"; acme has thumbprint, which this version',
    );
  });
});

describe("the end of a rollout", () => {
  const member = (instance: string, acme: Status["acme"]) => ({
    name: instance,
    instance,
    address: null,
    status: { ...exampleStatus, instance, acme },
    reason: "",
    haproxyAnswers: false,
    leaving: [],
    named: true,
    nodes: [],
  });
  const cluster = (...acme: Status["acme"][]): ClusterStatus => ({
    instance: "i-1",
    complete: true,
    balancers: acme.map((one, index) => member(`i-${index + 1}`, one)),
  });
  const one = { "balancer-1": "i-1" };
  const two = { ...one, "balancer-2": "i-2" };
  const byHand = { domain, addresses: ["203.0.113.9"], makesRecord: false };

  test("says nothing when the certificate is there, or none is ordered", () => {
    expect(pendingCertificateWarnings(cluster({ ...waiting, state: "issued" }), one, byHand)).toEqual([]);
    expect(pendingCertificateWarnings(cluster(null), one, byHand)).toEqual([]);
  });

  test("names the record to make, the balancer's reason and how long it takes", () => {
    const reason = `${domain} has no address in DNS`;
    expect(pendingCertificateWarnings(cluster({ ...waiting, reason }), one, byHand)).toEqual([
      `${domain} has no public certificate yet, so browsers do not trust it: the balancer: ${reason}. Make exactly these ` +
        `DNS records for it: ${domain} A 203.0.113.9. When resolvers give them and port 80 can be reached, the certificate ` +
        "comes automatically within ten minutes",
    ]);
  });

  test("names every record and every balancer without it", () => {
    const addresses = ["203.0.113.9", "203.0.113.10"];
    const late = { ...waiting, reason: "balancer-1 has the first turn", nextTry: "2026-11-29T07:00:00Z" };
    const [warning] = pendingCertificateWarnings(cluster({ ...waiting, state: "ordering" }, late), two, {
      ...byHand,
      addresses,
    });
    expect(warning).toContain(
      "balancer-1: an order is under way; balancer-2: balancer-1 has the first turn (next try at 2026-11-29T07:00:00Z). " +
        `Make exactly these DNS records for it: ${domain} A 203.0.113.9, ${domain} A 203.0.113.10. When`,
    );
  });

  test("leaves out balancers that have it, and those that are not wanted", () => {
    const [warning, ...others] = pendingCertificateWarnings(
      cluster({ ...waiting, state: "issued" }, waiting, { ...waiting, reason: "not wanted" }),
      two,
      byHand,
    );
    expect(warning).toContain("do not trust it: balancer-2: there was no try yet. Make");
    expect(others).toEqual([]);
  });

  test("asks nobody to make records that the stack makes", () => {
    const [warning] = pendingCertificateWarnings(cluster(waiting), one, { ...byHand, makesRecord: true });
    expect(warning).toContain(
      `This stack makes the DNS record itself (${domain} A 203.0.113.9). When resolvers give it and port 80 can be reached, ` +
        "the certificate comes automatically within ten minutes",
    );
    expect(warning).not.toContain("Make exactly");
  });
});
