import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { acmeSource, defaultAcmeDelays } from "../../cluster/acme";
import { defaultDelays, describeCluster } from "../../cluster/description";
import {
  deriveStatusToken,
  renderDesiredState,
  renderPem,
  renderSecret,
  renderStatusSecret,
  TooLargeError,
} from "../../cluster/desired-state";
import { defaultLeave } from "../../cluster/entry";
import { furtherBackends, renderAgentRequest, serverName } from "../../cluster/haproxy-config";
import { sizeProblems } from "../../cluster/sizes";
import { parseConfig } from "../../config/parse";
import { isSecretKey } from "../../config/schema";
import { renderStack } from "../../scripts/render";
import { renderBalancerUserData } from "../../userdata/balancer";
import { propertyWarnings, renderNodeUserData } from "../../userdata/node";
import { shellSettings } from "../../userdata/shell-settings";
import { encodeUserData, patienceSecondsOf, userDataLimitBytes } from "../../userdata/user-data";
import { ownCertificate } from "../own-certificate";

const files = renderStack("dev", { domain: "wcs.example.com" });

describe("haproxy.cfg", () => {
  test("for a person to review", () => {
    expect(files["balancer/haproxy.cfg"]).toMatchSnapshot();
  });

  test.each(["roundrobin", "leastconn", "first"])("balances by %s", (algorithm) => {
    const { "balancer/haproxy.cfg": text } = renderStack("dev", { domain: "a.example.com", algorithm });
    expect(text).toContain(`    balance ${algorithm}\n`);
  });

  test("sets a cookie of its own for each node, when asked to", () => {
    const { "balancer/haproxy.cfg": text = "" } = renderStack("dev", {
      domain: "a.example.com",
      stickiness: true,
    });
    const cookies = [...text.matchAll(/^ {4}server wcs-.* cookie (\S+)$/gm)].map((match) => match[1]);
    expect(new Set(cookies).size).toBe(2);
    expect(text).toMatch(/cookie SERVERID insert indirect nocache httponly secure attr "SameSite=None"/);
    expect(files["balancer/haproxy.cfg"]).not.toMatch(/cookie/);
  });

  test("lets only sites that are named show the pages in a frame of theirs", () => {
    const { "balancer/haproxy.cfg": text } = renderStack("dev", {
      domain: "a.example.com",
      frameAncestors: ["https://www.example.com", "https://*.example.org:8443"],
    });
    expect(text).toContain(
      `Content-Security-Policy "frame-ancestors 'self' https://www.example.com https://*.example.org:8443"\n`,
    );
  });

  test("counts a client's connections on all of its ports, before anything else, in a table with room for all", () => {
    const { "balancer/haproxy.cfg": text = "" } = renderStack("dev", {
      domain: "a.example.com",
      maxConnections: 8000,
      maxConnectionsPerAddress: 30,
      trustedCidrs: ["192.0.2.0/24", "198.51.100.0/24"],
    });
    const [, global = "none"] = text.match(/^global[\s\S]*? maxconn (\d+)$/m) ?? [];
    expect(text).toContain(`    stick-table type ip size ${global} `);
    const rules = [...text.matchAll(/bind :(80|10080|443|10443) ?.*\n((?: {4}#.*\n)?(?:.*\n){7})/g)].map(
      ([, port, lines = ""]) => [
        port,
        ...lines
          .split("\n")
          .map((line) => line.trim())
          .filter((line) => line && !line.startsWith("#")),
      ],
    );
    const expected = (level: string) => [
      "tcp-request connection reject if { act_conn gt 8100 }",
      "acl trusted src 192.0.2.0/24 198.51.100.0/24",
      `tcp-request ${level} accept if trusted`,
      `tcp-request ${level} track-sc0 src table client_addresses`,
      "acl one_too_many sc0_conn_cur gt 30",
      `tcp-request ${level} sc-inc-gpc0(0) if one_too_many`,
      `tcp-request ${level} reject if one_too_many`,
    ];
    expect(rules).toEqual([
      ["80", ...expected("connection")],
      ["10080", ...expected("session")],
      ["443", ...expected("connection")],
      ["10443", ...expected("session")],
    ]);
  });

  test("sends the configured thresholds with each check, in a fixed order", () => {
    expect(renderAgentRequest({ connections: 30, bandOut: 50, cpu: 70 })).toBe(
      "cpu 70 band-out 50 connections 30;",
    );
  });

  test.each([
    ["the six checks of the guide, which every agent knows, to all alike", { cpu: 70 }, "cpu 70;", ""],
    [
      "a newer check only to nodes whose agent knows it",
      { cpu: 70, connections: 30 },
      "cpu 70 connections 30;",
      ' agent-send "cpu 70;"',
    ],
    [
      "an older agent a word that checks nothing where nothing else is left: an empty request would be a health check",
      { connections: 30 },
      "connections 30;",
      ' agent-send "none;"',
    ],
  ])("sends %s", (_, checks, forAll, forOlder) => {
    const { "balancer/haproxy.cfg": text = "" } = renderStack("dev", {
      domain: "a.example.com",
      checks,
      externalNodes: [
        { name: "hardware-1", address: "192.0.2.7" },
        { name: "hardware-2", address: "192.0.2.8", agentRequest: 2 },
      ],
    });
    expect(text).toContain(` agent-send "${forAll}"\n`);
    const options = [...text.matchAll(/^ {4}server (wcs-\d|hardware-\d)\S* [\d.]+:8080(.*)$/gm)];
    expect(options.map(([, name, own]) => [name, own])).toEqual([
      ["wcs-1", ""],
      ["wcs-2", ""],
      ["hardware-1", forOlder],
      ["hardware-2", ""],
    ]);
  });

  test("takes a node of another stack that names no version for one with the oldest agent", () => {
    const node = { name: "edge", privateAddress: "10.0.0.8", instanceId: "i-0123456789abcdef0" };
    const versions = [undefined, 2, 3].map(
      (agentRequest) => furtherBackends([], [{ ...node, agentRequest }])[0]?.agentRequest,
    );
    expect(versions).toEqual([1, 2, 3]);
    // A newer agent understands all that this version asks.
    expect(renderAgentRequest({ connections: 30 }, 3)).toBe("connections 30;");
  });

  test("names a server by its node and its instance, so that no machine inherits another's state", () => {
    expect(serverName("wcs-1", "i-0123456789abcdef0")).toBe("wcs-1-9abcdef0");
  });
});

describe("user-data", () => {
  const kinds = ["node/user-data.yaml", "balancer/user-data.yaml"] as const;

  test.each(kinds)("%s has less than 4 KB, a quarter of what EC2 takes", (kind) => {
    const checksum = createHash("sha256").update("as hard to compress as a real one").digest("hex");
    const text = renderStack("dev", { domain: "wcs.example.com", wcsPackageSha256: checksum })[kind];
    const bytes = Buffer.from(encodeUserData(text ?? ""), "base64").length;
    expect(bytes).toBeLessThan(userDataLimitBytes / 4);
  });

  test.each(
    kinds,
  )("%s holds no licence key, certificate key, certificate or token of a stack that has them", async (kind) => {
    const domain = "wcs.example.com";
    const own = await ownCertificate(domain);
    const wcsLicenseKey = "A1B2-C3D4-E5F6-G7H8";
    const source = {
      wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
      wcsPackageSha256: "0".repeat(64),
    };
    // As the program makes it, which has every secret at hand. A node does fetch the licence key.
    const config = parseConfig(
      { domain, wcsLicenseKey, ...source, ...own },
      isSecretKey,
      new Date(),
      sizeProblems,
    );
    expect(config).toMatchObject({ wcsLicenseKey, ...own });
    const { node, balancer } = describeCluster(config, "/wcs-balancer/dev", defaultDelays);
    const software = { source: "s3://bucket/software", sha256: "0".repeat(64) };
    const text = {
      "node/user-data.yaml": renderNodeUserData(node, ["10.0.0.0/16"], { software, wcs: software }),
      "balancer/user-data.yaml": renderBalancerUserData(balancer, { software, websdk: software }),
    }[kind];
    expect(text.includes("/wcs-balancer/dev/wcs-license")).toBe(kind === "node/user-data.yaml");
    const { tlsPrivateKey } = own;
    const pemLines = Object.values(own).flatMap((pem) =>
      pem.split("\n").filter((line) => /^[\w+/=]{20,}$/.test(line)),
    );
    expect(pemLines.length).toBeGreaterThan(10);
    const secrets = [wcsLicenseKey, deriveStatusToken(tlsPrivateKey), ...pemLines];
    const hidden = secrets.map((secret) => Buffer.from(secret).toString("base64").replace(/.=*$/, ""));
    expect([...secrets, ...hidden].filter((secret) => text.includes(secret))).toEqual([]);
    expect(text).not.toMatch(/BEGIN [A-Z ]*(KEY|CERTIFICATE)|AKIA|ASIA|password/i);
  });

  test("the balancer's does not change with the nodes", () => {
    const more = renderStack("dev", { domain: "wcs.example.com", nodes: ["wcs-1", "wcs-2", "wcs-3"] });
    expect(more["balancer/user-data.yaml"]).toBe(files["balancer/user-data.yaml"]);
    expect(more["balancer/haproxy.cfg"]).not.toBe(files["balancer/haproxy.cfg"]);
  });

  test("a node's does not change with the thresholds or the number of nodes", () => {
    const other = renderStack("dev", { domain: "wcs.example.com", nodes: ["a"], checks: { cpu: 50 } });
    expect(other["node/user-data.yaml"]).toBe(files["node/user-data.yaml"]);
  });

  test("lets only the VPC and localhost ask the agent", () => {
    const { write_files } = parse(files["node/user-data.yaml"] ?? "") as {
      write_files: { path: string; content: string }[];
    };
    const settings = write_files.find(({ path }) => path === "/etc/wcs-node/settings");
    expect(settings?.content).toBe("ALLOWED_ADDRESSES='10.0.0.0/16 127.0.0.1'\n");
    const service = files["node/files/usr/local/share/wcs-node/haproxy-agent-check.xinetd"];
    expect(service).toMatch(/only_from\s+= @ALLOWED_ADDRESSES@\n/);
    expect(service).toMatch(/per_source\s+= UNLIMITED\n/);
  });

  test("machines have the patience that the environment says, and refuse one that is none", () => {
    expect(patienceSecondsOf({})).toBe(180);
    expect(patienceSecondsOf({ WCS_BALANCER_PATIENCE_SECONDS: "10" })).toBe(10);
    expect(() => patienceSecondsOf({ WCS_BALANCER_PATIENCE_SECONDS: "soon" })).toThrow(
      /^WCS_BALANCER_PATIENCE_SECONDS is "soon"; it must be a number of seconds, such as 10\./,
    );
  });

  test.each(kinds)("%s brings nothing that could be fetched", (kind) => {
    const { write_files } = parse(files[kind] ?? "") as { write_files: { path: string }[] };
    const code = write_files.map(({ path }) => path).filter((path) => /\.(py|sh)$/.test(path));
    expect(code).toEqual(["/usr/local/lib/wcs-setup/step.py", "/usr/local/lib/wcs-setup/aws_instance.py"]);
  });

  test("comes compressed without a time stamp, so that every machine makes the same bytes", () => {
    const bytes = Buffer.from(encodeUserData("#cloud-config\n"), "base64");
    expect(gunzipSync(bytes).toString()).toBe("#cloud-config\n");
    expect(bytes.subarray(4, 8)).toEqual(Buffer.alloc(4));
  });

  test("that is too large for EC2 is refused", () => {
    const noise = Array.from({ length: 8000 }, (_, index) => Math.sin(index).toString(36)).join("");
    expect(() => encodeUserData(noise)).toThrow(/user-data has \d+ bytes; EC2 takes 16384/);
  });
});

describe("a node", () => {
  const paths = (values: Record<string, unknown>) => {
    const { write_files } = parse(
      renderStack("dev", { domain: "wcs.example.com", ...values })["node/user-data.yaml"] ?? "",
    );
    return (write_files as { path: string }[]).map(({ path }) =>
      path.replace("/var/lib/cloud/scripts/per-instance/", ""),
    );
  };
  const steps = (values: Record<string, unknown>) => paths(values).filter((path) => /^\d+-/.test(path));

  test("sets up the agent first, so that it can say what else has failed", () => {
    expect(steps({})).toEqual([
      "01-software-download",
      "02-software-checksum",
      "03-software-unpack",
      "04-agent-xinetd",
      "05-metadata",
      "06-security-updates",
      "07-tools",
      "08-wcs-download",
      "09-wcs-checksum",
      "10-wcs-install",
      "11-wcs-start",
      "12-done",
    ]);
  });

  test("installs no WCS where the image has it", () => {
    const values = { nodeAmi: "ami-0123456789abcdef0", agentListener: "systemd", wcsLicenseKey: "made-up" };
    expect(steps(values).slice(3)).toEqual([
      "04-agent-systemd",
      "05-tools",
      "06-wcs-license",
      "07-wcs-start",
      "08-done",
    ]);
    const { packages } = parse(
      renderStack("dev", { domain: "a.example.com", ...values })["node/user-data.yaml"] ?? "",
    );
    // Nor updates: the image has its own way. And WCS may ask the metadata service for its licence.
    expect(packages).toEqual(["telnet"]);
  });

  test("has no step that only Debian can do", () => {
    // Updates are for the default image alone.
    const text = Object.entries(files)
      .filter(
        ([name]) =>
          name.startsWith("node/files") && !/(unattended-upgrades\.conf|security-updates)$/.test(name),
      )
      .map(([, content]) => content)
      .join("\n")
      // The one place that installs by hand asks which of the two there is.
      .replace(/if command -v apt-get .*\n/, "");
    expect(text).not.toMatch(
      /\bapt\b|dpkg|\.deb\b|\/etc\/default|\/etc\/network|adduser|invoke-rc|update-rc/,
    );
  });

  test("a property that undoes what the balancer needs is warned of; others are not", () => {
    expect(propertyWarnings({ "ws.port": "8080", media_port_from: "30000" })).toEqual([]);
    expect(propertyWarnings({ "ws.ip_forward_header": "X-Real-IP" })).toEqual([
      'wcsProperties sets ws.ip_forward_header to "X-Real-IP"; the balancer needs "X-Client-IP". Your value is used. ' +
        "To use the needed one: pulumi config rm --path 'wcsProperties[\"ws.ip_forward_header\"]'",
    ]);
  });

  test("a user's own property wins", () => {
    const text = renderStack("dev", { domain: "a.example.com", wcsProperties: { "ws.port": 9090 } })[
      "node/user-data.yaml"
    ];
    expect(text).toContain('"ws.port": "9090"');
  });
});

const acmeConfig = {
  domain: "wcs.example.com",
  acme: { email: "operations@example.com", directory: "https://ca.example.com/directory" },
};

describe("the desired state", () => {
  test("has a revision that changes with the configuration and with either certificate", () => {
    const state: Parameters<typeof renderDesiredState>[0] = {
      haproxyBase: "a",
      backends: [],
      serverSettings: { checks: { cpu: 90 }, stickiness: false },
      certificateHash: "x",
      statusHash: "z",
      drainTimeoutSeconds: 600,
      balancerInstances: { "balancer-1": "i-1" },
      paths: { address: true, loadBalancer: false },
      targetGroups: [],
      leave: defaultLeave,
    };
    const changes: Partial<typeof state>[] = [
      {},
      { haproxyBase: "b" },
      { certificateHash: "y" },
      { statusHash: "other" },
      { balancerInstances: { "balancer-1": "i-2" } },
      { paths: { address: false, loadBalancer: true } },
      { targetGroups: [{ arn: "arn:x", port: 10443 }] },
      { leave: { tailSeconds: 5, quietSeconds: 2 } },
      { acme: acmeSource(acmeConfig, defaultAcmeDelays) },
    ];
    const revisions = changes.map((change) => renderDesiredState({ ...state, ...change }).revision);
    expect(new Set(revisions).size).toBe(changes.length);
    expect(renderDesiredState({ ...state }).revision).toBe(revisions[0]);
  });

  test("names the servers once, in a field of their own that older balancers understand", () => {
    const { "balancer/haproxy.cfg": text = "", "balancer/desired-state.base64": document = "" } = renderStack(
      "dev",
      { domain: "wcs.example.com", stickiness: true },
    );
    const content = JSON.parse(gunzipSync(Buffer.from(document, "base64")).toString());
    expect(Object.keys(content)).toEqual([
      "revision",
      "contract",
      "haproxyBase",
      "servers",
      "certificateHash",
      "statusHash",
      "drainTimeoutSeconds",
      "balancers",
      "address",
      "targetGroups",
      "leave",
    ]);
    expect(content.contract).toBe(4);
    expect(content).toMatchObject({
      balancers: { "balancer-1": "i-00000000000010001" },
      address: true,
      targetGroups: [],
      leave: { tailSeconds: 300, quietSeconds: 60 },
    });
    expect(content.servers).toEqual({
      "wcs-1-00000001": "10.0.1.1:8080 cookie wcs-1-00000001",
      "wcs-2-00000002": "10.0.1.2:8080 cookie wcs-2-00000002",
    });
    const lines = Object.entries(content.servers).map(([name, words]) => `    server ${name} ${words}\n`);
    expect(content.haproxyBase + lines.join("")).toBe(text);
  });

  test("the secrets have what the balancer reads, and have to fit into a parameter", () => {
    expect(JSON.parse(renderSecret("pem"))).toEqual({ pem: "pem" });
    expect(JSON.parse(renderStatusSecret("pem", "token"))).toEqual({ pem: "pem", token: "token" });
    const large = "x".repeat(8192);
    expect(() => renderSecret(large)).toThrow(TooLargeError);
    expect(() => renderStatusSecret(large, "token")).toThrow(TooLargeError);
    expect(() => renderStatusSecret("pem", large)).toThrow(TooLargeError);
  });

  test("the PEM has certificate, chain and key in this order, without blank lines", () => {
    expect(renderPem("cert\n\n", "chain\r\n", "key")).toBe("cert\nchain\nkey\n");
  });
});

describe("files", () => {
  test("settings survive quotes", () => {
    expect(shellSettings({ URL: "a'b $(c)" })).toBe("URL='a'\\''b $(c)'\n");
  });
});
