import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { renderDesiredState, renderPem } from "../../cluster/desired-state";
import { renderAgentRequest, serverName } from "../../cluster/haproxy-config";
import { renderStack } from "../../scripts/render";
import { shellSettings } from "../../userdata/files";
import { propertyWarnings } from "../../userdata/node";
import { encodeUserData, userDataLimitBytes } from "../../userdata/user-data";

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

  test("counts a client's connections on both of its ports, before anything else, in a table with room for all", () => {
    const { "balancer/haproxy.cfg": text = "" } = renderStack("dev", {
      domain: "a.example.com",
      maxConnections: 8000,
      maxConnectionsPerAddress: 30,
      trustedCidrs: ["192.0.2.0/24"],
    });
    const [, global = "none"] = text.match(/^global[\s\S]*? maxconn (\d+)$/m) ?? [];
    expect(text).toContain(`    stick-table type ip size ${global} `);
    const rules = [...text.matchAll(/bind :(80|443) ?.*\n(.*)\n(.*)\n(.*)\n(.*)\n(.*)\n(.*)\n/g)].map(
      ([, port, ...lines]) => [port, ...lines.map((line) => line.trim())],
    );
    const expected = [
      "acl trusted src 192.0.2.0/24",
      "tcp-request connection accept if trusted",
      "tcp-request connection track-sc0 src table client_addresses",
      "acl one_too_many sc0_conn_cur gt 30",
      "tcp-request connection sc-inc-gpc0(0) if one_too_many",
      "tcp-request connection reject if one_too_many",
    ];
    expect(rules).toEqual([
      ["80", ...expected],
      ["443", ...expected],
    ]);
  });

  test("sends the configured thresholds with each check, in a fixed order", () => {
    expect(renderAgentRequest({ bandOut: 50, cpu: 70 })).toBe("cpu 70 band-out 50;");
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

  test.each(kinds)("%s holds no key, certificate or token", (kind) => {
    expect(files[kind]).not.toMatch(/BEGIN [A-Z ]*(KEY|CERTIFICATE)|AKIA|ASIA|password/i);
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

  test("lets only the balancer and localhost ask the agent", () => {
    const { write_files } = parse(files["node/user-data.yaml"] ?? "") as {
      write_files: { path: string; content: string }[];
    };
    const settings = write_files.find(({ path }) => path === "/etc/wcs-node/settings");
    expect(settings?.content).toBe("ALLOWED_ADDRESSES='10.0.0.10 127.0.0.1'\n");
    const service = files["node/files/usr/local/share/wcs-node/haproxy-agent-check.xinetd"];
    expect(service).toMatch(/only_from\s+= @ALLOWED_ADDRESSES@\n/);
    expect(service).toMatch(/per_source\s+= UNLIMITED\n/);
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
      'wcsProperties sets ws.ip_forward_header to "X-Real-IP"; the balancer needs "X-Client-IP" there. It is done as you say. ' +
        "To take it back: pulumi config rm --path 'wcsProperties[\"ws.ip_forward_header\"]'",
    ]);
  });

  test("a user's own property wins", () => {
    const text = renderStack("dev", { domain: "a.example.com", wcsProperties: { "ws.port": 9090 } })[
      "node/user-data.yaml"
    ];
    expect(text).toContain('"ws.port": "9090"');
  });
});

describe("the desired state", () => {
  test("has a revision that changes with the configuration and with the certificate", () => {
    const state = (haproxyBase: string, certificateHash: string) =>
      renderDesiredState({
        haproxyBase,
        backends: [],
        stickiness: false,
        certificateHash,
        drainTimeoutSeconds: 600,
      });
    const revisions = [state("a", "x"), state("b", "x"), state("a", "y"), state("a", "x")].map(
      ({ revision }) => revision,
    );
    expect(new Set(revisions).size).toBe(3);
    expect(revisions[0]).toBe(revisions[3]);
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
      "drainTimeoutSeconds",
    ]);
    expect(content.contract).toBe(1);
    expect(content.servers).toEqual({
      "wcs-1-00000001": "10.0.1.1:8080 cookie wcs-1-00000001",
      "wcs-2-00000002": "10.0.1.2:8080 cookie wcs-2-00000002",
    });
    const lines = Object.entries(content.servers).map(([name, words]) => `    server ${name} ${words}\n`);
    expect(content.haproxyBase + lines.join("")).toBe(text);
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
