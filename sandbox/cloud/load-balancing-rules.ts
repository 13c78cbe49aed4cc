import { findSubnet, vpcId } from "../account";
import type { HealthCheck } from "../load-balancer/health-check";
import type { BalancerModel, GroupModel } from "./load-balancing";

type Inputs = Record<string, unknown>;

export interface LoadBalancerInputs {
  name: string;
  subnetMappings: { subnetId: string; allocationId: string }[];
  securityGroups: string[];
  enableCrossZoneLoadBalancing?: boolean;
  enableDeletionProtection?: boolean;
}

export interface TargetGroupInputs {
  name: string;
  port: number;
  vpcId: string;
  proxyProtocolV2?: boolean;
  deregistrationDelay?: number;
  connectionTermination?: boolean;
  loadBalancingCrossZoneEnabled?: string;
  healthCheck?: {
    protocol?: "HTTP" | "TCP";
    port?: string;
    path?: string;
    matcher?: string;
    interval?: number;
    timeout?: number;
    healthyThreshold?: number;
    unhealthyThreshold?: number;
  };
  targetHealthStates?: {
    enableUnhealthyConnectionTermination: boolean;
    unhealthyDrainingInterval?: number;
  }[];
}

export interface ListenerInputs {
  loadBalancerArn: string;
  port: number;
  defaultActions: { targetGroupArn: string }[];
  tcpIdleTimeoutSeconds?: number;
}

/** A load balancer's interface in one subnet. */
export interface BalancerInterface {
  subnetId: string;
  allocationId: string;
  privateAddress: string;
}

interface Stored {
  id: string;
  inputs: Inputs;
  interfaces?: BalancerInterface[];
}

/** The resources of a kind. */
type All = (kind: string) => Stored[];

const listeners = (all: All) =>
  all("listener").map(({ id, inputs }) => ({ id, ...(inputs as unknown as ListenerInputs) }));
const groupOf = ({ defaultActions }: ListenerInputs) => defaultActions[0]?.targetGroupArn ?? "";

/** The load balancer whose address an Elastic IP is. */
export function balancerWith(allocationId: unknown, all: All): string | undefined {
  return all("loadBalancer").find(({ interfaces = [] }) =>
    interfaces.some((one) => one.allocationId === allocationId),
  )?.id;
}

/** The load balancers that use a target group. */
export function balancersOf(group: string, all: All): string[] {
  return [
    ...new Set(
      listeners(all)
        .filter((listener) => groupOf(listener) === group)
        .map(({ loadBalancerArn }) => loadBalancerArn),
    ),
  ];
}

function checkName(kind: string, words: string, name: string, all: All): void {
  if (all(kind).some(({ inputs }) => inputs.name === name))
    throw new Error(`${words} (${name}) already exists`);
}

/**
 * Checks the subnets that a load balancer is to get.
 * @param own the interfaces that it has
 */
export function checkSubnets(
  { subnetMappings }: LoadBalancerInputs,
  own: BalancerInterface[],
  isFree: (allocationId: string) => boolean,
): void {
  const kept = own.every((one) =>
    subnetMappings.some(
      ({ subnetId, allocationId }) => one.subnetId === subnetId && one.allocationId === allocationId,
    ),
  );
  if (!kept)
    throw new Error(
      "InvalidConfigurationRequest: Subnet removal is not supported for Network Load Balancers",
    );
  const zones = subnetMappings.map(({ subnetId }) => findSubnet(subnetId).zone);
  if (new Set(zones).size < zones.length)
    throw new Error(
      "InvalidConfigurationRequest: A load balancer cannot be attached to multiple subnets in the same Availability Zone",
    );
  const wanted = subnetMappings
    .map(({ allocationId }) => allocationId)
    .filter((id) => !own.some(({ allocationId }) => allocationId === id));
  if (new Set(wanted).size < wanted.length || !wanted.every(isFree))
    throw new Error("ResourceInUse: The allocation IDs are not available for use");
}

export function checkLoadBalancer(inputs: LoadBalancerInputs, all: All): void {
  checkName("loadBalancer", "ELBv2 Load Balancer", inputs.name, all);
  for (const { allocationId } of inputs.subnetMappings)
    if (!all("elasticIp").some(({ id }) => id === allocationId))
      throw new Error(`AllocationIdNotFound: The allocation IDs '${allocationId}' do not exist`);
  checkGroups(inputs, all);
}

/** @throws Error when a security group does not exist */
export function checkGroups({ securityGroups }: LoadBalancerInputs, all: All): void {
  for (const group of securityGroups)
    if (!all("securityGroup").some(({ id }) => id === group))
      throw new Error(`InvalidSecurityGroup: One or more security groups are invalid: ${group}`);
}

