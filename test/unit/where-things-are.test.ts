import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";

test("CONTRIBUTING names files that exist for what people want to change", () => {
  const [, table = ""] = readFileSync(join(projectRoot, "CONTRIBUTING.md"), "utf8").split(
    "| Where would you change ... | Here |\n|---|---|\n",
  );
  const answers = [...table.matchAll(/^\| .* \| (.*) \|$/gm)].map(([, answer = ""]) =>
    [...answer.matchAll(/`([^`]+)`/g)].map(([, file = ""]) => file),
  );
  expect(answers.length).toBeGreaterThanOrEqual(12);
  for (const files of answers) expect(files).not.toEqual([]);
  expect(answers.flat().filter((file) => !existsSync(join(projectRoot, file)))).toEqual([]);
});
