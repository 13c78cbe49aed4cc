import { randomBytes } from "node:crypto";
import * as addresses from "../addresses";
import type { Asset } from "../provider/asset";
import { accountId, awsTypes, region } from "../provider/aws";
import type { ApiCall, Inventory, ResourceCalls, Subject, Tags } from "../provider/calls";
import { iamArn } from "../provider/iam-calls";
import { authorize, type Caller } from "./caller";
import type { Faults, MachineStatus, ObjectFault } from "./client";
import { type FirewallModel, type Interface, type Rule, renderFirewall } from "./firewall";
import type { Machines } from "./machine";
import type { ObjectStore } from "./objects";
import { checkBucketPolicy, type Rights } from "./policy";
import { type StoredObject, s3Host } from "./s3";
import type { Credentials } from "./signature";

type Inputs = Record<string, unknown>;

/** The inputs of an instance that the cloud reads; the provider has checked all of them. */
interface InstanceInputs {
  ami: string;
  instanceType: string;
  iamInstanceProfile?: string;
  primaryNetworkInterface?: { networkInterfaceId: string };
  vpcSecurityGroupIds?: string[];
  associatePublicIpAddress?: boolean;
  userData?: string;
  userDataBase64?: string;
  tags?: Record<string, string>;
}

export interface Instance {
  id: string;
  inputs: InstanceInputs;
  privateAddress: string;
  /** Its own public address; one with a network interface has that of the interface. */
  publicAddress?: string;
}

interface Resource {
  kind: string;
  inputs: Inputs;
  outputs: Inputs;
  /** When it was made or changed, in milliseconds. */
  changed: number;
}

const credentialsLifetimeMilliseconds = 6 * 3_600_000;

function newId(prefix: string): string {
  return `${prefix}-0${randomBytes(8).toString("hex")}`;
}

/** A name as the real provider makes it: the prefix, the time, and digits of its own. */
function bucketName({ bucket, bucketPrefix }: Inputs): string {
  if (bucket !== undefined) return String(bucket);
  const time = new Date().toISOString().replace(/\D/g, "").padEnd(18, "0");
  return `${bucketPrefix}${time}${randomBytes(4).toString("hex")}`;
}

/** All that the cloud knows, for a later process. Credentials are issued anew. */
export interface SavedCloud {
  resources: [string, Resource][];
  instances: [string, Instance][];
  privateCount: number;
  publicCount: number;
  /** The text of each managed policy, by its ARN. */
  managedPolicies?: [string, string][];
}

/** What a boundary allows whose policy is gone. */
const noStatements = JSON.stringify({ Statement: [] });

const callsOf: Record<string, ResourceCalls> = Object.fromEntries(
  Object.values(awsTypes).flatMap(({ inCloud }) => (inCloud ? [[inCloud.kind, inCloud.calls]] : [])),
);

/** What goes with a resource of a kind, and the property that names that; a role's as when the console deletes it. */
const partKinds: Record<string, { kinds: string[]; property: string }> = {
  securityGroup: { kinds: ["ingressRule", "egressRule"], property: "securityGroupId" },
  role: { kinds: ["rolePolicy", "instanceProfile"], property: "role" },
  bucket: {
    kinds: ["bucketPublicAccessBlock", "bucketOwnershipControls", "bucketEncryption", "bucketPolicy"],
    property: "bucket",
  },
};

/** The sandbox's AWS: what exists, and what follows from it for machines and network. */
export class Cloud {
  private readonly resources: Map<string, Resource>;
  private readonly instances: Map<string, Instance>;
  private readonly credentials = new Map<string, Credentials>();
  private readonly managedPolicies: Map<string, string>;
  /** What tests have broken. */
  faults: Faults = {};
  private privateCount: number;
  private publicCount: number;

  /**
   * @param objects what is in the buckets
   * @param filterPackets puts an nftables script in force
   */
  constructor(
    private readonly machines: Machines,
    private readonly objects: ObjectStore,
    private readonly filterPackets: (script: string) => void,
    saved: SavedCloud = { resources: [], instances: [], privateCount: 0, publicCount: 0 },
  ) {
    this.resources = new Map(saved.resources);
    this.instances = new Map(saved.instances);
    this.managedPolicies = new Map(saved.managedPolicies);
    this.privateCount = saved.privateCount;
    this.publicCount = saved.publicCount;
  }

