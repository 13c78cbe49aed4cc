import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { subnetIds, vpcId } from "../../sandbox/account";
import { type CloudClient, findMachine } from "../../sandbox/cloud/client";
import { Cloud, type SavedCloud } from "../../sandbox/cloud/cloud";
import type { Machines } from "../../sandbox/cloud/machine";
import { ObjectStore } from "../../sandbox/cloud/objects";
import { assetMark } from "../../sandbox/provider/asset";
import { awsInvokes, awsTypes } from "../../sandbox/provider/aws";
import { commandTypes } from "../../sandbox/provider/command";
import { unknownValue } from "../../sandbox/provider/resource-type";
import { serveProvider } from "../../sandbox/provider/server";
import { tlsTypes } from "../../sandbox/provider/tls";
import type { Caller } from "../../sandbox/rights/caller";

const { ResourceProviderClient } = require("@pulumi/pulumi/proto/provider_grpc_pb");
const messages = require("@pulumi/pulumi/proto/provider_pb");

const folder = mkdtempSync(join(tmpdir(), "wcs-provider-"));
const objects = new ObjectStore(join(folder, "objects"));
/** Without machines and packets, which these tests have none of. */
const cloud = new Cloud({} as Machines, objects, () => {});
/** As whom reads are judged. */
let caller: Caller | undefined;
const cloudClient = {
  internetNamespace: "",
  async call(method: string, args: { kind: string; id: string; inputs: Record<string, unknown> }) {
    if (method === "create") return cloud.create(args.kind, args.inputs);
    if (method === "update") return cloud.update(args.kind, args.id, args.inputs);
    if (method === "read") return cloud.read(args.kind, args.id, caller);
    return cloud.remove(args.kind, args.id);
  },
};
let stop: () => void;
// biome-ignore lint/suspicious/noExplicitAny: the generated client has no types that can be imported.
let client: any;

beforeAll(async () => {
  const provider = await serveProvider(
    { version: "1.0.0", types: { ...awsTypes, ...tlsTypes, ...commandTypes }, invokes: awsInvokes },
    { cloud: cloudClient as unknown as CloudClient, log: () => {} },
  );
  stop = provider.stop;
  client = new ResourceProviderClient(`127.0.0.1:${provider.port}`, grpc.credentials.createInsecure());
});

afterAll(() => {
  client.close();
  stop();
  rmSync(folder, { recursive: true });
});

// biome-ignore lint/suspicious/noExplicitAny: as above.
function call(method: string, request: unknown): Promise<any> {
  return new Promise((resolve, reject) => {
    client[method](request, (error: Error | null, response: unknown) =>
      error ? reject(error) : resolve(response),
    );
  });
}

const urn = (type: string) => `urn:pulumi:dev::wcs-balancer::${type}::thing`;

type Values = Record<string, unknown>;

function structOf(values: Values): Struct {
  return Struct.fromJavaScript(values as Record<string, string>);
}

async function failuresOf(type: string, inputs: Values): Promise<string[]> {
  const request = new messages.CheckRequest().setUrn(urn(type)).setNews(structOf(inputs));
  const response = await call("check", request);
  return response.getFailuresList().map((failure: { getReason(): string }) => failure.getReason());
}

const eip = "aws:ec2/eip:Eip";
const rule = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";

test("a resource type that it does not know fails", async () => {
  await expect(failuresOf("aws:sqs/queue:Queue", {})).rejects.toThrow(
    "the sandbox does not know the resource type aws:sqs/queue:Queue",
  );
});

test("a property that it does not know fails the check, and so the preview", async () => {
  expect(await failuresOf(eip, { domain: "vpc", colour: "red" })).toEqual([
    "the sandbox does not know the property colour",
  ]);
});

test("a function that it does not know fails", async () => {
  const request = new messages.InvokeRequest().setTok("aws:ec2/getVpcs:getVpcs").setArgs(new Struct());
  await expect(call("invoke", request)).rejects.toThrow("the sandbox does not know the function");
});

test("values that are not known yet pass, and do not hide what is wrong beside them", async () => {
  const inputs = { securityGroupId: unknownValue, ipProtocol: "tcp", cidrIpv4: "nowhere" };
  expect(await failuresOf(rule, { ...inputs, cidrIpv4: unknownValue, ipProtocol: "-1" })).toEqual([]);
  expect(await failuresOf(rule, inputs)).toContain("is not a valid CIDR block");
});

test("a preview creates nothing, and shows what only the resource will know as unknown", async () => {
  const request = new messages.CreateRequest()
    .setUrn(urn(eip))
    .setProperties(Struct.fromJavaScript({ domain: "vpc" }))
    .setPreview(true);
  const response = await call("create", request);
  expect(response.getProperties().toJavaScript()).toMatchObject({ domain: "vpc", publicIp: unknownValue });
});

async function diff(
  type: string,
  olds: Values,
  news: Values,
  state: Values = olds,
  ignored: string[] = [],
): Promise<{ diffs: string[]; replaces: string[] }> {
  const request = new messages.DiffRequest()
    .setUrn(urn(type))
    .setOlds(structOf(state))
    .setOldInputs(structOf(olds))
    .setNews(structOf(news))
    .setIgnorechangesList(ignored);
  const response = await call("diff", request);
  return { diffs: response.getDiffsList(), replaces: response.getReplacesList() };
}

