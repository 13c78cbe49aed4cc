import { randomBytes, randomUUID } from "node:crypto";
import { accountId, findSubnet, region, type Subnet, subnets, vpcId } from "../account";
import * as addresses from "../addresses";
import type { Asset } from "../provider/asset";
import { awsTypes } from "../provider/aws";
import { iamArn } from "../provider/iam-calls";
import { authorize, type Caller } from "../rights/caller";
import {
  type ApiCall,
  arnOf,
  type Inventory,
  type ResourceCalls,
  type Subject,
  type Tags,
} from "../rights/calls";
import { checkBucketPolicy, type Rights } from "../rights/policy";
import type { Faults, LoadBalancerStatus, MachineStatus, ObjectFault } from "./client";
import { type Delays, parseDelays } from "./delays";
import { type FirewallModel, type Interface, type Rule, renderFirewall } from "./firewall";
import {
  type BalancingModel,
  LoadBalancing,
  type SavedRegistrations,
  type TargetHealth,
  type TargetId,
  type ZoneRunner,
} from "./load-balancing";
import {
  type BalancerInterface,
  balancerModels,
  balancersOf,
  balancerWith,
  checkGroups,
  checkListener,
  checkLoadBalancer,
  checkRemoval,
  checkSubnets,
  checkTargetGroup,
  groupModels,
  type ListenerInputs,
  type LoadBalancerInputs,
  type TargetGroupInputs,
} from "./load-balancing-rules";
import type { Machines } from "./machine";
import type { ObjectStore } from "./objects";
import type { DescribedInstance } from "./query-api";
import { type StoredObject, s3Host } from "./s3";
import type { Credentials } from "./signature";

type Inputs = Record<string, unknown>;

/** The inputs of an instance that the cloud reads; the provider has checked all of them. */
interface InstanceInputs {
  ami: string;
  instanceType: string;
  iamInstanceProfile?: string;
  primaryNetworkInterface?: { networkInterfaceId: string };
  subnetId?: string;
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
  /** When it was launched, in milliseconds; saved clouds of earlier versions do not have it. */
  launched?: number;
  /** Its automatic public address: none while it has an Elastic IP, is stopped, or has an interface of its own. */
  publicAddress?: string;
}

interface AssociationInputs {
  allocationId: string;
  instanceId?: string;
  networkInterfaceId?: string;
  allowReassociation?: boolean;
}

interface Resource {
  kind: string;
  inputs: Inputs;
  outputs: Inputs;
  /** When it was made or changed, in milliseconds. */
  changed: number;
  /** A load balancer's. */
  interfaces?: BalancerInterface[];
}

/** A parameter of SSM. */
export interface Parameter {
  type: string;
  tier: string;
  value: string;
  version: number;
}

/** For this time EC2 lists an instance that is terminated. */
const listedMilliseconds = 3_600_000;
const credentialsLifetimeMilliseconds = 6 * 3_600_000;

function newId(prefix: string): string {
  return `${prefix}-0${randomBytes(8).toString("hex")}`;
}

function newDigits(): string {
  return randomBytes(8).toString("hex");
}

/** A name as the real provider makes it: the prefix, the time, and digits of its own. */
function bucketName({ bucket, bucketPrefix }: Inputs): string {
  if (bucket !== undefined) return String(bucket);
  const time = new Date().toISOString().replace(/\D/g, "").padEnd(18, "0");
  return `${bucketPrefix}${time}${randomBytes(4).toString("hex")}`;
}

/** The whole state of the cloud, for a later process. Credentials are issued anew. */
export interface SavedCloud {
  resources: [string, Resource][];
  instances: [string, Instance][];
  privateCount: number;
  publicCount: number;
  /** The text of each managed policy, by its ARN. */
  managedPolicies?: [string, string][];
  /** The targets of each target group. */
  registrations?: SavedRegistrations;
  /** DNS records that a person has made: the addresses of each name. */
  records?: [string, string[]][];
}

/** The text of a boundary whose policy is gone: it allows nothing. */
const noStatements = JSON.stringify({ Statement: [] });