  /** Boots the machines of a cloud that was saved, from the disks that they had. */
  resume(): void {
    if (this.instances.size === 0) return;
    this.applyFirewall();
    for (const id of this.instances.keys()) this.machines.resume(id);
  }

  /** Shuts every machine down in good order, and gives what a later process can resume with. */
  async hibernate(): Promise<SavedCloud> {
    await Promise.all([...this.instances.keys()].map((id) => this.machines.stop(id)));
    return {
      resources: [...this.resources],
      instances: [...this.instances],
      privateCount: this.privateCount,
      publicCount: this.publicCount,
      managedPolicies: [...this.managedPolicies],
    };
  }

  /**
   * @param caller who asks; without one everything is allowed
   * @throws Error when the caller may not make all calls that AWS would get
   */
  async create(kind: string, inputs: Inputs, caller?: Caller): Promise<{ id: string; outputs: Inputs }> {
    const id = this.idOf(kind, inputs);
    if (caller) authorize(caller, this.callsToCreate(kind, id, inputs));
    // An object that was retained is still there when a program makes it again, and S3 just overwrites it.
    if (this.resources.has(`${kind} ${id}`) && kind !== "bucketObject")
      throw new Error(`${kind} ${id} exists already`);
    const outputs = await this.outputsOf(kind, id, inputs);
    this.resources.set(`${kind} ${id}`, { kind, inputs, outputs, changed: Date.now() });
    this.applyFirewall();
    return { id, outputs };
  }

  /** The same for what exists. */
  async update(kind: string, id: string, inputs: Inputs, caller?: Caller): Promise<Inputs> {
    const resource = this.find(kind, id);
    if (caller) authorize(caller, this.callsToUpdate(kind, id, inputs));
    // These are put anew, with what belongs to it.
    if (kind === "bucketPolicy" || kind === "bucketObject") await this.outputsOf(kind, id, inputs);
    if (kind === "role") this.checkBoundary(inputs);
    resource.inputs = inputs;
    resource.changed = Date.now();
    if (kind === "parameter") resource.outputs.version = Number(resource.outputs.version) + 1;
    const instance = this.instances.get(id);
    if (instance) {
      if (
        JSON.stringify(userDataOf(instance.inputs)) !==
        JSON.stringify(userDataOf(inputs as unknown as InstanceInputs))
      ) {
        throw new Error("the sandbox does not change the user-data of a machine that exists");
      }
      if (instance.inputs.instanceType !== inputs.instanceType) {
        throw new Error("EC2 would stop the machine to change its type, and the sandbox does not");
      }
      instance.inputs = inputs as unknown as InstanceInputs;
    }
    this.applyFirewall();
    return resource.outputs;
  }

  /** The same for what is to go. */
  async remove(kind: string, id: string, caller?: Caller): Promise<void> {
    this.find(kind, id);
    if (caller) authorize(caller, this.callsToRemove(kind, id));
    if (kind === "networkInterface" && this.instanceWith(id)) {
      throw new Error(`InvalidNetworkInterface.InUse: ${id} is in use by ${this.instanceWith(id)?.id}`);
    }
    if (kind === "securityGroup" && this.interfaces().some(({ groups }) => groups.includes(id))) {
      throw new Error(`DependencyViolation: ${id} has a dependent object`);
    }
    if (kind === "instance") {
      await this.machines.remove(id);
      this.instances.delete(id);
    }
    if (kind === "bucketObject") await this.removeObject(id);
    if (kind === "bucket") await this.emptyBucket(id);
    for (const part of this.partsOf(kind, id)) this.resources.delete(part);
    this.resources.delete(`${kind} ${id}`);
    this.applyFirewall();
  }

  /**
   * What a resource is like now, whoever has changed it; nothing when it is gone. Whether the caller may ask is judged
   * where there is one: the ARN of what is gone is not known.
   */
  read(kind: string, id: string, caller?: Caller): { inputs: Inputs; outputs: Inputs } | undefined {
    const resource = this.resources.get(`${kind} ${id}`);
    if (!resource) return undefined;
    if (caller) authorize(caller, this.callsToRead(kind, id));
    const { inputs, outputs } = resource;
    const instance = this.instances.get(id);
    if (!instance) return { inputs, outputs };
    const { state } = this.machines.status(id);
    return {
      inputs,
      outputs: {
        ...outputs,
        publicIp: this.publicAddressOf(instance) ?? "",
        instanceState: state === "running" ? "running" : "stopped",
      },
    };
  }

