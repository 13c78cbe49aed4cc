import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { downloadsHost } from "./addresses";
import { cached, projectRoot } from "./paths";
import { run } from "./shell";

const wcsVersion = "5.2.0-sandbox";

interface Download {
  path: string;
  /** The same file on the sandbox's internet. */
  url: string;
  sha256: string;
}

/** Packs a folder into the cache. Its name holds a hash of the content, so an existing file is used again. */
function pack(name: string, key: string, fill: (folder: string) => void): Download {
  mkdirSync(cached.downloads, { recursive: true });
  const file = `${name}-${createHash("sha256").update(key).digest("hex").slice(0, 12)}.tar.gz`;
  const path = join(cached.downloads, file);
  if (!existsSync(path)) {
    const folder = mkdtempSync(join(tmpdir(), "wcs-download-"));
    try {
      fill(folder);
      run("tar", [
        "--create",
        "--gzip",
        `--file=${path}.new`,
        `--directory=${folder}`,
        ...readdirSync(folder),
      ]);
      renameSync(`${path}.new`, path);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex");
  return { path, url: `https://${downloadsHost}/${file}`, sha256 };
}

/**
 * The WCS stand-in as a tarball of the real one's shape: one leading folder, install.sh in it. Machines have
 * no Node, so it brings the one that runs this.
 */
function packWcs(): Download {
  const source = join(__dirname, "wcs");
  const bundle = (): string => {
    const { outputFiles } = buildSync({
      entryPoints: [join(source, "server.ts")],
      bundle: true,
      platform: "node",
      target: "node20",
      // The bytes must not depend on the project's folder: other bytes would replace every node.
      minify: true,
      preserveSymlinks: true,
      write: false,
      logLevel: "error",
    });
    if (!outputFiles[0]) throw new Error("the WCS stand-in could not be bundled");
    return outputFiles[0].text;
  };
  const files: Record<string, string> = {
    "install.sh": "install.sh",
    webcallserver: "bin/webcallserver",
    "activation.sh": "bin/activation.sh",
    "deactivation.sh": "bin/deactivation.sh",
    "webcallserver.service": "webcallserver.service",
    "flashphoner.properties": "conf/flashphoner.properties",
    "wcs-core.properties": "conf/wcs-core.properties",
  };
  // All sources of the tarball: it is bundled again only when one of them changes.
  const contents = readdirSync(source).map((name) => readFileSync(join(source, name), "utf8"));
  const { devDependencies } = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8"));
  const packages = ["esbuild", "werift", "ws"].map((name) => `${name} ${devDependencies[name]}`);
  return pack(
    "FlashphonerWebCallServer",
    [process.version, wcsVersion, ...packages, ...contents].join("\n"),
    (folder) => {
      const root = join(folder, `FlashphonerWebCallServer-${wcsVersion}`);
      for (const name of ["bin", "conf", "lib"]) mkdirSync(join(root, name), { recursive: true });
      writeFileSync(join(root, "VERSION"), `${wcsVersion}\n`);
      writeFileSync(join(root, "lib/server.js"), bundle());
      copyFileSync(process.execPath, join(root, "lib/node"));
      chmodSync(join(root, "lib/node"), 0o755);
      for (const [name, target] of Object.entries(files))
        copyFileSync(join(source, name), join(root, target));
    },
  );
}

let wcs: Download | undefined;

/** The WCS stand-in; packed once in a process. */
export function wcsPackage(): Download {
  wcs ??= packWcs();
  return wcs;
}
