import { gzipSync, strToU8 } from "fflate";
import { stringify } from "yaml";
import { setupLibrary, setupSettingsFile } from "../cluster/contract";
import { machineFile } from "./machine-file";

/** A file that cloud-init writes before packages are installed. */
interface MachineFile {
  path: string;
  content: string;
  /** @default "0644", which is cloud-init's own */
  permissions?: string;
}

/** A file that a machine fetches at its first boot, and verifies before it is used. */
export interface Package {
  /** `s3://BUCKET/KEY`, read by the machine's role, or a web address. */
  source: string;
  /** In hexadecimal digits. */
  sha256: string;
}

interface UserData {
  /** Packages of the distribution. */
  packages: string[];
  files: MachineFile[];
  /** The packages to fetch, by the names that steps use; `software` holds the scripts of the steps. */
  fetched: Record<string, Package>;
  /** The steps after `software` is there, in their order: see machines/setup/step.py. */
  steps: string[];
  /** How long a download that fails or is refused is tried again. */
  patienceSeconds: number;
  /** The public key for SSH, for the image's own user. @default no SSH */
  sshPublicKey?: string;
}

/** A new role's rights may take this long to arrive (AWS IAM User Guide, "eventually consistent": "minutes"). */
export const defaultPatienceSeconds = 180;

/**
 * How long machines try again to fetch their software, by an environment: tests that break it wait less.
 * @throws Error for a value that is no number of seconds
 */
export function patienceSecondsOf({
  WCS_BALANCER_PATIENCE_SECONDS: text,
}: Record<string, string | undefined>): number {
  if (text === undefined) return defaultPatienceSeconds;
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new Error(
    `WCS_BALANCER_PATIENCE_SECONDS is "${text}"; it must be a number of seconds, such as 10. Without it machines try ` +
      `for ${defaultPatienceSeconds} s`,
  );
}

/** One script for each step, since cloud-init names the script that failed. */
function stepScripts(steps: string[]): MachineFile[] {
  return steps.map((step, index) => ({
    path: `/var/lib/cloud/scripts/per-instance/${String(index + 1).padStart(2, "0")}-${step}`,
    content: `#!/bin/sh\nexec ${setupLibrary}/step.py ${step}\n`,
    permissions: "0755",
  }));
}

/** EC2 takes 16 KB of user-data, before base64 (Amazon EC2 User Guide, "Run commands when you launch"). */
export const userDataLimitBytes = 16_384;

/** Renders user-data that suits apt and dnf images. */
export function renderUserData(userData: UserData): string {
  const { packages, files, fetched, steps, patienceSeconds, sshPublicKey } = userData;
  const setup: MachineFile[] = [
    {
      path: setupSettingsFile,
      content: `${JSON.stringify({ packages: fetched, patienceSeconds }, null, 2)}\n`,
    },
    { path: `${setupLibrary}/step.py`, content: machineFile("setup/step.py"), permissions: "0755" },
    { path: `${setupLibrary}/aws_instance.py`, content: machineFile("setup/aws_instance.py") },
    ...stepScripts(["software-download", "software-checksum", "software-unpack", ...steps, "done"]),
  ];
  const document = {
    package_update: true,
    packages,
    ...(sshPublicKey ? { ssh_authorized_keys: [sshPublicKey] } : {}),
    write_files: [...files, ...setup],
  };
  return `#cloud-config\n${stringify(document, { lineWidth: 0, indentSeq: false })}`;
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
