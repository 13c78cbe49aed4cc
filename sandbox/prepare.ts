import { mkdirSync, statfsSync } from "node:fs";
import { Listr } from "listr2";
import { renderStack } from "../scripts/render";
import { buildEngine, buildNeedsImage, engineIsReady } from "./engine";
import { installPackages, missingPackages } from "./host-packages";
import { buildImage, downloadPackages, imageIsReady, packagesAreReady, packagesOf } from "./image";
import { cache } from "./paths";
import { stackSettings, stackValues } from "./stack";

const neededGigabytes = 6;

/** What tests and measurements run of the machines' distribution besides what the machines install. */
const testTools = ["bc", "chromium", "fonts-liberation", "jq", "shellcheck", "sslscan"];

/** @throws Error when the cache's disk is too small */
export function checkSpace(folder = cache): void {
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  const free = (bavail * bsize) / 1024 ** 3;
  if (free < neededGigabytes) {
    throw new Error(
      `${folder} has ${free.toFixed(1)} GB free, and the sandbox needs ${neededGigabytes} GB; ` +
        "make room, or set WCS_SANDBOX_CACHE to a folder on another disk",
    );
  }
}

/** The packages that the machines of a stack install. */
export function machinePackages(stack: string, values: Record<string, unknown>): string[] {
  // The certificate changes no package, and is for the program to check.
  const { tlsCertificate: _, ...others } = values;
  const files = renderStack(stack, others);
  return Object.entries(files)
    .filter(([name]) => name.endsWith("user-data.yaml"))
    .flatMap(([, userData]) => packagesOf(userData));
}

/** The packages that tests and measurements need: those of the stack dev's machines, and tools. */
export function testPackages(): string[] {
  return [...machinePackages("dev", stackValues(stackSettings("dev", {}))), ...testTools];
}

/** Installs, downloads and builds what is not there yet: all that needs a network, once. */
export async function prepare(packages: string[]): Promise<void> {
  const missing = missingPackages();
  const imageReady = imageIsReady();
  const packagesReady = imageReady && packagesAreReady(packages);
  const engineReady = engineIsReady();
  if (missing.length === 0 && packagesReady && engineReady) return;

  const machines = new Listr([
    {
      title: "Debian 13 for the machines (once, about a minute)",
      enabled: () => !imageReady,
      task: () => buildImage(),
    },
    {
      title: "Packages that the machines install (once)",
      enabled: () => !packagesReady,
      task: () => downloadPackages(packages),
    },
  ]);
  const tasks = new Listr(
    [
      {
        title: `Install what the sandbox needs here: ${missing.join(", ")}`,
        enabled: () => missing.length > 0,
        task: () => installPackages(missing),
      },
      {
        title: "Prepare machines and engine",
        task: (_, task) =>
          task.newListr(
            [
              { title: "Machines", enabled: () => !packagesReady, task: () => machines },
              {
                title: "Build the Pulumi engine, since no pulumi is installed (once, about 5 minutes)",
                enabled: () => !engineReady,
                task: () => buildEngine(),
              },
            ],
            { concurrent: !buildNeedsImage(), exitOnError: true },
          ),
      },
    ],
    { rendererOptions: { collapseSubtasks: false }, fallbackRendererOptions: { timestamp: undefined } },
  );
  await tasks.run();
}
