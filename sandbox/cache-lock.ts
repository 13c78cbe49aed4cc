import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { cache } from "./paths";

/** A shorter wait needs no message. */
const quietMilliseconds = 1000;

/**
 * Runs a function while no other process changes the cache. Waits for its turn; the lock ends with this process in any
 * case, since flock's command ends with its input.
 * @throws Error when flock cannot lock
 */
export async function withCacheLock<T>(use: () => Promise<T>): Promise<T> {
  const file = join(cache, "lock-cache");
  const holder = spawn("flock", [file, "sh", "-c", "echo; exec cat"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended: Promise<never> = once(holder, "close").then(([status]) => {
    throw new Error(`flock ended with the status ${status}: the cache's lock ${file} cannot be used`);
  });
  const waiting = setTimeout(
    () => console.log("Waiting for another command that prepares the sandbox's cache."),
    quietMilliseconds,
  );
  try {
    // flock may end before it has the lock, for instance because it cannot open the file.
    await Promise.race([once(holder.stdout, "data"), ended]);
    clearTimeout(waiting);
    return await use();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
    await ended.catch(() => {});
  }
}
