import type { Context } from "../cloud/policy";
import { accountId, region } from "./account";
import type { Values } from "./values";

/**
 * The calls to AWS's API that the real provider makes for a resource, with all that a policy can judge them by. The
 * sandbox makes none of them: it judges each by the role that deploys the stack.
 *
 * Which resources and condition keys AWS looks at is said by its Service Authorization Reference. Test:
 * test/unit/deploy-role.test.ts
 */
export interface ApiCall {
  action: string;
  /** What it is about. AWS judges each alone, and all have to be allowed. */
  targets: Target[];
}

export interface Target {
  /** An ARN; `*` for an action that AWS cannot limit to a resource. */
  resource: string;
  /** What of the request and of this resource a policy can ask for, besides the region. */
  context?: Context;
}

export type Tags = Record<string, string>;

/** A resource that calls are made for. */
export interface Subject {
  id: string;
  inputs: Values;
  /** Its inputs until now, where it is changed. */
  olds?: Values;
  outputs: Values;
}

/** What the account has, as far as policies ask for it. */
export interface Inventory {
  /** Tags of a resource of EC2, by its id; none for one that is not known. */
  tagsOf(id: string): Tags;
  networkInterface(id: string): { subnetId: string; securityGroups: string[] };
  role(name: string): { arn: string; boundary?: string };
  instanceProfile(name: string): { arn: string; role: string };
}

type Calls = (subject: Subject, inventory: Inventory) => ApiCall[];

/** The calls for one type of resources. The provider reads what it has made or changed. */
export interface ResourceCalls {
  /** Where the real provider makes them: files of hashicorp/terraform-provider-aws, below internal/service. */
  source: string;
  create: Calls;
  read: Calls;
  /** By the property that changes; a property that is not here cannot change in the sandbox. */
  update: Record<string, Calls>;
  remove: Calls;
}

/** Actions that AWS cannot limit to a resource. */
export function everywhere(...actions: string[]): ApiCall[] {
  return actions.map((action) => ({ action, targets: [{ resource: "*" }] }));
}

/** Actions on one resource each. */
export function on(target: Target, ...actions: string[]): ApiCall[] {
  return actions.map((action) => ({ action, targets: [target] }));
}

/** What a request says of the tags that it gives. */
export function requestTags(tags: Tags): Context {
  return {
    ...Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:RequestTag/${key}`, value])),
    "aws:TagKeys": Object.keys(tags),
  };
}

/** What a policy sees of the tags that a resource has. */
export function resourceTags(tags: Tags): Context {
  return Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:ResourceTag/${key}`, value]));
}

export function tagsOf({ tags }: Values): Tags {
  return (tags ?? {}) as Tags;
}

/** The tags that a change sets, and the keys of those that it takes away. */
export function changedTags(olds: Tags, news: Tags): { set: Tags; gone: string[] } {
  return {
    set: Object.fromEntries(Object.entries(news).filter(([key, value]) => olds[key] !== value)),
    gone: Object.keys(olds).filter((key) => !(key in news)),
  };
}

export function arnOf(service: string, name: string): string {
  const isGlobal = service === "iam";
  return `arn:aws:${service}:${isGlobal ? "" : region}:${accountId}:${name}`;
}

/** A property whose change needs no call to AWS. */
export const noCalls: Calls = () => [];
