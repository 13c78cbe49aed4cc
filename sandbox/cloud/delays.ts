/** How long the sandbox's load balancers take. AWS promises nothing here; the guesses for AWS come from its users' reports. */
export interface Delays {
  /** From RegisterTargets to the first health check. */
  registerSeconds: number;
  /** For this time after DeregisterTargets new connections still arrive, whatever the target group's delay is. */
  tailSeconds: number;
  /** A target is listed as draining for its group's delay, but no longer than this. */
  drainingSeconds: number;
  /** Targets are checked at their group's interval, but at least this often. */
  checkSeconds: number;
}

const longest = Number.POSITIVE_INFINITY;
const likeAws: Delays = {
  registerSeconds: 90,
  tailSeconds: 120,
  drainingSeconds: longest,
  checkSeconds: longest,
};
const short: Delays = { registerSeconds: 2, tailSeconds: 3, drainingSeconds: 5, checkSeconds: 1 };

export const delaysVariable = "WCS_SANDBOX_LOAD_BALANCER";

const keys: Record<string, keyof Delays> = {
  register: "registerSeconds",
  tail: "tailSeconds",
  draining: "drainingSeconds",
  check: "checkSeconds",
};

/**
 * The delays that a person asks for: `aws`, or some in seconds, such as `register=10,tail=20`.
 * @throws Error that says what is allowed
 */
export function parseDelays(value = ""): Delays {
  if (value === "aws") return likeAws;
  const delays = { ...short };
  for (const part of value.split(",").filter(Boolean)) {
    const [name = "", seconds = ""] = part.split("=");
    const key = keys[name];
    if (!key || !/^\d+(\.\d+)?$/.test(seconds))
      throw new Error(
        `${delaysVariable} is "${value}"; it must be "aws", or some of ${Object.keys(keys).join(", ")} with seconds, ` +
          'such as "register=10,tail=20"',
      );
    delays[key] = Number(seconds);
  }
  return delays;
}
