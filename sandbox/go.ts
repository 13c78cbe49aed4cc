import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { unpackGo } from "./image";
import { cache } from "./paths";
import { run, runAsync } from "./shell";

const oldestGo = 21;

/** The Go of this machine; none if it is too old to fetch the version that a module needs. */
export function installedGo(): string | undefined {
  try {
    const minor = run("go", ["version"]).match(/go1\.(\d+)/)?.[1];
    return Number(minor) >= oldestGo ? "go" : undefined;
  } catch {
    return undefined;
  }
}

interface GoCommand {
  /** Folder with the go.mod that pins the command's module. */
  directory: string;
  /** Import path of the command. */
  command: string;
  output: string;
  linkerFlags?: string;
}

/** Builds a command from its Go module, with Debian's Go where this machine has none. */
export async function buildGoCommand({ directory, command, output, linkerFlags }: GoCommand): Promise<void> {
  const go = installedGo() ?? (await unpackGo());
  const work = join(cache, "go-build");
  mkdirSync(work, { recursive: true });
  await runAsync(
    go,
    ["build", "-buildvcs=false", "-ldflags", linkerFlags ?? "-s -w", "-o", `${output}.new`, command],
    {
      cwd: directory,
      // An older Go fetches the version that the module needs.
      env: {
        GOTOOLCHAIN: "auto",
        GOFLAGS: "-modcacherw",
        GOPATH: join(work, "go"),
        GOCACHE: join(work, "cache"),
        GOMODCACHE: "",
      },
    },
  );
  renameSync(`${output}.new`, output);
  rmSync(work, { recursive: true, force: true });
}
