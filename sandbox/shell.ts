import { spawn, spawnSync } from "node:child_process";

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

/** Whether a command ends well. */
export function succeeds(command: string, args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** Runs a long command without blocking the ones beside it. */
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
