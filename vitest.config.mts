import { defineConfig } from "vitest/config";

/** Time limits end what hangs. They are far longer than any test takes, since a busy machine is not a failure. */
const minute = 60_000;

export default defineConfig({
  test: {
    projects: [
      // Without isolation files share the libraries that are loaded, which saves half of the time.
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          isolate: false,
          testTimeout: minute,
          hookTimeout: minute,
        },
      },
      {
        test: {
          name: "program",
          include: ["test/program/**/*.test.ts"],
          isolate: false,
          testTimeout: minute,
          hookTimeout: minute,
        },
      },
      // Runs the machines' own tools in a Debian 13 root: needs root and the sandbox's cache.
      {
        test: {
          name: "machine",
          include: ["test/machine/**/*.test.ts"],
          testTimeout: 4 * minute,
          hookTimeout: 10 * minute,
        },
      },
      // Clients on the internet of a sandbox: test/run/main.ts gives each file one, and starts it there.
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 15 * minute,
          hookTimeout: 15 * minute,
          setupFiles: ["test/e2e/setup.ts"],
        },
      },
    ],
  },
});
