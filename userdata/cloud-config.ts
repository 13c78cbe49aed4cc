import { gzipSync, strToU8 } from "fflate";
import { stringify } from "yaml";
import { leanFile } from "./files";

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
  /** Who may log in by SSH as the image's own user. @default nobody */
  sshPublicKey?: string;
}

/**
 * The steps of a set-up, in this order, as scripts that cloud-init runs once after the packages: one a step,
 * since cloud-init names the script that failed.
 */
export function setupSteps(names: string[]): MachineFile[] {
  const steps = names.map((name, index) => ({
    path: `/var/lib/cloud/scripts/per-instance/${(index + 1) * 10}-${name.replace(/^.*\/|\.sh$/g, "")}`,
    content: leanFile(name),
    permissions: "0755",
  }));
  return [{ path: "/usr/local/lib/wcs-setup/step.sh", content: leanFile("setup/step.sh") }, ...steps];
}

/** What lets root alone ask the metadata service; the step setup/metadata.sh puts it into force. */
export function metadataFilter(): MachineFile[] {
  return [
    { path: "/etc/wcs-setup/metadata.nft", content: leanFile("setup/metadata.nft") },
    { path: "/etc/systemd/system/wcs-metadata.service", content: leanFile("setup/wcs-metadata.service") },
  ];
}

/** EC2 takes 16 KB of user-data, before base64 (Amazon EC2 User Guide, "Run commands when you launch"). */
export const userDataLimitBytes = 16_384;

/** Renders user-data that suits apt and dnf images. */
export function renderCloudConfig({ packages, files, sshPublicKey }: CloudConfig): string {
  const document = {
    package_update: true,
    packages,
    ...(sshPublicKey ? { ssh_authorized_keys: [sshPublicKey] } : {}),
    write_files: files.map(({ path, content, permissions = "0644" }) => ({ path, permissions, content })),
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
