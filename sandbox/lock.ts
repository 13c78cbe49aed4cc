import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { cache } from "./paths";

/** What flock ends with when somebody else has the lock. */
const lockedStatus = 75;
/** Names the lock that this process runs under. */
const lockVariable = "WCS_SANDBOX_LOCKED";

/**
 * Runs something under a lock that ends with this process, whatever ends it: this command runs again under flock.
 * @param busy what the message says when somebody else has the lock
 * @throws Error when somebody else has the lock
 */
export async function underLock(name: string, busy: string, use: () => Promise<number>): Promise<number> {
  if (process.env[lockVariable] === name) return use();
  mkdirSync(cache, { recursive: true });
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const result = spawnSync(
    "flock",
    [
      ...["--nonblock", "--close", "--conflict-exit-code", String(lockedStatus)],
      ...[join(cache, `lock-${name}`), ...command],
    ],
    { stdio: "inherit", env: { ...process.env, [lockVariable]: name } },
  );
  if (result.error) throw result.error;
  if (result.status === lockedStatus) throw new Error(`${busy}; try again when it has ended`);
  return result.status ?? 1;
}
