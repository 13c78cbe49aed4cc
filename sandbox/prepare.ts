import { mkdirSync, statfsSync } from "node:fs";
import { Listr } from "listr2";
import { renderStack } from "../scripts/render";
import { buildEngine, buildNeedsImage, engineIsReady } from "./engine";
import { installPackages, missingPackages } from "./host-packages";
import { buildImage, downloadPackages, imageIsReady, packagesAreReady, packagesOf } from "./image";
import { withCacheLock } from "./lock";
import { cache } from "./paths";
import { buildPebble, pebbleIsReady } from "./pebble";
import { stackSettings, stackValues } from "./stack";

const neededGigabytes = 6;

/** Packages of Debian that only tests and measurements use. */
const testTools = [
  "bc",
  "chromium",
  "fonts-liberation",
  "jq",
  "python3-acme",
  "python3-boto3",
  "shellcheck",
  "sslscan",
];

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

/** What machines install, and which stand-ins a stack needs. */
interface Needs {
  packages: string[];
  /** Whether the sandbox plays Let's Encrypt. */
  pebble: boolean;
}

/** What a stack with these values needs. */
export function stackNeeds(stack: string, values: Record<string, unknown>): Needs {
  return { packages: machinePackages(stack, values), pebble: values.acme !== undefined };
}

/** The packages that the machines of a stack install. */
function machinePackages(stack: string, values: Record<string, unknown>): string[] {
  // The certificate does not change the packages. The program checks it.
  const { tlsCertificate: _, ...others } = values;
  const files = renderStack(stack, others);
  return Object.entries(files)
    .filter(([name]) => name.endsWith("user-data.yaml"))
    .flatMap(([, userData]) => packagesOf(userData));
}

/** What tests and measurements need: the packages of the stack dev's machines, tools, and Let's Encrypt. */
export function testNeeds(...furtherTools: string[]): Needs {
  const packages = machinePackages("dev", stackValues(stackSettings("dev", {})));
  return { packages: [...packages, ...testTools, ...furtherTools], pebble: true };
}

/** Installs, downloads and builds what is missing. Only this needs a network. */
export async function prepare(needs: Needs): Promise<void> {
  await withCacheLock(() => prepareAlone(needs));
}

async function prepareAlone({ packages, pebble }: Needs): Promise<void> {
  const missing = missingPackages();
  const imageReady = imageIsReady();
  const packagesReady = imageReady && packagesAreReady(packages);
  const engineReady = engineIsReady();
  const pebbleReady = !pebble || pebbleIsReady();
  if (missing.length === 0 && packagesReady && engineReady && pebbleReady) return;

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
  // One after the other: Go uses all processors, and both have one folder for their work.
  const builds = new Listr([
    {
      title: "Build Pebble, which plays Let's Encrypt (once, about half a minute)",
      enabled: () => !pebbleReady,
      task: () => buildPebble(),
    },
    {
      title: "Build the Pulumi engine, since no pulumi is installed (once, about 5 minutes)",
      enabled: () => !engineReady,
      task: () => buildEngine(),
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
              { title: "Builds", enabled: () => !engineReady || !pebbleReady, task: () => builds },
            ],
            { concurrent: !buildNeedsImage(), exitOnError: true },
          ),
      },
    ],
    { rendererOptions: { collapseSubtasks: false }, fallbackRendererOptions: { timestamp: undefined } },
  );
  await tasks.run();
}
