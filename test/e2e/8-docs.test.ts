import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { sandboxName, up } from "./cluster";

/**
 * Commands of a page's `sh` blocks, in their order. Those of `sh aws` need AWS, and those of `sh clone` begin with a
 * clean clone: CI runs them.
 */
function commandsOf(page: string): string[] {
  const text = readFileSync(join(projectRoot, page), "utf8");
  return [...text.matchAll(/^( *)```sh\n([\s\S]*?)^\1```$/gm)].flatMap(([, , block = ""]) =>
    block
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean),
  );
}

beforeAll(() => up());

describe.each(["README.md", "docs/operations.md", "docs/ci.md"])("%s", (page) => {
  test.each(commandsOf(page))("%s", (command) => {
    const { status, stdout, stderr } = spawnSync("bash", ["-c", command], {
      cwd: projectRoot,
      encoding: "utf8",
      env: { ...process.env, WCS_SANDBOX_NAME: sandboxName },
    });
    expect(`${stdout}${stderr}`, `${stdout}${stderr}`.slice(-2000)).toSatisfy(() => status === 0);
  });
});
