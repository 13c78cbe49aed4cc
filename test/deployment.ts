import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { subnetIds, vpcId } from "../sandbox/account";
import { Cloud } from "../sandbox/cloud/cloud";
import type { ZoneRunner } from "../sandbox/cloud/load-balancing";
import type { Machines } from "../sandbox/cloud/machine";
import { ObjectStore } from "../sandbox/cloud/objects";
import { boundaryArn } from "../sandbox/deploy-role";
import { assetMark } from "../sandbox/provider/asset";
import { awsInvokes } from "../sandbox/provider/aws";
import type { ApiCall } from "../sandbox/rights/calls";

type Inputs = Record<string, unknown>;

const tags = { Project: "wcs-balancer", Stack: "dev", Name: "dev-x", Role: "node" };
const otherTags = { Project: "wcs-balancer", Stack: "dev", Name: "dev-y", Added: "1" };
const text = (value: string) => ({ ...assetMark, hash: value.repeat(64), text: value });

export const zone = "Z0123456789ABC";
export const domain = "wcs.dev.example.com";

/** A cloud whose machines and load balancers do not run. */
function emptyCloud(folder: string): Cloud {
  const machines = {
    start: async () => {},
    remove: async () => {},
    status: () => ({ state: "running" }),
  } as unknown as Machines;
  const zones: ZoneRunner = { report: () => {}, configure: async () => {}, remove: async () => {} };
  return new Cloud(machines, new ObjectStore(folder), () => {}, undefined, zones);
}

/** What an upgrade deletes of a balancer from before it was made like a node: its interface, and what went with it. */
export async function callsToRemoveInterface(): Promise<ApiCall[]> {
  const folder = mkdtempSync(join(tmpdir(), "wcs-deployment-"));
  const cloud = emptyCloud(folder);
  const { id: networkInterfaceId } = await cloud.create("networkInterface", {
    subnetId: subnetIds[0],
    tags,
  });
  const { id: allocationId } = await cloud.create("elasticIp", { domain: "vpc", tags });
  const association = await cloud.create("elasticIpAssociation", { allocationId, networkInterfaceId });
  const calls = [
    ...cloud.callsToRemove("elasticIpAssociation", association.id),
    ...cloud.callsToRemove("networkInterface", networkInterfaceId),
  ];
  rmSync(folder, { recursive: true });
  return calls;
}

/** Makes resources in a cloud, and records the calls that AWS would get for them. */
function recorder(cloud: Cloud) {
  const calls: ApiCall[] = [];
  const made: [string, string][] = [];
  return {
    calls,
    /** Makes and reads a resource. Its `change` changes one property after the other. */
    async create(kind: string, inputs: Inputs) {
      const resource = await cloud.create(kind, inputs);
      calls.push(...cloud.callsToCreate(kind, resource.id, inputs), ...cloud.callsToRead(kind, resource.id));
      made.push([kind, resource.id]);
      const change = async (changes: Inputs) => {
        for (const [property, value] of Object.entries(changes)) {
          const changed = { ...inputs, [property]: value };
          calls.push(...cloud.callsToUpdate(kind, resource.id, changed));
        }
      };
      return { ...resource, change };
    },
    removeAll() {
      for (const [kind, id] of made.reverse()) calls.push(...cloud.callsToRemove(kind, id));
    },
  };
}

/** Every call for a load balancer of the stack dev, its target group and its listener, in the way of `callsOfDeployment`. */
export async function callsOfLoadBalancer(): Promise<ApiCall[]> {
  const folder = mkdtempSync(join(tmpdir(), "wcs-deployment-"));
  const cloud = emptyCloud(folder);
  const { calls, create, removeAll } = recorder(cloud);
  const group = await cloud.create("securityGroup", { name: "load-balancer", description: "x", vpcId, tags });
  const mappings = await Promise.all(
    subnetIds.map(async (subnetId) => {
      const { id: allocationId } = await cloud.create("elasticIp", { domain: "vpc", tags });
      return { subnetId, allocationId };
    }),
  );
  const balancer = await create("loadBalancer", {
    name: "entry-1234567",
    loadBalancerType: "network",
    subnetMappings: mappings.slice(0, 1),
    securityGroups: [group.id],
    enableCrossZoneLoadBalancing: true,
    tags,
  });
  await balancer.change({
    enableCrossZoneLoadBalancing: false,
    enableDeletionProtection: true,
    securityGroups: ["sg-1"],
    subnetMappings: mappings,
    tags: otherTags,
  });
  const healthCheck = { protocol: "HTTP", port: "10404", interval: 5, timeout: 3 };
  const target = await create("targetGroup", {
    name: "https-1234567",
    port: 10443,
    protocol: "TCP",
    vpcId,
    healthCheck,
    preserveClientIp: "false",
    proxyProtocolV2: true,
    tags,
  });
  await target.change({
    connectionTermination: true,
    deregistrationDelay: 60,
    healthCheck: { ...healthCheck, interval: 10 },
    loadBalancingCrossZoneEnabled: "true",
    proxyProtocolV2: false,
    targetHealthStates: [{ enableUnhealthyConnectionTermination: false }],
    tags: otherTags,
  });
  const listener = await create("listener", {
    loadBalancerArn: balancer.id,
    port: 443,
    protocol: "TCP",
    defaultActions: [{ type: "forward", targetGroupArn: target.id }],
    tcpIdleTimeoutSeconds: 3600,
    tags,
  });
  await listener.change({
    port: 80,
    defaultActions: [{ type: "forward", targetGroupArn: "arn:x" }],
    tcpIdleTimeoutSeconds: 60,
    tags: otherTags,
  });
  removeAll();
  rmSync(folder, { recursive: true });
  return calls;
}