  /** Makes a managed policy, or gives it another text. */
  putManagedPolicy(arn: string, document: string): void {
    this.managedPolicies.set(arn, document);
  }

  /** The calls that AWS gets when the real provider makes a resource. */
  callsToCreate(kind: string, id: string, inputs: Inputs): ApiCall[] {
    const subject = { id, inputs, outputs: {} };
    return this.callsFor(kind, subject, (calls) => calls.create(subject, this.inventory));
  }

  /** Those when it changes one in place. */
  callsToUpdate(kind: string, id: string, inputs: Inputs): ApiCall[] {
    const { inputs: olds, outputs } = this.find(kind, id);
    const subject = { id, inputs, olds, outputs };
    const changed = Object.keys({ ...olds, ...inputs }).filter(
      (key) => JSON.stringify(olds[key]) !== JSON.stringify(inputs[key]),
    );
    return this.callsFor(kind, subject, ({ update }) =>
      changed.flatMap((property) => {
        const calls = update[property];
        if (!calls) throw new Error(`the sandbox does not know the calls that change ${property} of ${kind}`);
        return calls(subject, this.inventory);
      }),
    );
  }

  /** Those when it deletes one. */
  callsToRemove(kind: string, id: string): ApiCall[] {
    const { inputs, outputs } = this.find(kind, id);
    const subject = { id, inputs, outputs };
    return this.callsFor(kind, subject, (calls) => calls.remove(subject, this.inventory));
  }

  /** Those when it reads one, as for `pulumi refresh`. */
  callsToRead(kind: string, id: string): ApiCall[] {
    const { inputs, outputs } = this.find(kind, id);
    return this.callsFor(kind, { id, inputs, outputs }, () => []);
  }

  async stopInstance(id: string): Promise<void> {
    this.find("instance", id);
    await this.machines.stop(id);
  }

  /** Starts an instance that was stopped; as on EC2 its own public address is another one then. */
  startInstance(id: string): void {
    const instance = this.instances.get(id);
    if (!instance) throw new Error(`instance ${id} does not exist`);
    if (instance.publicAddress) instance.publicAddress = this.nextPublicAddress();
    this.applyFirewall();
    this.machines.startAgain(id, this.hasFullDisk(instance));
  }

  status(): MachineStatus[] {
    return [...this.instances.values()].map((instance) => ({
      id: instance.id,
      name: nameOf(instance),
      privateAddress: instance.privateAddress,
      publicAddress: this.publicAddressOf(instance),
      ...this.machines.status(instance.id),
    }));
  }

  instanceAt(address: string): Instance | undefined {
    return [...this.instances.values()].find(({ privateAddress }) => privateAddress === address);
  }

  publicAddressOf(instance: Instance): string | undefined {
    const networkInterface = instance.inputs.primaryNetworkInterface?.networkInterfaceId;
    return networkInterface ? this.elasticAddressOf(networkInterface) : instance.publicAddress;
  }

  parameter(name: string): { type: string; value: string; version: number } | undefined {
    const parameter = this.resources.get(`parameter ${name}`);
    return (
      parameter && {
        type: String(parameter.inputs.type),
        value: String(parameter.inputs.value ?? parameter.inputs.insecureValue),
        version: Number(parameter.outputs.version),
      }
    );
  }

  bucket(name: string): { policy?: string } | undefined {
    if (!this.resources.has(`bucket ${name}`)) return undefined;
    const policy = this.resources.get(`bucketPolicy ${name}`);
    return { policy: policy && String(policy.inputs.policy) };
  }

  object(bucket: string, key: string): StoredObject | undefined {
    const object = this.resources.get(`bucketObject ${bucket}/${key}`);
    if (!object) return undefined;
    return {
      file: this.objects.fileOf(bucket, key),
      hash: (object.inputs.source as Asset).hash,
      contentType: object.inputs.contentType as string | undefined,
    };
  }

  /** What a test has broken of S3 for the machine at an address. */
  objectFault(address: string): ObjectFault | undefined {
    const instance = this.instanceAt(address);
    return instance && this.faults.objects?.[nameOf(instance)];
  }

  /** The address of a name in a zone of Route 53. */
  addressOf(name: string): string | undefined {
    const record = this.all("dnsRecord").find(({ inputs }) => inputs.name === name);
    return record && (record.inputs.records as string[])[0];
  }

