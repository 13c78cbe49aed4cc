import { spawnSync } from "node:child_process";

/**
 * Whether this process has its own network and mounts. If not, it starts itself again with both and waits for that
 * process, so that a measurement does not use this machine's ports.
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
