import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../../sandbox/paths";
import { sandboxName } from "./cluster";
import { recordCommand } from "./evidence";

/** Pages whose commands are run. */
export const documentedPages = ["README.md", "docs/operations.md", "docs/ci.md", "CONTRIBUTING.md"];

/**
 * Commands of a page's blocks of one kind, in their order. `sh` is for a sandbox that is up, `sh clone` begins with a
 * clean clone, and `sh aws` needs AWS.
 */
export function commandsOf(page: string, kind = "sh"): string[] {
  const text = readFileSync(join(projectRoot, page), "utf8");
  const blocks = text.matchAll(new RegExp(`^( *)\`\`\`${kind}\\n([\\s\\S]*?)^\\1\`\`\`$`, "gm"));
  return [...blocks].flatMap(([, , block = ""]) =>
    block
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean),
  );
}

/** Runs a command as it stands in a page, with a sandbox as the one that is meant: this file's. */
export function runDocumented(
  command: string,
  { folder = projectRoot, sandbox = sandboxName } = {},
): { status: number | null; output: string } {
  const record = recordCommand(command);
  const { status, stdout, stderr } = spawnSync("bash", ["-c", command], {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, WCS_SANDBOX_NAME: sandbox },
  });
  const output = `${stdout}${stderr}`;
  record(output);
  return { status, output };
}