  /** Short-lived credentials of an instance's role; none without an instance profile. */
  issueCredentials(instance: Instance): Credentials | undefined {
    const profile = this.resources.get(`instanceProfile ${instance.inputs.iamInstanceProfile}`);
    if (!profile) return undefined;
    const role = String(profile.inputs.role);
    const known = this.credentials.get(instance.id);
    if (known?.role === role && known.expiration.getTime() > Date.now() + 600_000) return known;
    const credentials = {
      role,
      accessKeyId: `ASIA${randomBytes(8).toString("hex").toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString("base64"),
      token: randomBytes(120).toString("base64"),
      expiration: new Date(Date.now() + credentialsLifetimeMilliseconds),
    };
    this.credentials.set(instance.id, credentials);
    return credentials;
  }

  credentialsOf(accessKeyId: string): Credentials | undefined {
    return [...this.credentials.values()].find(
      (credentials) =>
        credentials.accessKeyId === accessKeyId && credentials.expiration.getTime() > Date.now(),
    );
  }

  /** What a role may do by now. */
  rightsOf(role: string): Rights {
    const delay = (this.faults.roleDelaySeconds ?? 0) * 1000;
    const isKnown = (resource?: Resource) => resource !== undefined && Date.now() >= resource.changed + delay;
    const known = this.resources.get(`role ${role}`);
    if (!isKnown(known)) return { policies: [] };
    const boundary = known?.inputs.permissionsBoundary;
    return {
      policies: this.all("rolePolicy")
        .filter((policy) => policy.inputs.role === role && isKnown(policy))
        .map(({ inputs }) => String(inputs.policy)),
      boundary:
        boundary === undefined ? undefined : (this.managedPolicies.get(String(boundary)) ?? noStatements),
    };
  }

  /** What policies can ask for of that which exists. */
  private readonly inventory: Inventory = {
    tagsOf: (id) => {
      const kinds = ["securityGroup", "networkInterface", "elasticIp"];
      const resource = kinds.map((kind) => this.resources.get(`${kind} ${id}`)).find(Boolean);
      return (resource?.inputs.tags ?? {}) as Tags;
    },
    networkInterface: (id) => {
      const { subnetId, securityGroups = [] } = this.find("networkInterface", id).inputs;
      return { subnetId: String(subnetId), securityGroups: securityGroups as string[] };
    },
    role: (name) => {
      const { inputs, outputs } = this.find("role", name);
      const boundary = inputs.permissionsBoundary;
      return { arn: String(outputs.arn), boundary: boundary === undefined ? undefined : String(boundary) };
    },
    instanceProfile: (name) => {
      const { inputs, outputs } = this.find("instanceProfile", name);
      return { arn: String(outputs.arn), role: String(inputs.role) };
    },
  };

  private callsFor(kind: string, subject: Subject, own: (calls: ResourceCalls) => ApiCall[]): ApiCall[] {
    const calls = callsOf[kind];
    if (!calls) throw new Error(`the sandbox does not know the calls for ${kind}`);
    // The provider reads what it has made or changed, and waits for what it has deleted to be gone.
    return [...own(calls), ...calls.read(subject, this.inventory)];
  }

  /** @throws Error when a role's boundary is a policy that does not exist */
  private checkBoundary({ permissionsBoundary: arn }: Inputs): void {
    if (arn !== undefined && !this.managedPolicies.has(String(arn)))
      throw new Error(`NoSuchEntity: Scope ARN: ${arn} does not exist or is not attachable.`);
  }

  private idOf(kind: string, inputs: Inputs): string {
    switch (kind) {
      case "securityGroup":
        return newId("sg");
      case "ingressRule":
      case "egressRule":
        return newId("sgr");
      case "networkInterface":
        return newId("eni");
      case "elasticIp":
        return newId("eipalloc");
      case "elasticIpAssociation":
        return newId("eipassoc");
      case "instance":
        return newId("i");
      case "rolePolicy":
        return `${inputs.role}:${inputs.name}`;
      case "dnsRecord":
        return `${inputs.zoneId}_${inputs.name}_${inputs.type}`;
      case "role":
      case "instanceProfile":
      case "parameter":
        return String(inputs.name);
      case "bucket":
        return bucketName(inputs);
      case "bucketPublicAccessBlock":
      case "bucketOwnershipControls":
      case "bucketEncryption":
      case "bucketPolicy":
        return String(inputs.bucket);
      case "bucketObject":
        return `${inputs.bucket}/${inputs.key}`;
      default:
        throw new Error(`the sandbox's cloud has no ${kind}`);
    }
  }

