import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildGoCommand } from "../../sandbox/go";
import { cache, projectRoot } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";
import { DebianRoot } from "../debian-root";

const actionlint = join(cache, "actionlint-1.7.7");
const folder = mkdtempSync(join(cache, "workflows-"));
const shellcheck = join(folder, "shellcheck");
let debian: DebianRoot;

beforeAll(async () => {
  if (!existsSync(actionlint)) {
    await buildGoCommand({
      directory: join(__dirname, "actionlint"),
      command: "github.com/rhysd/actionlint/cmd/actionlint",
      output: actionlint,
    });
  }
  debian = await DebianRoot.with("shellcheck");
  writeFileSync(shellcheck, `#!/bin/sh\nexec chroot ${debian.root} shellcheck "$@"\n`);
  chmodSync(shellcheck, 0o755);
}, 600_000);

afterAll(() => {
  debian?.remove();
  rmSync(folder, { recursive: true });
});

function lint(...files: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(
    actionlint,
    ["-shellcheck", shellcheck, "-pyflakes=", ...files],
    {
      cwd: projectRoot,
      encoding: "utf8",
    },
  );
  return { status, output: `${stdout}${stderr}` };
}

describe("actionlint", () => {
  test("accepts the workflows, and shellcheck accepts the scripts in them", () => {
    expect(lint()).toEqual({ status: 0, output: "" });
  });

  test("finds an error in a workflow", () => {
    const broken = join(folder, "broken.yml");
    const steps = "      - run: rm $UNQUOTED\n      - uses: actions/checkout@v4\n        with: {nope: 1}\n";
    writeFileSync(broken, `on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n${steps}`);
    const { status, output } = lint(broken);
    expect(status).toBe(1);
    expect(output).toContain("SC2086");
    expect(output).toContain('input "nope" is not defined');
  });
});

describe("render-diff.sh, on a branch of a clone", () => {
  const clone = join(folder, "clone");
  const here = (command: string, ...args: string[]) => run(command, args, { cwd: clone });
  beforeAll(() => {
    run("git", ["clone", "--quiet", projectRoot, clone]);
    run("ln", ["-s", join(projectRoot, "node_modules"), join(clone, "node_modules")]);
  });

  test("shows what the machines of a stack would get, as text", () => {
    const file = join(clone, "Pulumi.dev.yaml");
    writeFileSync(file, `${readFileSync(file, "utf8")}  wcs-balancer:algorithm: first\n`);
    const diff = here("scripts/render-diff.sh", "HEAD", "dev");
    expect(diff).toContain("--- before/balancer/haproxy.cfg");
    expect(diff).toMatch(/^-\s+balance roundrobin\n\+\s+balance first$/m);
    expect(diff).not.toContain("base64");
    expect(here("scripts/render-diff.sh", "HEAD", "staging")).toBe("");
  }, 240_000);

  test("shows a new stack whole", () => {
    run("cp", ["Pulumi.dev.yaml", "Pulumi.new.yaml"], { cwd: clone });
    expect(here("scripts/render-diff.sh", "HEAD", "new")).toContain("+++ after/node/user-data.yaml");
  }, 240_000);

  test("leaves no worktree behind", () => {
    expect(here("git", "worktree", "list").trim().split("\n")).toHaveLength(1);
  });

  test("explains how to call it", () => {
    const { status, stderr } = spawnSync("scripts/render-diff.sh", { cwd: clone, encoding: "utf8" });
    expect(status).toBe(2);
    expect(stderr).toBe("usage: scripts/render-diff.sh BASE STACK\n");
  });
});
