import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Archive } from "../cluster/archive";
import { type LocalFile, readAndHash } from "../config/local-file";

/** The folder of the archives that this computer has packed. After `pulumi up` they are not needed any more. */
const buildFolder = join(__dirname, "../build");

/** Writes an archive to a file whose name holds the archive's checksum. */
export function writeArchive(name: string, { bytes, sha256 }: Archive): LocalFile {
  const path = join(buildFolder, `${name}-${sha256}.tar`);
  // An existing file may be incomplete.
  if (!existsSync(path) || readAndHash(path).sha256 !== sha256) {
    mkdirSync(buildFolder, { recursive: true });
    const written = `${path}.${process.pid}`;
    writeFileSync(written, bytes);
    // Another program may write the same file at this moment.
    renameSync(written, path);
    const older = readdirSync(buildFolder).filter(
      (file) => file.startsWith(`${name}-`) && file.endsWith(".tar"),
    );
    for (const file of older.filter((file) => file !== basename(path))) rmSync(join(buildFolder, file));
  }
  return { path, sha256 };
}