  private async outputsOf(kind: string, id: string, inputs: Inputs): Promise<Inputs> {
    const arn = (service: string, name: string) => `arn:aws:${service}:${region}:${accountId}:${name}`;
    switch (kind) {
      case "securityGroup":
        return { arn: arn("ec2", `security-group/${id}`) };
      case "ingressRule":
      case "egressRule":
        this.find("securityGroup", String(inputs.securityGroupId));
        return { securityGroupRuleId: id, arn: arn("ec2", `security-group-rule/${id}`) };
      case "networkInterface":
        return {
          privateIp: this.nextPrivateAddress(),
          arn: arn("ec2", `network-interface/${id}`),
          macAddress: "",
        };
      case "elasticIp":
        return {
          allocationId: id,
          publicIp: this.nextPublicAddress(),
          arn: arn("ec2", `elastic-ip/${id}`),
        };
      case "elasticIpAssociation":
        this.find("networkInterface", String(inputs.networkInterfaceId));
        return { publicIp: this.find("elasticIp", String(inputs.allocationId)).outputs.publicIp };
      case "role":
        this.checkBoundary(inputs);
        return { arn: iamArn("role", inputs), uniqueId: newId("A") };
      case "instanceProfile":
        this.find("role", String(inputs.role));
        return { arn: iamArn("instance-profile", inputs), uniqueId: newId("A") };
      case "rolePolicy":
        this.find("role", String(inputs.role));
        return {};
      case "dnsRecord":
        return { fqdn: inputs.name };
      case "parameter":
        return { arn: arn("ssm", `parameter${id}`), version: 1 };
      case "instance":
        return this.launch(id, inputs as unknown as InstanceInputs);
      case "bucket":
        return {
          bucket: id,
          arn: `arn:aws:s3:::${id}`,
          bucketDomainName: `${id}.s3.amazonaws.com`,
          bucketRegionalDomainName: `${id}.${s3Host}`,
          bucketRegion: region,
          region,
        };
      case "bucketPublicAccessBlock":
      case "bucketOwnershipControls":
      case "bucketEncryption":
        this.findBucket(inputs.bucket);
        return {};
      case "bucketPolicy":
        checkBucketPolicy(this.findBucket(inputs.bucket), String(inputs.policy));
        return {};
      case "bucketObject":
        await this.objects.put(
          this.findBucket(inputs.bucket),
          String(inputs.key),
          inputs.source as unknown as Asset,
        );
        return { arn: `arn:aws:s3:::${id}` };
      default:
        throw new Error(`the sandbox's cloud has no ${kind}`);
    }
  }

  private async launch(id: string, inputs: InstanceInputs): Promise<Inputs> {
    const networkInterface = inputs.primaryNetworkInterface?.networkInterfaceId;
    if (inputs.iamInstanceProfile) this.find("instanceProfile", inputs.iamInstanceProfile);
    for (const group of inputs.vpcSecurityGroupIds ?? []) this.find("securityGroup", group);
    if (networkInterface && this.instanceWith(networkInterface)) {
      throw new Error(`InvalidNetworkInterface.InUse: ${networkInterface} is currently in use`);
    }
    const instance: Instance = {
      id,
      inputs,
      privateAddress: networkInterface
        ? String(this.find("networkInterface", networkInterface).outputs.privateIp)
        : this.nextPrivateAddress(),
      publicAddress:
        !networkInterface && inputs.associatePublicIpAddress ? this.nextPublicAddress() : undefined,
    };
    this.instances.set(id, instance);
    // The rules stand before the machine sends its first packet.
    this.applyFirewall();
    try {
      await this.machines.start({
        id,
        privateAddress: instance.privateAddress,
        userData: userDataOf(inputs),
        fullDisk: this.hasFullDisk(instance),
      });
    } catch (error) {
      this.instances.delete(id);
      throw error;
    }
    return {
      arn: `arn:aws:ec2:${region}:${accountId}:instance/${id}`,
      privateIp: instance.privateAddress,
      publicIp: this.publicAddressOf(instance) ?? "",
      instanceState: "running",
      primaryNetworkInterfaceId: networkInterface ?? newId("eni"),
    };
  }

  private hasFullDisk(instance: Instance): boolean {
    return this.faults.fullDisks?.includes(nameOf(instance)) ?? false;
  }

