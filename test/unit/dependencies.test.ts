import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";

/** What `pulumi preview` and `pulumi up` run, the policy pack and the scripts of the preview workflow included. */
const folders = ["cluster", "components", "config", "policy", "rollout", "scripts", "userdata"];
/** Run by developers only. */
const forDevelopers = ["scripts/docs.ts"];

const sourcesIn = (folder: string) =>
  readdirSync(join(projectRoot, folder))
    .map((name) => `${folder}/${name}`)
    .filter((name) => name.endsWith(".ts"));

/** What a source names in its imports: packages, and files relative to it. */
const importsOf = (source: string) =>
  [...readFileSync(join(projectRoot, source), "utf8").matchAll(/ from "([^"]+)"/g)].map(
    ([, name = ""]) => name,
  );

/** Imports nothing, and every part may import it. */
const contract = "cluster/contract";

/** What each part may import of the others. Lint refuses circles of files; these are the directions. */
const below: Record<string, string[]> = {
  config: [],
  userdata: ["config"],
  cluster: ["config", "userdata"],
  components: ["cluster", "config", "userdata"],
  policy: [],
  rollout: ["cluster"],
  scripts: ["cluster", "components", "config", "userdata"],
};

test.each(Object.entries(below))("%s imports only of %j and itself", (folder, allowed) => {
  const imported = sourcesIn(folder)
    .flatMap((source) => importsOf(source).map((name) => [source, name] as const))
    .filter(([, name]) => name.startsWith("."))
    .map(([source, name]) => join(dirname(source), name))
    .filter((path) => path !== contract)
    .map((path) => path.split("/")[0] ?? "");
  expect(imported.filter((part) => part !== folder && !allowed.includes(part))).toEqual([]);
});

test("the contract imports nothing", () => {
  expect(importsOf(`${contract}.ts`)).toEqual([]);
});

test("configuration, cluster and user-data are plain values: only loading imports Pulumi", () => {
  const withPulumi = ["cluster", "config", "rollout", "userdata"]
    .flatMap(sourcesIn)
    .filter((source) => importsOf(source).some((name) => name.startsWith("@pulumi/")));
  expect(withPulumi).toEqual(["config/load.ts"]);
});

test("they depend on nothing but their arguments: no environment", () => {
  const withEnvironment = ["cluster", "config", "userdata"]
    .flatMap(sourcesIn)
    .filter((source) => readFileSync(join(projectRoot, source), "utf8").includes("process.env"));
  expect(withEnvironment).toEqual([]);
});

test("what the program, a preview and the policy pack import is there after npm ci --omit=dev", () => {
  const sources = ["index.ts", ...folders.flatMap(sourcesIn)].filter((name) => !forDevelopers.includes(name));
  const { dependencies } = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8"));
  const imported = sources
    .flatMap(importsOf)
    .flatMap((name) => name.match(/^(?!node:|\.)((?:@[\w-]+\/)?[\w.-]+)/)?.[1] ?? []);
  expect(new Set(imported).size).toBeGreaterThan(8);
  // A module of Node's own without its prefix would be found here, too.
  expect([...new Set(imported)].filter((name) => !(name in dependencies) && name !== "node")).toEqual([]);
});
