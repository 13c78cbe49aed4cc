import { readdirSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { balancerIds } from "./balancers";
import { cloud, long, onMachine, paths, sandbox, startSandbox } from "./cluster";
import { consoleNames } from "./console";

afterAll(() => cloud.call("setFaults", {}));

describe("a machine's role may read", () => {
  /** Asks for an object, or a parameter, with the machine's own code. */
  const ask = (name: string, question: string) =>
    onMachine(
      name,
      `python3 - <<'PYTHON'
import json, re, sys
sys.path.insert(0, "/usr/local/lib/wcs-setup")
import aws_instance, aws_parameters
source = json.load(open("/etc/wcs-setup.json"))["packages"]["software"]["source"]
bucket, key = source[5:].split("/", 1)
def read(key, method="GET"):
    answer = aws_instance.ask("s3", method, key, {}, bucket=bucket)
    body = answer.read()
    return answer.status, len(body) if answer.status == 200 else re.findall("<Code>(.*?)<", body.decode())
try:
    print(${question})
except aws_instance.AwsError as error:
    print(error)
PYTHON`,
    );

  test("its own software", async () => {
    expect((await ask("wcs-1", 'read(f"/{key}")')).output).toMatch(/^\(200, \d{5}\)$/m);
  });

  test.each([
    ["the other kind's software", 'read("/" + key.replace("node", "balancer"))', "AccessDenied"],
    ["a list of what there is", 'read("/")', "AccessDenied"],
    ["an object that is not there", 'read("/node/none")', "AccessDenied"],
    [
      "the key of the certificate",
      'aws_parameters.get_parameter("/wcs-balancer/dev/secret")',
      "AccessDenied",
    ],
    ["the desired state", 'aws_parameters.get_parameter("/wcs-balancer/dev/desired-state")', "AccessDenied"],
  ])("not %s", async (_, question, refusal) => {
    expect((await ask("wcs-1", question)).output).toMatch(refusal);
  });
});

// Every node is replaced by this: a minute.
if (long)
  test("machines wait for rights of a new role that arrive late", async () => {
    await cloud.call("setFaults", { roleDelaySeconds: 5 });
    const { status, output } = sandbox("up", "--nodes", "3", "--secret", "wcsLicenseKey=KEY-1234");
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    await cloud.call("setFaults", {});
  });

test("up's message names the failed step of each machine", async () => {
  await cloud.call("setFaults", {
    objects: { "wcs-3": "corrupt", "wcs-4": "away", "wcs-5": "gone" },
    fullDisks: ["wcs-6"],
  });
  const failures: [string, string, RegExp][] = [
    ["wcs-3", "software-checksum", /the SHA-256 is [0-9a-f]{64}/],
    ["wcs-4", "software-download", /.*s3\.eu-central-1\.amazonaws\.com cannot be reached/],
    ["wcs-5", "software-download", /S3 refuses s3:\/\/.*: AccessDenied/],
    ["wcs-6", "software-download", /.*No space left on device/],
  ];
  const seen = failures.slice(0, long ? 4 : 2);
  const nodes = ["up", "--nodes", String(2 + seen.length)];
  expect(sandbox(...nodes).status).toBe(1);
  // The first failure ends the wait. Once all have failed, all are named.
  for (const [name, step, reason] of seen)
    await consoleNames(name, new RegExp(`${step} failed: ${reason.source}`));
  const { status, output } = sandbox(...nodes);
  expect(status).toBe(1);
  const failure = output.match(/rollout failed: .*/)?.[0] ?? "";
  for (const [name, step] of seen)
    expect(failure).toMatch(new RegExp(`${name}-[0-9a-f]{8}: its set-up failed at step ${step}`));
  const { output: cloudInit } = await onMachine("wcs-3", "cloud-init status --wait --long");
  expect(cloudInit).toContain("status: error");
  expect(cloudInit).toContain("02-software-checksum");
  // No unverified file is on the machine.
  expect((await onMachine("wcs-3", "ls /usr/local/sbin /var/lib/wcs-setup")).output).not.toMatch(
    /wcs-configure|software/,
  );
});

if (long)
  test("a balancer that cannot fetch its software: up names the command for the console, which ends with the step", async () => {
    await cloud.call("setFaults", { objects: { "balancer-1": "corrupt" } });
    const up = startSandbox(["up", "--config", "balancerInstanceType=c7i.large"], { DEADLINE_SECONDS: "25" });
    const { status, output } = await up.ended;
    expect(status).toBe(1);
    // The old one serves on.
    const [, coming = "none"] = await balancerIds();
    expect(output).toContain(`aws ec2 get-console-output --latest --output text --instance-id ${coming}`);
    await consoleNames(coming, /software-checksum failed: the SHA-256 is/);
  });

test("a destroy leaves no machine, no bucket and no object of any version", async () => {
  const objects = () => readdirSync(paths.objects, { recursive: true });
  expect(objects().length).toBeGreaterThan(4);
  await cloud.call("setFaults", {});
  const { status, output } = sandbox("destroy");
  expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
  expect(await cloud.call("machines", {})).toEqual([]);
  expect(objects()).toEqual([]);
});
