import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { sources } from "../sources";

const wordsOf = (list: string) =>
  list
    .split(",")
    .map((name) => name.trim().replace(/^type |\s+as .*$/g, ""))
    .filter(Boolean);

/** What a file imports of others, as "FILE NAME". */
function importsOf(source: string, text: string): string[] {
  const from = (path: string, names: string[]) =>
    names.map((name) => `${join(dirname(source), path).replace(/\.js$/, "")}.ts ${name}`);
  const membersOf = (object: string) =>
    [...text.matchAll(new RegExp(`\\b${object}\\.(\\w+)`, "g"))].map(([, member = ""]) => member);
  return [
    ...text.matchAll(/(?:import|export) (?:type )?\{([^}]*)\} from "(\.[^"]+)"/g),
    ...[...text.matchAll(/import\("(\.[^"]+)"\)\)\.(\w+)/g)].map(([all, path, name]) => [all, name, path]),
    ...[...text.matchAll(/import \* as (\w+) from "(\.[^"]+)"/g)].map(([all, name = "", path]) => [
      all,
      membersOf(name).join(),
      path,
    ]),
  ].flatMap(([, names = "", path = ""]) => from(path, wordsOf(names)));
}

/** The arguments of a component stand beside it for its readers. */
const isArguments = (source: string, name: string) =>
  source.startsWith("components/") && name.endsWith("Args");

/** What a file exports and no file imports, as "FILE NAME". */
function unused(texts: Record<string, string>): string[] {
  const imported = new Set(Object.entries(texts).flatMap(([source, text]) => importsOf(source, text)));
  return Object.entries(texts).flatMap(([source, text]) =>
    [
      ...text.matchAll(
        /^export (?:async |abstract )*(?:const|let|function\*?|class|interface|type|enum) (\w+)/gm,
      ),
    ]
      .map(([, name = ""]) => name)
      .filter((name) => !isArguments(source, name) && !imported.has(`${source} ${name}`))
      .map((name) => `${source} ${name}`),
  );
}

test("every export has an importer; what the program itself exports is the stack's outputs", () => {
  const texts = Object.fromEntries(
    sources.map((path) => [path, readFileSync(join(projectRoot, path), "utf8")]),
  );
  expect(sources.length).toBeGreaterThan(200);
  expect(unused(texts).filter((name) => !name.startsWith("index.ts "))).toEqual([]);
});

test("an export without an importer is found, also where another file exports the same name", () => {
  expect(
    unused({
      "a/one.ts": "export const used = 1;\nexport type Alone = string;\nexport function same() {}",
      "b/one.ts": "export function same() {}\nexport class Whole {}\nexport const late = 1;",
      "b/two.ts": 'import { type Other as Own, used } from "../a/one";\nimport { same } from "./one";',
      "b/three.ts":
        'import * as one from "./one";\nnew one.Whole();\nexport { used } from "../a/one";\n(await import("./one.js")).late;',
    }),
  ).toEqual(["a/one.ts Alone", "a/one.ts same"]);
});
