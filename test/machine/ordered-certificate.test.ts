import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { LocalWorkspace } from "@pulumi/pulumi/automation";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { AcmeAccount } from "../../components/acme-account";
import type { CloudClient } from "../../sandbox/cloud/client";
import { engine } from "../../sandbox/engine";
import { packageVersion } from "../../sandbox/package-version";
import type { ResourceType } from "../../sandbox/provider/resource-type";
import { serveProvider } from "../../sandbox/provider/server";
import { tlsTypes } from "../../sandbox/provider/tls";

const accountParameter = "/wcs-balancer/dev/acme-account";
const acmeParameter = "/wcs-balancer/dev/acme-certificate";

/** The parameters by their names, as in SSM; and how often the provider was asked to update one. */
const parameters = new Map<string, Record<string, unknown>>();
const updates: string[] = [];

/** As the real provider: an update puts the whole parameter, with the value that the engine says. */
const parameterType: ResourceType = {
  inputs: z.looseObject({}),
  replaceOn: ["name"],
  computed: ["version"],
  async create(inputs) {
    parameters.set(String(inputs.name), inputs);
    return { id: String(inputs.name), outputs: { version: 1 } };
  },
  async update(id, inputs) {
    updates.push(id);
    parameters.set(id, inputs);
    return { version: 2 };
  },
  async remove(id) {
    parameters.delete(id);
  },
  async read(id) {
    const inputs = parameters.get(id);
    return inputs && { inputs, outputs: { version: 2 } };
  },
};

/** What a balancer does. */
function renew(value: string): void {
  parameters.set(acmeParameter, { ...parameters.get(acmeParameter), value });
}

const storedIn = (name: string) => parameters.get(name)?.value;

const folder = mkdtempSync(join(tmpdir(), "wcs-ordered-"));
const stops: (() => void)[] = [];
let providers: string;

beforeAll(async () => {
  const context = { cloud: {} as CloudClient, log: () => {} };
  const types = { "aws:ssm/parameter:Parameter": parameterType };
  const aws = await serveProvider({ version: packageVersion("@pulumi/aws"), types }, context);
  const tls = await serveProvider({ version: packageVersion("@pulumi/tls"), types: tlsTypes }, context);
  stops.push(aws.stop, tls.stop);
  providers = `aws:${aws.port},tls:${tls.port}`;
  writeFileSync(join(folder, "Pulumi.yaml"), "name: wcs-balancer\nruntime: nodejs\n");
});

afterAll(() => {
  for (const stop of stops) stop();
  rmSync(folder, { recursive: true });
});

/** The stack of a version of this project that gives every parameter these inputs. */
async function stackOf(version: Record<string, unknown>) {
  const program = async () => {
    pulumi.runtime.registerStackTransformation(({ type, props, opts }) =>
      type === "aws:ssm/parameter:Parameter" ? { props: { ...props, ...version }, opts } : undefined,
    );
    new AcmeAccount("acme-account", { accountParameter, acmeParameter });
  };
  const stack = await LocalWorkspace.createOrSelectStack(
    { stackName: "dev", projectName: "wcs-balancer", program },
    {
      workDir: folder,
      pulumiCommand: await engine(),
      envVars: {
        PULUMI_BACKEND_URL: `file://${folder}`,
        PULUMI_CONFIG_PASSPHRASE: "test",
        PULUMI_HOME: join(folder, "home"),
        PULUMI_SKIP_UPDATE_CHECK: "true",
        PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
        PULUMI_DEBUG_PROVIDERS: providers,
      },
    },
  );
  // After each operation the SDK asks the CLI for the stack's history, which nobody here reads.
  stack.info = async () => undefined;
  return stack;
}

test("no up and no refresh writes an older certificate back, also when a later version changes tags and description", async () => {
  const first = await stackOf({});
  await first.up();
  expect(storedIn(acmeParameter)).toBe("{}");
  const accountKey = storedIn(accountParameter);

  renew("first");
  await first.up();
  expect(storedIn(acmeParameter)).toBe("first");

  const later = await stackOf({ description: "another", tags: { Added: "1" }, tier: "Intelligent-Tiering" });
  await later.up();
  expect(storedIn(acmeParameter)).toBe("first");
  // The account's key is an ordinary parameter: the change has arrived, and this test can fail.
  expect(updates).toEqual([accountParameter]);
  expect(parameters.get(accountParameter)).toMatchObject({ description: "another", value: accountKey });

  renew("second");
  await later.refresh();
  expect(storedIn(acmeParameter)).toBe("second");
  renew("third");
  await later.up();
  expect(storedIn(acmeParameter)).toBe("third");

  const latest = await stackOf({ description: "the latest" });
  await latest.up({ refresh: true });
  renew("fourth");
  await latest.up();
  expect(storedIn(acmeParameter)).toBe("fourth");
  expect(updates).toEqual([accountParameter, accountParameter]);

  // The guide's command for a new account.
  await latest.up({ replace: ["**PrivateKey::acme-account"] });
  expect(storedIn(accountParameter)).toContain("PRIVATE KEY");
  expect(storedIn(accountParameter)).not.toBe(accountKey);
  expect(storedIn(acmeParameter)).toBe("fourth");

  // The state keeps the certificate and its key encrypted.
  const state = readFileSync(join(folder, ".pulumi/stacks/wcs-balancer/dev.json"), "utf8");
  expect(state).toContain(acmeParameter);
  for (const secret of ["third", "PRIVATE KEY"]) expect(state).not.toContain(secret);

  await latest.destroy();
  expect([...parameters]).toEqual([]);
}, 600_000);
