import { contradictions, type SizeCheck } from "./contradictions";
import { ConfigError, explain, fixCommand } from "./messages";
import {
  type ConfigValues,
  certificateKeys,
  configSchema,
  isSecretKey,
  type Key,
  secretKeys,
} from "./schema";

/**
 * Validates the configuration of a stack. Pure: no engine, no environment.
 *
 * @param values plain values by key, without the namespace
 * @param isSecret whether a key is stored encrypted
 * @param now the time at which a user-supplied certificate must be valid
 * @param sizeProblems finds values that do not fit into the documents of the machines
 * @throws ConfigError with one line for each problem
 */
export function parseConfig(
  values: Record<string, unknown>,
  isSecret: (key: string) => boolean,
  now: Date,
  sizeProblems: SizeCheck,
): ConfigValues {
  const exposed = secretKeys.filter((key) => values[key] !== undefined && !isSecret(key));
  if (exposed.length > 0) {
    throw new ConfigError(
      exposed
        .map(
          (key) => `${key} is stored in clear text; it must be a secret. Set it with: ${fixCommand([key])}`,
        )
        .join("\n"),
    );
  }
  // The program gives all other values to machines and previews in clear text. A certificate is no secret, but may be
  // stored as one, since it stays together with its key.
  const misplaced = Object.keys(values).filter(
    (key) => isSecret(key) && !isSecretKey(key) && !certificateKeys.includes(key),
  );
  if (misplaced.length > 0) {
    throw new ConfigError(
      misplaced
        .map(
          (key) =>
            `${key} is stored as a secret; only ${secretKeys.join(" and ")} are kept secret, and ${key} would be ` +
            `shown in previews and given to machines in clear text. Set it without --secret, or take the secret out of it`,
        )
        .join("\n"),
    );
  }
  const result = configSchema.safeParse(values);
  if (!result.success) {
    throw new ConfigError(result.error.issues.map((issue) => explain(issue, values)).join("\n"));
  }
  const problems = contradictions(result.data, now, sizeProblems);
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return result.data;
}

/** Pulumi gives every value as text. Values that the schema does not declare as text are parsed as JSON. */
export function fromEngine(key: string, value: string): unknown {
  const schema = configSchema.shape[key as Key];
  if (!schema || schema.safeParse(value).success) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
