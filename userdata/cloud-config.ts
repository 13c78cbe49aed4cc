import { gzipSync, strToU8 } from "fflate";
import { stringify } from "yaml";

/** A file that cloud-init writes before packages are installed. */
export interface MachineFile {
  path: string;
  content: string;
  /** @default "0644" */
  permissions?: string;
}

export interface CloudConfig {
  packages: string[];
  files: MachineFile[];
  /** The one script that sets the machine up: cloud-init's runcmd notices only the status of its last command. */
  setup: string;
}

/** EC2 takes 16 KB of user-data, before base64 (Amazon EC2 User Guide, "Run commands when you launch"). */
export const userDataLimitBytes = 16_384;

/** Renders user-data that suits apt and dnf images. */
export function renderCloudConfig({ packages, files, setup }: CloudConfig): string {
  const document = {
    package_update: true,
    packages,
    write_files: files.map(({ path, content, permissions = "0644" }) => ({ path, permissions, content })),
    runcmd: [[setup]],
  };
  return `#cloud-config\n${stringify(document, { lineWidth: 0 })}`;
}

/**
 * User-data as EC2 takes it: gzip and base64. Compressed in JavaScript and without a time stamp: Node's own
 * gzip gives other bytes on another machine, which would replace every instance.
 * @throws Error when it is larger than EC2 takes
 */
export function encodeUserData(text: string): string {
  const bytes = gzipSync(strToU8(text), { level: 9, mtime: 0 });
  if (bytes.length > userDataLimitBytes) {
    throw new Error(`user-data has ${bytes.length} bytes; EC2 takes ${userDataLimitBytes}`);
  }
  return Buffer.from(bytes).toString("base64");
}
