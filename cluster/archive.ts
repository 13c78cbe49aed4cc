import { Header } from "tar";
import { sha256 } from "./desired-state";

interface ArchiveFile {
  /** Without a leading slash. */
  path: string;
  content: Uint8Array;
  /** Permission bits, such as 0o644. */
  mode: number;
}

/** A file that machines fetch. Its name holds the checksum of its content. */
export interface Archive {
  bytes: Buffer;
  /** In hexadecimal digits. */
  sha256: string;
}

const blockBytes = 512;

/** A file's blocks: its header, and its content filled up with zeros. */
function entry({ path, content, mode }: ArchiveFile): Buffer[] {
  const block = Buffer.alloc(blockBytes);
  const header = new Header({
    path,
    mode,
    uid: 0,
    gid: 0,
    size: content.length,
    mtime: new Date(0),
    type: "File",
  });
  if (header.encode(block)) throw new Error(`${path} is too long for a tar archive`);
  return [block, Buffer.from(content), Buffer.alloc(-content.length & (blockBytes - 1))];
}

/**
 * A tar archive with the same bytes on every computer: its entries are sorted, belong to root and have no times, and it
 * is not compressed. The package `tar` would take modes and times from the disk, where they differ between computers.
 */
export function packTar(files: ArchiveFile[]): Archive {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
  const bytes = Buffer.concat([...sorted.flatMap(entry), Buffer.alloc(2 * blockBytes)]);
  return { bytes, sha256: sha256(bytes) };
}
