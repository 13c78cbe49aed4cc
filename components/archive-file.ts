import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Archive } from "../cluster/archive";
import { type LocalFile, readAndHash } from "../config/local-file";

/** What this computer has packed; nothing of it is needed after an update. */
const buildFolder = join(__dirname, "../build");

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
