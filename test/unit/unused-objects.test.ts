import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { unusedObjects } from "../../scripts/unused-objects";

test("what the stack does not name is unused", () => {
  expect(unusedObjects(["node/a", "node/b", "balancer/c"], ["node/b", "balancer/c"])).toEqual(["node/a"]);
});

test("a stack that names nothing, or an object that is not there, ends it", () => {
  expect(() => unusedObjects(["node/a"], [])).toThrow("nothing is deleted. Run pulumi up first");
  expect(() => unusedObjects(["node/a"], ["node/b"])).toThrow("the stack names 1 objects, and node/b is not");
});

/** Neither can be had here: these say what the real ones would, and write down what they were asked. */
describe("with stand-ins for the two CLIs", () => {
  const folder = mkdtempSync(join(tmpdir(), "unused-objects-"));
  const asked = join(folder, "asked");
  afterAll(() => rmSync(folder, { recursive: true }));
  beforeAll(() => {
    const clis = {
      pulumi: `case "$*" in
        *history*) echo '[{"kind": "refresh", "result": "succeeded"}, {"kind": "update", "result": "'"$RESULT"'"}]' ;;
        *) echo '{"softwareBucket": "bucket", "softwareObjects": ["node/new"]}' ;;
      esac`,
      aws: `case "$*" in
        *list-objects-v2*) echo '["node/old", "node/new"]' ;;
      esac`,
    };
    for (const [name, body] of Object.entries(clis)) {
      writeFileSync(join(folder, name), `#!/bin/sh\necho "${name} $*" >>${asked}\n${body}\n`);
      chmodSync(join(folder, name), 0o755);
    }
  });
  const run = (result: string, ...args: string[]) => {
    writeFileSync(asked, "");
    const command = ["--import", "tsx", "scripts/unused-objects.ts", "--stack", "prod", ...args];
    return spawnSync(process.execPath, command, {
      cwd: projectRoot,
      env: { ...process.env, PATH: `${folder}:${process.env.PATH}`, RESULT: result },
      encoding: "utf8",
    });
  };
  const deletions = () => readFileSync(asked, "utf8").match(/^aws .*delete.*$/gm);

  test("lists, and deletes only when told to", () => {
    expect(run("succeeded").stdout).toBe("s3://bucket/node/old\n");
    expect(deletions()).toBeNull();
    expect(run("succeeded", "--delete").stdout).toBe("deleted s3://bucket/node/old\n");
    expect(deletions()).toEqual(["aws s3api delete-object --bucket bucket --key node/old"]);
  });

  test("does nothing after an update that has failed", () => {
    const { status, stderr } = run("failed", "--delete");
    expect(status).toBe(1);
    expect(stderr).toContain("the last update of prod has failed; run pulumi up first");
    expect(deletions()).toBeNull();
  });
});
