import { spawnSync } from "node:child_process";

/**
 * Whether this process has a network and mounts of its own; one that has not starts itself again in such a place
 * and waits for it, so that nothing that is measured meets this machine's ports.
 */
export function inNamespace(): boolean {
  if (process.env.WCS_BENCH_NAMESPACE !== undefined) return true;
  const { status } = spawnSync(
    "unshare",
    ["--net", "--mount", process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: "inherit", env: { ...process.env, WCS_BENCH_NAMESPACE: "1" } },
  );
  process.exitCode = status ?? 1;
  return false;
}