  private findBucket(name: unknown): string {
    if (!this.resources.has(`bucket ${name}`))
      throw new Error(`NoSuchBucket: the bucket ${name} does not exist`);
    return String(name);
  }

  private async removeObject(id: string): Promise<void> {
    const { bucket, key } = this.find("bucketObject", id).inputs;
    await this.objects.remove(String(bucket), String(key));
  }

  /** Removes the objects of a bucket, those that no program knows any more included, if it may go with them. */
  private async emptyBucket(name: string): Promise<void> {
    const objects = this.all("bucketObject").filter(({ inputs }) => inputs.bucket === name);
    if (objects.length > 0 && this.find("bucket", name).inputs.forceDestroy !== true)
      throw new Error(`BucketNotEmpty: the bucket ${name} you tried to delete is not empty`);
    for (const { id } of objects) this.resources.delete(`bucketObject ${id}`);
    await this.objects.removeBucket(name);
  }

  /** Keys of the resources that are settings of another one and go with it. */
  private partsOf(kind: string, id: string): string[] {
    const names = partKinds[kind];
    if (!names) return [];
    return names.kinds.flatMap((part) =>
      this.all(part)
        .filter(({ inputs }) => inputs[names.property] === id)
        .map((resource) => `${part} ${resource.id}`),
    );
  }

  private find(kind: string, id: string): Resource {
    const resource = this.resources.get(`${kind} ${id}`);
    if (!resource) throw new Error(`${kind} ${id} does not exist`);
    return resource;
  }

  private all(kind: string): (Resource & { id: string })[] {
    return [...this.resources.entries()]
      .filter(([, resource]) => resource.kind === kind)
      .map(([key, resource]) => ({ ...resource, id: key.slice(kind.length + 1) }));
  }

  private instanceWith(networkInterface: string): Instance | undefined {
    return [...this.instances.values()].find(
      ({ inputs }) => inputs.primaryNetworkInterface?.networkInterfaceId === networkInterface,
    );
  }

  private elasticAddressOf(networkInterface: string): string | undefined {
    const association = this.all("elasticIpAssociation").find(
      ({ inputs }) => inputs.networkInterfaceId === networkInterface,
    );
    return association && String(association.outputs.publicIp);
  }

  private nextPrivateAddress(): string {
    return addresses.privateAddress(this.privateCount++);
  }

  private nextPublicAddress(): string {
    return addresses.publicAddress(this.publicCount++);
  }

  private interfaces(): Interface[] {
    const own = [...this.instances.values()].filter(({ inputs }) => !inputs.primaryNetworkInterface);
    return [
      ...own.map(({ privateAddress, publicAddress, inputs }) => ({
        privateAddress,
        publicAddress,
        groups: inputs.vpcSecurityGroupIds ?? [],
      })),
      ...this.all("networkInterface").map(({ id, inputs, outputs }) => ({
        privateAddress: String(outputs.privateIp),
        publicAddress: this.elasticAddressOf(id),
        groups: (inputs.securityGroups ?? []) as string[],
      })),
    ];
  }

  private firewall(): FirewallModel {
    const rules = (kind: string, group: string) =>
      this.all(kind)
        .filter(({ inputs }) => inputs.securityGroupId === group)
        .map(
          ({ inputs }): Rule => ({
            protocol: String(inputs.ipProtocol),
            fromPort: inputs.fromPort as number | undefined,
            toPort: inputs.toPort as number | undefined,
            cidr: inputs.cidrIpv4 as string | undefined,
            group: inputs.referencedSecurityGroupId as string | undefined,
          }),
        );
    return {
      interfaces: this.interfaces(),
      groups: Object.fromEntries(
        this.all("securityGroup").map(({ id }) => [
          id,
          { ingress: rules("ingressRule", id), egress: rules("egressRule", id) },
        ]),
      ),
      publicServices: addresses.publicServices,
      metadataService: addresses.metadataService,
      dnsService: addresses.dnsService,
    };
  }

  private applyFirewall(): void {
    this.filterPackets(renderFirewall(this.firewall()));
  }
}

/** A machine's name in its stack. */
function nameOf({ id, inputs: { tags } }: Instance): string {
  return tags?.Name?.slice(`${tags.Stack}-`.length) ?? id;
}

function userDataOf({ userData, userDataBase64 }: InstanceInputs): Buffer {
  return userDataBase64 ? Buffer.from(userDataBase64, "base64") : Buffer.from(userData ?? "");
}
