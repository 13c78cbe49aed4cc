import type { PublicConfig } from "../config/schema";

/** The ways of clients to the balancers. */
export interface ClientPaths {
  /** By the Elastic IP of the first balancer. */
  address: boolean;
  /** By a Network Load Balancer. */
  loadBalancer: boolean;
}

/** The ways of clients that a stack uses. */
export function clientPathsOf({
  balancers,
  entry = balancers > 1 ? "loadBalancer" : "address",
}: Pick<PublicConfig, "balancers" | "entry">): ClientPaths {
  return { address: entry !== "loadBalancer", loadBalancer: entry !== "address" };
}

/** The first balancer's name in earlier versions, when it was the only one. Its subnet still depends on this name. */
export const formerBalancerName = "balancer";

/** The balancers' names. */
export function balancerNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `balancer-${index + 1}`);
}

/** How long a balancer that leaves keeps serving, before its drain time-out begins. */
export interface Leave {
  /** AWS still sends new clients for some minutes. DNS is remembered, too. */
  tailSeconds: number;
  /** For this long no new client must have come. */
  quietSeconds: number;
}

export const defaultLeave: Leave = { tailSeconds: 300, quietSeconds: 60 };

/**
 * The times in an environment's WCS_BALANCER_LEAVE, with which tests wait less; otherwise the default ones.
 * @throws Error for a value of another form
 */
export function leaveOf({ WCS_BALANCER_LEAVE: text }: Record<string, string | undefined>): Leave {
  if (text === undefined) return defaultLeave;
  const [, tail, quiet] = /^tail=(\d{1,5}),quiet=(\d{1,5})$/.exec(text) ?? [];
  if (tail && quiet) return { tailSeconds: Number(tail), quietSeconds: Number(quiet) };
  throw new Error(
    `WCS_BALANCER_LEAVE is "${text}"; it must be two numbers of seconds, such as tail=5,quiet=2. Without it they are ` +
      `${defaultLeave.tailSeconds} and ${defaultLeave.quietSeconds}`,
  );
}
