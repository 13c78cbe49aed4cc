import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { type Archive, packTar } from "./archive";

/** The files that browsers need. The rest of the package is documentation, tests and build files. */
const served = /^(examples|src)\/|^flashphoner[\w.-]*\.js$/;
const hidden = /(^|\/)\./;

let packed: Archive | undefined;

/** The pages and scripts of the WebSDK, from the npm package that this project pins; packed once in a process. */
export function packWebSdk(): Archive {
  packed ??= pack("@flashphoner/websdk");
  return packed;
}

function pack(packageName: string): Archive {
  const root = dirname(require.resolve(`${packageName}/package.json`));
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter((path) => served.test(path) && !hidden.test(path));
  return packTar(paths.map((path) => ({ path, content: readFileSync(join(root, path)), mode: 0o644 })));
}
