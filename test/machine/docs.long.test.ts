import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot, testPrefix } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";
import { commandsOf, runDocumented } from "../e2e/documented";

const minute = 60_000;

/** README.md has the same way to a cluster, and the whole test, which CI runs. */
const commands = commandsOf("CONTRIBUTING.md", "sh clone");

const folder = join(mkdtempSync(join(tmpdir(), "wcs-clone-")), "clone");
const inClone = { folder, sandbox: `${testPrefix}clone` };

beforeAll(() => {
  run("git", ["clone", "--quiet", projectRoot, folder]);
});

afterAll(() => {
  runDocumented("npm run sandbox -- down", inClone);
  rmSync(join(folder, ".."), { recursive: true });
});

test.each(commands)(
  "from a clean clone: %s",
  (command) => {
    const { status, output } = runDocumented(command, inClone);
    expect(output, output.slice(-2000)).toSatisfy(() => status === 0);
  },
  10 * minute,
);
