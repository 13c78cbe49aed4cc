import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clientPathsOf } from "../cluster/entry";
import type { Entry } from "../config/schema";
import { accountId, region, vpcId } from "./account";
import { programRoot } from "./paths";
import type { Caller } from "./rights/caller";
import { type Statement, statementsOf } from "./rights/policy";

/** The policies of docs/ci. They contain names in capitals, which a person replaces to set up a stack. */
export const policyFiles = [
  "deploy-load-balancer",
  "deploy-role",
  "permissions-boundary",
  "preview-role",
] as const;

export type PolicyFile = (typeof policyFiles)[number];

const fileOf = (policy: PolicyFile) => `docs/ci/${policy}.json`;

/** The values of the names in capitals, for a stack with this configuration. */
export function namesOf(stack: string, values: Record<string, unknown>): Record<string, string> {
  return {
    ACCOUNT: accountId,
    REGION: region,
    STACK: stack,
    VPC: String(values.vpcId ?? vpcId),
    BOUNDARY: `wcs-balancer-${stack}-boundary`,
    DOMAIN: String(values.domain),
    ZONE: String(values.hostedZone ?? "Z0000000000000"),
    TARBALL: /^s3:\/\/(.+)$/.exec(String(values.wcsPackage))?.[1] ?? "none/none",
    STATE_BUCKET: "pulumi-state",
    STATE_KEY: "00000000-0000-0000-0000-000000000000",
  };
}

/** The text of a policy with names filled in, as `sed` does in docs/ci.md. */
export function fillPolicy(policy: PolicyFile, names: Record<string, string>): string {
  return Object.entries(names).reduce(
    (text, [name, value]) => text.replace(new RegExp(`\\b${name}\\b`, "g"), value),
    readFileSync(join(programRoot, fileOf(policy)), "utf8"),
  );
}

/** The statement that docs/ci.md adds to the deploy role of a stack with user-supplied images. */
export function ownImages(values: Record<string, unknown>): Statement | undefined {
  const images = [values.nodeAmi, values.balancerAmi].filter((ami) => ami !== undefined);
  if (images.length === 0) return undefined;
  return {
    Sid: "RunOwnImages",
    Effect: "Allow",
    Action: "ec2:RunInstances",
    Resource: images.map((ami) => `arn:aws:ec2:${region}::image/${ami}`),
  };
}

/** Whether a stack with these values has a load balancer: then the deploy role has a second policy (docs/ci.md). */
function hasLoadBalancer({ entry, balancers = 1 }: Record<string, unknown>): boolean {
  return clientPathsOf({ balancers: Number(balancers), entry: entry as Entry | undefined }).loadBalancer;
}

/** The deploy role's policies for a stack with these values of its configuration. */
export function deployPolicies(stack: string, values: Record<string, unknown>): string[] {
  const names = namesOf(stack, values);
  const policy = fillPolicy("deploy-role", names);
  const images = ownImages(values);
  const inline = images
    ? JSON.stringify({ ...JSON.parse(policy), Statement: [...statementsOf(policy), images] })
    : policy;
  return hasLoadBalancer(values) ? [inline, fillPolicy("deploy-load-balancer", names)] : [inline];
}

/** The permissions boundary of a stack's machines. */
export function boundaryArn(stack: string): string {
  return `arn:aws:iam::${accountId}:policy/wcs-balancer-${stack}-boundary`;
}

/**
 * The role that deploys a stack. It keeps the rights for every zone and domain that the stack has had in this sandbox: a
 * stack that moves to another name needs the old one until its record is deleted. In the same way it keeps the rights
 * for a load balancer.
 * @param folder where the sandbox stores the earlier policies
 */
export function deployer(folder: string, stack: string, values: Record<string, unknown>): Caller {
  const file = join(folder, `deploy-role-${stack}.json`);
  const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as string[]) : [];
  const policies = [...new Set([...earlier, ...deployPolicies(stack, values)])];
  writeFileSync(file, JSON.stringify(policies));
  const isAttached = policies.some((policy) => policy.includes("elasticloadbalancing:"));
  const files: PolicyFile[] = isAttached ? ["deploy-role", "deploy-load-balancer"] : ["deploy-role"];
  return { role: `wcs-balancer-deploy-${stack}`, policies, file: files.map(fileOf).join(" and ") };
}
