import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultDelays, describeCluster } from "../../cluster/description";
import { sizeProblems } from "../../cluster/sizes";
import { warnings } from "../../cluster/warnings";
import { ConfigError } from "../../config/messages";
import { fromEngine, parseConfig as parse } from "../../config/parse";
import { isSecretKey } from "../../config/schema";
import { checkLocalPackage } from "../../config/wcs-package";
import { newKeys, pemOf, selfSigned, signing, signServer, x509 } from "../../sandbox/certificates";

/** Certificates that the tests make are valid by then. */
const now = new Date(Date.now() + 60_000);
const minimal = {
  domain: "wcs.example.com",
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};

const parseConfig = (values: Record<string, unknown>, isSecret: (key: string) => boolean, now: Date) =>
  parse(values, isSecret, now, sizeProblems);

/** The warnings of a configuration that is allowed. */
const warned = (values: Record<string, unknown> = {}) =>
  warnings(
    parseConfig({ ...minimal, ...values }, () => false, now),
    now,
  );

function errorOf(values: Record<string, unknown>, isSecret = true): string {
  try {
    parseConfig(values, (key) => isSecret && isSecretKey(key), now);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error("the configuration was accepted");
}

test("a domain and a WCS package are enough", () => {
  const config = parseConfig(minimal, () => false, now);
  expect(config.nodes).toEqual(["wcs-1", "wcs-2"]);
  expect(config.checks).toEqual({
    cpu: 90,
    publishers: 100,
    subscribers: 100,
    hls: 100,
    bandIn: 100,
    bandOut: 100,
  });
  expect(config.maxConnections).toBe(4000);
});

test("an image with WCS in it needs no package", () => {
  expect(
    parseConfig({ domain: "wcs.example.com", nodeAmi: "ami-0123456789abcdef0" }, () => false, now).nodeAmi,
  ).toBeDefined();
});

describe("each mistake gives one message with key, value, what is allowed and the fix", () => {
  const cases: [string, Record<string, unknown>, string][] = [
    [
      "no domain",
      { domain: undefined },
      "domain is missing; it must be a lower-case DNS name such as wcs.example.com, 64 characters at most. Set it with: pulumi config set domain wcs.example.com",
    ],
    [
      "a domain that is none",
      { domain: "https://wcs" },
      'domain is "https://wcs"; it must be a lower-case DNS name such as wcs.example.com, 64 characters at most. Set it with: pulumi config set domain wcs.example.com',
    ],
    [
      "a threshold out of range",
      { checks: { cpu: 130 } },
      "checks.cpu is 130; it must be a percentage from 1 to 100. Set it with: pulumi config set --path 'checks.cpu' 90",
    ],
    [
      "a threshold that is no number",
      { checks: { hls: "many" } },
      "checks.hls is \"many\"; it must be a number of streams from 1 to 100000. Set it with: pulumi config set --path 'checks.hls' 90",
    ],
    [
      "no threshold at all",
      { checks: {} },
      "checks is {}; it must be an object with one or more of cpu, publishers, subscribers, hls, bandIn, bandOut and connections. Set it with: pulumi config set --path 'checks.cpu' 90",
    ],
    [
      "two nodes of one name",
      { nodes: ["wcs-1", "wcs-1"] },
      'nodes is ["wcs-1","wcs-1"]; it must be a list without duplicates. Set it with: pulumi config set --path \'nodes[0]\' wcs-1',
    ],
    [
      "no nodes",
      { nodes: [] },
      "nodes is []; it must be a list with at least one name. Set it with: pulumi config set --path 'nodes[0]' wcs-1",
    ],
    [
      "a node's name that no machine can have",
      { nodes: ["wcs-1", "WCS 2"] },
      "nodes[1] is \"WCS 2\"; it must be a name of lower-case letters, digits and hyphens, 31 at most, beginning with a letter. Set it with: pulumi config set --path 'nodes[1]' wcs-1",
    ],
    [
      "a CIDR that is none",
      { clientCidrs: ["10.0.0.0/33"] },
      "clientCidrs[0] is \"10.0.0.0/33\"; it must be an IPv4 network such as 203.0.113.0/24, without host bits. Set it with: pulumi config set --path 'clientCidrs[0]' 203.0.113.0/24",
    ],
    [
      "a CIDR with host bits",
      { clientCidrs: ["203.0.113.7/24"] },
      "clientCidrs[0] is \"203.0.113.7/24\"; it must be an IPv4 network such as 203.0.113.0/24, without host bits. Set it with: pulumi config set --path 'clientCidrs[0]' 203.0.113.0/24",
    ],
    [
      "a property whose value has two lines",
      { wcsProperties: { "ws.port": "1\nip=2" } },
      'wcsProperties["ws.port"] is "1\\nip=2"; it must be a value on one line. Set it with: pulumi config set --path \'wcsProperties["ws.port"]\' 31001',
    ],
    [
      "a permissions boundary by its name",
      { permissionsBoundary: "limits" },
      'permissionsBoundary is "limits"; it must be the ARN of a managed policy such as arn:aws:iam::123456789012:policy/NAME. Set it with: pulumi config set permissionsBoundary arn:aws:iam::123456789012:policy/wcs-balancer-dev-boundary',
    ],
    [
      "a heap without a unit",
      { wcsHeap: "4" },
      'wcsHeap is "4"; it must be megabytes or gigabytes from 64m to 4096g, such as 2048m or 4g. Set it with: pulumi config set wcsHeap 4g',
    ],
    ...["99999999999g", "4097g", "4194305m", "63m", "1m", "04g"].map(
      (wcsHeap): [string, Record<string, unknown>, string] => [
        `a heap that no node can have: ${wcsHeap}`,
        { wcsHeap },
        `wcsHeap is "${wcsHeap}"; it must be megabytes or gigabytes from 64m to 4096g, such as 2048m or 4g. Set it with: pulumi config set wcsHeap 4g`,
      ],
    ),
    [
      "a listener that there is not",
      { agentListener: "inetd" },
      'agentListener is "inetd"; it must be xinetd or systemd. Set it with: pulumi config set agentListener systemd',
    ],
    [
      "a service that there is not",
      { openPorts: ["ssh"] },
      "openPorts[0] is \"ssh\"; it must be one of hls, rtmp, rtsp and cdn. Set it with: pulumi config set --path 'openPorts[0]' cdn",
    ],
    [
      "a licence key of two lines, which is not shown",
      { wcsLicenseKey: "abc\ndef" },
      "wcsLicenseKey is not valid (not shown); it must be a licence key on one line. Set it with: pulumi config set --secret wcsLicenseKey KEY",
    ],
    [
      "no WCS package",
      { wcsPackageUrl: undefined, wcsPackageSha256: undefined },
      "wcsPackage is missing; it must be the WCS tarball, a file or s3://BUCKET/KEY, unless nodeAmi names an image with WCS in it. Set it with: pulumi config set wcsPackage ./FlashphonerWebCallServer.tar.gz",
    ],
    [
      "no checksum",
      { wcsPackageSha256: undefined },
      "wcsPackageSha256 is missing; a node installs only a tarball whose checksum it knows. Set it with: pulumi config set wcsPackageSha256 <sha256>",
    ],
    [
      "no checksum of an object in S3",
      { wcsPackageUrl: undefined, wcsPackage: "s3://packages/wcs.tar.gz", wcsPackageSha256: undefined },
      "wcsPackageSha256 is missing; a node installs only a tarball whose checksum it knows. Set it with: pulumi config set wcsPackageSha256 <sha256>",
    ],
    [
      "two WCS packages",
      { wcsPackage: "./wcs.tar.gz" },
      'wcsPackage is "./wcs.tar.gz" and wcsPackageUrl is "https://downloads.example.com/wcs.tar.gz"; only one of them can be the tarball. Remove the other with: pulumi config rm wcsPackageUrl',
    ],
    [
      "a web address as wcsPackage",
      { wcsPackageUrl: undefined, wcsPackage: "https://downloads.example.com/wcs.tar.gz" },
      'wcsPackage is "https://downloads.example.com/wcs.tar.gz"; it must be the path of a file, or s3://BUCKET/KEY with a bucket of this region that has no dot in its name, without * ? $ (a web address goes into wcsPackageUrl). Set it with: pulumi config set wcsPackage ./FlashphonerWebCallServer.tar.gz',
    ],
    [
      "an object's name that would let nodes read others, too",
      { wcsPackageUrl: undefined, wcsPackage: "s3://packages/*" },
      'wcsPackage is "s3://packages/*"; it must be the path of a file, or s3://BUCKET/KEY with a bucket of this region that has no dot in its name, without * ? $ (a web address goes into wcsPackageUrl). Set it with: pulumi config set wcsPackage ./FlashphonerWebCallServer.tar.gz',
    ],
    [
      "a WebSDK bundle without its checksum",
      { webSdkUrl: "https://downloads.example.com/websdk.tar.gz" },
      "webSdkSha256 is missing; the balancer serves only a bundle whose checksum it knows. Set it with: pulumi config set webSdkSha256 <sha256>",
    ],
    [
      "a checksum of no WebSDK bundle",
      { webSdkSha256: "b".repeat(64) },
      "webSdkUrl is missing; webSdkSha256 is the checksum of the bundle there, and the default bundle needs none. Set it with: pulumi config set webSdkUrl https://downloads.example.com/flashphoner-api.tar.gz",
    ],
  ];
  test.each(cases)("%s", (_, values, message) => {
    expect(errorOf({ ...minimal, ...values })).toBe(message);
  });

  test("an address with a password, which is not shown", () => {
    const message = errorOf({
      ...minimal,
      wcsPackageUrl: "https://me:hunter2@downloads.example.com/wcs.tar.gz",
    });
    expect(message).toMatch(
      /^wcsPackageUrl is not shown, since it holds a password; it must be an address without/,
    );
    expect(message).not.toContain("hunter2");
  });

  test("an unknown key", () => {
    expect(errorOf({ ...minimal, domian: "x" })).toMatch(
      /^domian is not a configuration key; the keys are domain, .*, subnetIds\. Remove it with: pulumi config rm domian$/,
    );
  });

  test("an unknown threshold", () => {
    expect(errorOf({ ...minimal, checks: { cpu: 90, memory: 1 } })).toBe(
      "checks.memory is not a configuration key; the keys are cpu, publishers, subscribers, hls, bandIn, bandOut, connections. Remove it with: pulumi config rm --path 'checks.memory'",
    );
  });

  test("more nodes than the desired state can hold", () => {
    const nodes = Array.from({ length: 400 }, (_, index) => `wcs-${index + 1}`);
    expect(errorOf({ ...minimal, nodes })).toMatch(
      /^nodes has 400 names; that is more than the desired state can hold .* split the nodes over several stacks\.$/,
    );
  });
});

test("a public key for SSH needs networks that it is for, and is one line", () => {
  const sshPublicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@example.com";
  expect(errorOf({ ...minimal, sshPublicKey })).toMatch(
    /^adminCidrs is empty; with sshPublicKey it must name the networks that SSH is open to/,
  );
  const config = { ...minimal, sshPublicKey, adminCidrs: ["203.0.113.0/24"] };
  expect(parseConfig(config, () => false, now).sshPublicKey).toBe(sshPublicKey);
  expect(errorOf({ ...config, sshPublicKey: "/root/.ssh/id_ed25519" })).toMatch(
    /^sshPublicKey is .*; it must be one line of a \.pub file/,
  );
});

test("external nodes need an address, and names of their own", () => {
  const external = (...externalNodes: unknown[]) => ({ ...minimal, nodes: ["wcs-1"], externalNodes });
  expect(errorOf(external({ name: "hardware", address: "wcs.example.com" }))).toBe(
    'externalNodes[0].address is "wcs.example.com"; it must be an IPv4 address of a machine, such as 203.0.113.7. ' +
      "Set it with: pulumi config set --path 'externalNodes[0].address' 192.0.2.7",
  );
  expect(errorOf(external({ name: "Hardware", address: "192.0.2.7" }))).toMatch(
    /Set it with: pulumi config set --path 'externalNodes\[0\]\.name' hardware-1$/,
  );
  expect(errorOf(external({ name: "hardware" }))).toMatch(
    /^externalNodes\[0\]\.address is missing; .*'externalNodes\[0\]\.address' 192\.0\.2\.7$/,
  );
  expect(errorOf(external("hardware"))).toBe(
    'externalNodes[0] is "hardware"; it must be an object with name and address. ' +
      "Set it with: pulumi config set --path 'externalNodes[0].name' hardware-1",
  );
  expect(errorOf(external({ name: "hardware", address: "192.0.2.7", port: 8080 }))).toBe(
    "externalNodes[0].port is not a configuration key; the keys are name, address, agentRequest. " +
      "Remove it with: pulumi config rm --path 'externalNodes[0].port'",
  );
  expect(errorOf(external({ name: "hardware", address: "192.0.2.7", agentRequest: 3 }))).toBe(
    "externalNodes[0].agentRequest is 3; it must be a version of the request to agents from 1 to 2. " +
      "Set it with: pulumi config set --path 'externalNodes[0].agentRequest' 2",
  );
  expect(errorOf(external({ name: "wcs-1", address: "192.0.2.7" }))).toMatch(
    /^externalNodes has "wcs-1", which is in nodes too; each name must be in one of them only/,
  );
  expect(errorOf({ ...minimal, nodeStack: "second" })).toMatch(
    /^nodeStack is "second"; it must be ORGANIZATION\/PROJECT\/STACK/,
  );
});

test("limits that leave sockets of the nodes unused are warned of", () => {
  const values = { nodes: ["a", "b"], maxConnectionsPerNode: 3000 };
  expect(warned(values)).toEqual([
    "maxConnections is 4000, less than the 6000 WebSockets that 2 nodes with maxConnectionsPerNode 3000 take: the " +
      "last 2000 are never used. To use them: pulumi config set maxConnections 6000",
  ]);
  expect(warned({ ...values, maxConnections: 6000 })).toEqual([]);
});

test("external nodes whose agent may not know the check of connections are warned of", () => {
  const external = { name: "hardware", address: "192.0.2.7" };
  const checks = { cpu: 90, connections: 50 };
  expect(warned({ checks })).toEqual([]);
  expect(warned({ externalNodes: [external] })).toEqual([]);
  expect(warned({ checks, externalNodes: [external] })).toEqual([
    "checks.connections is not checked on hardware: its agent may not know this check. If it runs the agent of this " +
      "version: pulumi config set --path 'externalNodes[0].agentRequest' 2",
  ]);
  expect(warned({ checks, externalNodes: [{ ...external, agentRequest: 2 }] })).toEqual([]);
});

test("150 nodes fit into the desired state beside as many trusted networks as there may be", () => {
  const nodes = Array.from({ length: 150 }, (_, index) => `wcs-${index + 1}`);
  // As hard to compress as real ones.
  const trustedCidrs = Array.from({ length: 50 }, (_, index) => {
    const digest = createHash("sha256").update(String(index)).digest();
    return `${[...digest.subarray(0, 4)].join(".")}/32`;
  });
  const values = { ...minimal, nodes, trustedCidrs };
  // Target groups and further balancers take some room, too.
  expect(parseConfig({ ...minimal, nodes, balancers: 3, entry: "both" }, () => false, now).nodes).toEqual(
    nodes,
  );
  expect(parseConfig(values, () => false, now).trustedCidrs).toEqual(trustedCidrs);
  expect(errorOf({ ...values, trustedCidrs: [...trustedCidrs, "192.0.2.0/24"] })).toMatch(
    /50 networks at most/,
  );
  // With a cookie for each node there is less room.
  expect(errorOf({ ...values, stickiness: true })).toMatch(
    /^nodes has 150 names and trustedCidrs 50 networks; that is more .* merge networks into larger ones, or split/,
  );
});

describe("the limit for each client address", () => {
  const config = (values: Record<string, unknown>) =>
    parseConfig({ ...minimal, ...values }, () => false, now);

  test("is 100, with nobody exempted, and is not warned of with two nodes", () => {
    expect(config({})).toMatchObject({ maxConnectionsPerAddress: 100, trustedCidrs: [] });
    expect(warned({})).toEqual([]);
  });

  test("that lets one address fill every node is warned of", () => {
    expect(warned({ maxConnectionsPerAddress: 200 })).toEqual([
      "maxConnectionsPerAddress is 200, and 2 nodes with maxConnectionsPerNode 100 take 200 WebSockets: one client " +
        "address can fill every node. To prevent it: pulumi config set maxConnectionsPerAddress 100, or more nodes",
    ]);
    expect(warned({ maxConnectionsPerAddress: 199 })).toEqual([]);
    expect(warned({ nodes: ["a"] })).toHaveLength(1);
    expect(warned({ nodes: ["a"], externalNodes: [{ name: "b", address: "192.0.2.7" }] })).toEqual([]);
    // How many more there are is not known.
    expect(warned({ nodes: ["a"], nodeStack: "organization/wcs-balancer/nodes" })).toEqual([]);
  });

  test.each([
    [["0.0.0.0/0"], 100],
    [["128.0.0.0/1", "0.0.0.0/1"], 100],
    [["0.0.0.0/1", "10.0.0.0/8"], 50],
    [["0.0.0.0/2", "64.0.0.0/2", "192.0.0.0/2"], 75],
  ])("that spares %j is warned of", (trustedCidrs, percent) => {
    expect(warned({ trustedCidrs })).toEqual([
      `trustedCidrs covers ${percent} % of all addresses: maxConnectionsPerAddress does not limit these. ` +
        "To limit them again: pulumi config rm trustedCidrs",
    ]);
  });

  test("may spare a company's networks without a warning", () => {
    expect(warned({ trustedCidrs: ["203.0.113.0/24", "10.0.0.0/8"] })).toEqual([]);
  });

  test("refuses what it cannot use", () => {
    expect(errorOf({ ...minimal, maxConnectionsPerAddress: 9 })).toBe(
      "maxConnectionsPerAddress is 9; it must be a number of connections from 10 to 400000. " +
        "Set it with: pulumi config set maxConnectionsPerAddress 100",
    );
    expect(errorOf({ ...minimal, trustedCidrs: ["203.0.113.7/24"] })).toMatch(
      /^trustedCidrs\[0\] is "203.0.113.7\/24"; it must be an IPv4 network .* --path 'trustedCidrs\[0\]' 203.0.113.0\/24$/,
    );
    expect(errorOf({ ...minimal, trustedCidrs: ["2001:db8::/32"] })).toMatch(/it must be an IPv4 network/);
  });
});

test.each([
  "*",
  "https://a.example.com/",
  "a.example.com",
  "https://a.example.com; script-src *",
  "'none'",
  "http://a.b",
])("frameAncestors refuses %j, which would be another rule", (site) => {
  expect(errorOf({ ...minimal, frameAncestors: [site] })).toMatch(
    /^frameAncestors\[0\] is .*; it must be a site such as/,
  );
});

test("150 nodes fit into the desired state, also with a request of their own for each", () => {
  const nodes = Array.from({ length: 150 }, (_, index) => `wcs-${index + 1}`);
  expect(parseConfig({ ...minimal, nodes }, () => false, now).nodes).toHaveLength(150);
  // Nodes with an older agent; made up to be as hard to compress as real ones.
  const externalNodes = nodes.slice(1).map((name) => {
    const [b, c, d] = createHash("sha256").update(name).digest();
    return { name: `old-${name}`, address: `172.${b}.${c}.${d}` };
  });
  const checks = {
    cpu: 85,
    publishers: 250,
    subscribers: 1200,
    hls: 150,
    bandIn: 900,
    bandOut: 950,
    connections: 777,
  };
  const config = parseConfig({ ...minimal, nodes: ["wcs-1"], externalNodes, checks }, () => false, now);
  expect(config.externalNodes).toHaveLength(149);
});

test("a secret that would not stay one is refused, and not shown", () => {
  const values = { ...minimal, wcsProperties: { "keystore.password": "hunter2" } };
  const marked = (key: string) => key === "wcsProperties";
  expect(() => parseConfig(values, marked, now)).toThrow(
    /^wcsProperties is stored as a secret; only tlsPrivateKey and wcsLicenseKey are kept secret, and wcsProperties would be shown/,
  );
  expect(() => parseConfig(values, marked, now)).not.toThrow("hunter2");
});

test.each([
  ["as a value", { wcsProperties: { a: "-----BEGIN PRIVATE KEY-----MIGH" } }],
  ["as a name", { wcsProperties: { "-----BEGIN PRIVATE KEY-----MIGH": 1 } }],
  ["as a key", { "-----BEGIN PRIVATE KEY-----MIGH": 1 }],
  ["in a list of networks", { trustedCidrs: { a: "-----BEGIN PRIVATE KEY-----MIGH" } }],
  ["with a mistyped label", { tlsCertificate: "-----BEGIN PRIVAT KEY-----MIGH" }],
])("a private key %s is refused, and not shown", (_, values) => {
  expect(errorOf({ ...minimal, ...values })).not.toContain("MIGH");
});

test.each([
  ["clientCidrs", ["10.0.0.0/08"]],
  ["externalNodes", [{ name: "x", address: "127.0.0.1" }]],
  ["externalNodes", [{ name: "x", address: "169.254.169.254" }]],
  ["frameAncestors", [`https://${"a.".repeat(60)}example.com`]],
  ["wcsProperties", { a: "b\0" }],
  ["wcsPackageUrl", "https//user:hunter2@host/x"],
])("%s %j is refused", (key, value) => {
  const message = errorOf({ ...minimal, [key]: value });
  expect(message).toMatch(new RegExp(`^${key}`));
  expect(message).not.toContain("hunter2");
});

test("a licence key in clear text is refused, and not shown", () => {
  expect(errorOf({ ...minimal, wcsLicenseKey: "abcd-1234" }, false)).toBe(
    "wcsLicenseKey is stored in clear text; it must be a secret. Set it with: pulumi config set --secret wcsLicenseKey KEY",
  );
});

test("properties may be numbers and booleans, as YAML has them", () => {
  const { wcsProperties } = parseConfig(
    { ...minimal, wcsProperties: { a: 1, b: true, c: "x" } },
    () => false,
    now,
  );
  expect(wcsProperties).toEqual({ a: "1", b: "true", c: "x" });
});

describe("a user-supplied certificate", () => {
  const folder = mkdtempSync(join(tmpdir(), "wcs-config-"));
  const files: Record<string, string> = {};

  beforeAll(() => {
    for (const [name, host] of [
      ["right", "wcs.example.com"],
      ["other", "other.example.com"],
    ] as const) {
      execFileSync(
        "openssl",
        // biome-ignore format: one line an option pair reads better
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", `/CN=${host}`, "-addext", `subjectAltName=DNS:${host}`,
         "-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.crt`)],
        { stdio: "ignore" },
      );
      files[`${name}.key`] = readFileSync(join(folder, `${name}.key`), "utf8");
      files[`${name}.crt`] = readFileSync(join(folder, `${name}.crt`), "utf8");
    }
  });

  const own = (certificate: string, key: string) => ({
    ...minimal,
    tlsCertificate: files[certificate],
    tlsPrivateKey: files[key],
  });

  test("is accepted with its key", () => {
    expect(parseConfig(own("right.crt", "right.key"), isSecretKey, now).tlsCertificate).toContain(
      "BEGIN CERTIFICATE",
    );
  });

  test("is refused with another key, which is not shown", () => {
    const message = errorOf(own("right.crt", "other.key"));
    expect(message).toMatch(/^tlsPrivateKey does not fit tlsCertificate \(subject "CN=wcs.example.com"\)/);
    expect(message).toContain("pulumi config set --secret tlsPrivateKey < key.pem");
    expect(message).not.toContain("PRIVATE KEY");
  });

  test.each([
    [
      "rsa 1024",
      ["-newkey", "rsa:1024"],
      [],
      "has a key of type rsa 1024; it must be RSA of 2048 bits or more",
    ],
    [
      "secp256k1",
      ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
      [],
      "has a key of type ec secp256k1",
    ],
    ["Ed25519", ["-newkey", "ed25519"], [], "has a key of type ed25519"],
    [
      "for clients",
      ["-newkey", "rsa:2048"],
      ["extendedKeyUsage=clientAuth"],
      "(extended key usage); it must be for servers",
    ],
  ])("is refused when browsers or HAProxy could not use it: %s", (_, keyOptions, extensions, message) => {
    const [key, crt] = [join(folder, "odd.key"), join(folder, "odd.crt")];
    execFileSync(
      "openssl",
      // biome-ignore format: one line an option pair reads better
      ["req", "-x509", ...keyOptions, "-nodes", "-days", "1", "-subj", "/CN=wcs.example.com",
       ...["subjectAltName=DNS:wcs.example.com", ...extensions].flatMap((extension) => ["-addext", extension]),
       "-keyout", key, "-out", crt],
      { stdio: "ignore" },
    );
    const values = { tlsCertificate: readFileSync(crt, "utf8"), tlsPrivateKey: readFileSync(key, "utf8") };
    expect(errorOf({ ...minimal, ...values })).toContain(message);
  });

  test("is refused for another domain", () => {
    expect(errorOf(own("other.crt", "other.key"))).toMatch(
      /^tlsCertificate is for "DNS:other.example.com"; it must name the domain "wcs.example.com"/,
    );
  });

  test("is refused with the key in the same file, of which nothing is shown", () => {
    const combined = `${files["right.crt"]}${files["right.key"]}`;
    const secret = files["right.key"]?.split("\n")[1] as string;
    for (const values of [
      { tlsCertificate: combined },
      { tlsCertificate: files["right.key"] },
      { tlsChain: combined },
      { tlsChain: files["right.key"] },
    ]) {
      const message = errorOf({ ...own("right.crt", "right.key"), ...values });
      expect(message).toMatch(
        /^tls(Certificate|Chain) is not shown, since it holds a private key; it must be a PEM CERTIFICATE( alone; the key goes into tlsPrivateKey, a secret\.|\. Set it)/,
      );
      expect(message.split("\n").at(-1)).toMatch(/Everybody who can read the stack's file has this key now/);
      expect(message).not.toContain(secret.slice(0, 8));
    }
    const message = errorOf({ ...own("right.crt", "right.key"), tlsPrivateKey: combined });
    expect(message).toMatch(
      /^tlsPrivateKey is not shown, .*; it must be a PEM PRIVATE KEY alone\. Set it with/,
    );
    expect(message).not.toContain(secret.slice(0, 8));
  });

  test("is refused outside of its time", () => {
    const parseAt = (days: number) =>
      parseConfig(own("right.crt", "right.key"), isSecretKey, new Date(Date.now() + days * 86_400_000));
    expect(() => parseAt(2)).toThrow(
      /^tlsCertificate \("CN=wcs\.example\.com"\) ended at \S+Z, and now it is \S+Z; it must be valid now, or no client can connect\. Set it with: pulumi config set tlsCertificate < cert\.pem, or remove /,
    );
    expect(() => parseAt(-1)).toThrow(
      /^tlsCertificate \("CN=wcs\.example\.com"\) is valid only from \S+Z on, /,
    );
  });

  test("that has expired is accepted when its day is named, and warned of", () => {
    const end = new Date(new X509Certificate(files["right.crt"] ?? "").validTo);
    const day = end.toISOString().slice(0, 10);
    const late = new Date(Date.now() + 2 * 86_400_000);
    const parseWith = (expiredCertificate: string, moment = late) =>
      parseConfig({ ...own("right.crt", "right.key"), expiredCertificate }, isSecretKey, moment);
    expect(() => parseConfig(own("right.crt", "right.key"), isSecretKey, late)).toThrow(
      new RegExp(`go on with it: pulumi config set expiredCertificate ${day}$`),
    );
    const config = parseWith(day);
    expect(warnings(config, late)).toContainEqual(
      expect.stringMatching(
        `^tlsCertificate has ended, on ${day}: no client .* pulumi config set tlsCertificate`,
      ),
    );
    // Another one that has expired is refused again, and so is one that is not valid yet.
    expect(() => parseWith("2026-01-01")).toThrow(/^tlsCertificate .* ended at /);
    expect(() => parseWith(day, new Date(Date.now() - 86_400_000))).toThrow(
      / is valid only from .* a certificate$/,
    );
    expect(() => parseWith("yesterday")).toThrow(
      /^expiredCertificate is "yesterday"; it must be the day of its end/,
    );
    // It changes nothing else, and nothing while the certificate is valid.
    const described = (values: object) =>
      describeCluster(
        parseConfig({ ...own("right.crt", "right.key"), ...values }, isSecretKey, now),
        "",
        defaultDelays,
      );
    expect(described({ expiredCertificate: day })).toEqual(described({}));
  });

  test.each(["tlsCertificate", "tlsChain"])("%s that cannot be read is named itself", (key) => {
    const garbage = "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----";
    const message = errorOf({ ...own("right.crt", "right.key"), [key]: garbage });
    expect(message).toMatch(
      new RegExp(`^${key} cannot be read \\(.*\\); it must be a PEM CERTIFICATE\\. Set it with: `),
    );
    expect(message).not.toContain("hunter2");
  });

  test("a key that cannot be read is named itself", () => {
    const garbage = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----";
    const message = errorOf({ ...own("right.crt", "right.key"), tlsPrivateKey: garbage });
    expect(message).toMatch(
      /^tlsPrivateKey cannot be read \(.*\); it must be a PEM PRIVATE KEY without a passphrase/,
    );
    expect(message).not.toContain("hunter2");
  });

  test("is refused when its key is stored in clear text", () => {
    expect(errorOf(own("right.crt", "right.key"), false)).toBe(
      "tlsPrivateKey is stored in clear text; it must be a secret. Set it with: pulumi config set --secret tlsPrivateKey < key.pem",
    );
  });

  test("is refused without its key", () => {
    expect(errorOf({ ...minimal, tlsCertificate: files["right.crt"] })).toMatch(/^tlsPrivateKey is missing/);
  });

  describe("with a chain", () => {
    const chain = { leaf: "", key: "", intermediate: "", root: "" };

    beforeAll(async () => {
      const [root, intermediate, leaf] = await Promise.all([newKeys(), newKeys(), newKeys()]);
      const rootCertificate = await selfSigned({ keys: root.keys, commonName: "root", hours: 1 });
      const intermediateCertificate = await x509.X509CertificateGenerator.create({
        subject: [{ CN: ["intermediate"] }],
        issuer: rootCertificate.subject,
        publicKey: intermediate.keys.publicKey,
        signingKey: root.keys.privateKey,
        signingAlgorithm: signing,
        extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
      });
      const leafCertificate = await signServer({
        publicKey: leaf.keys.publicKey,
        commonName: "wcs.example.com",
        dnsNames: ["wcs.example.com"],
        hours: 1,
        authority: intermediateCertificate,
        authorityKeys: intermediate.keys,
      });
      chain.root = pemOf(rootCertificate);
      chain.intermediate = pemOf(intermediateCertificate);
      chain.leaf = pemOf(leafCertificate);
      chain.key = leaf.pem;
    });

    const withChain = (tlsChain: string, tlsCertificate = chain.leaf) => ({
      ...minimal,
      tlsCertificate,
      tlsChain,
      tlsPrivateKey: chain.key,
    });

    test("is accepted in the order in which each signs the one before it", () => {
      const config = parseConfig(withChain(chain.intermediate + chain.root), isSecretKey, now);
      expect(config.tlsChain).toContain("BEGIN CERTIFICATE");
      expect(describeCluster(config, "", defaultDelays).haproxyBase).toContain("Strict-Transport-Security");
    });

    test("is refused in another order, which is shown", () => {
      expect(errorOf(withChain(chain.root + chain.intermediate))).toMatch(
        /^tlsChain has "CN=root" after "CN=wcs.example.com", which was signed by "CN=intermediate"; tlsChain must begin .* pulumi config set tlsChain < chain.pem$/,
      );
    });

    test("is refused when the certificate that has signed it has ended, not for an old root", async () => {
      const later = new Date(Date.now() + 2 * 3_600_000);
      const root = await newKeys();
      const leaf = await newKeys();
      const signedBy = async (hours: number) => {
        const authority = await selfSigned({ keys: root.keys, commonName: "signer", hours });
        const names = { commonName: "wcs.example.com", dnsNames: ["wcs.example.com"], hours: 48 };
        const { publicKey } = leaf.keys;
        const signed = await signServer({ publicKey, ...names, authority, authorityKeys: root.keys });
        return {
          ...minimal,
          tlsCertificate: pemOf(signed),
          tlsChain: pemOf(authority),
          tlsPrivateKey: leaf.pem,
        };
      };
      const old = await signedBy(1);
      expect(() => parseConfig(old, isSecretKey, later)).toThrow(/^tlsChain \("CN=signer"\) ended at /);
      // From this day on no client can connect, also when the certificate itself has ended later.
      const day = new Date(new X509Certificate(old.tlsChain).validTo).toISOString().slice(0, 10);
      for (const hours of [2, 72]) {
        const moment = new Date(Date.now() + hours * 3_600_000);
        const config = parseConfig({ ...old, expiredCertificate: day }, isSecretKey, moment);
        expect(warnings(config, moment)).toContainEqual(
          expect.stringMatching(`^tlsChain has ended, on ${day}: no client `),
        );
      }
      const good = await signedBy(72);
      const again = await selfSigned({ keys: root.keys, commonName: "signer", hours: 1 });
      expect(() =>
        parseConfig({ ...good, tlsChain: good.tlsChain + pemOf(again) }, isSecretKey, later),
      ).not.toThrow();
    });

    test("is refused in tlsCertificate", () => {
      expect(errorOf(withChain(chain.root, chain.leaf + chain.intermediate))).toMatch(
        /^tlsCertificate holds 2 certificates; it must hold the domain's certificate alone\. Put the others into tlsChain/,
      );
    });
  });

  test("a key that is none is not shown", () => {
    expect(errorOf({ ...minimal, tlsCertificate: files["right.crt"], tlsPrivateKey: "hunter2" })).toMatch(
      /^tlsPrivateKey is not valid \(not shown\); it must be a PEM PRIVATE KEY/,
    );
  });
});

describe("public certificates", () => {
  const email = "operations@wcs.example.com";
  const acmeOf = (values: Record<string, unknown>, others: Record<string, unknown> = {}) => ({
    ...minimal,
    ...others,
    acme: { email, ...values },
  });
  const company = { directory: "https://ca.company.internal/acme/directory" };

  test("need an address for mail only: the directory is Let's Encrypt's", () => {
    const { acme } = parseConfig(acmeOf({}), () => false, now);
    expect(acme).toEqual({ email, directory: "https://acme-v02.api.letsencrypt.org/directory" });
  });

  test("may come from another directory, in a profile of its own, also for a name on a private network", () => {
    const values = acmeOf({ ...company, profile: "short-lived" }, { domain: "wcs.company.internal" });
    expect(parseConfig(values, () => false, now).acme).toEqual({ email, ...company, profile: "short-lived" });
  });

  test("arrive from the engine as JSON", () => {
    expect(fromEngine("acme", JSON.stringify({ email }))).toEqual({ email });
  });

  test.each<[string, Record<string, unknown>, string]>([
    [
      "no object",
      { acme: email },
      `acme is "${email}"; it must be an object with email, and optionally directory and profile. Set it with: pulumi config set --path 'acme.email' operations@example.com`,
    ],
    [
      "no address",
      { acme: {} },
      "acme.email is missing; it must be an email address such as operations@example.com, 100 characters at most. Set it with: pulumi config set --path 'acme.email' operations@example.com",
    ],
    [
      "an address that is none",
      { acme: { email: "operations" } },
      "acme.email is \"operations\"; it must be an email address such as operations@example.com, 100 characters at most. Set it with: pulumi config set --path 'acme.email' operations@example.com",
    ],
    [
      "two addresses",
      { acme: { email: `${email},a@example.com` } },
      `acme.email is "${email},a@example.com"; it must be an email address`,
    ],
    [
      "a directory in clear text",
      acmeOf({ directory: "http://ca.example.com/directory" }),
      "acme.directory is \"http://ca.example.com/directory\"; it must be an https:// address, 200 characters at most. Set it with: pulumi config set --path 'acme.directory' https://acme-v02.api.letsencrypt.org/directory",
    ],
    [
      "a directory with a password",
      acmeOf({ directory: "https://user:hunter2@ca.example.com/directory" }),
      "acme.directory is not shown, since it holds a password; it must be an address without user name and password",
    ],
    [
      "a profile that no directory can have",
      acmeOf({ profile: "short lived" }),
      "acme.profile is \"short lived\"; it must be the name of a profile that the directory offers. Set it with: pulumi config set --path 'acme.profile' classic",
    ],
    [
      "an unknown key",
      acmeOf({ mail: email }),
      "acme.mail is not a configuration key; the keys are email, directory, profile. Remove it with: pulumi config rm --path 'acme.mail'",
    ],
    [
      "some networks only",
      acmeOf({}, { clientCidrs: ["203.0.113.0/24"] }),
      'clientCidrs is ["203.0.113.0/24"]; with acme it must be ["0.0.0.0/0"], since the directory asks on port 80 whether the domain leads to this stack, and does not say from which addresses. Open it with: pulumi config rm clientCidrs, or do without a public certificate: pulumi config rm acme',
    ],
    [
      "half of all networks",
      acmeOf(company, { clientCidrs: ["0.0.0.0/1"] }),
      'clientCidrs is ["0.0.0.0/1"]; with acme it must be ["0.0.0.0/0"]',
    ],
    ...["wcs.corp.internal", "wcs.test", "wcs.local", "wcs.localhost", "wcs.home.arpa"].map(
      (domain): [string, Record<string, unknown>, string] => [
        `a name that nobody certifies, ${domain}`,
        acmeOf({}, { domain }),
        `domain is "${domain}"; with acme and Let's Encrypt it must be a name on the internet, and no public CA certifies names that end with .${domain.split(".").at(-1)}. Set it with: pulumi config set domain wcs.example.com, or name the directory of your own CA: pulumi config set --path acme.directory https://ca.example.com/directory`,
      ],
    ),
    [
      "such a name at a directory for trials",
      acmeOf(
        { directory: "https://acme-staging-v02.api.letsencrypt.org/directory" },
        { domain: "wcs.internal" },
      ),
      'domain is "wcs.internal"; with acme and Let\'s Encrypt',
    ],
    [
      "an IP address",
      acmeOf(company, { domain: "192.0.2.1" }),
      'domain is "192.0.2.1"; it must be a lower-case DNS name',
    ],
    ["a name without a dot", acmeOf(company, { domain: "wcs" }), 'domain is "wcs"; it must be a lower-case'],
  ])("%s is refused", (_, values, message) => {
    expect(errorOf({ ...minimal, ...values })).toContain(message);
    expect(errorOf({ ...minimal, ...values })).not.toContain("hunter2");
  });

  test("take all networks also in parts", () => {
    const clientCidrs = ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2", "10.0.0.0/8"];
    expect(() => parseConfig(acmeOf({}, { clientCidrs }), () => false, now)).not.toThrow();
  });

  test("and a user-supplied certificate exclude each other", async () => {
    const { keys, pem } = await newKeys();
    const certificate = pemOf(await selfSigned({ keys, commonName: "wcs.example.com", hours: 1 }));
    const message = errorOf(acmeOf({}, { tlsCertificate: certificate, tlsPrivateKey: pem }));
    expect(message.split("\n")[0]).toBe(
      "acme is set, and so is tlsCertificate and tlsPrivateKey; only one of them can give the certificate. Remove the other " +
        "with: pulumi config rm acme, or pulumi config rm tlsCertificate && pulumi config rm tlsPrivateKey",
    );
    expect(message).not.toContain("PRIVATE KEY");
  });

  test("of a directory for trials are warned of at every up", () => {
    const at = (directory: string) => warned({ acme: { email, directory } });
    expect(at("https://acme-v02.api.letsencrypt.org/directory")).toEqual([]);
    expect(warned()).toEqual([]);
    expect(at("https://acme-staging-v02.api.letsencrypt.org/directory")).toEqual([
      expect.stringMatching(
        /^acme\.directory is https:\S+, a directory for trials: browsers do not trust its certificates\. When one has come, order a public one: pulumi config rm --path acme\.directory$/,
      ),
    ]);
  });

  test("fit into the document beside 150 nodes and three balancers", () => {
    const most = (values: Record<string, unknown>) => {
      const nodes = Array.from({ length: 150 }, (_, index) => `wcs-${index + 1}`);
      return () => parseConfig({ ...values, nodes, balancers: 3 }, () => false, now);
    };
    const longest = {
      email: `${"operations".repeat(6)}@${"mail.".repeat(7)}example.com`.slice(-100),
      directory: `https://ca.company.internal/${createHash("sha256").update("x").digest("hex").repeat(2)}/directory`,
      profile: createHash("sha256").update("y").digest("hex"),
    };
    expect(most(acmeOf(longest, { domain: `${"a1b2c3".repeat(8)}.example.com` }))).not.toThrow();
  });
});

test("values arrive from the engine as text", () => {
  expect(fromEngine("maxConnections", "500")).toBe(500);
  expect(fromEngine("nodes", '["wcs-1"]')).toEqual(["wcs-1"]);
  expect(fromEngine("domain", "wcs.example.com")).toBe("wcs.example.com");
  expect(fromEngine("checks", "no json")).toBe("no json");
});

describe("a WCS package that is a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "wcs-package-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "wcs.tar.gz");
  writeFileSync(path, "tarball");
  const { wcsPackageUrl: _url, wcsPackageSha256: _sha, ...others } = minimal;
  const configOf = (values: Record<string, unknown>) =>
    parseConfig({ ...others, ...values }, isSecretKey, now);

  test("needs no checksum", () => {
    expect(() => checkLocalPackage(configOf({ wcsPackage: path }))).not.toThrow();
  });

  test("that is not there is named, with what CI does instead", () => {
    expect(() => checkLocalPackage(configOf({ wcsPackage: "./none.tar.gz" }))).toThrow(
      /^wcsPackage is "\.\/none\.tar\.gz"; it must be a file that can be read \(ENOENT for \/.*\/none\.tar\.gz\), or s3:\/\/BUCKET\/KEY on computers without it, as in CI\. Set it with: pulumi config set wcsPackage \.\/FlashphonerWebCallServer\.tar\.gz$/,
    );
  });

  test("that is another one than its checksum says is refused", () => {
    const config = configOf({ wcsPackage: path, wcsPackageSha256: "a".repeat(64) });
    expect(() => checkLocalPackage(config)).toThrow(
      `wcsPackageSha256 is ${"a".repeat(64)}; the file ${JSON.stringify(path).slice(0, 77)}`,
    );
  });
});

test("a certificate that ends within 21 days is warned of at every up", async () => {
  const { keys } = await newKeys();
  const tlsCertificate = pemOf(await selfSigned({ keys, commonName: "wcs.example.com", hours: 24 * 30 }));
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000);
  const config = parseConfig(minimal, () => false, now);
  expect(warnings(config, inDays(20))).toEqual([]);
  expect(warnings({ ...config, tlsCertificate }, inDays(7))).toEqual([]);
  expect(warnings({ ...config, tlsCertificate }, inDays(20))).toEqual([
    expect.stringMatching(
      /^tlsCertificate ends in 9 days, on \d{4}-\d\d-\d\d\. To renew it: pulumi config set /,
    ),
  ]);
});
