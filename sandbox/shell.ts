import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** A command that failed; the message holds the command and what it printed. */
export class CommandError extends Error {}

/** Runs a command to its end and gives what it printed. */
export function run(command: string, args: string[], options: { input?: string; cwd?: string } = {}): string {
  const result = spawnSync(command, args, {
    ...options,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" },
  });
  if (result.error) throw new CommandError(`${command}: ${result.error.message}`);
  if (result.status !== 0) {
    const output = `${result.stdout}${result.stderr}`.trim().split("\n").slice(-15).join("\n");
    throw new CommandError(
      `${[command, ...args].join(" ").slice(0, 300)} failed (${result.status}):\n${output}`,
    );
  }
  return result.stdout;
}

/** Whether a command succeeds. */
export function succeeds(command: string, args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** The capabilities outside a bounding set of /proc/PID/status, up to the kernel's last one. */
export function capabilitiesOutside(status: string, last: number): number[] {
  const bounding = BigInt(`0x${status.match(/^CapBnd:\s*([0-9a-f]+)$/m)?.[1] ?? "0"}`);
  return Array.from({ length: last + 1 }, (_, number) => number).filter(
    (number) => ((bounding >> BigInt(number)) & 1n) === 0n,
  );
}

/**
 * The arguments of nsenter that run a command among a machine's own processes, with no more rights than these have:
 * nsenter alone keeps this computer's, such as to set the clock that all machines share.
 * @param leader the machine's systemd, as this computer sees it
 */
export function inMachine(leader: number, command: string[]): string[] {
  const last = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
  const outside = capabilitiesOutside(readFileSync(`/proc/${leader}/status`, "utf8"), last);
  const drop = outside.map((number) => `-cap_${number}`).join(",");
  const rights = ["setpriv", `--bounding-set=${drop}`, "--inh-caps=-all"];
  return ["--target", String(leader), "--all", "--wdns=/", "--", ...rights, ...command];
}

/** Runs a long command without blocking this process. */
export function runAsync(
  command: string,
  args: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive", ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (part: Buffer) => {
      output = (output + part.toString()).slice(-4000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => reject(new CommandError(`${command}: ${error.message}`)));
    child.on("close", (status) => {
      if (status === 0) resolve();
      else
        reject(
          new CommandError(
            `${[command, ...args].join(" ").slice(0, 300)} failed (${status}):\n${output.trim()}`,
          ),
        );
    });
  });
}
