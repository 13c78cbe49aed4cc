import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { sources } from "../sources";

const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");

/** What a source names in its imports: packages, and files relative to it. */
const importsOf = (source: string) =>
  [...read(source).matchAll(/ from "([^"]+)"/g)].map(([, name = ""]) => name);

/** Files that count as another folder's: they are about to move there. */
const movesTo: Record<string, string> = {
  "cluster/contract": "contract",
  "cluster/status": "contract",
  "userdata/machine-file": "contract",
};

/** The folder of a file. The sandbox's parts count by themselves; the files above them start and use them. */
function folderOf(path: string): string {
  const [folder = "", part = "", file] = path.split("/");
  return movesTo[path.replace(/\.ts$/, "")] ?? (folder === "sandbox" && file ? `${folder}/${part}` : folder);
}

/**
 * What each folder may import of the others, the lowest first: only folders above it in this list. Lint refuses circles of
 * files; these are the directions.
 */
const below: Record<string, string[]> = {
  contract: [],
  config: ["contract"],
  userdata: ["contract"],
  cluster: ["contract", "config", "userdata"],
  components: ["contract", "config", "userdata", "cluster"],
  "index.ts": ["contract", "config", "cluster", "components"],
  policy: [],
  rollout: ["contract"],
  scripts: ["contract", "config", "userdata", "cluster", "components"],
  "sandbox/wcs": [],
  "sandbox/load-balancer": [],
  "sandbox/rights": [],
  "sandbox/provider": ["sandbox/rights"],
  "sandbox/cloud": ["contract", "sandbox/rights", "sandbox/provider", "sandbox/load-balancer"],
};
/** The sandbox's own files run the project's, and its parts use the sandbox's files. */
const sandbox = ["contract", "config", "cluster", "rollout", "scripts"];
const sandboxParts = Object.keys(below).filter((folder) => folder.startsWith("sandbox/"));

const sourcesIn = (...folders: string[]) => sources.filter((source) => folders.includes(folderOf(source)));

/** The folders that the files of a folder import, as "FILE imports FOLDER". */
const importedBy = (folder: string, allowed: string[]) =>
  sourcesIn(folder).flatMap((source) =>
    importsOf(source)
      .filter((name) => name.startsWith("."))
      .map((name) => folderOf(join(dirname(source), name)))
      .filter((imported) => imported !== folder && !allowed.includes(imported))
      .map((imported) => `${source} imports ${imported}`),
  );

test.each(Object.entries(below))("%s imports only of %j and itself", (folder, allowed) => {
  const own = folder.startsWith("sandbox/") ? ["sandbox"] : [];
  expect(sourcesIn(folder)).not.toEqual([]);
  expect(importedBy(folder, [...allowed, ...own])).toEqual([]);
});

test("the sandbox imports neither tests nor measurements", () => {
  expect(importedBy("sandbox", [...sandbox, ...sandboxParts])).toEqual([]);
});

test("tests import no measurements", () => {
  expect(importedBy("test", [...Object.keys(below), "sandbox"])).toEqual([]);
});

test("the directions make no circle, and every folder has some", () => {
  const order = Object.keys(below);
  for (const [folder, allowed] of Object.entries(below))
    expect(allowed.filter((other) => order.indexOf(other) >= order.indexOf(folder))).toEqual([]);
  const all = [...new Set(sources.map(folderOf))];
  expect(all.filter((folder) => !(folder in below)).sort()).toEqual(["bench", "sandbox", "test"]);
});

test("what program and machines share imports nothing", () => {
  expect(importsOf("cluster/contract.ts")).toEqual([]);
});

const plain = ["contract", "config", "userdata", "cluster", "rollout"];

test("contract, configuration, user-data and cluster are plain values: only loading imports Pulumi", () => {
  const withPulumi = sourcesIn(...plain).filter((source) =>
    importsOf(source).some((name) => name.startsWith("@pulumi/")),
  );
  expect(withPulumi).toEqual(["config/load.ts"]);
});

test("they depend on nothing but their arguments: no environment", () => {
  const withoutPrograms = plain.filter((folder) => folder !== "rollout");
  expect(sourcesIn(...withoutPrograms).filter((source) => read(source).includes("process.env"))).toEqual([]);
});

test("what the program, a preview and the policy pack import is there after npm ci --omit=dev", () => {
  const ofDevelopers = ["scripts/docs.ts"];
  const run = sourcesIn(...plain, "index.ts", "components", "policy", "scripts");
  const { dependencies } = JSON.parse(read("package.json"));
  const imported = run
    .filter((source) => !ofDevelopers.includes(source))
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

  const low = "export interface Low {\n  size: number;\n}\n";
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