test("a change of what cannot change in place is a replacement", async () => {
  const instance = "aws:ec2/instance:Instance";
  const userData = (text: string, replace: boolean) => ({
    userDataBase64: text,
    userDataReplaceOnChange: replace,
  });
  const replaces = async (...args: [Values, Values]) => (await diff(instance, ...args)).replaces;
  expect(await replaces(userData("YQ==", true), userData("Yg==", true))).toEqual(["userDataBase64"]);
  expect(await replaces(userData("YQ==", false), userData("Yg==", false))).toEqual([]);
  expect(await replaces({ ami: "ami-1" }, { ami: "ami-2" })).toEqual(["ami"]);
});

describe("a command", () => {
  const type = "command:local:Command";
  const olds = { create: "a", update: "a", environment: { REVISION: "1" }, triggers: ["1"] };

  test("is updated in place by a new environment", async () => {
    const changed = await diff(type, olds, { ...olds, environment: { REVISION: "2" } });
    expect(changed).toEqual({ diffs: ["environment"], replaces: [] });
  });

  test("is replaced by a new trigger, even with an update command", async () => {
    expect((await diff(type, olds, { ...olds, triggers: ["2"] })).replaces).toEqual(["triggers"]);
  });
});

describe("a certificate of the stack's own CA", () => {
  const type = "tls:index/locallySignedCert:LocallySignedCert";
  const inputs = {
    certRequestPem: "a",
    caPrivateKeyPem: "b",
    caCertPem: "c",
    allowedUses: ["server_auth"],
    validityPeriodHours: 48,
    earlyRenewalHours: 24,
  };
  const endsIn = (hours: number) => ({
    ...inputs,
    validityEndTime: new Date(Date.now() + hours * 3_600_000).toISOString(),
  });
  const change = (hours: number, news: Values = inputs) => diff(type, inputs, news, endsIn(hours));

  test("stays until its renewal is due, and is replaced from then on, and after its end", async () => {
    expect(await change(25)).toEqual({ diffs: [], replaces: [] });
    for (const hours of [23, -1])
      expect(await change(hours)).toEqual({ diffs: ["readyForRenewal"], replaces: ["readyForRenewal"] });
  });

  test("changes in place when only its renewal is at another time, is replaced by all else", async () => {
    expect((await change(25, { ...inputs, earlyRenewalHours: 12 })).replaces).toEqual([]);
    expect((await change(25, { ...inputs, validityPeriodHours: 12 })).replaces).toEqual([
      "validityPeriodHours",
    ]);
  });
});

describe("roles of another path", () => {
  const roleType = "aws:iam/role:Role";
  const profileType = "aws:iam/instanceProfile:InstanceProfile";
  const instanceType = "aws:ec2/instance:Instance";

  test("are new ones, and so are their profiles, but no machine is", async () => {
    const [olds, news] = [{ name: "a" }, { name: "a", path: "/wcs-balancer/dev/" }];
    for (const type of [roleType, profileType])
      expect((await diff(type, olds, news)).replaces).toEqual(["path"]);
    const change = await diff(instanceType, { iamInstanceProfile: "a" }, { iamInstanceProfile: "b" });
    expect(change).toEqual({ diffs: ["iamInstanceProfile"], replaces: [] });
    expect((await diff(roleType, {}, { permissionsBoundary: "arn:x" })).replaces).toEqual([]);
  });

  test("have it in their ARN", async () => {
    const path = "/wcs-balancer/dev/";
    const role = await cloud.create("role", { name: "pathed", path });
    expect(role.outputs.arn).toBe("arn:aws:iam::123456789012:role/wcs-balancer/dev/pathed");
    const profile = await cloud.create("instanceProfile", { name: "pathed", path, role: "pathed" });
    expect(profile.outputs.arn).toBe("arn:aws:iam::123456789012:instance-profile/wcs-balancer/dev/pathed");
  });

  test("a path without slashes at its ends fails the check", async () => {
    const inputs = { assumeRolePolicy: "{}", path: "wcs" };
    expect(await failuresOf(roleType, inputs)).toEqual(["must begin and end with /"]);
  });

  test("a machine gets credentials of the role that its profile has now", async () => {
    for (const name of ["first", "second"]) {
      await cloud.create("role", { name });
      await cloud.create("instanceProfile", { name, role: name });
    }
    const instance = (iamInstanceProfile: string) => ({
      id: "i-1",
      privateAddress: "172.31.0.99",
      inputs: { ami: "", instanceType: "", iamInstanceProfile },
    });
    expect(cloud.issueCredentials(instance("first"))?.role).toBe("first");
    expect(cloud.issueCredentials(instance("second"))?.role).toBe("second");
  });
});

describe("a permissions boundary", () => {
  const arn = "arn:aws:iam::123456789012:policy/limits";

  test("has to exist", async () => {
    await expect(cloud.create("role", { name: "none", permissionsBoundary: arn })).rejects.toThrow(
      `NoSuchEntity: Scope ARN: ${arn} does not exist`,
    );
  });

  test("limits what the role's policies allow", async () => {
    cloud.putManagedPolicy(arn, "limits");
    await cloud.create("role", { name: "limited", permissionsBoundary: arn });
    await cloud.create("rolePolicy", { name: "p", role: "limited", policy: "allows" });
    expect(cloud.rightsOf("limited")).toEqual({ policies: ["allows"], boundary: "limits" });
  });
});

