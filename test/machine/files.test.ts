import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { machineSoftware, packMachineSoftware } from "../../cluster/machine-software";
import { newKeys, pemOf, selfSigned, signServer } from "../../sandbox/certificates";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { busyPage, certificatePath } from "../../userdata/balancer";
import { DebianRoot } from "../debian-root";

const domain = "wcs.example.com";
const rendered = renderStack("dev", { domain });
const folders = ["machines", "sandbox/wcs", "sandbox/engine", "scripts"];
const files = folders.flatMap((folder) =>
  readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" }).map(
    (name) => `${folder}/${name}`,
  ),
);

let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("haproxy", "nginx", "shellcheck", "xinetd");
  for (const folder of folders) debian.copy(join(projectRoot, folder), `project/${folder}`);
  debian.copy(join(projectRoot, "test/machine"), "project/test/machine");
});

afterAll(() => debian?.remove());

function succeeds(...command: string[]): void {
  const { status, output } = debian.exec(...command);
  expect(output, command.join(" ")).toSatisfy(() => status === 0);
}

const isShell = (name: string) => name.endsWith(".sh") || name.endsWith("pulumi-analyzer-policy-nodejs");

test.each(files.filter(isShell))("%s passes shellcheck", (name) => {
  succeeds("shellcheck", "--shell=bash", "--exclude=SC1091,SC2154", `/project/${name}`);
});

test.each(files.filter((name) => name.endsWith(".py")))("%s compiles for the machines' Python", (name) => {
  succeeds("python3", "-W", "error", "-m", "py_compile", `/project/${name}`);
});

test.each(["test_plan", "test_sync", "test_node", "test_setup"])("%s.py passes", (name) => {
  succeeds("python3", "-W", "error", `/project/test/machine/${name}.py`, "--verbose");
});

test.each(["node", "balancer"])("cloud-init accepts the user-data of the %s", (kind) => {
  debian.write(`tmp/${kind}.yaml`, rendered[`${kind}/user-data.yaml`] ?? "");
  const { status, output } = debian.exec("cloud-init", "schema", "--config-file", `/tmp/${kind}.yaml`);
  expect(output).toContain("Valid schema");
  expect(status).toBe(0);
});

test("cloud-init refuses a key that it does not know, so the check above can fail", () => {
  debian.write("tmp/bad.yaml", "#cloud-config\npackagez: [curl]\n");
  expect(debian.exec("cloud-init", "schema", "--config-file", "/tmp/bad.yaml").status).not.toBe(0);
});

describe("HAProxy", () => {
  beforeAll(async () => {
    debian.copy(join(projectRoot, "machines/balancer/503.html"), busyPage);
    const { keys, pem } = await newKeys();
    const certificate = await selfSigned({ keys, commonName: domain, hours: 1 });
    debian.write(certificatePath(domain), pemOf(certificate) + pem);
  });

  test("accepts the rendered configuration without a warning", () => {
    debian.write("tmp/haproxy.cfg", rendered["balancer/haproxy.cfg"] ?? "");
    succeeds("haproxy", "-c", "-dW", "-f", "/tmp/haproxy.cfg");
  });

  test("accepts every combination of options, up to 150 nodes", async () => {
    const { keys } = await newKeys();
    const authorityKeys = (await newKeys()).keys;
    const authority = await selfSigned({ keys: authorityKeys, commonName: "CA", hours: 1 });
    const names = { commonName: domain, dnsNames: [domain], hours: 1 };
    const signed = pemOf(await signServer({ publicKey: keys.publicKey, ...names, authority, authorityKeys }));

    const options: Record<string, unknown[]> = {
      algorithm: ["roundrobin", "leastconn", "first"],
      stickiness: [false, true],
      checks: [{ cpu: 90 }, { cpu: 70, publishers: 5, subscribers: 9, hls: 3, bandIn: 40, bandOut: 50 }],
      tlsCertificate: [undefined, signed],
      nodes: [1, 2, 150].map((count) => Array.from({ length: count }, (_, index) => `wcs-${index + 1}`)),
      maxConnections: [100, 400_000],
      maxConnectionsPerNode: [1, 100_000],
    };
    const matrix = Object.entries(options).reduce<Record<string, unknown>[]>(
      (rows, [key, values]) => rows.flatMap((row) => values.map((value) => ({ ...row, [key]: value }))),
      [{ domain }],
    );
    expect(matrix).toHaveLength(3 * 2 * 2 * 2 * 3 * 2 * 2);
    const texts = new Set(matrix.map((values) => renderStack("dev", values)["balancer/haproxy.cfg"] ?? ""));
    expect(texts.size).toBe(matrix.length);
    for (const [index, text] of [...texts].entries()) debian.write(`tmp/matrix/${index}.cfg`, text);
    succeeds(
      "sh",
      "-c",
      "for file in /tmp/matrix/*.cfg; do haproxy -c -dW -f $file || { cat $file; exit 1; }; done",
    );
  }, 120_000);

  test("refuses a server line that is none, so the check above can fail", () => {
    debian.write("tmp/bad.cfg", `${rendered["balancer/haproxy.cfg"]}    server wcs-9 nowhere:port\n`);
    expect(debian.exec("haproxy", "-c", "-f", "/tmp/bad.cfg").status).not.toBe(0);
  });
});

test("nginx accepts its configuration", () => {
  debian.copy(join(projectRoot, "machines/balancer/nginx.conf"), "etc/nginx/nginx.conf");
  succeeds("nginx", "-t", "-q");
});

test("every file that a machine runs is executable there", () => {
  for (const kind of ["node", "balancer"] as const) {
    const { write_files } = parse(rendered[`${kind}/user-data.yaml`] ?? "") as {
      write_files: { path: string; permissions?: string; content: string }[];
    };
    for (const { path, permissions, content } of write_files) {
      expect(`${path} ${permissions}`).toBe(`${path} ${content.startsWith("#!") ? "0755" : undefined}`);
    }
    // What has a set-user-ID bit, an owner or a time would be listed otherwise.
    writeFileSync(join(debian.root, "tmp/software"), packMachineSoftware(kind).bytes);
    const { output } = debian.exec("tar", "--list", "--verbose", "--numeric-owner", "--file=/tmp/software");
    const lines = output.trim().split("\n");
    expect(lines).toHaveLength(Object.keys(machineSoftware(kind)).length);
    for (const [path, content] of Object.entries(machineSoftware(kind))) {
      const mode = content.startsWith("#!") ? "-rwxr-xr-x" : "-rw-r--r--";
      const size = Buffer.byteLength(content);
      const line = lines.find((candidate) => candidate.endsWith(` ${path.slice(1)}`));
      expect(line).toMatch(new RegExp(`^${mode} 0/0 +${size} 1970-01-01 00:00 `));
    }
  }
});

test("every step that user-data names is there", () => {
  for (const kind of ["node", "balancer"] as const) {
    const variants = [{}, { agentListener: "systemd", wcsLicenseKey: "made-up" }];
    const steps = variants.flatMap((values) => {
      const text = renderStack("dev", { domain, ...values })[`${kind}/user-data.yaml`] ?? "";
      return [...text.matchAll(/step\.py ([a-z-]+)$/gm)].map(([, step]) => step ?? "");
    });
    const scripts = steps.filter((step) => step !== "done" && !step.startsWith("software-"));
    expect(scripts.length).toBeGreaterThan(4);
    for (const step of scripts)
      expect(machineSoftware(kind)).toHaveProperty([`/usr/local/lib/wcs-setup/steps/${step}`]);
  }
});
