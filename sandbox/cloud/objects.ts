import { constants, cpSync, existsSync, linkSync, mkdirSync, readdirSync } from "node:fs";
import { copyFile, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Asset } from "../provider/asset";

/**
 * The content of S3's objects: one file for each object, in the folder of its bucket. A file never changes, so copies
 * of a sandbox can share it.
 */
export class ObjectStore {
  constructor(private readonly folder: string) {}

  /** @throws Error when the asset's file cannot be read */
  async put(bucket: string, key: string, { path, text }: Asset): Promise<void> {
    const file = this.fileOf(bucket, key);
    await mkdir(join(this.folder, bucket), { recursive: true });
    // Shares the blocks of the original where the file system can.
    if (path !== undefined) await copyFile(path, `${file}.new`, constants.COPYFILE_FICLONE);
    else await writeFile(`${file}.new`, text ?? "");
    await rename(`${file}.new`, file);
  }

  /** Where the content of an object lies; a key has no slash at an end, nor two together. */
  fileOf(bucket: string, key: string): string {
    // Not a folder for each slash: "a" and "a/b" can both be objects.
    return join(this.folder, bucket, `object ${encodeURIComponent(key)}`);
  }

  async remove(bucket: string, key: string): Promise<void> {
    await rm(this.fileOf(bucket, key), { force: true });
  }

  async removeBucket(bucket: string): Promise<void> {
    await rm(join(this.folder, bucket), { recursive: true, force: true });
  }
}

/** Shares the objects of a sandbox with another one, without copying their bytes. */
export function shareObjects(from: string, to: string): void {
  if (!existsSync(from)) return;
  for (const bucket of readdirSync(from)) {
    mkdirSync(join(to, bucket), { recursive: true });
    for (const name of readdirSync(join(from, bucket))) {
      const [original, copy] = [join(from, bucket, name), join(to, bucket, name)];
      try {
        linkSync(original, copy);
      } catch (error) {
        // The folders are on different disks.
        if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
        cpSync(original, copy);
      }
    }
  }
}
