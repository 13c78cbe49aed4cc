import { describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { readStackFile, renderStack } from "../../scripts/render";
import { ownCertificate } from "../own-certificate";
import { stackViolations, unknownBucket, violations } from "../violations";
import { type Registered, runProgram } from "./program";

/** What the stacks' files leave to whoever uses them. */
const tarball = {
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};

const typesOf = (resources: Registered[], type: string) =>
  resources.filter((resource) => resource.type === type).map(({ inputs }) => inputs);
const instanceTypes = (resources: Registered[]) =>
  typesOf(resources, "aws:ec2/instance:Instance")
    .map(({ instanceType }) => instanceType)
    .sort();

/** The stack's bucket, and then what depends on its name. */
const withBucketFirst = (resources: Registered[]) => [
  ...resources
    .filter(({ type }) => type === "aws:s3/bucket:Bucket")
    .map((bucket) => ({ ...bucket, inputs: { ...bucket.inputs, arn: "arn:aws:s3:::software-bucket" } })),
  ...resources
    .filter(({ type }) => type !== "aws:s3/bucket:Bucket")
    .map((resource) => ({
      ...resource,
      inputs: { ...resource.inputs, ...("bucket" in resource.inputs && { bucket: unknownBucket }) },
    })),
];

describe.each([
  ["dev", ["t3.medium", "t3.medium", "t3.small"], "a CA of its own", []],
  ["staging", ["c7i.large", "c7i.large", "t3.medium"], "a CA of its own", []],
  [
    "prod",
    ["c7i.2xlarge", "c7i.2xlarge", "c7i.2xlarge", "c7i.2xlarge", "c7i.large"],
    "a user-supplied certificate",
    [
      "aws:ec2/eip:Eip entry",
      "aws:s3/bucket:Bucket software",
      "tls:index/privateKey:PrivateKey certificate-ca",
    ],
  ],
])("the stack %s", (stack, machines, certificate, protectedResources) => {
  const values = { ...readStackFile(stack, projectRoot), ...tarball };

  test("renders, and its user-data fits", () => {
    expect(Object.keys(renderStack(stack, values))).toContain("balancer/haproxy.cfg");
  });

  test("makes the machines of its size, protects what it must not lose, and violates no policy", async () => {
    const own =
      certificate === "a CA of its own"
        ? {}
        : await ownCertificate(String(readStackFile(stack, projectRoot).domain));
    const program = await runProgram({ ...values, ...own }, Object.keys(own), stack);
    expect(instanceTypes(program.resources)).toEqual(machines);
    expect(program.protectedResources).toEqual(protectedResources);
    expect(program.resources.flatMap(violations)).toEqual([]);
    expect(stackViolations(withBucketFirst(program.resources))).toEqual([]);
    const unguarded = program.resources.filter(({ type }) => !type.includes("BucketPolicy"));
    expect(stackViolations(withBucketFirst(unguarded))).not.toEqual([]);
  });
});
