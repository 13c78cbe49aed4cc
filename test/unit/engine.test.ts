import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageVersion } from "../../sandbox/package-version";
import { projectRoot } from "../../sandbox/paths";

const inProject = (name: string) => readFileSync(join(projectRoot, name), "utf8");

test("the engine that the sandbox builds has the version of the SDK", () => {
  const { dependencies } = JSON.parse(inProject("package.json"));
  const modules = [
    ...inProject("sandbox/engine/go.mod").matchAll(/github\.com\/pulumi\/pulumi\/(pkg|sdk)\/v3 v(\S+)/g),
  ].map(([, name, version]) => [name, version]);
  const wanted = dependencies["@pulumi/pulumi"];
  expect(Object.fromEntries(modules)).toEqual({ pkg: wanted, sdk: wanted });
  expect(packageVersion("@pulumi/pulumi")).toBe(wanted);
});
