import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { newKeys, pemOf, selfSigned } from "../../sandbox/certificates";
import { DebianRoot } from "../../sandbox/debian-root";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { busyPage, certificatePath } from "../../userdata/balancer";

const domain = "wcs.example.com";
const rendered = renderStack("dev", { domain });
const folders = ["userdata/files", "sandbox/wcs"];
const files = folders.flatMap((folder) =>
  readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" }).map(
    (name) => `${folder}/${name}`,
  ),
);

let debian: DebianRoot;

beforeAll(async () => {
  debian = new DebianRoot();
  await debian.install(["haproxy", "nginx", "shellcheck", "xinetd"]);
  for (const folder of folders) debian.copy(join(projectRoot, folder), `project/${folder}`);
  debian.copy(join(projectRoot, "test/machine"), "project/test/machine");
});

afterAll(() => debian?.remove());

function succeeds(...command: string[]): void {
  const { status, output } = debian.exec(...command);
  expect(output, command.join(" ")).toSatisfy(() => status === 0);
}

test.each(files.filter((name) => name.endsWith(".sh")))("%s passes shellcheck", (name) => {
  succeeds("shellcheck", "--shell=bash", "--exclude=SC1091,SC2154", `/project/${name}`);
});

test.each(files.filter((name) => name.endsWith(".py")))("%s compiles for the machines' Python", (name) => {
  succeeds("python3", "-W", "error", "-m", "py_compile", `/project/${name}`);
});

test.each(["test_sync", "test_node"])("%s.py passes", (name) => {
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
    const { keys, pem } = await newKeys();
    const certificate = await selfSigned({ keys, commonName: domain, hours: 1 });
    debian.copy(join(projectRoot, "userdata/files/balancer/503.html"), busyPage);
    debian.write(certificatePath(domain), pemOf(certificate) + pem);
  });

  test("accepts the rendered configuration without a warning", () => {
    debian.write("tmp/haproxy.cfg", rendered["balancer/haproxy.cfg"] ?? "");
    succeeds("haproxy", "-c", "-dW", "-f", "/tmp/haproxy.cfg");
  });

  test("refuses a server line that is none, so the check above can fail", () => {
    debian.write("tmp/bad.cfg", `${rendered["balancer/haproxy.cfg"]}    server wcs-9 nowhere:port\n`);
    expect(debian.exec("haproxy", "-c", "-f", "/tmp/bad.cfg").status).not.toBe(0);
  });
});

test("nginx accepts its configuration", () => {
  debian.copy(join(projectRoot, "userdata/files/balancer/nginx.conf"), "etc/nginx/nginx.conf");
  succeeds("nginx", "-t", "-q");
});

test("every file that a machine runs is executable there", () => {
  for (const kind of ["node", "balancer"]) {
    const { write_files } = parse(rendered[`${kind}/user-data.yaml`] ?? "") as {
      write_files: { path: string; permissions: string; content: string }[];
    };
    for (const { path, permissions, content } of write_files) {
      expect(`${path} ${permissions}`).toBe(`${path} ${content.startsWith("#!") ? "0755" : "0644"}`);
    }
  }
});
