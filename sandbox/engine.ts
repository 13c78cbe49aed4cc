import { existsSync } from "node:fs";
import { join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation";
import { buildGoCommand, installedGo } from "./go";
import { packageVersion } from "./package-version";
import { cached } from "./paths";
import { run } from "./shell";

/** The engine has the version of the SDK. engine/go.mod pins the same; test: test/unit/engine.test.ts */
const engineVersion = packageVersion("@pulumi/pulumi");

function installedEngine(): boolean {
  try {
    return /^v3\./.test(run("pulumi", ["version"]));
  } catch {
    return false;
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
export function buildEngine(): Promise<void> {
  return buildGoCommand({
    directory: join(__dirname, "engine"),
    command: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    output: builtEngine,
    linkerFlags: `-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${engineVersion}`,
  });
}