const callsOf: Record<string, ResourceCalls> = Object.fromEntries(
  Object.values(awsTypes).flatMap(({ inCloud }) => (inCloud ? [[inCloud.kind, inCloud.calls]] : [])),
);

/** The parts that are deleted with a resource of a kind, and their property that names it; a role's as in the console. */
const partKinds: Record<string, { kinds: string[]; property: string }> = {
  instance: { kinds: ["elasticIpAssociation"], property: "instanceId" },
  networkInterface: { kinds: ["elasticIpAssociation"], property: "networkInterfaceId" },
  securityGroup: { kinds: ["ingressRule", "egressRule"], property: "securityGroupId" },
  role: { kinds: ["rolePolicy", "instanceProfile"], property: "role" },
  loadBalancer: { kinds: ["listener"], property: "loadBalancerArn" },
  bucket: {
    kinds: ["bucketPublicAccessBlock", "bucketOwnershipControls", "bucketEncryption", "bucketPolicy"],
    property: "bucket",
  },
};

/** The sandbox's AWS: the existing resources, and their effects on machines and network. */
export class Cloud {
  private readonly resources: Map<string, Resource>;
  private readonly instances: Map<string, Instance>;
  private readonly credentials = new Map<string, Credentials>();
  private readonly managedPolicies: Map<string, string>;
  /** DNS records that a person has made outside AWS. */
  private readonly handMade: Map<string, string[]>;
  /** The faults that tests have set. */
  faults: Faults = {};
  private privateCount: number;
  private publicCount: number;
  private readonly balancing: LoadBalancing;
  /** Instances that are gone. EC2 still lists them for an hour. */
  private readonly terminated = new Map<string, { instance: Instance; subnet: Subnet; time: number }>();
  /** The machine behind each public address, as the packet filter has it. */
  private reachable = new Map<string, string>();

  /**
   * @param objects what is in the buckets
   * @param filterPackets puts an nftables script in force, then ends the connections of public addresses that have moved
   * @param zones runs load balancers @default no load balancer can be made
   * @param delays of load balancers
   */
  constructor(
    private readonly machines: Machines,
    private readonly objects: ObjectStore,
    private readonly filterPackets: (script: string, moved: string[]) => void,
    saved: SavedCloud = { resources: [], instances: [], privateCount: 0, publicCount: 0 },
    zones?: ZoneRunner,
    delays: Delays = parseDelays(),
  ) {
    this.resources = new Map(saved.resources);
    this.instances = new Map(saved.instances);
    this.managedPolicies = new Map(saved.managedPolicies);
    this.handMade = new Map(saved.records);
    this.privateCount = saved.privateCount;
    this.publicCount = saved.publicCount;
    this.balancing = new LoadBalancing(() => this.balancingModel(), zones, delays, saved.registrations);
  }

