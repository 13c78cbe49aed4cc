import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cached } from "./paths";
import { run } from "./shell";

/**
 * Mounts a new root over the machines' image in `folder`, which keeps everything that is written to the root.
 * @param layers folders between the two, the first one on top
 */
export function mountRoot(folder: string, layers: string[] = []): string {
  const [upper, work, root] = ["upper", "work", "root"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [upper, work, root]) mkdirSync(path, { recursive: true });
  run("mount", [
    "-t",
    "overlay",
    "overlay",
    "-o",
    `lowerdir=${[...layers, cached.image].join(":")},upperdir=${upper},workdir=${work}`,
    root,
  ]);
  return root;
}

/** Unmounts everything that is mounted in a folder. */
export function unmountAll(folder: string): void {
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of mounts.reverse()) run("umount", ["--lazy", path]);
}

/** Removes a folder with everything that is mounted in it. */
export function removeWithMounts(folder: string): void {
  unmountAll(folder);
  rmSync(folder, { recursive: true, force: true });
}