/**
 * Every call of the table for what the program makes without a load balancer: each type of resources made, read, changed
 * in each property that can change in place, and deleted, in the way of the stack dev; and each look-up.
 */
export async function callsOfDeployment(): Promise<ApiCall[]> {
  const folder = mkdtempSync(join(tmpdir(), "wcs-deployment-"));
  const cloud = emptyCloud(folder);
  const { calls, create, removeAll } = recorder(cloud);
  calls.push(...Object.values(awsInvokes).flatMap((invoke) => invoke.calls));

  cloud.putManagedPolicy(boundaryArn("dev"), "{}");
  const path = "/wcs-balancer/dev/";
  const role = await create("role", {
    name: "node-1",
    path,
    assumeRolePolicy: "{}",
    permissionsBoundary: boundaryArn("dev"),
    tags,
  });
  await role.change({ tags: otherTags });
  // One that was made before there was a boundary.
  const older = { id: "node-0", inputs: { name: "node-0", path, assumeRolePolicy: "{}", tags } };
  await cloud.create("role", older.inputs);
  const bounded = { ...older.inputs, permissionsBoundary: boundaryArn("dev") };
  calls.push(...cloud.callsToUpdate("role", older.id, bounded));
  const rolePolicy = await create("rolePolicy", { name: "node", role: role.id, policy: "{}" });
  await rolePolicy.change({ policy: '{"Statement":[]}' });
  const profile = await create("instanceProfile", { name: "node-1", path, role: role.id, tags });
  await profile.change({ tags: otherTags, role: older.id });
  const secondProfile = await cloud.create("instanceProfile", { name: "node-2", path, role: role.id, tags });

  const group = await create("securityGroup", { name: "wcs", description: "x", vpcId, tags });
  await group.change({ tags: otherTags });
  for (const kind of ["ingressRule", "egressRule"]) {
    const rule = await create(kind, {
      securityGroupId: group.id,
      ipProtocol: "-1",
      cidrIpv4: "0.0.0.0/0",
      tags,
    });
    await rule.change({
      ipProtocol: "tcp",
      fromPort: 1,
      toPort: 1,
      cidrIpv4: undefined,
      referencedSecurityGroupId: group.id,
      description: "x",
      tags: otherTags,
    });
  }
  const inSubnet = { subnetId: subnetIds[0] };
  const address = await create("elasticIp", { domain: "vpc", tags });
  await address.change({ tags: otherTags });
  const instance = {
    ami: "ami-0d3b1a13000000001",
    instanceType: "t3.small",
    iamInstanceProfile: profile.id,
    metadataOptions: { httpTokens: "required" },
    tags,
    volumeTags: tags,
  };
  const node = await create("instance", { ...instance, ...inSubnet, vpcSecurityGroupIds: [group.id] });
  await node.change({
    iamInstanceProfile: secondProfile.id,
    metadataOptions: { httpTokens: "optional" },
    userDataReplaceOnChange: true,
    tags: otherTags,
    volumeTags: otherTags,
  });
  await create("elasticIpAssociation", {
    allocationId: address.id,
    instanceId: node.id,
    allowReassociation: true,
  });

  const record = await create("dnsRecord", {
    zoneId: zone,
    name: domain,
    type: "A",
    ttl: 60,
    records: ["192.0.2.1"],
  });
  await record.change({ ttl: 61, records: ["192.0.2.2"] });
  const parameter = await create("parameter", {
    name: "/wcs-balancer/dev/secret",
    type: "SecureString",
    value: "x",
    tags,
  });
  await parameter.change({
    type: "String",
    tier: "Advanced",
    value: undefined,
    insecureValue: "y",
    description: "x",
    tags: otherTags,
  });

  const bucket = await create("bucket", { bucketPrefix: "wcs-balancer-dev-", forceDestroy: true, tags });
  await bucket.change({ forceDestroy: false, tags: otherTags });
  const settings: Record<string, Inputs> = {
    bucketPublicAccessBlock: { blockPublicAcls: true },
    bucketOwnershipControls: { rule: { objectOwnership: "BucketOwnerEnforced" } },
    bucketEncryption: { rules: [] },
    bucketPolicy: { policy: '{"Statement":[]}' },
  };
  for (const [kind, setting] of Object.entries(settings)) {
    const made = await create(kind, { bucket: bucket.id, ...setting });
    await made.change(Object.fromEntries(Object.keys(setting).map((key) => [key, "other"])));
  }
  const object = await create("bucketObject", { bucket: bucket.id, key: "node/a", source: text("a"), tags });
  await object.change({ source: text("b"), contentType: "text/plain", tags: otherTags });

  removeAll();
  rmSync(folder, { recursive: true });
  return calls;
}
