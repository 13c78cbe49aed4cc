import { accountId, region } from "../account";
import type { ApiCall } from "./calls";
import { type Context, judge, type Rights, refusal } from "./policy";

/** The caller of an AWS API: an assumed role. */
export interface Caller extends Rights {
  role: string;
  /** The file with the role's policies, for error messages. */
  file: string;
}

/** The context of every request: its region (IAM and Route 53 have only one), TLS, and the owner of the resource. */
function circumstances(action: string): Context {
  const isGlobal = /^(iam|route53):/.test(action);
  return {
    "aws:RequestedRegion": isGlobal ? "us-east-1" : region,
    "aws:SecureTransport": "true",
    // The sandbox has only buckets of this account. For other services, no policy uses the key, and some calls lack it.
    ...(action.startsWith("s3:") && { "aws:ResourceAccount": accountId }),
  };
}

/**
 * Checks that a caller may make calls, each on all of the call's resources.
 * @throws Error in AWS's words, with the name of the file that has to allow the call
 */
export function authorize({ role, file, ...rights }: Caller, calls: ApiCall[]): void {
  for (const { action, targets } of calls) {
    for (const { resource, context } of targets) {
      const verdict = judge({
        ...rights,
        action,
        resource,
        context: { ...circumstances(action), ...context },
      });
      if (verdict === "allowed") continue;
      const user = `arn:aws:sts::${accountId}:assumed-role/${role}/sandbox`;
      throw new Error(
        `AccessDenied: User: ${user} is not authorized to perform: ${action} on resource: ${resource} ` +
          `${refusal(verdict, action)}. The sandbox judges each call by ${file}, filled in for this stack.`,
      );
    }
  }
}
