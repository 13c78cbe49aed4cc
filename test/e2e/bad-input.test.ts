import { describe, expect, test } from "vitest";
import { statusPath } from "../../contract/facts";
import { briefStatusSchema } from "../../contract/status";
import { wcsPackage } from "../../sandbox/downloads";
import { cloud, connect, get, long, onMachine, paths, sandbox, sandboxAsync, startSandbox } from "./cluster";
import { consoleNames } from "./console";

describe("bad input", () => {
  const revision = async () => briefStatusSchema.parse(JSON.parse((await get(statusPath)).body)).revision;

  test.each([
    ['checks={"cpu":130}', "checks.cpu is 130; it must be a percentage from 1 to 100"],
    ["colour=red", "colour is not a configuration key"],
  ])("%s is refused before anything changes", async (config, message) => {
    const before = await revision();
    const { status, output } = sandbox("up", "--config", config);
    expect(status).toBe(1);
    expect(output).toContain(message);
    expect(output).not.toMatch(/ at .*\.ts:\d+/);
    expect(await revision()).toBe(before);
  });

  if (long)
    test("a private key that is not a secret is refused by the program itself", () => {
      const pem = "-----BEGIN CERTIFICATE-----\\nx\\n-----END CERTIFICATE-----";
      const { status, output } = sandbox(
        "preview",
        "--config",
        `tlsCertificate=${pem}`,
        "--config",
        "tlsPrivateKey=x",
      );
      expect(status).toBe(1);
      expect(output).toContain(
        "tlsPrivateKey is stored in clear text; it must be a secret. Set it with: pulumi config set --secret tlsPrivateKey < key.pem",
      );
    });

  test("a look-up without a result ends the command with one error", async () => {
    const { status, output } = await startSandbox(["preview"], { WCS_SANDBOX_NEWEST_AMI: "none" }).ended;
    expect(status).toBe(1);
    expect(output.match(/^ *error: .*$/gm)).toEqual([
      expect.stringContaining("the newest image of Debian 13 (debian-13-amd64-*) was not found"),
    ]);
    expect(output).not.toContain("error serializing");
    expect(output.trim().split("\n").at(-1)).toBe("sandbox: the engine ended with an error, see above");
  });

  test("a command that changes the sandbox waits for no other", async () => {
    const results = await Promise.all([sandboxAsync("preview"), sandboxAsync("preview")]);
    const [refused] = results.filter(({ status }) => status !== 0);
    expect(results.filter(({ status }) => status === 0)).toHaveLength(1);
    expect(refused?.output.trim()).toBe(
      `sandbox: another command is changing the sandbox ${paths.name}; try again when it has ended`,
    );
  });

  if (long)
    test("a tarball with another checksum: the node takes no clients, and up ends with that reason", async () => {
      const { status, output } = sandbox(
        "up",
        "--config",
        `wcsPackageUrl=${wcsPackage().url}`,
        "--config",
        `wcsPackageSha256=${"0".repeat(64)}`,
      );
      expect(status).toBe(1);
      // Every node is a new one here, and the wait ends with the first that fails.
      const failure = /rollout failed: .*wcs-[12]-([0-9a-f]{8}): its set-up failed at step wcs-checksum/;
      expect(output).toMatch(failure);
      // By its id: the node that it replaces is still there under the same name.
      const failed = output.match(failure)?.[1] ?? "none";
      const cloudInit = await onMachine(failed, "cloud-init status --wait --long");
      expect(cloudInit.output).toContain("status: error");
      expect(cloudInit.output).toContain("09-wcs-checksum");
      await consoleNames(failed, /wcs-checksum failed/);
    });

  if (long)
    test("the next good up heals it", async () => {
      const { status, output } = sandbox("up");
      expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
      const names = (await cloud.call("machines", {})).map(({ name }) => name).sort();
      expect(names).toEqual(["balancer-1", "wcs-1", "wcs-2"]);
      const client = await connect();
      await client.close();
    });
});

test("an up that the deploy role does not allow ends with AWS's words and the name of the role's file", () => {
  const { status, output } = sandbox(
    "up",
    "--config",
    "permissionsBoundary=arn:aws:iam::123456789012:policy/other",
  );
  expect(status).toBe(1);
  expect(output).toMatch(
    /AccessDenied: User: arn:aws:sts::123456789012:assumed-role\/wcs-balancer-deploy-dev\/sandbox is not authorized to perform: iam:PutRolePermissionsBoundary on resource: arn:aws:iam::123456789012:role\/wcs-balancer\/dev\/\w+-\w+ because no identity-based policy allows the iam:PutRolePermissionsBoundary action\. The sandbox judges each call by docs\/ci\/deploy-role\.json/,
  );
});

if (long)
  test("more nodes than the balancer has connections for: preview says so", () => {
    const { output } = sandbox("preview", "--nodes", "3", "--config", "maxConnections=100");
    expect(output).toContain(
      "maxConnections is 100, less than the 300 WebSockets that 3 nodes with maxConnectionsPerNode 100 take",
    );
    expect(output).toContain("pulumi config set maxConnections 300");
  });

test("more connections than the machine can open files: not applied, up ends at once with the reason", async () => {
  const { status, output } = sandbox("up", "--config", "maxConnections=50000");
  expect(status).not.toBe(0);
  expect(output).toMatch(/maxConnections needs 100500 open files, and HAProxy may have \d+ on this machine/);
  expect(output).not.toContain("not done after");
  expect((await get("/healthz")).status).toBe(200);
});