test("who may not make a resource makes none, and reads why", async () => {
  const policy = JSON.stringify({ Statement: { Effect: "Allow", Action: "iam:Get*", Resource: "*" } });
  const caller = { role: "deploy", policies: [policy], file: "docs/ci/deploy-role.json" };
  await expect(cloud.create("role", { name: "unmade" }, caller)).rejects.toThrow(
    /^AccessDenied: .*not authorized to perform: iam:CreateRole on resource: arn:aws:iam::\d+:role\/unmade because/,
  );
  expect(cloud.rightsOf("unmade")).toEqual({ policies: [] });
  await cloud.create("role", { name: "made" });
  await expect(cloud.update("role", "made", { name: "made", description: "x" }, caller)).rejects.toThrow(
    "iam:UpdateRoleDescription",
  );
  await expect(cloud.remove("role", "made", caller)).rejects.toThrow("AccessDenied");
});

test("a change whose calls the table does not know is an error", async () => {
  await cloud.create("role", { name: "strange" });
  await expect(async () => cloud.callsToUpdate("role", "strange", { colour: "red" })).rejects.toThrow(
    "the sandbox does not know the calls that change name of role",
  );
});

test("a look-up is judged as well", async () => {
  const provider = await serveProvider(
    { version: "1.0.0", types: awsTypes, invokes: awsInvokes },
    {
      cloud: cloudClient as unknown as CloudClient,
      caller: { role: "deploy", policies: [], file: "the file" },
      log: () => {},
    },
  );
  const asked = new ResourceProviderClient(`127.0.0.1:${provider.port}`, grpc.credentials.createInsecure());
  const request = new messages.InvokeRequest().setTok("aws:ec2/getAmi:getAmi").setArgs(new Struct());
  await expect(
    new Promise((resolve, reject) => {
      asked.invoke(request, (error: Error | null, answer: unknown) =>
        error ? reject(error) : resolve(answer),
      );
    }),
  ).rejects.toThrow("not authorized to perform: ec2:DescribeImages on resource: *");
  asked.close();
  provider.stop();
});

describe("a refresh", () => {
  const tcp = { securityGroupId: "", ipProtocol: "tcp", fromPort: 443, toPort: 443, cidrIpv4: "0.0.0.0/0" };

  async function read(type: string, id: string, inputs: Values, outputs: Values) {
    const request = new messages.ReadRequest()
      .setUrn(urn(type))
      .setId(id)
      .setInputs(structOf(inputs))
      .setProperties(structOf(outputs));
    const response = await call("read", request);
    return {
      id: response.getId() as string,
      inputs: response.getInputs()?.toJavaScript(),
      outputs: response.getProperties()?.toJavaScript(),
    };
  }

  async function makeRule() {
    const group = await cloud.create("securityGroup", { name: "refreshed" });
    const inputs = { ...tcp, securityGroupId: group.id };
    const made = await cloud.create("ingressRule", inputs);
    return { group, inputs, id: made.id, outputs: { ...inputs, ...made.outputs } };
  }

  test("finds what the state has where nobody has changed anything", async () => {
    const { id, inputs, outputs } = await makeRule();
    expect(await read(rule, id, inputs, outputs)).toEqual({ id, inputs, outputs });
  });

  test("finds a change that somebody else has made, which the next up then puts right", async () => {
    const { id, inputs, outputs } = await makeRule();
    await cloud.update("ingressRule", id, { ...inputs, fromPort: 1, toPort: 1 });
    const found = await read(rule, id, inputs, outputs);
    expect(found.inputs).toEqual({ ...inputs, fromPort: 1, toPort: 1 });
    expect(found.outputs).toMatchObject({ fromPort: 1, toPort: 1 });
    expect(await diff(rule, found.inputs, inputs)).toEqual({ diffs: ["fromPort", "toPort"], replaces: [] });
  });

  test("says that a resource is gone, and so is what belonged to it", async () => {
    const { group, id, inputs, outputs } = await makeRule();
    await cloud.remove("securityGroup", group.id);
    expect(await read(rule, id, inputs, outputs)).toMatchObject({ id: "" });
    expect(await read("aws:ec2/securityGroup:SecurityGroup", group.id, {}, {})).toMatchObject({ id: "" });
  });

  test("gives back what is nowhere but in the state", async () => {
    const key = { algorithm: "ECDSA", ecdsaCurve: "P256" };
    const state = { ...key, privateKeyPem: "a" };
    const type = "tls:index/privateKey:PrivateKey";
    expect(await read(type, "key", key, state)).toEqual({ id: "key", inputs: key, outputs: state });
    const command = { create: "true" };
    expect(await read("command:local:Command", "command-1", command, { ...command, stdout: "" })).toEqual({
      id: "command-1",
      inputs: command,
      outputs: { ...command, stdout: "" },
    });
    await expect(read(type, "key", {}, {})).rejects.toThrow(`the sandbox cannot import ${type}`);
  });

  test("leaves the file that an object was made from as the state has it, since S3 does not tell", async () => {
    const { id: bucket } = await cloud.create("bucket", { bucketPrefix: "refreshed-" });
    const hash = createHash("sha256").update("x").digest("hex");
    const made = { bucket, key: "node/a", source: { ...assetMark, hash, text: "x" } };
    const { id, outputs } = await cloud.create("bucketObject", made);
    const inputs = { ...made, source: { ...assetMark, hash, path: "/another/checkout" } };
    await cloud.update("bucketObject", id, { ...made, source: { ...made.source, text: "y" } });
    const state = { ...inputs, ...outputs };
    const object = "aws:s3/bucketObjectv2:BucketObjectv2";
    expect(await read(object, id, inputs, state)).toEqual({ id, inputs, outputs: state });
  });

  test("takes what a machine has written into a parameter, which goes with the parameter", async () => {
    const name = "/wcs-balancer/dev/written";
    const inputs = { name, type: "SecureString", tier: "Advanced", value: "{}", description: "kept" };
    const { outputs } = await cloud.create("parameter", inputs);
    expect(cloud.putParameter(name, { type: "SecureString", tier: "Advanced", value: "written" })).toBe(2);
    const type = "aws:ssm/parameter:Parameter";
    const found = await read(type, name, inputs, { ...inputs, ...outputs });
    expect(found.inputs).toEqual({ ...inputs, value: "written" });
    expect(found.outputs).toMatchObject({ value: "written", version: 2 });
    // As the engine asks at a refresh.
    const ignoring = (...names: string[]) => diff(type, inputs, found.inputs, inputs, names);
    expect(await ignoring()).toEqual({ diffs: ["value"], replaces: [] });
    expect(await ignoring("*")).toEqual({ diffs: ["value"], replaces: [] });
    expect(await ignoring("*", "value")).toEqual({ diffs: [], replaces: [] });
    await cloud.remove("parameter", name);
    expect(cloud.parameter(name)).toBeUndefined();
  });

  test("is judged by the role that asks", async () => {
    const { id, inputs, outputs } = await makeRule();
    caller = { role: "deploy", policies: [], file: "the file" };
    await expect(read(rule, id, inputs, outputs)).rejects.toThrow(
      "not authorized to perform: ec2:DescribeSecurityGroupRules on resource: *",
    );
    caller = undefined;
  });

  test("knows an instance that was stopped and started, with its new address", async () => {
    const own = new Cloud(instantMachines(), objects, () => {});
    const { id, outputs } = await own.create("instance", { ami: "ami-1", associatePublicIpAddress: true });
    const seen = () => own.read("instance", id)?.outputs;
    expect(seen()).toEqual(outputs);
    await own.stopInstance(id);
    expect(seen()?.instanceState).toBe("stopped");
    own.startInstance(id);
    expect(seen()?.instanceState).toBe("running");
    expect(seen()?.publicIp).not.toBe(outputs.publicIp);
  });
});

