import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation";
import { parse, stringify } from "yaml";
import { region } from "./account";
import { CloudClient } from "./cloud/client";
import { boundaryArn, deployer } from "./deploy-role";
import { wcsPackage } from "./downloads";
import { engine } from "./engine";
import { endFailedPrograms } from "./failed-program";
import { packageVersion } from "./package-version";
import { programRoot, type SandboxPaths } from "./paths";
import { awsInvokes, awsTypes } from "./provider/aws";
import { commandInvokes, commandTypes } from "./provider/command";
import { type ProviderDefinition, serveProvider } from "./provider/server";
import { tlsTypes } from "./provider/tls";

const project = "wcs-balancer";

const definitions: Record<string, ProviderDefinition> = {
  aws: { version: packageVersion("@pulumi/aws"), types: awsTypes, invokes: awsInvokes },
  tls: { version: packageVersion("@pulumi/tls"), types: tlsTypes },
  command: { version: packageVersion("@pulumi/command"), types: commandTypes, invokes: commandInvokes },
};

/** The file of a stack in the project, with the values that only the sandbox knows. */
export function stackSettings(
  stack: string,
  overrides: Record<string, unknown>,
  file = `Pulumi.${stack}.yaml`,
): { config: Record<string, unknown> } {
  const path = resolve(programRoot, file);
  if (!existsSync(path)) throw new Error(`there is no ${file}`);
  const { config = {} } = parse(readFileSync(path, "utf8")) as { config?: Record<string, unknown> };
  // Only one of wcsPackage and wcsPackageUrl can be given.
  const supplied = {
    [`${project}:wcsPackage`]: overrides.wcsPackageUrl ? undefined : wcsPackage().path,
    [`${project}:permissionsBoundary`]: boundaryArn(stack),
  };
  const overridden = Object.fromEntries(
    Object.entries(overrides).map(([key, value]) => [key.includes(":") ? key : `${project}:${key}`, value]),
  );
  return { config: { ...config, "aws:region": region, ...supplied, ...overridden } };
}

/** The values of this project's own keys. */
export function stackValues({ config }: { config: Record<string, unknown> }): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config)
      .filter(([key]) => key.startsWith(`${project}:`))
      .map(([key, value]) => [key.slice(project.length + 1), value]),
  );
}

/**
 * Opens a stack of the real engine with this project's program, and with the sandbox as its cloud. One
 * operation a process: the program is a module, and a module runs once.
 */
export async function withStack<T>(
  paths: SandboxPaths,
  stackName: string,
  overrides: Record<string, unknown>,
  secrets: Record<string, string>,
  file: string | undefined,
  use: (stack: Stack) => Promise<T>,
): Promise<T> {
  const workDir = join(paths.engineState, "project");
  const backend = join(paths.engineState, "backend");
  for (const folder of [workDir, backend]) mkdirSync(folder, { recursive: true });
  // This command holds the sandbox's own lock, so a lock of the engine is left from a run that was killed.
  rmSync(join(backend, ".pulumi/locks"), { recursive: true, force: true });
  copyFileSync(join(programRoot, "Pulumi.yaml"), join(workDir, "Pulumi.yaml"));
  // The engine rewrites this file, so it gets a copy. Values that the engine keeps there stay.
  const stackFile = join(workDir, `Pulumi.${stackName}.yaml`);
  const kept = existsSync(stackFile)
    ? (parse(readFileSync(stackFile, "utf8")) as Record<string, unknown>)
    : {};
  const settings = stackSettings(stackName, overrides, file);
  writeFileSync(stackFile, stringify({ ...kept, ...settings }));

  const context = {
    cloud: new CloudClient(paths),
    caller: deployer(paths.engineState, stackName, stackValues(settings)),
    log: (_urn: string, message: string) => console.log(`    ${message}`),
  };
  const providers = await Promise.all(
    Object.entries(definitions).map(async ([name, definition]) => ({
      name,
      ...(await serveProvider(definition, context)),
    })),
  );
  endFailedPrograms();
  try {
    const stack = await LocalWorkspace.createOrSelectStack(
      {
        stackName,
        projectName: project,
        program: async () => require(join(programRoot, "index")) as Record<string, unknown>,
      },
      {
        workDir,
        pulumiCommand: await engine(),
        envVars: {
          // For the engine's policy runner.
          PATH: `${join(__dirname, "engine")}:${process.env.PATH}`,
          PULUMI_BACKEND_URL: `file://${backend}`,
          // The state is thrown away with the sandbox; its secrets open nothing else.
          PULUMI_CONFIG_PASSPHRASE: "sandbox",
          PULUMI_HOME: join(paths.engineState, "home"),
          PULUMI_SKIP_UPDATE_CHECK: "true",
          PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
          PULUMI_DEBUG_PROVIDERS: providers.map(({ name, port }) => `${name}:${port}`).join(","),
        },
      },
    );
    // After each operation the SDK asks the CLI for the stack's history, which is not used here.
    stack.info = async () => undefined;
    // And twice for its outputs, which are among the engine's events.
    stack.outputs = async () => ({});
    for (const [key, value] of Object.entries(secrets)) {
      await stack.setConfig(`${project}:${key}`, { value, secret: true });
    }
    return await use(stack);
  } finally {
    for (const provider of providers) provider.stop();
  }
}
