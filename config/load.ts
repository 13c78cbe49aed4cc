import * as pulumi from "@pulumi/pulumi";
import type { SizeCheck } from "./contradictions";
import { ConfigError } from "./messages";
import { fromEngine, parseConfig } from "./parse";
import type { PublicConfig, SecretKey } from "./schema";
import { checkLocalPackage } from "./wcs-package";

/** The SDK has this function, but marks it internal and leaves it out of its types. */
const { isConfigSecret } = pulumi.runtime as unknown as { isConfigSecret(key: string): boolean };

export type StackConfig = PublicConfig & { [key in SecretKey]?: pulumi.Output<string> };

/**
 * The validated configuration of the current stack, secrets as secret outputs.
 * @param now the time at which a user-supplied certificate must be valid
 * @param sizeProblems finds values that do not fit into the documents of the machines
 * @throws pulumi.RunError, which the engine prints without a stack trace
 */
export function loadConfig(now: Date, sizeProblems: SizeCheck): StackConfig {
  const namespace = `${pulumi.getProject()}:`;
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(pulumi.runtime.allConfig())) {
    if (!name.startsWith(namespace)) continue;
    const key = name.slice(namespace.length);
    values[key] = fromEngine(key, value);
  }
  try {
    const config = parseConfig(values, (key) => isConfigSecret(namespace + key), now, sizeProblems);
    checkLocalPackage(config);
    const secret = (value: string | undefined) => (value === undefined ? undefined : pulumi.secret(value));
    return {
      ...config,
      tlsPrivateKey: secret(config.tlsPrivateKey),
      wcsLicenseKey: secret(config.wcsLicenseKey),
    };
  } catch (error) {
    if (error instanceof ConfigError) throw new pulumi.RunError(error.message);
    throw error;
  }
}