/** Machines that are there at once, without any machine. */
function instantMachines(): Machines {
  const states = new Map<string, string>();
  const become = (state: string) => (id: string) => void states.set(id, state);
  return {
    start: async ({ id }) => become("running")(id),
    stop: async (id) => become("stopped")(id),
    startAgain: become("running"),
    resume: become("running"),
    remove: async (id) => void states.delete(id),
    status: (id) => ({ state: states.get(id) ?? "gone" }),
  };
}

describe("an Elastic IP", () => {
  const type = "aws:ec2/eipAssociation:EipAssociation";
  const stack = { Project: "wcs-balancer", Stack: "dev", Name: "dev-balancer" };
  let own: Cloud;
  let moved: string[];
  let address: { id: string; publicIp: string };

  function cloudOf(saved?: SavedCloud): Cloud {
    moved = [];
    return new Cloud(instantMachines(), objects, (_, addresses) => void moved.push(...addresses), saved);
  }

  async function launch(inputs: Values = { associatePublicIpAddress: true }): Promise<string> {
    return (await own.create("instance", { ami: "ami-1", instanceType: "t3.small", tags: stack, ...inputs }))
      .id;
  }

  const machine = (id: string) => own.status().find((candidate) => candidate.id === id);
  const addressOf = (id: string) => machine(id)?.publicAddress;
  const associate = (inputs: Values) =>
    own.create("elasticIpAssociation", { allocationId: address.id, ...inputs });
  const move = (instanceId: string) => associate({ instanceId, allowReassociation: true });

  beforeEach(async () => {
    own = cloudOf();
    const { id, outputs } = await own.create("elasticIp", { domain: "vpc" });
    address = { id, publicIp: String(outputs.publicIp) };
  });

  test("takes the place of an instance's automatic address, and is told with its interface", async () => {
    const instanceId = await launch();
    const automatic = addressOf(instanceId);
    expect(machine(instanceId)?.hasElasticIp).toBe(false);
    const { id, outputs } = await associate({ instanceId });
    expect(id).toMatch(/^eipassoc-/);
    const instance = own.read("instance", instanceId)?.outputs;
    expect(outputs).toEqual({
      allocationId: address.id,
      publicIp: address.publicIp,
      instanceId,
      networkInterfaceId: instance?.primaryNetworkInterfaceId,
      privateIpAddress: instance?.privateIp,
    });
    expect(machine(instanceId)).toMatchObject({ publicAddress: address.publicIp, hasElasticIp: true });
    expect(moved).toEqual([automatic]);
  });

  test("moves with leave alone; the machine that it leaves gets an automatic address that it never had", async () => {
    const [first, second] = [await launch(), await launch()];
    const had = [addressOf(first), addressOf(second)];
    const old = await associate({ instanceId: first });
    await expect(associate({ instanceId: second })).rejects.toThrow(
      `Resource.AlreadyAssociated: resource ${address.id} is already associated with associate-id ${old.id}`,
    );
    await expect(associate({ instanceId: second, allowReassociation: false })).rejects.toThrow("Resource.");
    expect(addressOf(first)).toBe(address.publicIp);
    moved = [];
    const { id } = await move(second);
    expect(addressOf(second)).toBe(address.publicIp);
    expect([...had, address.publicIp]).not.toContain(addressOf(first));
    expect(addressOf(first)).toBeDefined();
    expect(moved.sort()).toEqual([address.publicIp, had[1]].sort());
    // The provider reads the old one as gone, and deletes it without an error.
    expect(own.read("elasticIpAssociation", old.id)).toBeUndefined();
    await own.remove("elasticIpAssociation", old.id, { role: "deploy", policies: [], file: "the file" });
    expect(addressOf(second)).toBe(address.publicIp);
    expect(own.read("elasticIpAssociation", id)?.outputs.instanceId).toBe(second);
  });

  test("that an instance has already is associated once more without another id", async () => {
    const instanceId = await launch();
    const { id } = await associate({ instanceId });
    moved = [];
    expect((await associate({ instanceId })).id).toBe(id);
    expect((await move(instanceId)).id).toBe(id);
    expect(moved).toEqual([]);
  });

  test("takes the place of another one only where that is allowed", async () => {
    const instanceId = await launch();
    const { id } = await associate({ instanceId });
    const { id: allocationId, outputs } = await own.create("elasticIp", { domain: "vpc" });
    await expect(associate({ allocationId, instanceId })).rejects.toThrow("Resource.AlreadyAssociated");
    await associate({ allocationId, instanceId, allowReassociation: true });
    expect(addressOf(instanceId)).toBe(outputs.publicIp);
    expect(own.read("elasticIpAssociation", id)).toBeUndefined();
  });

  test("leaves an instance without an automatic address with none", async () => {
    const instanceId = await launch({});
    const { id } = await associate({ instanceId });
    expect(addressOf(instanceId)).toBe(address.publicIp);
    await own.remove("elasticIpAssociation", id);
    expect(addressOf(instanceId)).toBeUndefined();
  });

  test("goes with no instance: it is free when that is terminated", async () => {
    const [first, second] = [await launch(), await launch()];
    const { id } = await associate({ instanceId: first });
    moved = [];
    await own.remove("instance", first);
    expect(moved).toEqual([address.publicIp]);
    expect(own.read("elasticIpAssociation", id)).toBeUndefined();
    await associate({ instanceId: second });
    expect(addressOf(second)).toBe(address.publicIp);
    const automatic = await launch();
    const gone = addressOf(automatic);
    moved = [];
    await own.remove("instance", automatic);
    expect(moved).toEqual([gone]);
  });

  test("cannot be released while it is associated", async () => {
    const { id } = await associate({ instanceId: await launch() });
    await expect(own.remove("elasticIp", address.id)).rejects.toThrow("InvalidIPAddress.InUse");
    await own.remove("elasticIpAssociation", id);
    await own.remove("elasticIp", address.id);
  });

  test("needs an instance that exists", async () => {
    await expect(associate({ instanceId: "i-0" })).rejects.toThrow(
      "InvalidInstanceID.NotFound: The instance ID 'i-0' does not exist",
    );
  });

  test("stays over a stop and start; an automatic address goes with the stop", async () => {
    const [first, second] = [await launch(), await launch()];
    await associate({ instanceId: first });
    const automatic = addressOf(second);
    for (const id of [first, second]) await own.stopInstance(id);
    expect([addressOf(first), addressOf(second)]).toEqual([address.publicIp, undefined]);
    const seen = (id: string) => {
      const { inputs, outputs } = own.read("instance", id) ?? {};
      return [inputs?.associatePublicIpAddress, outputs?.publicIp];
    };
    // As the provider has it: whether there is an address, not whether one was asked for.
    expect(seen(first)).toEqual([true, address.publicIp]);
    expect(seen(second)).toEqual([false, ""]);
    for (const id of [first, second]) own.startInstance(id);
    expect(addressOf(first)).toBe(address.publicIp);
    expect(addressOf(second)).toBeDefined();
    expect(addressOf(second)).not.toBe(automatic);
    expect(seen(second)).toEqual([true, addressOf(second)]);
  });

  test("that leaves a stopped instance brings it no automatic address before it starts", async () => {
    const [first, second] = [await launch(), await launch()];
    await associate({ instanceId: first });
    await own.stopInstance(first);
    await move(second);
    expect(addressOf(first)).toBeUndefined();
    own.startInstance(first);
    expect(addressOf(first)).toBeDefined();
  });

  test("is where it was when a hibernated cloud wakes up", async () => {
    const [first, second] = [await launch(), await launch()];
    await associate({ instanceId: first });
    const before = [addressOf(first), addressOf(second)];
    own = cloudOf(JSON.parse(JSON.stringify(await own.hibernate())));
    own.resume();
    expect([addressOf(first), addressOf(second)]).toEqual(before);
    await move(second);
    expect(addressOf(second)).toBe(address.publicIp);
  });

  test("moves from the interface of an earlier version's balancer, saved by that version, to an instance", async () => {
    const changed = 0;
    own = cloudOf({
      resources: [
        [
          "elasticIp eipalloc-1",
          { kind: "elasticIp", inputs: { domain: "vpc" }, outputs: { publicIp: "203.0.113.10" }, changed },
        ],
        [
          "networkInterface eni-1",
          { kind: "networkInterface", inputs: {}, outputs: { privateIp: "172.31.0.10" }, changed },
        ],
        [
          "elasticIpAssociation eipassoc-1",
          {
            kind: "elasticIpAssociation",
            inputs: { allocationId: "eipalloc-1", networkInterfaceId: "eni-1" },
            outputs: { publicIp: "203.0.113.10" },
            changed,
          },
        ],
        [
          "instance i-1",
          {
            kind: "instance",
            inputs: { primaryNetworkInterface: { networkInterfaceId: "eni-1" } },
            outputs: { privateIp: "172.31.0.10", primaryNetworkInterfaceId: "eni-1" },
            changed,
          },
        ],
      ],
      instances: [
        [
          "i-1",
          {
            id: "i-1",
            inputs: {
              ami: "ami-1",
              instanceType: "t3.small",
              primaryNetworkInterface: { networkInterfaceId: "eni-1" },
            },
            privateAddress: "172.31.0.10",
          },
        ],
      ],
      privateCount: 1,
      publicCount: 1,
    });
    own.resume();
    address = { id: "eipalloc-1", publicIp: "203.0.113.10" };
    expect(machine("i-1")).toMatchObject({ publicAddress: address.publicIp, hasElasticIp: true });
    expect(own.read("elasticIpAssociation", "eipassoc-1")?.outputs).toMatchObject({ instanceId: "i-1" });
    const second = await launch();
    await expect(associate({ instanceId: second })).rejects.toThrow("Resource.AlreadyAssociated");
    await move(second);
    expect(addressOf(second)).toBe(address.publicIp);
    expect(addressOf("i-1")).toBeUndefined();
    for (const [kind, id] of [
      ["elasticIpAssociation", "eipassoc-1"],
      ["instance", "i-1"],
      ["networkInterface", "eni-1"],
    ] as const)
      await own.remove(kind, id);
    expect(addressOf(second)).toBe(address.publicIp);
  });

  test("and its target are all that an association has: another one is a replacement", async () => {
    const inputs = { allocationId: "a", instanceId: "i-1", allowReassociation: true };
    for (const change of [{ allocationId: "b" }, { instanceId: "i-2" }, { allowReassociation: false }])
      expect((await diff(type, inputs, { ...inputs, ...change })).replaces).toEqual(Object.keys(change));
    expect(await failuresOf(type, inputs)).toEqual([]);
    expect(await failuresOf(type, { ...inputs, instanceId: unknownValue })).toEqual([]);
    const message = "exactly one of instanceId and networkInterfaceId must be set";
    expect(await failuresOf(type, { allocationId: "a" })).toEqual([message]);
    expect(await failuresOf(type, { ...inputs, networkInterfaceId: "eni-1" })).toEqual([message]);
    expect(await failuresOf(type, { ...inputs, allowReassociation: "yes" })).not.toEqual([]);
  });

  test("stays where it is when the call to move it fails, and nothing else fails with it", async () => {
    const policy = JSON.stringify({ Statement: { Effect: "Allow", Action: "*", Resource: "*" } });
    const everything = { role: "deploy", policies: [policy], file: "the file" };
    const [first, second] = [await launch(), await launch()];
    const { id } = await associate({ instanceId: first });
    own.faults = { failingActions: ["ec2:AssociateAddress"] };
    const inputs = { allocationId: address.id, instanceId: second, allowReassociation: true };
    await expect(own.create("elasticIpAssociation", inputs, everything)).rejects.toThrow(
      /^operation error EC2: AssociateAddress, .* api error InternalError: An internal error has occurred$/,
    );
    expect(addressOf(first)).toBe(address.publicIp);
    expect(own.read("elasticIpAssociation", id, everything)?.outputs.instanceId).toBe(first);
    own.faults = {};
    await own.create("elasticIpAssociation", inputs, everything);
    expect(addressOf(second)).toBe(address.publicIp);
  });

  test("says which of two machines of a name is meant; without it the newest that runs is", async () => {
    const [first, second, third] = [await launch(), await launch(), await launch()];
    const meant = (name: string) => findMachine(own.status(), name)?.id;
    expect(meant("balancer")).toBe(third);
    await own.stopInstance(third);
    expect(meant("balancer")).toBe(second);
    await associate({ instanceId: first });
    expect(meant("balancer")).toBe(first);
    expect(meant(second)).toBe(second);
    expect(meant("wcs-1")).toBeUndefined();
    const renamed = own.status().map((machine) => ({ ...machine, name: "balancer-1" }));
    expect(findMachine(renamed, "balancer")?.id).toBe(first);
  });
});

