import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { cache } from "./paths";

/** The exit status of flock when another process has the lock. */
const lockedStatus = 75;

/** A shorter wait needs no message. */
const quietMilliseconds = 1000;

/** Ends a lock. */
type Unlock = () => Promise<void>;

/**
 * Takes a lock in the cache. It ends with this process in any case, since flock's command ends with its input.
 * @returns undefined when another process has the lock, and flock's options say not to wait
 * @throws Error when flock cannot lock
 */
async function lock(name: string, ...options: string[]): Promise<Unlock | undefined> {
  mkdirSync(cache, { recursive: true });
  const file = join(cache, `lock-${name}`);
  const args = ["--conflict-exit-code", String(lockedStatus), ...options, file, "sh", "-c", "echo; exec cat"];
  const holder = spawn("flock", args, {
    stdio: ["pipe", "pipe", "inherit"],
    // Ctrl-C must not end the lock before this process.
    detached: true,
  });
  const ended = once(holder, "close").then(([status]) => status as number | null);
  // flock may end before it has the lock.
  const status = await Promise.race([once(holder.stdout, "data").then(() => 0), ended]);
  if (status === lockedStatus) return;
  if (status !== 0 || holder.exitCode !== null)
    throw new Error(`flock ended with the status ${status}: the lock ${file} cannot be used`);
  return async () => {
    holder.stdin.end();
    await ended;
  };
}

/**
 * Runs a function under a lock.
 * @param busy the beginning of the message when another process has the lock
 * @throws Error when another process has the lock, or flock cannot lock
 */
export async function underLock<T>(name: string, busy: string, use: () => Promise<T>): Promise<T> {
  const unlock = await lock(name, "--nonblock");
  if (!unlock) throw new Error(`${busy}; try again when it has ended`);
  try {
    return await use();
  } finally {
    await unlock();
  }
}

/**
 * Runs a function while no other process changes the cache. Waits for its turn.
 * @throws Error when flock cannot lock
 */
export async function withCacheLock<T>(use: () => Promise<T>): Promise<T> {
  const waiting = setTimeout(
    () => console.log("Waiting for another command that prepares the sandbox's cache."),
    quietMilliseconds,
  );
  const unlock = await lock("cache").finally(() => clearTimeout(waiting));
  try {
    return await use();
  } finally {
    await unlock?.();
  }
}
