import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The e2e files share one cluster, so they run in the order of their names; the last one takes it down. */
class ByName extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return [...files].sort((one, other) => one.moduleId.localeCompare(other.moduleId));
  }
}

const minute = 60_000;

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"] } },
      { test: { name: "program", include: ["test/program/**/*.test.ts"], testTimeout: minute } },
      // Runs the machines' own tools in a Debian 13 root: needs root and the sandbox's cache.
      {
        test: {
          name: "machine",
          include: ["test/machine/**/*.test.ts"],
          testTimeout: minute,
          hookTimeout: 3 * minute,
          maxWorkers: 2,
        },
      },
      // A client on the internet of a sandbox: scripts/test.ts starts it there.
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 3 * minute,
          hookTimeout: 5 * minute,
          fileParallelism: false,
        },
      },
    ],
    sequence: { sequencer: ByName },
  },
});
