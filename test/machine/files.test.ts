import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { machineSoftware, packMachineSoftware } from "../../cluster/machine-software";
import { busyPage, certificatePath, statusCertificateFile } from "../../contract/facts";
import { machineFile } from "../../contract/machine-file";
import { newKeys, pemOf, selfSigned, signServer } from "../../sandbox/certificates";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { DebianRoot } from "../debian-root";
import { long } from "../long";
import { filledMachines } from "./filled-machines";

const domain = "wcs.example.com";
const rendered = renderStack("dev", { domain });
const machines = filledMachines();
/** The path of each folder of the project. Machine files are tested as machines have them. */
const folders: Record<string, string> = {
  machines,
  ...Object.fromEntries(
    ["sandbox/wcs", "sandbox/engine", "scripts"].map((name) => [name, join(projectRoot, name)]),
  ),
};
const files = Object.entries(folders).flatMap(([folder, path]) =>
  readdirSync(path, { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name}`),
);

let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with(
    "haproxy",
    "nftables",
    "nginx",
    "python3-acme",
    "python3-boto3",
    "shellcheck",
    "unattended-upgrades",
    "xinetd",
  );
  for (const [folder, path] of Object.entries(folders)) debian.copy(path, `project/${folder}`);
  debian.copy(join(projectRoot, "test/machine"), "project/test/machine");
  // Where the node's scripts look for their modules when they are processes of their own.
  for (const name of ["setup/aws_instance.py", "node/wcs_user.py"])
    debian.copy(join(machines, name), `usr/local/lib/wcs-setup/${name.replace(/.*\//, "")}`);
}, 600_000);

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

test.each([
  "test_plan",
  "test_renewal",
  "test_sync",
  "test_cloud",
  "test_leaving",
  "test_aws",
  "test_last_resort",
  "test_status",
  "test_node",
  "test_setup",
  "test_watchdog",
])("%s.py passes", (name) => {
  succeeds("python3", "-W", "error", `/project/test/machine/${name}.py`, "--verbose");
});

test("the balancer makes the haproxy.cfg that the program has rendered from the desired state", () => {
  const { "balancer/desired-state.base64": document = "", "balancer/haproxy.cfg": text } = rendered;
  const decode =
    "import sys; sys.path.insert(0, '/project/machines/balancer'); from wcs_balancer.document import decode_document; " +
    "print(decode_document(sys.argv[1]).state.haproxy_config, end='')";
  expect(debian.exec("python3", "-c", decode, document)).toEqual({ status: 0, output: text });
});

test("the balancer's two commands find the package where it lands", () => {
  for (const [path, content] of Object.entries(machineSoftware("balancer")))
    if (/wcs_balancer|aws_|\/sbin\//.test(path)) debian.write(path.slice(1), content);
  debian.copy(join(machines, "setup/aws_instance.py"), "usr/local/lib/wcs-setup/aws_instance.py");
  succeeds("python3", "/usr/local/sbin/wcs-balancer", "help");
  const { output } = debian.exec("python3", "/usr/local/sbin/wcs-balancer-sync");
  expect(output).toContain("No such file or directory: '/etc/wcs-balancer/sync.json'");
});

describe("a command of a machine that is called in a wrong way prints its usage, and does nothing:", () => {
  /** The first line of each usage, and wrong arguments. */
  const commands: Record<string, { usage: string; wrong: string[][] }> = {
    "/usr/local/sbin/wcs-balancer": {
      usage: "Usage: wcs-balancer status | take-back | save-server-states",
      wrong: [[], ["state"], ["status", "now"]],
    },
    "/usr/local/sbin/wcs-license": {
      usage: "Activates and gives back this node's WCS licence: wcs-license activate|deactivate",
      wrong: [[], ["help"], ["activate", "now"]],
    },
    "/usr/local/bin/haproxy-agent-check.sh": {
      usage: "Usage: haproxy-agent-check.sh [CHECK [THRESHOLD]]...",
      wrong: [["memory"], ["cpu", "90", "%"]],
    },
    "/usr/local/lib/wcs-setup/fetch.py": {
      usage: "Fetches or checks a package of /etc/wcs-setup.json: fetch.py download|checksum NAME",
      wrong: [[], ["download"], ["unpack", "software"]],
    },
  };
  /** Started by systemd or xinetd, without arguments of a person. */
  const services = [
    "/usr/local/bin/haproxy-agent-check-launch.sh",
    "/usr/local/sbin/wcs-balancer-sync",
    "/usr/local/sbin/wcs-configure",
  ];
  const software = { ...machineSoftware("balancer"), ...machineSoftware("node") };

  beforeAll(() => {
    for (const [path, content] of Object.entries(software).filter(([path]) => path.startsWith("/usr/local/")))
      debian.write(path.slice(1), content);
    for (const name of ["aws_instance.py", "step.py"])
      debian.write(`usr/local/lib/wcs-setup/${name}`, machineFile(`setup/${name}`));
  });

  test.each(
    Object.entries(commands).flatMap(([path, { usage, wrong }]) =>
      wrong.map((words) => [path, words.join(" "), usage] as const),
    ),
  )("%s %s", (path, words, usage) => {
    const [interpreter = ""] = software[path]?.slice(2).split("\n") ?? [];
    const { status, output } = debian.exec(interpreter, path, ...words.split(" ").filter(Boolean));
    expect(output.split("\n")[0]).toBe(usage);
    expect(output.split("\n").length).toBeGreaterThan(3);
    expect(status).toBe(2);
  });

  test("no command is left out", () => {
    const executable = Object.keys(software).filter(
      (path) =>
        software[path]?.startsWith("#!") && /^\/usr\/local\/(s?bin|lib\/wcs-setup)\/[^/]+$/.test(path),
    );
    expect([...Object.keys(commands), ...services].sort()).toEqual(executable.sort());
  });
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
    debian.copy(join(machines, "balancer/503.html"), busyPage);
    const { keys, pem } = await newKeys();
    const certificate = await selfSigned({ keys, commonName: domain, hours: 1 });
    debian.write(certificatePath(domain), pemOf(certificate) + pem);
    debian.write(statusCertificateFile, pemOf(certificate) + pem);
  });

  test("accepts the configuration of a balancer that has not applied a state, without a warning", () => {
    debian.write("tmp/bootstrap.cfg", rendered["balancer/files/etc/wcs-balancer/bootstrap.cfg"] ?? "");
    succeeds("haproxy", "-c", "-dW", "-f", "/tmp/bootstrap.cfg");
  });

  test("accepts the rendered configuration without a warning", () => {
    debian.write("tmp/haproxy.cfg", rendered["balancer/haproxy.cfg"] ?? "");
    succeeds("haproxy", "-c", "-dW", "-f", "/tmp/haproxy.cfg");
  });

  test(`accepts ${long ? "every combination" : "combinations"} of options, up to 150 nodes`, async () => {
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
    const all = Object.entries(options).reduce<Record<string, unknown>[]>(
      (rows, [key, values]) => rows.flatMap((row) => values.map((value) => ({ ...row, [key]: value }))),
      [{ domain }],
    );
    expect(all).toHaveLength(3 * 2 * 2 * 2 * 3 * 2 * 2);
    // Seven shares no factor with the numbers of values, so every pair of values is among them.
    const matrix = all.filter((_, index) => long || index % 7 === 0);
    // The most that the configuration takes.
    const trustedCidrs = Array.from({ length: 50 }, (_, index) => `203.0.113.${index}/32`);
    matrix.push({ ...matrix.at(-1), nodes: ["wcs-1"], trustedCidrs });
    // A server with a request to its agent of its own.
    const checks = { cpu: 70, connections: 8 };
    matrix.push({ ...matrix[0], checks, externalNodes: [{ name: "hardware", address: "192.0.2.7" }] });
    matrix.push({ ...matrix[0], acme: { email: "operations@example.com" } });
    const texts = new Set(matrix.map((values) => renderStack("dev", values)["balancer/haproxy.cfg"] ?? ""));
    expect(texts.size).toBe(matrix.length);
    for (const [index, text] of [...texts].entries()) debian.write(`tmp/matrix/${index}.cfg`, text);
    succeeds(
      "sh",
      "-c",
      "for file in /tmp/matrix/*.cfg; do haproxy -c -dW -f $file || { cat $file; exit 1; }; done",
    );
  }, 600_000);

  test("refuses a wrong server line, so the check above can fail", () => {
    debian.write("tmp/bad.cfg", `${rendered["balancer/haproxy.cfg"]}    server wcs-9 nowhere:port\n`);
    expect(debian.exec("haproxy", "-c", "-f", "/tmp/bad.cfg").status).not.toBe(0);
  });
});

test("nginx accepts its configuration", () => {
  debian.copy(join(machines, "balancer/nginx.conf"), "etc/nginx/nginx.conf");
  succeeds("nginx", "-t", "-q");
});

/** The path of a file that the set-up fills in. */
const units = "/etc/systemd/system/";
const placed = (path: string) =>
  path.replace(/^\/usr\/local\/share\/wcs-node\/(?=.*\.(socket|service)$)/, units);

/** The files of a machine, by their paths there. */
function filesOf(kind: "node" | "balancer"): Map<string, string> {
  const { write_files } = parse(rendered[`${kind}/user-data.yaml`] ?? "") as {
    write_files: { path: string; content: string }[];
  };
  return new Map([
    ...write_files.map(({ path, content }) => [path, content] as const),
    ...Object.entries(machineSoftware(kind)).map(
      ([path, content]) => [placed(path), content.replaceAll("@ALLOWED_ADDRESSES@", "10.0.0.10")] as const,
    ),
  ]);
}

describe("systemd", () => {
  const written = new Map([...filesOf("balancer"), ...filesOf("node")]);
  const names = [...written.keys()]
    .filter((path) => path.startsWith(units))
    .map((path) => path.slice(units.length).replace(/\.d\/.*/, ""));

  beforeAll(() => {
    for (const [path, content] of written) {
      debian.write(path.slice(1), content);
      if (content.startsWith("#!")) debian.exec("chmod", "755", path);
    }
    debian.copy(join(projectRoot, "sandbox/wcs/webcallserver.service"), `${units}webcallserver.service`);
    debian.write("usr/local/FlashphonerWebCallServer/bin/webcallserver", "#!/bin/sh\n");
    debian.exec("chmod", "755", "/usr/local/FlashphonerWebCallServer/bin/webcallserver");
  });

  test.each([...new Set(names)].sort())("understands every line of %s and its drop-ins", (name) => {
    const { status, output } = debian.exec(
      "systemd-analyze",
      "verify",
      "--man=no",
      name.replace("@.", "@1."),
    );
    expect(output).toBe("");
    expect(status).toBe(0);
  });

  test("complains of a line that it does not understand, so the check above can fail", () => {
    debian.write(
      `${units}bad.service`,
      "[Service]\nExecStart=/bin/true\nStartLimitInterval=0\nRestartt=always\n",
    );
    expect(debian.exec("systemd-analyze", "verify", "--man=no", "bad.service").output).toContain("Restartt");
  });

  // What docs/security.md says is reached, times ten.
  test.each([
    ["haproxy.service", 28],
    ["nginx.service", 24],
    ["wcs-balancer-sync.service", 21],
    ["webcallserver.service", 34],
    ["xinetd.service", 24],
  ])("counts no more exposure than documented for %s", (name, threshold) => {
    succeeds("systemd-analyze", "security", "--offline=true", `--threshold=${threshold}`, "--no-pager", name);
  });

  test("the documented command for WCS undoes our restrictions, and nothing else", () => {
    const operations = readFileSync(join(projectRoot, "docs/operations.md"), "utf8");
    const undo = operations.match(/```sh aws\n([^`]*\/system\.control\/[^`]*)```/)?.[1] ?? "exit 1";
    const exposure = () => {
      const name = "webcallserver.service";
      const { output } = debian.exec("systemd-analyze", "security", "--offline=true", "--no-pager", name);
      return output.match(/Overall exposure level.*?: ([\d.]+)/)?.[1];
    };
    succeeds("sh", "-ec", undo);
    const undone = exposure();
    succeeds("rm", "-r", "/etc/systemd/system.control");
    expect(Number(undone)).toBeGreaterThan(Number(exposure()));
    succeeds("rm", `${units}webcallserver.service.d/wcs-hardening.conf`);
    expect(undone).toBe(exposure());
  });
});

describe("the metadata service", () => {
  const filter = "/etc/wcs-setup/metadata.nft";

  beforeAll(() => {
    debian.write(filter.slice(1), filesOf("balancer").get(filter) ?? "");
    // A stand-in at both addresses, in a network of its own, and a client of every kind.
    debian.write(
      "tmp/ask.py",
      `
import os, socket, subprocess, sys, threading

for command in sys.argv[1:]:
    subprocess.run(command, shell=True, check=True)
for family, address in ((socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254")):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind((address, 80))
    server.listen()
    threading.Thread(target=lambda s=server: [s.accept() for _ in range(9)], daemon=True).start()

def ask(kind, family, address, own, protocol=0):
    client = socket.socket(family, socket.SOCK_STREAM, protocol)
    client.settimeout(2)
    # Not the address that is asked, whose refusals would be refused in turn.
    client.bind((own, 0))
    try:
        client.connect((address, 80))
        print(kind, "connected", flush=True)
    except OSError as error:
        print(kind, type(error).__name__, flush=True)

for user in (0, 33):
    if os.fork() == 0:
        os.setgroups([])
        os.setuid(user)
        ask(f"{user} IPv4", socket.AF_INET, "169.254.169.254", "127.0.0.1")
        ask(f"{user} IPv6", socket.AF_INET6, "fd00:ec2::254", "::1")
        ask(f"{user} mapped", socket.AF_INET6, "::ffff:169.254.169.254", "::ffff:127.0.0.1")
        if os.path.exists("/proc/sys/net/mptcp"):
            ask(f"{user} MPTCP", socket.AF_INET, "169.254.169.254", "127.0.0.1", socket.IPPROTO_MPTCP)
        os._exit(0)
    os.wait()
`,
    );
  });

  function ask(...before: string[]): string[] {
    const network = [
      "ip link set lo up",
      "ip addr add 169.254.169.254/32 dev lo",
      "ip addr add fd00:ec2::254/128 dev lo nodad",
    ];
    const { output } = debian.exec(
      "unshare",
      "--net",
      "python3",
      "-W",
      "ignore",
      "/tmp/ask.py",
      ...network,
      ...before,
    );
    return output.trim().split("\n");
  }

  test("nft accepts the filter, also a second time", () => {
    succeeds("unshare", "--net", "sh", "-c", `nft -c -f ${filter} && nft -f ${filter} && nft -f ${filter}`);
  });

  test("answers every user without the filter, so the test below can fail", () => {
    expect(ask().filter((line) => !line.endsWith("connected"))).toEqual([]);
  });

  test("answers only root, in every way to ask", () => {
    const answers = ask(`nft -f ${filter}`);
    expect(answers.filter((line) => line.startsWith("0 ") && !line.endsWith("connected"))).toEqual([]);
    const others = answers.filter((line) => line.startsWith("33 "));
    expect(others.length).toBeGreaterThanOrEqual(3);
    expect(others.filter((line) => !line.endsWith("ConnectionRefusedError"))).toEqual([]);
  });

  test("answers a user whom the documented drop-in allows", () => {
    const answers = ask(`nft -f ${filter}`, "nft add element inet wcs_metadata allowed { www-data }");
    expect(answers.filter((line) => !line.endsWith("connected"))).toEqual([]);
  });
});

test("nodes upgrade by themselves, without Java", () => {
  debian.write(
    "etc/apt/apt.conf.d/90wcs-balancer",
    filesOf("node").get("/usr/local/share/wcs-node/unattended-upgrades.conf") ?? "",
  );
  const ask = `
import re, apt_pkg
apt_pkg.init()
assert apt_pkg.config.find("APT::Periodic::Unattended-Upgrade") == "1"
assert not apt_pkg.config.find_b("Unattended-Upgrade::Automatic-Reboot")
kept = apt_pkg.config.value_list("Unattended-Upgrade::Package-Blacklist")
for name, expected in {
    "openjdk-21-jre-headless": True, "default-jre-headless": True, "java-common": True, "ca-certificates-java": False,
    "libc6": False, "xinetd": False, "systemd": False,
}.items():
    # As unattended-upgrade does it.
    assert any(re.match(pattern, name) for pattern in kept) == expected, name`;
  succeeds("python3", "-c", ask);
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
