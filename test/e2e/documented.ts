import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../../sandbox/paths";
import { sandboxName } from "./cluster";
import { recordCommand } from "./evidence";

/** Pages whose commands are run. */
export const documentedPages = ["README.md", "docs/operations.md", "docs/ci.md", "CONTRIBUTING.md"];

/**
 * Commands of a page's `sh` blocks, in their order. Those of `sh aws` need AWS, and those of `sh clone` begin with a
 * clean clone: CI runs them.
 */
export function commandsOf(page: string): string[] {
  const text = readFileSync(join(projectRoot, page), "utf8");
  return [...text.matchAll(/^( *)```sh\n([\s\S]*?)^\1```$/gm)].flatMap(([, , block = ""]) =>
    block
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean),
  );
}

/** Runs a command as it stands in a page, with this file's sandbox as the one that is meant. */
export function runDocumented(command: string): { status: number | null; output: string } {
  const record = recordCommand(command);
  const { status, stdout, stderr } = spawnSync("bash", ["-c", command], {
    cwd: projectRoot,
    encoding: "utf8",
    env: { ...process.env, WCS_SANDBOX_NAME: sandboxName },
  });
  const output = `${stdout}${stderr}`;
  record(output);
  return { status, output };
}
