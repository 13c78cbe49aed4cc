import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { cgroupRoots } from "../../sandbox/paths";
import { paths, sandbox } from "./cluster";

test("down leaves no mount, namespace, process or file outside the cache", async () => {
  const name = paths.name;
  const { status } = sandbox("down");
  expect(status).toBe(0);
  expect(existsSync(paths.state)).toBe(false);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(paths.state);
  expect(readdirSync("/run/netns").filter((entry) => entry.startsWith(`wcs-${name}-`))).toEqual([]);
  for (const root of cgroupRoots().all) {
    expect(existsSync(join(root, "wcs-balancer-sandbox", name))).toBe(false);
  }
  const processes = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" }).stdout;
  expect(processes.split("\n").filter((line) => line.includes(`${paths.machines}/`))).toEqual([]);
  expect(existsSync(dirname(paths.state)) ? readdirSync(dirname(paths.state)) : []).not.toContain(name);
});