test("the VPC is told with its networks", async () => {
  const invoke = async (args: Values) => {
    const request = new messages.InvokeRequest().setTok("aws:ec2/getVpc:getVpc").setArgs(structOf(args));
    return (await call("invoke", request)).getReturn().toJavaScript();
  };
  const answer = await invoke({ default: true });
  expect(answer).toMatchObject({
    id: vpcId,
    cidrBlock: "172.31.0.0/16",
    cidrBlockAssociations: [
      {
        associationId: expect.stringMatching(/^vpc-cidr-assoc-/),
        cidrBlock: "172.31.0.0/16",
        state: "associated",
      },
    ],
  });
  expect(await invoke({ id: vpcId })).toEqual(answer);
  await expect(invoke({ id: "vpc-1" })).rejects.toThrow("no matching EC2 VPC found: vpc-1");
});

describe("the VPC's two subnets", () => {
  const invoke = async (token: string, args: Values) => {
    const request = new messages.InvokeRequest().setTok(token).setArgs(structOf(args));
    return (await call("invoke", request)).getReturn().toJavaScript();
  };

  test("are both listed, each in a zone and a network of its own", async () => {
    const { ids } = await invoke("aws:ec2/getSubnets:getSubnets", {});
    expect([...ids].sort()).toEqual([...subnetIds].sort());
    const asked = await Promise.all(subnetIds.map((id) => invoke("aws:ec2/getSubnet:getSubnet", { id })));
    expect(asked.map(({ availabilityZone, cidrBlock }) => [availabilityZone, cidrBlock])).toEqual([
      ["eu-central-1a", "172.31.0.0/20"],
      ["eu-central-1b", "172.31.16.0/20"],
    ]);
    await expect(invoke("aws:ec2/getSubnet:getSubnet", { id: "subnet-1" })).rejects.toThrow(
      "no matching EC2 Subnet found: subnet-1",
    );
  });

  test("give a machine an address of their network, and its zone", async () => {
    const machines = { start: async () => {}, status: () => ({ state: "running" }) } as unknown as Machines;
    const own = new Cloud(machines, objects, () => {});
    const launched = await Promise.all(
      subnetIds.map((subnetId) =>
        own.create("instance", { ami: "ami-1", instanceType: "t3.small", subnetId }),
      ),
    );
    expect(launched.map(({ outputs }) => [outputs.privateIp, outputs.availabilityZone])).toEqual([
      ["172.31.0.10", "eu-central-1a"],
      ["172.31.16.11", "eu-central-1b"],
    ]);
    const nowhere = { ami: "ami-1", instanceType: "t3.small", subnetId: "subnet-1" };
    await expect(own.create("instance", nowhere)).rejects.toThrow("InvalidSubnetID.NotFound");
  });
});

