import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { eventually, machine, paths } from "./cluster";

/**
 * Waits until a machine's console ends with the step of the set-up that failed, and why: once when it failed, and once more
 * ten seconds later, where people look first. On a busy machine other programs still print after that.
 */
export async function consoleNames(name: string, reason: RegExp): Promise<void> {
  const { id } = await machine(name);
  await eventually(() => {
    const lines = readFileSync(join(paths.machines, id, "console.log"), "utf8").split("\n");
    const ofSetup = lines.filter((line) => line.includes("set-up: ")).slice(-2);
    expect(ofSetup).toHaveLength(2);
    for (const line of ofSetup) {
      expect(line).toContain("set-up: step ");
      expect(line).toMatch(reason);
    }
  }, 240);
}
