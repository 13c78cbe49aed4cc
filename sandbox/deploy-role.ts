import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Caller } from "./cloud/caller";
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
  const policies = [...new Set([...earlier, fillPolicy("deploy-role", namesOf(stack, values))])];
  writeFileSync(file, JSON.stringify(policies));
  return { role: `wcs-balancer-deploy-${stack}`, policies, file: fileOf("deploy-role") };
}
