import { resolve } from "node:path";
import { hashFile } from "./local-file";
import { ConfigError, fixCommand, show } from "./messages";
import type { ConfigValues } from "./schema";

/** The path of the tarball to upload, if wcsPackage is a file. A relative path begins at the project's folder. */
export function localWcsPackage({ wcsPackage }: Pick<ConfigValues, "wcsPackage">): string | undefined {
  return wcsPackage === undefined || wcsPackage.startsWith("s3://")
    ? undefined
    : resolve(__dirname, "..", wcsPackage);
}

/**
 * Checks the file that wcsPackage names.
 * @throws ConfigError when it cannot be read or has another checksum than the configuration says
 */
export function checkLocalPackage(config: ConfigValues): void {
  const path = localWcsPackage(config);
  if (path === undefined) return;
  let sha256: string;
  try {
    ({ sha256 } = hashFile(path));
  } catch (error) {
    throw new ConfigError(
      `wcsPackage is ${show(config.wcsPackage)}; it must be a file that can be read ` +
        `(${(error as NodeJS.ErrnoException).code} for ${path}), or s3://BUCKET/KEY on computers without it, as in CI. ` +
        `Set it with: ${fixCommand(["wcsPackage"])}`,
    );
  }
  if (config.wcsPackageSha256 && config.wcsPackageSha256 !== sha256) {
    throw new ConfigError(
      `wcsPackageSha256 is ${config.wcsPackageSha256}; the file ${show(config.wcsPackage)} has ${sha256}. ` +
        "The checksum of a file is computed. Remove the key with: pulumi config rm wcsPackageSha256",
    );
  }
}
