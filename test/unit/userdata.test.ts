import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { renderStack } from "../../scripts/render";
import { encodeUserData, userDataLimitBytes } from "../../userdata/cloud-config";
import { renderDesiredState, renderPem } from "../../userdata/desired-state";
import { fillIn, shellSettings } from "../../userdata/files";
import { renderAgentRequest, serverName } from "../../userdata/haproxy-config";
import { propertyWarnings } from "../../userdata/node";

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

  test("sends the configured thresholds with each check, in a fixed order", () => {
    expect(renderAgentRequest({ bandOut: 50, cpu: 70 })).toBe("cpu 70 band-out 50;");
  });

  test("names a server by its node and its instance, so that no machine inherits another's state", () => {
    expect(serverName("wcs-1", "i-0123456789abcdef0")).toBe("wcs-1-9abcdef0");
  });
});

describe("user-data", () => {
  const kinds = ["node/user-data.yaml", "balancer/user-data.yaml"] as const;

  test.each(kinds)("%s leaves 1 KB of EC2's 16 KB free", (kind) => {
    const bytes = Buffer.from(encodeUserData(files[kind] ?? ""), "base64").length;
    expect(bytes).toBeLessThan(userDataLimitBytes - 1024);
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
    const service = write_files.find(({ path }) => path === "/etc/xinetd.d/haproxy-agent-check");
    expect(service?.content).toMatch(/only_from\s+= 10\.0\.0\.10 127\.0\.0\.1\n/);
    expect(service?.content).toMatch(/per_source\s+= UNLIMITED\n/);
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
      "10-agent-xinetd",
      "20-metadata",
      "30-tools",
      "40-wcs-download",
      "50-wcs-checksum",
      "60-wcs-install",
      "70-wcs-start",
    ]);
  });

  test("installs no WCS where the image has it", () => {
    const values = { nodeAmi: "ami-0123456789abcdef0", agentListener: "systemd", wcsLicenseKey: "made-up" };
    expect(steps(values)).toEqual(["10-agent-systemd", "20-tools", "30-wcs-license", "40-wcs-start"]);
    const { packages } = parse(
      renderStack("dev", { domain: "a.example.com", ...values })["node/user-data.yaml"] ?? "",
    );
    // Nor updates: the image has its own way. And WCS may ask the metadata service for its licence.
    expect(packages).toEqual(["telnet"]);
    expect(paths(values).filter((path) => /metadata|apt/.test(path))).toEqual([]);
  });

  test("lets root alone reach the metadata service where WCS was installed by us", () => {
    expect(paths({})).toEqual(
      expect.arrayContaining(["/etc/wcs-setup/metadata.nft", "/etc/systemd/system/wcs-metadata.service"]),
    );
  });

  test("has no step that only Debian can do, when the image may be another one's", () => {
    const wcsPackage = {
      wcsPackageUrl: "https://a.example.com/wcs.tar.gz",
      wcsPackageSha256: "0".repeat(64),
    };
    const values = { domain: "a.example.com", nodeAmi: "ami-0123456789abcdef0", ...wcsPackage };
    const text = Object.entries(renderStack("dev", values))
      .filter(([name]) => name.startsWith("node/"))
      .map(([, content]) => content)
      .join("\n")
      // The one place that installs by hand asks which of the two there is.
      .replace(/if command -v apt-get .*\n/, "");
    expect(text).not.toMatch(/apt|dpkg|\.deb\b|\/etc\/default|\/etc\/network|adduser|invoke-rc|update-rc/);
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
    expect(text).not.toContain('"ws.port": "8080"');
  });
});

describe("the desired state", () => {
  test("has a revision that changes with the configuration and with the certificate", () => {
    const revisions = [
      renderDesiredState("a", "x", 600),
      renderDesiredState("b", "x", 600),
      renderDesiredState("a", "y", 600),
      renderDesiredState("a", "x", 600),
    ].map(({ revision }) => revision);
    expect(new Set(revisions).size).toBe(3);
    expect(revisions[0]).toBe(revisions[3]);
  });

  test("the PEM has certificate, chain and key in this order, without blank lines", () => {
    expect(renderPem("cert\n\n", "chain\r\n", "key")).toBe("cert\nchain\nkey\n");
  });
});

describe("files", () => {
  test("a mark without a value, or a value without a mark, is an error", () => {
    expect(() => fillIn("a @B@", {})).toThrow("@B@ has no value");
    expect(() => fillIn("a", { B: "1" })).toThrow("no mark for B");
  });

  test("settings survive quotes", () => {
    expect(shellSettings({ URL: "a'b $(c)" })).toBe("URL='a'\\''b $(c)'\n");
  });
});
