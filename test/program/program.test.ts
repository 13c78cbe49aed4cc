import { beforeAll, describe, expect, test } from "vitest";
import { bucketPrefix } from "../../components/machine-software";
import { ownCertificate } from "../own-certificate";
import { type Registered, resolveOutput, runProgram } from "./program";

const minimal = {
  domain: "wcs.example.com",
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};
const secretSignature = "4dabf18193072939515e22adb298388d";

let resources: Registered[];
let outputs: Record<string, unknown>;

beforeAll(async () => {
  ({ resources, outputs } = await runProgram(minimal));
});

const ofType = (type: string) => resources.filter((resource) => resource.type === type);
const instances = () => ofType("aws:ec2/instance:Instance");
const rules = () =>
  ofType("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").map(({ inputs }) => inputs);

describe("what is open", () => {
  const open = (group: string) =>
    rules()
      .filter(({ securityGroupId }) => securityGroupId === group)
      .map(({ ipProtocol, fromPort, toPort, cidrIpv4, referencedSecurityGroupId }) =>
        [
          ipProtocol,
          fromPort === toPort ? fromPort : `${fromPort}-${toPort}`,
          cidrIpv4 ?? referencedSecurityGroupId,
        ].join(" "),
      )
      .sort();

  test("the balancer: 443 and 80 to clients", () => {
    expect(open("wcs-balancer-id")).toEqual(["tcp 443 0.0.0.0/0", "tcp 80 0.0.0.0/0"]);
  });

  test("a node: signalling and agent to the balancer, direct sockets and media to clients", () => {
    expect(open("wcs-node-id")).toEqual([
      "tcp 30000-33000 0.0.0.0/0",
      "tcp 8080 wcs-balancer-id",
      "tcp 8443 0.0.0.0/0",
      "tcp 9707 wcs-balancer-id",
      "udp 30000-33000 0.0.0.0/0",
    ]);
  });
});

