import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cache } from "./paths";

/** The exit status of flock when another process has the lock. */
const lockedStatus = 75;
/** Names the lock that this process runs under. */
const lockVariable = "WCS_SANDBOX_LOCKED";

/**
 * Runs a function under a lock: this command runs again under flock, so the lock ends with the process in any case.
 * @param busy the beginning of the message when another process has the lock
 * @throws Error when another process has the lock
 */
export async function underLock(name: string, busy: string, use: () => Promise<number>): Promise<number> {
  if (process.env[lockVariable] === name) return use();
  mkdirSync(cache, { recursive: true });
  const flock = spawn(
    "env",
    [
      // It holds the lock until the command has ended, also after Ctrl-C.
      ...["--ignore-signal=INT", "flock"],
      ...["--nonblock", "--close", "--conflict-exit-code", String(lockedStatus)],
      ...[join(cache, `lock-${name}`), process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    ],
    { stdio: "inherit", env: { ...process.env, [lockVariable]: name } },
  );
  // Ctrl-C also reaches the command; this process waits until the command ends.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      for (const child of childrenOf(flock.pid)) process.kill(child, signal);
    });
  const status = await new Promise<number>((resolve, reject) => {
    flock.on("error", reject);
    flock.on("close", (code) => resolve(code ?? 1));
  });
  if (status === lockedStatus) throw new Error(`${busy}; try again when it has ended`);
  return status;
}

function childrenOf(pid: number | undefined): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
}
