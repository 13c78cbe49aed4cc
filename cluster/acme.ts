import type { PublicConfig } from "../config/schema";

/** Waits between orders, in seconds. */
export interface AcmeDelays {
  /** How much longer each next balancer of the list waits before a first order. SSM cannot lock anything. */
  turnSeconds: number;
  /** Between two checks of DNS and port 80, while an order is due. */
  checkSeconds: number;
  /** After a failed order; further failures wait several times as long. */
  failSeconds: number;
}

/** At most three failures an hour: Let's Encrypt allows five ("Rate Limits"). */
export const defaultAcmeDelays: AcmeDelays = { turnSeconds: 180, checkSeconds: 60, failSeconds: 300 };

/** The ACME directory that the balancers get the certificate from. */
export interface AcmeSource {
  /** The name to certify. */
  domain: string;
  /** The contact of the account. */
  email: string;
  directory: string;
  /** Null: the balancer takes the first profile that it knows among those of the directory. */
  profile: string | null;
  delays: AcmeDelays;
}

/** The ACME directory of a stack, if it has one. */
export function acmeSource(
  { acme, domain }: Pick<PublicConfig, "acme" | "domain">,
  delays: AcmeDelays,
): AcmeSource | undefined {
  if (!acme) return undefined;
  const { email, directory, profile = null } = acme;
  return { domain, email, directory, profile, delays };
}

/**
 * The waits in an environment's WCS_BALANCER_ACME, with which tests wait less; otherwise the default ones.
 * @throws Error for a value of another form
 */
export function acmeDelaysOf({ WCS_BALANCER_ACME: text }: Record<string, string | undefined>): AcmeDelays {
  if (text === undefined) return defaultAcmeDelays;
  const [, turn, check, fail] = /^turn=(\d{1,5}),check=(\d{1,5}),fail=(\d{1,5})$/.exec(text) ?? [];
  if (turn && check && fail)
    return { turnSeconds: Number(turn), checkSeconds: Number(check), failSeconds: Number(fail) };
  const { turnSeconds, checkSeconds, failSeconds } = defaultAcmeDelays;
  throw new Error(
    `WCS_BALANCER_ACME is "${text}"; it must be three numbers of seconds, such as turn=10,check=2,fail=5. Without it they ` +
      `are ${turnSeconds}, ${checkSeconds} and ${failSeconds}`,
  );
}