describe("instances", () => {
  test("one balancer and the nodes", () => {
    expect(
      instances()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(["balancer-1", "wcs-1", "wcs-2"]);
  });

  test("IMDSv2 only, with hop limit 1, and an encrypted disk", () => {
    for (const { inputs } of instances()) {
      expect(inputs.metadataOptions).toMatchObject({ httpTokens: "required", httpPutResponseHopLimit: 1 });
      expect(inputs.rootBlockDevice).toMatchObject({ encrypted: true });
    }
  });

  test("a change of user-data replaces them, since cloud-init would not run again", () => {
    for (const { inputs } of instances()) expect(inputs.userDataReplaceOnChange).toBe(true);
  });

  test("each kind has a role of its own", () => {
    const roles = instances().map(({ name, inputs }) => [name, inputs.iamInstanceProfile]);
    expect(Object.fromEntries(roles)).toEqual({
      "balancer-1": "name of balancer-1",
      "wcs-1": "name of node",
      "wcs-2": "name of node",
    });
  });
});

const statementsOf = (name: string, list = resources) => {
  const policy = list.find(
    (resource) => resource.type === "aws:iam/rolePolicy:RolePolicy" && resource.name === name,
  );
  return JSON.parse(String(policy?.inputs.policy)).Statement;
};

test("the balancer's role reads its software and its three parameters, and nothing else", () => {
  expect(statementsOf("balancer-1")).toEqual([
    { Effect: "Allow", Action: "s3:GetObject", Resource: ["arn:aws:s3:::software-bucket/balancer/*"] },
    {
      Effect: "Allow",
      Action: "ssm:GetParameter",
      Resource: [
        "arn:aws:ssm:eu-central-1:123456789012:parameter/wcs-balancer/dev/desired-state",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/wcs-balancer/dev/secret",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/wcs-balancer/dev/status",
      ],
    },
  ]);
});

describe("roles", () => {
  const path = "/wcs-balancer/dev/";
  const roles = (list: Registered[]) =>
    list.filter(({ type }) => type === "aws:iam/role:Role").map(({ inputs }) => inputs);

  test("and profiles have the stack's path, by which a deployment's rights can be limited", () => {
    expect(roles(resources).map(({ path }) => path)).toEqual([path, path]);
    const profiles = ofType("aws:iam/instanceProfile:InstanceProfile");
    expect(profiles.map(({ inputs }) => inputs.path)).toEqual([path, path]);
  });

  test("have the boundary that is configured, and none without", async () => {
    expect(roles(resources).every((role) => !("permissionsBoundary" in role))).toBe(true);
    const permissionsBoundary = "arn:aws:iam::123456789012:policy/limits";
    const limited = await runProgram({ ...minimal, permissionsBoundary });
    expect(roles(limited.resources)).toEqual([
      expect.objectContaining({ permissionsBoundary }),
      expect.objectContaining({ permissionsBoundary }),
    ]);
  });
});

describe("secrets", () => {
  test("the certificate's key goes into a SecureString, as a secret", () => {
    const parameter = resources.find(({ name }) => name === "desired-state-secret");
    expect(parameter?.inputs.type).toBe("SecureString");
    expect(parameter?.inputs.value).toMatchObject({ [secretSignature]: expect.any(String) });
  });

  test("the document is readable, so that a preview can show it", () => {
    const parameter = resources.find(({ name }) => name === "desired-state-document");
    expect(parameter?.inputs.insecureValue).toEqual(expect.any(String));
  });

  test("the token for the status reaches the wait as a secret", () => {
    const [command] = ofType("command:local:Command");
    expect(JSON.stringify(command?.inputs.environment)).toContain(secretSignature);
  });

  test("no output holds a key or the token", async () => {
    // The objects' names hold checksums, which look like the token.
    const { softwareObjects: _, ...others } = outputs;
    const values = await Promise.all(Object.values(others).map((output) => resolveOutput(output)));
    const text = JSON.stringify(values.map(({ value }) => value));
    expect(text).not.toContain("key of certificate");
    expect(text).not.toMatch(/[0-9a-f]{64}/);
    expect(values.every(({ secret }) => !secret)).toBe(true);
  });
});

test("the outputs say what a user needs", async () => {
  const { value: config } = await resolveOutput<{ base: string; servers: Record<string, string> }>(
    outputs.haproxyConfig,
  );
  expect(config.servers).toEqual({
    "wcs-1": "    server wcs-1-000wcs-1 172.31.0.9:8080",
    "wcs-2": "    server wcs-2-000wcs-2 172.31.0.9:8080",
  });
  expect(outputs.websocketUrl).toBe("wss://wcs.example.com");
  expect((await resolveOutput(outputs.certificateAuthority)).value).toBe("certificate of certificate-ca");
});

test("with a user-supplied certificate there is no CA, and no output is undefined, which the SDK would warn of", async () => {
  const supplied = await ownCertificate(minimal.domain);
  const { outputs: others } = await runProgram({ ...minimal, ...supplied }, ["tlsPrivateKey"]);
  expect(others.certificateAuthority).toBeNull();
  expect(Object.keys(others).sort()).toEqual(Object.keys(outputs).sort());
  expect(Object.keys(others).filter((name) => others[name] === undefined)).toEqual([]);
});

test("another order of the nodes registers the same", async () => {
  const names = (list: Registered[]) =>
    list.map(({ type, name, inputs }) => JSON.stringify([type, name, inputs])).sort();
  const before = names(resources);
  const { resources: reordered } = await runProgram({ ...minimal, nodes: ["wcs-2", "wcs-1"] });
  expect(names(reordered)).toEqual(before);
});

describe("a licence", () => {
  let licensed: Registered[];
  beforeAll(async () => {
    const config = { ...minimal, wcsLicenseKey: "KEY-1234" };
    ({ resources: licensed } = await runProgram(config, ["wcsLicenseKey"]));
  });

  test("is kept in a SecureString, and nowhere else", () => {
    const holders = licensed.filter(({ inputs }) => JSON.stringify(inputs).includes("KEY-1234"));
    expect(holders.map(({ type, name }) => [type, name])).toEqual([
      ["aws:ssm/parameter:Parameter", "wcs-license"],
    ]);
    expect(holders[0]?.inputs).toMatchObject({
      type: "SecureString",
      value: { [secretSignature]: expect.any(String) },
    });
  });

  test("is all that the nodes' role may read besides their software", () => {
    expect(statementsOf("node", licensed)).toEqual([
      { Effect: "Allow", Action: "s3:GetObject", Resource: ["arn:aws:s3:::software-bucket/node/*"] },
      {
        Effect: "Allow",
        Action: "ssm:GetParameter",
        Resource: ["arn:aws:ssm:eu-central-1:123456789012:parameter/wcs-balancer/dev/wcs-license"],
      },
    ]);
  });
});

describe("the software of the machines", () => {
  const objects = (list: Registered[]) =>
    list
      .filter(({ type }) => type === "aws:s3/bucketObjectv2:BucketObjectv2")
      .map(({ inputs }) => String(inputs.key).replace(/[0-9a-f]{64}/, "SHA256"))
      .sort();

  test("lies in a bucket of the stack's own, under names that hold what is in it", () => {
    expect(ofType("aws:s3/bucket:Bucket").map(({ inputs }) => inputs.bucketPrefix)).toEqual([
      "wcs-balancer-dev-",
    ]);
    expect(objects(resources)).toEqual([
      "balancer/software-SHA256",
      "balancer/websdk-SHA256",
      "node/software-SHA256",
    ]);
  });

  test("goes with the bucket, unless the stack is protected", async () => {
    expect(ofType("aws:s3/bucket:Bucket")[0]?.inputs.forceDestroy).toBe(true);
    const { resources: kept, protectedResources } = await runProgram({ ...minimal, protect: true });
    const bucket = kept.find(({ type }) => type === "aws:s3/bucket:Bucket");
    expect(bucket?.inputs.forceDestroy).toBe(false);
    expect(protectedResources).toContain("aws:s3/bucket:Bucket software");
  });

  test("holds the WCS tarball where that is a file", async () => {
    const { wcsPackageUrl: _url, wcsPackageSha256: _sha, ...others } = minimal;
    const { resources: more } = await runProgram({ ...others, wcsPackage: "LICENSE" });
    expect(objects(more)).toContain("node/wcs-SHA256");
  });

  test("of another bucket is one object more that nodes may read", async () => {
    const { wcsPackageUrl: _, ...others } = minimal;
    const { resources: more } = await runProgram({ ...others, wcsPackage: "s3://packages/wcs 5.2.tar.gz" });
    expect(objects(more)).not.toContain("node/wcs-SHA256");
    expect(statementsOf("node", more)[0].Resource[1]).toBe("arn:aws:s3:::packages/wcs 5.2.tar.gz");
  });

  test("counts as needed, too, where wcsPackage names an object of this bucket", async () => {
    const { wcsPackageUrl: _, ...others } = minimal;
    const named = { ...others, wcsPackage: "s3://software-bucket/node/wcs-abc" };
    const { outputs: own } = await runProgram(named);
    expect((await resolveOutput<string[]>(own.softwareObjects)).value).toContain("node/wcs-abc");
    const { outputs: other } = await runProgram({ ...named, wcsPackage: "s3://packages/node/wcs-abc" });
    expect((await resolveOutput<string[]>(other.softwareObjects)).value).not.toContain("node/wcs-abc");
  });

  test("that a bucket's name allows", () => {
    expect(bucketPrefix("wcs-balancer", "prod")).toBe("wcs-balancer-prod-");
    expect(bucketPrefix("wcs-balancer", "Feature_X/y.z")).toBe("wcs-balancer-feature-x-y-z-");
    expect(bucketPrefix("wcs-balancer", "a".repeat(50))).toHaveLength(37);
  });
});

test("further services are opened to clients, the CDN between the nodes, statistics to operators", async () => {
  const { resources: more } = await runProgram({
    ...minimal,
    openPorts: ["rtmp", "cdn"],
    adminCidrs: ["198.51.100.0/24"],
  });
  const opened = more
    .filter(
      ({ type, name }) =>
        type.includes("IngressRule") && !resources.some((resource) => resource.name === name),
    )
    .map(({ inputs }) => [
      inputs.securityGroupId,
      inputs.fromPort,
      inputs.cidrIpv4 ?? inputs.referencedSecurityGroupId,
    ]);
  expect(opened.sort()).toEqual([
    ["wcs-balancer-id", 8404, "198.51.100.0/24"],
    ["wcs-node-id", 1935, "0.0.0.0/0"],
    ["wcs-node-id", 8084, "wcs-node-id"],
  ]);
});

test("the certificate of the stack's own CA lasts a year, and is renewed from half of it on", async () => {
  const { resources } = await runProgram(minimal);
  const certificates = resources.filter(
    ({ type }) => type === "tls:index/locallySignedCert:LocallySignedCert",
  );
  expect(
    certificates.map(({ name, inputs }) => [name, inputs.validityPeriodHours, inputs.earlyRenewalHours]),
  ).toEqual([
    ["certificate-server", 8766, 4383],
    ["status", 8766, 4383],
  ]);
});

test("direct access can be closed, and balancers of other stacks let in", async () => {
  const { resources } = await runProgram({
    ...minimal,
    directAccess: false,
    balancerCidrs: ["172.31.0.77/32"],
  });
  const open = resources
    .filter(({ type, inputs }) => type.includes("IngressRule") && inputs.securityGroupId === "wcs-node-id")
    .map(({ inputs }) => `${inputs.fromPort} ${inputs.cidrIpv4 ?? inputs.referencedSecurityGroupId}`)
    .sort();
  expect(open).toEqual([
    "30000 0.0.0.0/0",
    "30000 0.0.0.0/0",
    "8080 172.31.0.77/32",
    "8080 wcs-balancer-id",
    "9707 172.31.0.77/32",
    "9707 wcs-balancer-id",
  ]);
});

test("other stacks read in wcsNodes which request the nodes' agents understand", async () => {
  const { value: nodes } = await resolveOutput<Record<string, unknown>[]>(outputs.wcsNodes);
  expect(nodes.map(({ name, agentRequest }) => [name, agentRequest])).toEqual([
    ["wcs-1", 2],
    ["wcs-2", 2],
  ]);
});

test("rollout: skip makes no wait", async () => {
  const { resources } = await runProgram({ ...minimal, rollout: "skip" });
  expect(resources.filter(({ type }) => type.startsWith("command:"))).toEqual([]);
});

test("external nodes and those of another stack become servers, and are not waited for", async () => {
  const { resources, outputs } = await runProgram({
    ...minimal,
    externalNodes: [{ name: "hardware", address: "192.0.2.7" }],
    nodeStack: "organization/wcs-balancer/nodes",
    checks: { cpu: 90, connections: 50 },
  });
  const [wait] = resources.filter(({ type }) => type === "command:local:Command");
  const environment = (wait?.inputs.environment as { value: Record<string, string> }).value;
  expect(environment.FURTHER_SERVERS).toMatch(/^hardware-[0-9a-f]{8} other-00000007$/);
  expect(environment.SERVERS).not.toContain("hardware");
  // Their agents may be older than this stack's, whose own nodes are asked for everything.
  const { value } = await resolveOutput<{ servers: Record<string, string>; furtherServers: string[] }>(
    outputs.haproxyConfig,
  );
  const asked = [...Object.values(value.servers), ...value.furtherServers].map((line) =>
    line.replace(/^.*:8080/, ""),
  );
  expect(asked).toEqual(["", "", ' agent-send "cpu 90;"', ' agent-send "cpu 90;"']);
});

test("SSH is open to operators alone, and only with a key", async () => {
  const open = async (config: Record<string, unknown>) => {
    const { resources } = await runProgram({ ...minimal, adminCidrs: ["203.0.113.0/24"], ...config });
    return resources
      .filter(({ type, inputs }) => type.includes("IngressRule") && inputs.fromPort === 22)
      .map(({ inputs }) => `${inputs.securityGroupId} ${inputs.cidrIpv4}`)
      .sort();
  };
  expect(await open({})).toEqual([]);
  expect(await open({ sshPublicKey: "ssh-ed25519 AAAA" })).toEqual([
    "wcs-balancer-id 203.0.113.0/24",
    "wcs-node-id 203.0.113.0/24",
  ]);
});

test("a hosted zone gets the record of the domain; without one there is none", async () => {
  const records = ofType("aws:route53/record:Record");
  expect(records).toEqual([]);
  const { resources: more } = await runProgram({ ...minimal, hostedZone: "Z0123456789ABC" });
  const record = more.find(({ type }) => type === "aws:route53/record:Record");
  expect(record?.inputs).toMatchObject({
    zoneId: "Z0123456789ABC",
    name: "wcs.example.com",
    type: "A",
    records: ["publicIp of entry"],
  });
});

test("bad input ends the program before a resource is registered", async () => {
  await expect(runProgram({ ...minimal, checks: { cpu: 130 } })).rejects.toMatchObject({
    message: expect.stringContaining("checks.cpu is 130"),
    resources: [],
  });
});

test("a private key in clear text ends the program", async () => {
  const config = { ...minimal, tlsCertificate: "x", tlsPrivateKey: "y" };
  const refusal = (message: string) => ({ message: expect.stringContaining(message), resources: [] });
  await expect(runProgram(config)).rejects.toMatchObject(refusal("tlsPrivateKey is stored in clear text"));
  await expect(runProgram(config, ["tlsPrivateKey"])).rejects.toMatchObject(refusal("tlsCertificate is"));
});
