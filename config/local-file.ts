import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";

/** A file on this computer that will be uploaded. */
export interface LocalFile {
  path: string;
  /** In hexadecimal digits. */
  sha256: string;
}

const hashed = new Map<string, LocalFile>();

/**
 * The file at a path with its checksum. A WCS tarball has some 300 MB, and both the check of the configuration and the
 * upload need its checksum. So the file is read in parts, and once in a program.
 */
export function hashFile(path: string): LocalFile {
  const file = hashed.get(path) ?? readAndHash(path);
  hashed.set(path, file);
  return file;
}

/** The file at a path with its checksum, read again even if this program has read it before. */
export function readAndHash(path: string): LocalFile {
  const hash = createHash("sha256");
  const part = Buffer.allocUnsafe(1 << 20);
  const file = openSync(path, "r");
  try {
    for (let length = readSync(file, part); length > 0; length = readSync(file, part)) {
      hash.update(part.subarray(0, length));
    }
  } finally {
    closeSync(file);
  }
  return { path, sha256: hash.digest("hex") };
}