  /** Boots the machines of a cloud that was saved, from the disks that they had. */
  resume(): void {
    if (this.instances.size === 0 && this.all("loadBalancer").length === 0) return;
    this.applyFirewall();
    for (const id of this.instances.keys()) this.machines.resume(id);
    // Addresses of instances that were stopped when the cloud was saved.
    this.settleAutomaticAddresses();
    this.applyNetwork().catch((error: Error) => console.error(error.message));
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
      registrations: this.balancing.save(),
      records: [...this.handMade],
    };
  }

  /**
   * Makes a resource.
   * @param caller the role that asks; without one everything is allowed
   * @throws Error when the caller may not make all calls that AWS would get
   */
  async create(kind: string, inputs: Inputs, caller?: Caller): Promise<{ id: string; outputs: Inputs }> {
    const id = this.idOf(kind, inputs);
    if (caller) this.admit(caller, this.callsToCreate(kind, id, inputs));
    // An object that was retained is still there when a program makes it again, and S3 just overwrites it.
    if (this.resources.has(`${kind} ${id}`) && !["bucketObject", "elasticIpAssociation"].includes(kind))
      throw new Error(`${kind} ${id} exists already`);
    const outputs = await this.outputsOf(kind, id, inputs);
    if (kind === "elasticIpAssociation") this.endOtherAssociations(inputs as unknown as AssociationInputs);
    const interfaces = kind === "loadBalancer" ? this.interfacesOf(inputs) : undefined;
    this.resources.set(`${kind} ${id}`, { kind, inputs, outputs, changed: Date.now(), interfaces });
    this.settleAutomaticAddresses();
    await this.applyNetwork();
    return { id, outputs };
  }

  /** Changes an existing resource, with the same rules for the caller. */
  async update(kind: string, id: string, inputs: Inputs, caller?: Caller): Promise<Inputs> {
    const resource = this.find(kind, id);
    if (caller) this.admit(caller, this.callsToUpdate(kind, id, inputs));
    // A change of these puts the whole resource again, with its checks.
    if (kind === "bucketPolicy" || kind === "bucketObject") await this.outputsOf(kind, id, inputs);
    if (kind === "role") this.checkBoundary(inputs);
    if (kind === "listener") checkListener(inputs as unknown as ListenerInputs, this.all, id);
    if (kind === "loadBalancer") {
      checkGroups(inputs as unknown as LoadBalancerInputs, this.all);
      resource.interfaces = this.interfacesOf(inputs, resource.interfaces);
    }
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
    await this.applyNetwork();
    return instance ? this.outputsOfInstance(instance, resource.outputs) : resource.outputs;
  }

  /** Deletes a resource, with the same rules for the caller. */
  async remove(kind: string, id: string, caller?: Caller): Promise<void> {
    // The provider takes InvalidAssociationID.NotFound for done (ec2/ec2_eip_association.go). The
    // caller's right is not judged, since the owner of the association is not known any more.
    if (kind === "elasticIpAssociation" && !this.resources.has(`${kind} ${id}`)) return;
    this.find(kind, id);
    if (caller) this.admit(caller, this.callsToRemove(kind, id));
    checkRemoval(kind, id, this.find(kind, id), this.all);
    if (kind === "elasticIp" && this.associations().some(({ inputs }) => inputs.allocationId === id)) {
      throw new Error(`InvalidIPAddress.InUse: ${id} is associated; disassociate it first`);
    }
    if (kind === "networkInterface" && this.instanceWith(id)) {
      throw new Error(`InvalidNetworkInterface.InUse: ${id} is in use by ${this.instanceWith(id)?.id}`);
    }
    if (kind === "securityGroup" && this.interfaces().some(({ groups }) => groups.includes(id))) {
      throw new Error(`DependencyViolation: ${id} has a dependent object`);
    }
    if (kind === "instance") {
      await this.machines.remove(id);
      const instance = this.findInstance(id);
      this.terminated.set(id, { instance, subnet: this.subnetOf(instance.inputs), time: Date.now() });
      this.instances.delete(id);
      this.balancing.forget(id);
    }
    if (kind === "targetGroup") this.balancing.forget(id);
    if (kind === "bucketObject") await this.removeObject(id);
    if (kind === "bucket") await this.emptyBucket(id);
    for (const part of this.partsOf(kind, id)) this.resources.delete(part);
    this.resources.delete(`${kind} ${id}`);
    this.settleAutomaticAddresses();
    await this.applyNetwork();
  }

  /**
   * A resource as it is now, also after changes from outside; nothing when it is gone. The caller's right is judged only
   * for an existing resource: the ARN of a deleted one is not known.
   */
  read(kind: string, id: string, caller?: Caller): { inputs: Inputs; outputs: Inputs } | undefined {
    const resource = this.resources.get(`${kind} ${id}`);
    if (!resource) return undefined;
    if (caller) this.admit(caller, this.callsToRead(kind, id));
    const { inputs, outputs } = resource;
    if (kind === "targetGroup") return { inputs, outputs: this.outputsOfTargetGroup(id, outputs) };
    if (kind === "elasticIpAssociation")
      return { inputs, outputs: this.associationOf(inputs as unknown as AssociationInputs) };
    const instance = this.instances.get(id);
    if (!instance) return { inputs, outputs };
    // Whether the instance has a public address now, of either kind (ec2/ec2_instance.go). A refresh ignores properties
    // that the program does not set.
    const seen = "associatePublicIpAddress" in inputs && {
      associatePublicIpAddress: this.publicAddressOf(instance) !== undefined,
    };
    return { inputs: { ...inputs, ...seen }, outputs: this.outputsOfInstance(instance, outputs) };
  }

  private outputsOfTargetGroup(id: string, outputs: Inputs): Inputs {
    return { ...outputs, loadBalancerArns: balancersOf(id, this.all) };
  }

  private outputsOfInstance(instance: Instance, outputs: Inputs): Inputs {
    return {
      ...outputs,
      publicIp: this.publicAddressOf(instance) ?? "",
      instanceState: this.isRunning(instance.id) ? "running" : "stopped",
    };
  }

  private isRunning(id: string): boolean {
    return this.machines.status(id).state === "running";
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

  /** The calls when it changes one in place. */
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

  /** The calls when it deletes one. */
  callsToRemove(kind: string, id: string): ApiCall[] {
    const { inputs, outputs } = this.find(kind, id);
    const subject = { id, inputs, outputs };
    return this.callsFor(kind, subject, (calls) => calls.remove(subject, this.inventory));
  }

  /** The calls when it reads one, as for `pulumi refresh`. */
  callsToRead(kind: string, id: string): ApiCall[] {
    const { inputs, outputs } = this.find(kind, id);
    return this.callsFor(kind, { id, inputs, outputs }, () => []);
  }

  /** Stops an instance, which loses its automatic address, and keeps an Elastic IP. */
  async stopInstance(id: string): Promise<void> {
    const instance = this.findInstance(id);
    await this.machines.stop(id);
    instance.publicAddress = undefined;
    await this.applyNetwork();
  }

  /** Starts an instance that was stopped; as on EC2 its automatic address is another one then. */
  startInstance(id: string): void {
    const instance = this.findInstance(id);
    // One that has powered itself off has not lost it yet.
    if (!this.isRunning(id)) instance.publicAddress = undefined;
    this.machines.startAgain(id, this.hasFullDisk(instance));
    this.settleAutomaticAddresses();
    this.applyNetwork().catch((error: Error) => console.error(error.message));
  }

  /** The machines, in the order in which they were launched. */
  status(): MachineStatus[] {
    return [...this.instances.values()].map((instance) => ({
      id: instance.id,
      name: nameOf(instance),
      privateAddress: instance.privateAddress,
      publicAddress: this.publicAddressOf(instance),
      hasElasticIp: this.elasticAddressOf(instance) !== undefined,
      ...this.machines.status(instance.id),
    }));
  }

  loadBalancers(): LoadBalancerStatus[] {
    return this.all("loadBalancer").map((balancer) => ({
      name: nameIn(balancer.inputs.tags as Tags | undefined) ?? "load balancer",
      addresses: this.publicAddressesOf(balancer),
    }));
  }

  /** The availability zone of an instance. */
  zoneOf(instance: Instance): string {
    return this.subnetOf(instance.inputs).zone;
  }

  instanceAt(address: string): Instance | undefined {
    return [...this.instances.values()].find(({ privateAddress }) => privateAddress === address);
  }

  publicAddressOf(instance: Instance): string | undefined {
    return this.elasticAddressOf(instance) ?? instance.publicAddress;
  }

  parameter(name: string): Parameter | undefined {
    const parameter = this.resources.get(`parameter ${name}`);
    return (
      parameter && {
        type: String(parameter.inputs.type),
        tier: String(parameter.inputs.tier ?? "Standard"),
        value: String(parameter.inputs.value ?? parameter.inputs.insecureValue),
        version: Number(parameter.outputs.version),
      }
    );
  }

  /** Writes a parameter as SSM does, and gives its new version; makes it when there is none. */
  putParameter(name: string, { type, tier, value }: Omit<Parameter, "version">): number {
    const known = this.resources.get(`parameter ${name}`);
    const { insecureValue: _, ...kept } = known?.inputs ?? { name };
    const version = Number(known?.outputs.version ?? 0) + 1;
    const outputs = { arn: arnOf("ssm", `parameter${name}`), ...known?.outputs, version };
    const key =
      known?.inputs.insecureValue === undefined || type === "SecureString" ? "value" : "insecureValue";
    const inputs = { ...kept, type, tier, [key]: value };
    this.resources.set(`parameter ${name}`, { kind: "parameter", inputs, outputs, changed: Date.now() });
    return version;
  }

  /** The tags of a target group; nothing when there is none. */
  targetGroupTags(arn: string): Tags | undefined {
    const group = this.resources.get(`targetGroup ${arn}`);
    return group && ((group.inputs.tags ?? {}) as Tags);
  }

  /** The port at which the targets of a group get connections, unless they are registered with another one. */
  targetGroupPort(arn: string): number {
    return Number(this.find("targetGroup", arn).inputs.port);
  }

  /** The port that a target group's health checks ask, if it is another one than that of the connections. */
  healthCheckPort(arn: string): number | undefined {
    return groupModels(this.all).find((group) => group.arn === arn)?.healthCheck.port;
  }

  /**
   * Registers instances with a target group.
   * @throws Error when one does not exist, or does not run
   */
  registerTargets(group: string, targets: TargetId[]): void {
    const missing = targets.filter(({ id }) => !this.instances.has(id)).map(({ id }) => `'${id}'`);
    if (missing.length > 0)
      throw new Error(
        `The following targets are not valid: ${missing.join(", ")} are not valid instance IDs`,
      );
    const stopped = targets.filter(({ id }) => !this.isRunning(id)).map(({ id }) => `'${id}'`);
    if (stopped.length > 0)
      throw new Error(
        `The following targets are not in a running state and cannot be registered: ${stopped.join(", ")}`,
      );
    this.balancing.register(group, targets);
  }

  deregisterTargets(group: string, targets: TargetId[]): void {
    this.balancing.deregister(group, targets);
  }

  /** @param asked the targets to describe @default all */
  targetHealth(group: string, asked?: TargetId[]): TargetHealth[] {
    return this.balancing.describe(group, asked);
  }

  /** The instances as DescribeInstances lists them, those that were terminated within the last hour included. */
  describedInstances(): DescribedInstance[] {
    for (const [id, { time }] of this.terminated)
      if (Date.now() - time > listedMilliseconds) this.terminated.delete(id);
    const described = ({ id, inputs }: Instance, subnet: Subnet, launched: number) => ({
      id,
      image: inputs.ami,
      type: inputs.instanceType,
      subnet,
      groups: inputs.vpcSecurityGroupIds ?? [],
      tags: inputs.tags ?? {},
      launched: new Date(launched),
    });
    return [
      ...[...this.instances.values()].map((instance) => ({
        ...described(instance, this.subnetOf(instance.inputs), this.launchTime(instance)),
        state: this.isRunning(instance.id) ? ("running" as const) : ("stopped" as const),
        privateAddress: instance.privateAddress,
        publicAddress: this.publicAddressOf(instance),
      })),
      ...[...this.terminated.values()].map(({ instance, subnet }) => ({
        ...described(instance, subnet, this.launchTime(instance)),
        state: "terminated" as const,
      })),
    ];
  }

  private launchTime({ id, launched }: Instance): number {
    return launched ?? this.resources.get(`instance ${id}`)?.changed ?? 0;
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

  /** The fault of S3 that a test has set for the machine at an address. */
  objectFault(address: string): ObjectFault | undefined {
    const instance = this.instanceAt(address);
    return instance && this.faults.objects?.[nameOf(instance)];
  }

  /** Makes records of a name outside AWS, or replaces them. */
  putRecords(name: string, addresses: string[]): void {
    this.handMade.set(name, addresses);
  }

  /** @throws Error that names the existing records */
  removeRecords(name: string): void {
    if (this.handMade.delete(name)) return;
    const names = [...this.handMade.keys()].sort().join(", ") || "none";
    throw new Error(`no record of ${name} was made by hand; there are: ${names}`);
  }

  records(): Record<string, string[]> {
    return Object.fromEntries(this.handMade);
  }

  /** The addresses of a name: of records made by hand, in a zone of Route 53, or of a load balancer. */
  addressesOf(name: string): string[] {
    const own = this.handMade.get(name);
    if (own) return own;
    const record = this.all("dnsRecord").find(({ inputs }) => inputs.name === name);
    if (record) return record.inputs.records as string[];
    const balancer = this.all("loadBalancer").find(({ outputs }) => outputs.dnsName === name);
    return balancer ? this.publicAddressesOf(balancer) : [];
  }

  /** A load balancer's addresses, one in each zone. */
  private publicAddressesOf({ interfaces = [] }: Resource): string[] {
    return interfaces.map(({ allocationId }) => this.elasticIp(allocationId));
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

  /** The rights of a role at this moment. */
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

  /** The facts about existing resources that policies can use. */
  private readonly inventory: Inventory = {
    tagsOf: (id) => {
      const kinds = ["securityGroup", "networkInterface", "elasticIp", "instance", "loadBalancer"];
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

  /** @throws Error when the caller may not make all calls, or when a test has one of them fail */
  private admit(caller: Caller, calls: ApiCall[]): void {
    authorize(caller, calls);
    const failing = calls.find(({ action }) => this.faults.failingActions?.includes(action));
    if (!failing) return;
    const [service = "", operation = ""] = failing.action.split(":");
    throw new Error(
      `operation error ${service.toUpperCase()}: ${operation}, https response error StatusCode: 500, ` +
        `RequestID: ${randomUUID()}, api error InternalError: An internal error has occurred`,
    );
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
        return this.sameAssociation(inputs as unknown as AssociationInputs)?.id ?? newId("eipassoc");
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
      case "loadBalancer":
        return arnOf("elasticloadbalancing", `loadbalancer/net/${inputs.name}/${newDigits()}`);
      case "targetGroup":
        return arnOf("elasticloadbalancing", `targetgroup/${inputs.name}/${newDigits()}`);
      case "listener":
        return `${String(inputs.loadBalancerArn).replace(":loadbalancer/", ":listener/")}/${newDigits()}`;
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
          privateIp: this.nextPrivateAddress(findSubnet(inputs.subnetId)),
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
        return this.checkAssociation(inputs as unknown as AssociationInputs);
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
      case "loadBalancer": {
        this.balancing.checkRunner();
        checkLoadBalancer(inputs as unknown as LoadBalancerInputs, this.all);
        const suffix = id.replace(/^.*:loadbalancer\//, "");
        return {
          arn: id,
          arnSuffix: suffix,
          dnsName: `${inputs.name}-${suffix.split("/").at(-1)}.elb.${region}.amazonaws.com`,
          vpcId,
          // Of network load balancers in this region.
          zoneId: "Z3F0SRJ5LGBH90",
        };
      }
      case "targetGroup":
        checkTargetGroup(inputs as unknown as TargetGroupInputs, this.all);
        return { arn: id, arnSuffix: id.replace(/^.*:targetgroup/, "targetgroup"), loadBalancerArns: [] };
      case "listener":
        checkListener(inputs as unknown as ListenerInputs, this.all);
        return { arn: id };
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
      launched: Date.now(),
      privateAddress: networkInterface
        ? String(this.find("networkInterface", networkInterface).outputs.privateIp)
        : this.nextPrivateAddress(this.subnetOf(inputs)),
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
      availabilityZone: this.zoneOf(instance),
      privateIp: instance.privateAddress,
      publicIp: this.publicAddressOf(instance) ?? "",
      instanceState: "running",
      primaryNetworkInterfaceId: networkInterface ?? newId("eni"),
    };
  }

  /**
   * A new association as EC2 describes it.
   * @throws Error when its address or its target has another association, and may not lose that
   */
  private checkAssociation(inputs: AssociationInputs): Inputs {
    if (balancerWith(inputs.allocationId, this.all))
      throw new Error("AuthFailure: You do not have permission to access the specified resource.");
    const [other] = this.sameAssociation(inputs) ? [] : this.otherAssociations(inputs);
    if (other && inputs.allowReassociation !== true) {
      throw new Error(
        `Resource.AlreadyAssociated: resource ${other.inputs.allocationId} is already associated with associate-id ${other.id}`,
      );
    }
    return this.associationOf(inputs);
  }

  /** Ends earlier associations of an address and its target, together with their ids. */
  private endOtherAssociations(inputs: AssociationInputs): void {
    for (const { id } of this.otherAssociations(inputs)) this.resources.delete(`elasticIpAssociation ${id}`);
  }

  private otherAssociations(wanted: AssociationInputs): { id: string; inputs: AssociationInputs }[] {
    const { networkInterfaceId } = this.associationOf(wanted);
    const same = this.sameAssociation(wanted)?.id;
    return this.associations().filter(
      ({ id, inputs }) =>
        id !== same &&
        (inputs.allocationId === wanted.allocationId ||
          this.associationOf(inputs).networkInterfaceId === networkInterfaceId),
    );
  }

  /** An association as EC2 describes it, for either kind of target (ec2/ec2_eip_association.go). */
  private associationOf({ allocationId, instanceId, networkInterfaceId = "" }: AssociationInputs): Inputs {
    const address = { allocationId, publicIp: this.elasticIp(allocationId) };
    if (instanceId === undefined) {
      const { privateIp } = this.find("networkInterface", networkInterfaceId).outputs;
      const holder = this.instanceWith(networkInterfaceId)?.id ?? "";
      return { ...address, instanceId: holder, networkInterfaceId, privateIpAddress: privateIp };
    }
    const { privateAddress } = this.findInstance(instanceId);
    const { primaryNetworkInterfaceId } = this.find("instance", instanceId).outputs;
    return {
      ...address,
      instanceId,
      networkInterfaceId: primaryNetworkInterfaceId,
      privateIpAddress: privateAddress,
    };
  }

  private associations(): { id: string; inputs: AssociationInputs }[] {
    return this.all("elasticIpAssociation").map(({ id, inputs }) => ({
      id,
      inputs: inputs as unknown as AssociationInputs,
    }));
  }

  /** The association that these inputs ask for, if there is one: EC2 calls the operation idempotent. */
  private sameAssociation(wanted: AssociationInputs): { id: string } | undefined {
    return this.associations().find(
      ({ inputs }) =>
        inputs.allocationId === wanted.allocationId &&
        inputs.instanceId === wanted.instanceId &&
        inputs.networkInterfaceId === wanted.networkInterfaceId,
    );
  }

  /**
   * An instance that has got an Elastic IP loses its automatic address; one that runs without either, and was launched
   * with an automatic one, gets another.
   */
  private settleAutomaticAddresses(): void {
    for (const instance of this.instances.values()) {
      if (this.elasticAddressOf(instance) !== undefined) instance.publicAddress = undefined;
      else if (instance.inputs.associatePublicIpAddress && this.isRunning(instance.id))
        instance.publicAddress ??= this.nextPublicAddress();
    }
  }

  private hasFullDisk(instance: Instance): boolean {
    return this.faults.fullDisks?.includes(nameOf(instance)) ?? false;
  }

  /** The subnet of an instance: its interface's, or its own; EC2 chooses one where none is asked for. */
  private subnetOf({ primaryNetworkInterface: own, subnetId }: InstanceInputs): Subnet {
    const asked = own ? this.find("networkInterface", own.networkInterfaceId).inputs.subnetId : subnetId;
    return asked === undefined ? (subnets[0] as Subnet) : findSubnet(asked);
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

  /** Removes all objects of a bucket, also unknown ones, if the bucket may be deleted with them. */
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

  private readonly all = (kind: string): (Resource & { id: string })[] =>
    [...this.resources.entries()]
      .filter(([, resource]) => resource.kind === kind)
      .map(([key, resource]) => ({ ...resource, id: key.slice(kind.length + 1) }));

  private instanceWith(networkInterface: string): Instance | undefined {
    return [...this.instances.values()].find(
      ({ inputs }) => inputs.primaryNetworkInterface?.networkInterfaceId === networkInterface,
    );
  }

  private findInstance(id: string): Instance {
    const instance = this.instances.get(id);
    if (!instance) throw new Error(`InvalidInstanceID.NotFound: The instance ID '${id}' does not exist`);
    return instance;
  }

  private elasticAddressOf({ id, inputs }: Instance): string | undefined {
    const own = inputs.primaryNetworkInterface?.networkInterfaceId;
    return this.elasticAddressAt(
      own ?? this.resources.get(`instance ${id}`)?.outputs.primaryNetworkInterfaceId,
    );
  }

  private elasticAddressAt(networkInterface: unknown): string | undefined {
    const association = this.associations().find(
      ({ inputs }) => this.associationOf(inputs).networkInterfaceId === networkInterface,
    );
    return association && this.elasticIp(association.inputs.allocationId);
  }

  private elasticIp(allocationId: string): string {
    return String(this.find("elasticIp", allocationId).outputs.publicIp);
  }

  private nextPrivateAddress({ network }: Subnet): string {
    return addresses.privateAddress(network, this.privateCount++);
  }

  private nextPublicAddress(): string {
    return addresses.publicAddress(this.publicCount++);
  }

  private interfaces(): Interface[] {
    const own = [...this.instances.values()].filter(({ inputs }) => !inputs.primaryNetworkInterface);
    return [
      ...own.map((instance) => ({
        privateAddress: instance.privateAddress,
        publicAddress: this.publicAddressOf(instance),
        groups: instance.inputs.vpcSecurityGroupIds ?? [],
      })),
      ...this.all("networkInterface").map(({ id, inputs, outputs }) => ({
        privateAddress: String(outputs.privateIp),
        publicAddress: this.elasticAddressAt(id),
        groups: (inputs.securityGroups ?? []) as string[],
      })),
      ...this.all("loadBalancer").flatMap(({ inputs, interfaces = [] }) =>
        interfaces.map(({ privateAddress, allocationId }) => ({
          privateAddress,
          publicAddress: this.elasticIp(allocationId),
          groups: inputs.securityGroups as string[],
        })),
      ),
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
      internetGateway: addresses.internetGateway,
    };
  }

  private balancingModel(): BalancingModel {
    return {
      balancers: balancerModels(this.all),
      groups: groupModels(this.all),
      instance: (id) => {
        const instance = this.instances.get(id);
        return (
          instance && {
            address: instance.privateAddress,
            zone: this.zoneOf(instance),
            isRunning: this.isRunning(id),
          }
        );
      },
    };
  }

  /** A load balancer's interfaces: those that it has, and one in each further subnet. */
  private interfacesOf(inputs: Inputs, own: BalancerInterface[] = []): BalancerInterface[] {
    const wanted = inputs as unknown as LoadBalancerInputs;
    const isFree = (allocationId: string) =>
      !balancerWith(allocationId, this.all) &&
      !this.associations().some((association) => association.inputs.allocationId === allocationId);
    checkSubnets(wanted, own, isFree);
    return wanted.subnetMappings.map(
      (mapping) =>
        own.find(({ subnetId }) => subnetId === mapping.subnetId) ?? {
          ...mapping,
          privateAddress: this.nextPrivateAddress(findSubnet(mapping.subnetId)),
        },
    );
  }

  /** Puts packet filter and load balancers in force; waits until the load balancers have taken their configuration. */
  private async applyNetwork(): Promise<void> {
    this.applyFirewall();
    this.balancing.apply();
    await this.balancing.settled();
  }

  private applyFirewall(): void {
    const model = this.firewall();
    const reachable = new Map(
      model.interfaces.flatMap(({ publicAddress, privateAddress }): [string, string][] =>
        publicAddress === undefined ? [] : [[publicAddress, privateAddress]],
      ),
    );
    const moved = [...this.reachable.keys()].filter(
      (address) => reachable.get(address) !== this.reachable.get(address),
    );
    this.filterPackets(renderFirewall(model), moved);
    this.reachable = reachable;
  }
}

/** A machine's name in its stack. */
function nameOf({ id, inputs: { tags } }: Instance): string {
  return nameIn(tags) ?? id;
}

/** The name in its stack of a resource with these tags. */
function nameIn(tags: Partial<Record<string, string>> | undefined): string | undefined {
  return tags?.Name?.slice(`${tags.Stack}-`.length);
}

function userDataOf({ userData, userDataBase64 }: InstanceInputs): Buffer {
  return userDataBase64 ? Buffer.from(userDataBase64, "base64") : Buffer.from(userData ?? "");
}
