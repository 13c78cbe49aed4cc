import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";

/** What `pulumi preview` and `pulumi up` run, the policy pack and the scripts of the preview workflow included. */
const folders = ["cluster", "components", "config", "policy", "rollout", "scripts", "userdata"];
/** Run by developers only. */
const forDevelopers = ["scripts/docs.ts"];

const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");
const sourcesIn = (folder: string) =>
  readdirSync(join(projectRoot, folder))
    .map((name) => `${folder}/${name}`)
    .filter((name) => name.endsWith(".ts"));

/** What a source names in its imports: packages, and files relative to it. */
const importsOf = (source: string) =>
  [...read(source).matchAll(/ from "([^"]+)"/g)].map(
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
    .filter((source) => read(source).includes("process.env"));
  expect(withEnvironment).toEqual([]);
});

test("what the program, a preview and the policy pack import is there after npm ci --omit=dev", () => {
  const sources = ["index.ts", ...folders.flatMap(sourcesIn)].filter((name) => !forDevelopers.includes(name));
  const { dependencies } = JSON.parse(read("package.json"));
  const imported = sources
    .flatMap(importsOf)
    .flatMap((name) => name.match(/^(?!node:|\.)((?:@[\w-]+\/)?[\w.-]+)/)?.[1] ?? []);
  expect(new Set(imported).size).toBeGreaterThan(8);
  // A module of Node's own without its prefix would be found here, too.
  expect([...new Set(imported)].filter((name) => !(name in dependencies) && name !== "node")).toEqual([]);
});

describe("lint refuses files that import each other in a circle", () => {
  const folder = mkdtempSync(join(tmpdir(), "wcs-circle-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** What the project's own rules say about these files. */
  function lint(files: Record<string, string>) {
    for (const [name, text] of Object.entries({ "biome.json": read("biome.json"), ...files }))
      writeFileSync(join(folder, name), text);
    const biome = join(projectRoot, "node_modules/.bin/biome");
    const { status, stdout, stderr } = spawnSync(biome, ["ci", "."], { cwd: folder, encoding: "utf8" });
    return { status, output: stdout + stderr };
  }

  const low = 'export interface Low {\n  size: number;\n}\n';
  const high = 'import type { Low } from "./low";\n\nexport type High = Low | undefined;\n';

  test("also if they import only types", () => {
    const { status, output } = lint({
      "low.ts": `import type { High } from "./high";\n\n${low.replace("number", "High")}`,
      "high.ts": high,
    });
    expect(status).toBe(1);
    expect(output).toContain("lint/suspicious/noImportCycles");
  });

  test("and accepts the same files without the circle", () => {
    const { status, output } = lint({ "low.ts": low, "high.ts": high });
    expect(output, output).toSatisfy(() => status === 0);
  });
});
