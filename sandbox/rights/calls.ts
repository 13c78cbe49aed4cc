import { accountId, region } from "../account";
import type { Context } from "./policy";

/**
 * A call to AWS's API that the real provider makes for a resource, with all facts that a policy can use. The sandbox
 * does not make the call: it checks whether the role that deploys the stack may make it.
 *
 * AWS's Service Authorization Reference lists the resources and condition keys of each action. Test:
 * test/unit/deploy-role.test.ts
 */
export interface ApiCall {
  action: string;
  /** The resources of the call. AWS checks each separately, and all have to be allowed. */
  targets: Target[];
}

export interface Target {
  /** An ARN; `*` for an action that AWS cannot limit to a resource. */
  resource: string;
  /** The condition keys of the request and of this resource that a policy can use, besides the region. */
  context?: Context;
}

export type Tags = Record<string, string>;

/** Properties of a resource. */
type Values = Record<string, unknown>;

/** A resource that calls are made for. */
export interface Subject {
  id: string;
  inputs: Values;
  /** Its inputs before a change. */
  olds?: Values;
  outputs: Values;
}

/** The resources of the account, as far as policies need them. */
export interface Inventory {
  /** Tags of a resource of EC2, by its id; none for an unknown id. */
  tagsOf(id: string): Tags;
  networkInterface(id: string): { subnetId: string; securityGroups: string[] };
  role(name: string): { arn: string; boundary?: string };
  instanceProfile(name: string): { arn: string; role: string };
}

type Calls = (subject: Subject, inventory: Inventory) => ApiCall[];

/** The calls for one type of resources. The provider reads each resource after it has made or changed it. */
export interface ResourceCalls {
  /** The real provider's source: files of hashicorp/terraform-provider-aws, below internal/service. */
  source: string;
  create: Calls;
  read: Calls;
  /** The calls for a change of each property. A property that is missing here cannot change in the sandbox. */
  update: Record<string, Calls>;
  remove: Calls;
}

/** Actions that AWS cannot limit to a resource. */
export function everywhere(...actions: string[]): ApiCall[] {
  return actions.map((action) => ({ action, targets: [{ resource: "*" }] }));
}

/** Several actions on the same resource. */
export function on(target: Target, ...actions: string[]): ApiCall[] {
  return actions.map((action) => ({ action, targets: [target] }));
}

/** The condition keys of a request that gives tags. */
export function requestTags(tags: Tags): Context {
  return {
    ...Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:RequestTag/${key}`, value])),
    "aws:TagKeys": Object.keys(tags),
  };
}

/** The condition keys of a resource with tags. */
export function resourceTags(tags: Tags): Context {
  return Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:ResourceTag/${key}`, value]));
}

export function tagsOf({ tags }: Values): Tags {
  return (tags ?? {}) as Tags;
}

/** The calls that change the tags of an existing resource: one removes tags, one sets new and changed tags. */
export function retagged(
  { resource, context }: Target,
  { inputs, olds: before = {} }: Pick<Subject, "inputs" | "olds">,
  actions: { remove: string; set: string },
): ApiCall[] {
  const [news, olds] = [tagsOf(inputs), tagsOf(before)];
  const removed = Object.keys(olds).filter((key) => !(key in news));
  const changed = Object.entries(news).filter(([key, value]) => olds[key] !== value);
  const target = (request: Context) => ({ resource, context: { ...context, ...request } });
  return [
    ...(removed.length > 0 ? on(target({ "aws:TagKeys": removed }), actions.remove) : []),
    ...(changed.length > 0 ? on(target(requestTags(Object.fromEntries(changed))), actions.set) : []),
  ];
}

export function arnOf(service: string, name: string): string {
  const isGlobal = service === "iam";
  return `arn:aws:${service}:${isGlobal ? "" : region}:${accountId}:${name}`;
}

/** A property whose change needs no call to AWS. */
export const noCalls: Calls = () => [];
