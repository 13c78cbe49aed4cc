import { accountId, region } from "../provider/account";
import type { ApiCall } from "../provider/calls";
import { type Context, judge, type Rights, refusal } from "./policy";

/** Who asks AWS: a role that somebody has taken. */
export interface Caller extends Rights {
  role: string;
  /** Where the text of its policies stands, for those who have to change it. */
  file: string;
}

/** What every request has: its region (IAM and Route 53 have one for all), TLS, and whose the resource is. */
function circumstances(action: string): Context {
  const isGlobal = /^(iam|route53):/.test(action);
  return {
    "aws:RequestedRegion": isGlobal ? "us-east-1" : region,
    "aws:SecureTransport": "true",
    // Buckets of others are not in the sandbox. For other services no policy asks, and not each call has the key.
    ...(action.startsWith("s3:") && { "aws:ResourceAccount": accountId }),
  };
}

/**
 * Checks that a caller may make calls, each with all that it is about.
 * @throws Error in the words of AWS, and the file that decides
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
