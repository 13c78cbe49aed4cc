import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation";
import { unpackGo } from "./image";
import { cache, cached } from "./paths";
import { run, runAsync } from "./shell";

/** The version that the SDK has. */
const engineVersion = "3.246.0";
const oldestGo = 21;

function installedEngine(): boolean {
  try {
    return /^v3\./.test(run("pulumi", ["version"]));
  } catch {
    return false;
  }
}

function installedGo(): string | undefined {
  try {
    const minor = run("go", ["version"]).match(/go1\.(\d+)/)?.[1];
    return Number(minor) >= oldestGo ? "go" : undefined;
  } catch {
    return undefined;
  }
}

const builtRoot = join(cached.engine, engineVersion);
const builtEngine = join(builtRoot, "bin/pulumi");

/** Whether a Pulumi CLI is there, the machine's own or one that was built. */
export function engineIsReady(): boolean {
  return installedEngine() || existsSync(builtEngine);
}

/** The Pulumi CLI: the machine's own, otherwise the one that was built. */
export function engine(): Promise<PulumiCommand> {
  return PulumiCommand.get({ root: installedEngine() ? undefined : builtRoot, skipVersionCheck: true });
}

/** Whether building the CLI needs the image first, for the Go in Debian's packages. */
export function buildNeedsImage(): boolean {
  return installedGo() === undefined;
}

/** Builds the Pulumi CLI from its Go module: its download site need not be reachable. */
export async function buildEngine(): Promise<void> {
  const go = installedGo() ?? (await unpackGo());
  const work = join(cache, "engine-build");
  mkdirSync(work, { recursive: true });
  await runAsync(
    go,
    [
      "build",
      "-buildvcs=false",
      "-ldflags",
      `-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${engineVersion}`,
      "-o",
      `${builtEngine}.new`,
      "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    ],
    {
      cwd: join(__dirname, "engine"),
      // A Go that is too old fetches the one that the module asks for.
      env: {
        GOTOOLCHAIN: "auto",
        GOFLAGS: "-modcacherw",
        GOPATH: join(work, "go"),
        GOCACHE: join(work, "cache"),
        GOMODCACHE: "",
      },
    },
  );
  run("mv", [`${builtEngine}.new`, builtEngine]);
  rmSync(work, { recursive: true, force: true });
}
