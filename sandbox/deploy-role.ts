import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Caller } from "./cloud/caller";
import { type Statement, statementsOf } from "./cloud/policy";
import { projectRoot } from "./paths";
import { accountId, region, vpcId } from "./provider/account";

/** A policy of docs/ci, with names in capitals that whoever sets up a stack replaces. */
export type PolicyFile = "deploy-role" | "permissions-boundary" | "preview-role";

export const fileOf = (policy: PolicyFile) => `docs/ci/${policy}.json`;

/** What the sandbox puts in place of the names in capitals, for a stack with these values of its configuration. */
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
    readFileSync(join(projectRoot, fileOf(policy)), "utf8"),
  );
}

/** What docs/ci.md adds to the deploy role of a stack with images of its own. */
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

/** The deploy role's policy for a stack with these values of its configuration. */
export function deployPolicy(stack: string, values: Record<string, unknown>): string {
  const policy = fillPolicy("deploy-role", namesOf(stack, values));
  const images = ownImages(values);
  return images
    ? JSON.stringify({ ...JSON.parse(policy), Statement: [...statementsOf(policy), images] })
    : policy;
}

/** The permissions boundary of a stack's machines. */
export function boundaryArn(stack: string): string {
  return `arn:aws:iam::${accountId}:policy/wcs-balancer-${stack}-boundary`;
}

/**
 * The role that deploys a stack. Each zone and domain that the stack has had in this sandbox stays in it, as whoever
 * moves a stack to another name keeps the old one in the role until its record is gone.
 * @param folder where the sandbox keeps which those were
 */
export function deployer(folder: string, stack: string, values: Record<string, unknown>): Caller {
  const file = join(folder, `deploy-role-${stack}.json`);
  const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as string[]) : [];
  const policies = [...new Set([...earlier, deployPolicy(stack, values)])];
  writeFileSync(file, JSON.stringify(policies));
  return { role: `wcs-balancer-deploy-${stack}`, policies, file: fileOf("deploy-role") };
}