export function checkTargetGroup(inputs: TargetGroupInputs, all: All): void {
  checkName("targetGroup", "ELBv2 Target Group", inputs.name, all);
  if (inputs.vpcId !== vpcId) throw new Error(`ValidationError: The VPC ID '${inputs.vpcId}' is not found`);
}

/** @param own the id of a listener that is changed */
export function checkListener(inputs: ListenerInputs, all: All, own?: string): void {
  const { loadBalancerArn, port } = inputs;
  const group = groupOf(inputs);
  if (!all("loadBalancer").some(({ id }) => id === loadBalancerArn))
    throw new Error("LoadBalancerNotFound: One or more load balancers not found");
  if (!all("targetGroup").some(({ id }) => id === group))
    throw new Error("TargetGroupNotFound: One or more target groups not found");
  const others = listeners(all).filter(({ id }) => id !== own);
  if (others.some((other) => other.loadBalancerArn === loadBalancerArn && other.port === port))
    throw new Error("DuplicateListener: A listener already exists on this port for this load balancer");
  if (others.some((other) => groupOf(other) === group && other.loadBalancerArn !== loadBalancerArn))
    throw new Error(
      `TargetGroupAssociationLimit: The following target groups cannot be associated with more than one load balancer: ${group}`,
    );
}

/** @throws Error when a load balancer or a target group may not be deleted */
export function checkRemoval(kind: string, id: string, { inputs }: { inputs: Inputs }, all: All): void {
  if (kind === "loadBalancer" && inputs.enableDeletionProtection === true)
    throw new Error(
      `OperationNotPermitted: Load balancer '${id}' cannot be deleted because deletion protection is enabled`,
    );
  if (kind === "targetGroup" && balancersOf(id, all).length > 0)
    throw new Error(`ResourceInUse: Target group '${id}' is currently in use by a listener or a rule`);
  if (kind === "elasticIp" && balancerWith(id, all))
    throw new Error("AuthFailure: You do not have permission to access the specified resource.");
}

/** AWS's own value where a listener has none. */
const idleSeconds = 350;

export function balancerModels(all: All): BalancerModel[] {
  return all("loadBalancer").map(({ id: arn, inputs, interfaces = [] }) => ({
    arn,
    crossZone: inputs.enableCrossZoneLoadBalancing === true,
    zones: interfaces.map(({ subnetId, privateAddress }) => ({
      zone: findSubnet(subnetId).zone,
      address: privateAddress,
    })),
    listeners: listeners(all)
      .filter(({ loadBalancerArn }) => loadBalancerArn === arn)
      .map((listener) => ({
        port: listener.port,
        group: groupOf(listener),
        idleSeconds: listener.tcpIdleTimeoutSeconds ?? idleSeconds,
      })),
  }));
}

function healthCheckOf({ healthCheck = {} }: TargetGroupInputs): HealthCheck {
  // The provider's defaults, and AWS's for what the provider leaves to it (CreateTargetGroup in the API reference).
  const { protocol = "HTTP", port = "traffic-port", interval = 30, timeout } = healthCheck;
  return {
    protocol,
    port: port === "traffic-port" ? undefined : Number(port),
    path: healthCheck.path ?? "/",
    matcher: healthCheck.matcher ?? "200-399",
    intervalSeconds: interval,
    timeoutSeconds: timeout ?? (protocol === "HTTP" ? 6 : 10),
    healthyThreshold: healthCheck.healthyThreshold ?? 3,
    unhealthyThreshold: healthCheck.unhealthyThreshold ?? 3,
  };
}

export function groupModels(all: All): GroupModel[] {
  return all("targetGroup").map(({ id: arn, inputs: values }) => {
    const inputs = values as unknown as TargetGroupInputs;
    const [state] = inputs.targetHealthStates ?? [];
    const closes = state?.enableUnhealthyConnectionTermination ?? true;
    const crossZone = inputs.loadBalancingCrossZoneEnabled;
    return {
      arn,
      port: inputs.port,
      proxyProtocol: inputs.proxyProtocolV2 === true,
      healthCheck: healthCheckOf(inputs),
      unhealthySeconds: closes ? 0 : state?.unhealthyDrainingInterval || undefined,
      deregistrationSeconds: inputs.deregistrationDelay ?? 300,
      closesConnections: inputs.connectionTermination === true,
      crossZone: crossZone === "true" || crossZone === "false" ? crossZone === "true" : undefined,
    };
  });
}