describe("S3", () => {
  const bucketType = "aws:s3/bucket:Bucket";
  const objectType = "aws:s3/bucketObjectv2:BucketObjectv2";
  const policyType = "aws:s3/bucketPolicy:BucketPolicy";
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const textAsset = (text: string) => ({ ...assetMark, hash: sha256(text), text });

  async function create(type: string, inputs: Values): Promise<{ id: string; outputs: Values }> {
    expect(await failuresOf(type, inputs)).toEqual([]);
    const request = new messages.CreateRequest().setUrn(urn(type)).setProperties(structOf(inputs));
    const response = await call("create", request);
    return { id: response.getId(), outputs: response.getProperties().toJavaScript() };
  }

  async function remove(type: string, { id, outputs }: { id: string; outputs: Values }): Promise<void> {
    const request = new messages.DeleteRequest().setUrn(urn(type)).setId(id).setProperties(structOf(outputs));
    await call("delete", request);
  }

  const makeBucket = (inputs: Values = {}) =>
    create(bucketType, { bucketPrefix: "wcs-balancer-dev-", ...inputs });
  const makeObject = ({ id: bucket }: { id: string }, text: string) =>
    create(objectType, { bucket, key: "node/a", source: textAsset(text) });
  const contentOf = ({ id }: { id: string }) => readFileSync(objects.fileOf(id, "node/a"), "utf8");

  test("a bucket's name is the prefix and 26 digits, and its address is told", async () => {
    const { id, outputs } = await makeBucket();
    expect(id).toMatch(/^wcs-balancer-dev-[0-9a-f]{26}$/);
    expect(outputs).toMatchObject({
      bucket: id,
      arn: `arn:aws:s3:::${id}`,
      bucketRegionalDomainName: `${id}.s3.eu-central-1.amazonaws.com`,
    });
  });

  test.each<[string, string, Values, string]>([
    ["a long prefix", bucketType, { bucketPrefix: "a".repeat(38) }, "more than 37 characters"],
    ["capitals", bucketType, { bucketPrefix: "Wcs-" }, "lowercase letters"],
    [
      "a name and a prefix",
      bucketType,
      { bucket: "abc", bucketPrefix: "abc-" },
      "conflicts with bucketPrefix",
    ],
    ["a website", bucketType, { bucketPrefix: "a-", website: {} }, "does not know the property website"],
    ["a key with two slashes", objectType, { key: "a//b" }, "two slashes together"],
    [
      "a file by a relative path",
      objectType,
      { source: { ...assetMark, hash: sha256(""), path: "a" } },
      "relative",
    ],
    [
      "content from a URI",
      objectType,
      { source: { ...assetMark, hash: sha256(""), uri: "https://a" } },
      "property uri",
    ],
    [
      "eleven tags",
      objectType,
      { tags: Object.fromEntries([..."abcdefghijk"].map((tag) => [tag, ""])) },
      "10 tags",
    ],
    ["a policy that is not JSON", policyType, { bucket: "abc", policy: "{" }, "invalid JSON policy"],
  ])("%s fails the check", async (_, type, inputs, message) => {
    const object = { bucket: "abc", key: "a", source: textAsset("") };
    const failures = await failuresOf(type, type === objectType ? { ...object, ...inputs } : inputs);
    expect(failures.join("\n")).toContain(message);
  });

  test("an object's source is compared by its content, wherever the file lies", async () => {
    const object = { bucket: "abc", key: "a" };
    const file = (path: string, text: string) => ({ source: { ...assetMark, hash: sha256(text), path } });
    const old = { ...object, ...file("/one/computer", "same") };
    const elsewhere = await diff(objectType, old, { ...object, ...file("/another", "same") });
    expect(elsewhere).toEqual({ diffs: [], replaces: [] });
    // In a diff the engine leaves out all but the hash.
    const onlyHash = { ...object, source: { ...assetMark, hash: sha256("same") } };
    expect(await diff(objectType, old, onlyHash)).toEqual({ diffs: [], replaces: [] });
    const changed = await diff(objectType, old, { ...object, ...file("/one/computer", "other") });
    expect(changed).toEqual({ diffs: ["source"], replaces: [] });
  });

  test("another bucket, prefix or key is a replacement", async () => {
    const object = { bucket: "abc", key: "a", source: textAsset("") };
    expect((await diff(objectType, object, { ...object, key: "b" })).replaces).toEqual(["key"]);
    expect((await diff(objectType, object, { ...object, bucket: "b" })).replaces).toEqual(["bucket"]);
    const prefix = (bucketPrefix: string) => ({ bucketPrefix, forceDestroy: true });
    expect((await diff(bucketType, prefix("a-"), prefix("b-"))).replaces).toEqual(["bucketPrefix"]);
    expect(await diff(bucketType, prefix("a-"), { ...prefix("a-"), forceDestroy: false })).toEqual({
      diffs: ["forceDestroy"],
      replaces: [],
    });
  });

  test("a preview shows a bucket and an object of it while its name is unknown", async () => {
    const preview = async (type: string, inputs: Values) => {
      expect(await failuresOf(type, inputs)).toEqual([]);
      const request = new messages.CreateRequest()
        .setUrn(urn(type))
        .setProperties(structOf(inputs))
        .setPreview(true);
      return (await call("create", request)).getProperties().toJavaScript();
    };
    expect(await preview(bucketType, { bucketPrefix: "a-" })).toMatchObject({ bucket: unknownValue });
    const object = { bucket: unknownValue, key: "a", source: textAsset("x") };
    expect(await preview(objectType, object)).toMatchObject({ ...object, arn: unknownValue });
    expect(await failuresOf(policyType, { bucket: unknownValue, policy: unknownValue })).toEqual([]);
  });

  test("a bucket that is not empty stays, unless forceDestroy takes what is in it along", async () => {
    const kept = await makeBucket();
    const object = await makeObject(kept, "x");
    await expect(remove(bucketType, kept)).rejects.toThrow("BucketNotEmpty");
    expect(contentOf(kept)).toBe("x");
    await remove(objectType, object);
    await remove(bucketType, kept);

    const gone = await makeBucket({ forceDestroy: true });
    await makeObject(gone, "x");
    await remove(bucketType, gone);
    expect(cloud.object(gone.id, "node/a")).toBeUndefined();
    expect(existsSync(objects.fileOf(gone.id, "node/a"))).toBe(false);
  });

  test("an object that was retained is overwritten by the same program later", async () => {
    const bucket = await makeBucket({ forceDestroy: true });
    await makeObject(bucket, "first");
    await makeObject(bucket, "second");
    expect(contentOf(bucket)).toBe("second");
  });

  test("a bucket's policy is about that bucket, and can be judged", async () => {
    const { id: bucket } = await makeBucket();
    const put = (changes: Values) => {
      const statement = {
        Effect: "Deny",
        Principal: "*",
        Action: "s3:*",
        Resource: `arn:aws:s3:::${bucket}/*`,
      };
      return create(policyType, {
        bucket,
        policy: JSON.stringify({ Statement: [{ ...statement, ...changes }] }),
      });
    };
    await expect(put({ Resource: "arn:aws:s3:::other/*" })).rejects.toThrow("MalformedPolicy");
    await expect(put({ Condition: { IpAddress: {} } })).rejects.toThrow("does not know this Condition");
    await expect(put({ Principal: { AWS: "arn:aws:iam::1:root" } })).rejects.toThrow(
      'knows the Principal "*" only',
    );
    await put({ Condition: { Bool: { "aws:SecureTransport": "false" } } });
    expect(cloud.bucket(bucket)?.policy).toContain("SecureTransport");
    await expect(create(policyType, { bucket: "none", policy: "{}" })).rejects.toThrow("NoSuchBucket");
  });

  test("rights take so long to count as a test asks for, again after a change", async () => {
    const policy = { name: "read", role: "slow", policy: "{}" };
    await cloud.create("role", { name: "slow" });
    const { id } = await cloud.create("rolePolicy", policy);
    expect(cloud.rightsOf("slow").policies).toEqual(["{}"]);
    cloud.faults = { roleDelaySeconds: 60 };
    expect(cloud.rightsOf("slow").policies).toEqual([]);
    vi.setSystemTime(Date.now() + 61_000);
    expect(cloud.rightsOf("slow").policies).toEqual(["{}"]);
    await cloud.update("rolePolicy", id, policy);
    expect(cloud.rightsOf("slow").policies).toEqual([]);
    vi.useRealTimers();
    cloud.faults = {};
  });
});
