import { readdirSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../sandbox/paths";

/** Every TypeScript file of the project, by its path in the project. */
export const sources = readdirSync(projectRoot, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !["node_modules", "test-results"].includes(entry.name))
  .flatMap(({ name }) =>
    readdirSync(join(projectRoot, name), { recursive: true, encoding: "utf8" }).map((path) =>
      join(name, path),
    ),
  )
  .concat("index.ts")
  .filter((path) => path.endsWith(".ts"));
