import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";

/** What `pulumi preview` and `pulumi up` run, the policy pack and the scripts of the preview workflow included. */
const folders = ["cluster", "components", "config", "policy", "scripts", "userdata"];
/** Run by developers only. */
const forDevelopers = ["scripts/docs.ts", "scripts/test.ts"];

test("what the program, a preview and the policy pack import is there after npm ci --omit=dev", () => {
  const sources = [
    ...["index.ts"],
    ...folders.flatMap((folder) => readdirSync(join(projectRoot, folder)).map((name) => `${folder}/${name}`)),
  ].filter((name) => name.endsWith(".ts") && !forDevelopers.includes(name));
  const { dependencies } = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8"));
  const imported = sources.flatMap((name) =>
    [
      ...readFileSync(join(projectRoot, name), "utf8").matchAll(/from "((?:@[\w-]+\/)?[\w.-]+)[^"]*"/g),
    ].flatMap(([, module = ""]) => (/^(node:|\.)/.test(module) ? [] : [module])),
  );
  expect(new Set(imported).size).toBeGreaterThan(8);
  // A module of Node's own without its prefix would be found here, too.
  expect([...new Set(imported)].filter((name) => !(name in dependencies) && name !== "node")).toEqual([]);
});
