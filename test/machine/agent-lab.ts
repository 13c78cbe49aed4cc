import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";
import { DebianRoot } from "../debian-root";
import { filledMachines } from "./filled-machines";

/** How the WCS of a case behaves on port 8081. */
export type Wcs =
  | { kind: "answers"; body: string; status?: number; keepsOpen?: boolean; noLength?: boolean }
  | { kind: "refuses" | "silent" | "drips" | "endless" | "full-backlog" };

export interface Case {
  name: string;
  wcs: Wcs;
  args: string[];
  /** 1-minute load average. @default 0.10 */
  load?: string;
  /** Processors of the machine, as the kernel lists them. @default "0-1" */
  processors?: string;
  /** State that the set-up has left. @default none: the node is complete */
  setup?: string;
  environment?: Record<string, string>;
  /** Runs the launcher instead, with this on its standard input. */
  request?: string;
  /** What follows the request 0.3 s later. */
  rest?: string;
  /** What the answer begins with if this came in time. On a busy machine it may not: then the lab asks again. */
  restInTime?: string;
  /** How many ask at the same time; the answer is what all of them got, each once. @default 1 */
  askers?: number;
}

export interface Answer {
  output: string;
  error: string;
  status: number | null;
  /** Until the answer. If the machine was busy, without the time that an answer without any work takes. */
  seconds: number;
}

/**
 * Runs the agent on cases, in Debian's root and in a separate network namespace, so that port 8081 of this machine does
 * not matter.
 */
export async function answersOf(cases: Case[]): Promise<Answer[]> {
  const debian = await DebianRoot.with();
  const machines = filledMachines();
  try {
    for (const name of ["haproxy-agent-check.sh", "haproxy-agent-check-launch.sh"]) {
      debian.copy(join(machines, "node", name), `usr/local/bin/${name}`);
      run("chmod", ["755", join(debian.root, "usr/local/bin", name)]);
    }
    run("chroot", [debian.root, "localedef", "-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8"]);
    debian.write("sys/devices/system/cpu/online", "0-1\n");
    const input = join(debian.root, "cases.json");
    writeFileSync(input, JSON.stringify(cases));
    const output = await new Promise<string>((resolve, reject) => {
      const lab = spawn(
        "unshare",
        [
          "--net",
          "--mount",
          process.execPath,
          "--import",
          "tsx",
          join(__dirname, "agent-lab-run.ts"),
          debian.root,
        ],
        { stdio: ["ignore", "pipe", "inherit"], cwd: projectRoot },
      );
      let text = "";
      lab.stdout.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      lab.on("error", reject);
      lab.on("close", (status) =>
        status === 0 ? resolve(text) : reject(new Error(`the lab ended with ${status}`)),
      );
    });
    return JSON.parse(output) as Answer[];
  } finally {
    debian.remove();
  }
}
