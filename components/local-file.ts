import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { Archive } from "../cluster/archive";

/** A file of this computer, to be uploaded. */
export interface LocalFile {
  path: string;
  /** In hexadecimal digits. */
  sha256: string;
}

/** What this computer has packed; nothing of it is needed after an update. */
const buildFolder = join(__dirname, "../build");

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

function readAndHash(path: string): LocalFile {
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

/** Writes an archive to a file, under a name that says what is in it. */
export function writeArchive(name: string, { bytes, sha256 }: Archive): LocalFile {
  const path = join(buildFolder, `${name}-${sha256}.tar`);
  // What is there may have been cut off.
  if (!existsSync(path) || readAndHash(path).sha256 !== sha256) {
    mkdirSync(buildFolder, { recursive: true });
    const written = `${path}.${process.pid}`;
    writeFileSync(written, bytes);
    // Another program may do the same at this moment.
    renameSync(written, path);
    const older = readdirSync(buildFolder).filter(
      (file) => file.startsWith(`${name}-`) && file.endsWith(".tar"),
    );
    for (const file of older.filter((file) => file !== basename(path))) rmSync(join(buildFolder, file));
  }
  return { path, sha256 };
}
