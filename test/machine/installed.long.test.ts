import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { interpreter } from "../../components/local-program";
import { projectRoot } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";

// Pulumi ships these stubs, but has no types for them.
const { EngineService } = require("@pulumi/pulumi/proto/engine_grpc_pb");
const engineMessages = require("@pulumi/pulumi/proto/engine_pb");
const { ResourceMonitorService } = require("@pulumi/pulumi/proto/resource_grpc_pb");
const resourceMessages = require("@pulumi/pulumi/proto/resource_pb");

const minute = 60_000;

/** What is installed for those who only deploy. */
const folder = mkdtempSync(join(tmpdir(), "wcs-installed-"));

beforeAll(() => {
  const tracked = run("git", ["-C", projectRoot, "ls-files", "-z"]).split("\0").filter(Boolean);
  for (const path of tracked.filter((name) => existsSync(join(projectRoot, name)))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    copyFileSync(join(projectRoot, path), join(folder, path));
  }
  run("npm", ["ci", "--omit=dev", "--no-audit", "--no-fund"], { cwd: folder });
}, 10 * minute);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

// biome-ignore lint/suspicious/noExplicitAny: the generated messages have no types that can be imported.
type Handler = (request: any) => unknown;

/** The engine's side: it answers just enough for a program to begin, and hands on the errors that the program reports. */
async function serveEngine(report: (error: string) => void): Promise<{ address: string; stop(): void }> {
  const engine: Record<string, Handler> = {
    log(request) {
      if (request.getSeverity() === engineMessages.LogSeverity.ERROR) report(request.getMessage());
      return new Empty();
    },
    getRootResource: () => new engineMessages.GetRootResourceResponse(),
    setRootResource: () => new engineMessages.SetRootResourceResponse(),
  };
  const monitor: Record<string, Handler> = {
    supportsFeature: () => new resourceMessages.SupportsFeatureResponse(),
    registerResource: (request) =>
      new resourceMessages.RegisterResourceResponse().setUrn(
        `urn:pulumi:dev::wcs-balancer::${request.getType()}::${request.getName()}`,
      ),
    registerResourceOutputs: () => new Empty(),
  };
  const server = new grpc.Server();
  for (const [service, handlers] of [
    [EngineService, engine],
    [ResourceMonitorService, monitor],
  ])
    server.addService(
      service,
      Object.fromEntries(
        Object.entries(handlers as Record<string, Handler>).map(([name, handle]) => [
          name,
          (call: { request: unknown }, answer: (error: null, value: unknown) => void) =>
            answer(null, handle(call.request)),
        ]),
      ),
    );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { address: `127.0.0.1:${port}`, stop: () => server.forceShutdown() };
}

/** Runs the program with Pulumi's own host, which compiles TypeScript and checks types; gives the errors it reports. */
async function runHost(): Promise<string[]> {
  const errors: string[] = [];
  const { address, stop } = await serveEngine((error) => errors.push(error));
  const host = ["node_modules/@pulumi/pulumi/cmd/run", `--monitor=${address}`, `--engine=${address}`];
  const child = spawn("node", [...host, "--project=wcs-balancer", "--stack=dev", `--pwd=${folder}`, "."], {
    cwd: folder,
    env: { ...process.env, PULUMI_NODEJS_TYPESCRIPT: "true", PULUMI_CONFIG: "{}" },
  });
  for (const output of [child.stdout, child.stderr])
    output.setEncoding("utf8").on("data", (text: string) => errors.push(text));
  await once(child, "close");
  stop();
  return errors;
}

describe("after npm ci --omit=dev", () => {
  test("the tools of developers are not there", () => {
    expect(existsSync(join(folder, "node_modules/@pulumi/pulumi"))).toBe(true);
    for (const name of ["vitest", "husky", "@biomejs/biome", "playwright-core"])
      expect(existsSync(join(folder, "node_modules", name)), name).toBe(false);
  });

  test(
    "pulumi up loads the whole program, which then asks for its configuration",
    async () => {
      const errors = await runHost();
      expect(errors.join("\n")).toMatch(/^domain is missing/);
      expect(errors).toHaveLength(1);
    },
    5 * minute,
  );

  test.each(["rollout/wait-for-rollout.ts", "rollout/hand-over.ts"])("%s loads", (program) => {
    const { status, stderr } = spawnSync(interpreter[0] ?? "", [...interpreter.slice(1), program], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(stderr).toMatch(/^\S+ failed: [A-Z_]+ is not set\n$/);
    expect(status).toBe(1);
  });

  test("every rule of the policy pack loads", () => {
    const count = "console.log(Object.keys(require('./policy/policies')).length)";
    expect(Number(run("node", ["--import", "tsx", "--eval", count], { cwd: folder }))).toBeGreaterThan(0);
  });

  test("npm run render writes what machines get, with the WebSDK's checksum", () => {
    run("npm", ["run", "render", "--", "--stack", "dev", "--out", "rendered"], { cwd: folder });
    expect(existsSync(join(folder, "rendered/balancer/haproxy.cfg"))).toBe(true);
  });
});
