import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";

/** A file of this computer, to be uploaded. */
export interface LocalFile {
  path: string;
  /** In hexadecimal digits. */
  sha256: string;
}

const hashed = new Map<string, LocalFile>();

/**
 * The file at a path with its checksum. It is read a part at a time, and once in a program: a WCS tarball, which the
 * check of the configuration and the upload both ask for, has some 300 MB.
 */
export function hashFile(path: string): LocalFile {
  const file = hashed.get(path) ?? readAndHash(path);
  hashed.set(path, file);
  return file;
}

/** The same, whatever this program has read there before. */
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
