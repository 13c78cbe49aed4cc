import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { newKeys, pemOf, selfSigned, signServer } from "../../sandbox/certificates";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { violations } from "../violations";
import { type Registered, runProgram } from "./program";

/** What the stacks' files leave to whoever uses them. */
const tarball = {
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};

function stackFile(stack: string): Record<string, unknown> {
  const { config } = parse(readFileSync(join(projectRoot, `Pulumi.${stack}.yaml`), "utf8"));
  const prefix = "wcs-balancer:";
  return Object.fromEntries(
    Object.entries(config as Record<string, unknown>)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value]),
  );
}

async function ownCertificate(domain: string) {
  const authorityKeys = (await newKeys()).keys;
  const { keys, pem } = await newKeys();
  const authority = await selfSigned({ keys: authorityKeys, commonName: "a company's CA", hours: 24 });
  const names = { commonName: domain, dnsNames: [domain], hours: 24 };
  const signed = await signServer({ publicKey: keys.publicKey, ...names, authority, authorityKeys });
  return { tlsCertificate: pemOf(signed), tlsChain: pemOf(authority), tlsPrivateKey: pem };
}

const typesOf = (resources: Registered[], type: string) =>
  resources.filter((resource) => resource.type === type).map(({ inputs }) => inputs);
const instanceTypes = (resources: Registered[]) =>
  typesOf(resources, "aws:ec2/instance:Instance")
    .map(({ instanceType }) => instanceType)
    .sort();

describe.each([
  ["dev", ["t3.medium", "t3.medium", "t3.small"], "a CA of its own", []],
  ["staging", ["c7i.large", "c7i.large", "t3.medium"], "a CA of its own", []],
  [
    "prod",
    ["c7i.2xlarge", "c7i.2xlarge", "c7i.2xlarge", "c7i.2xlarge", "c7i.large"],
    "a certificate of one's own",
    ["aws:ec2/eip:Eip balancer"],
  ],
])("the stack %s", (stack, machines, certificate, protectedResources) => {
  const values = { ...stackFile(stack), ...tarball };

  test("renders, and its user-data fits", () => {
    expect(Object.keys(renderStack(stack, values))).toContain("balancer/haproxy.cfg");
  });

  test("makes the machines of its size, protects what it must not lose, and violates no policy", async () => {
    const own =
      certificate === "a CA of its own" ? {} : await ownCertificate(String(stackFile(stack).domain));
    const program = await runProgram({ ...values, ...own }, Object.keys(own), stack);
    expect(instanceTypes(program.resources)).toEqual(machines);
    expect(program.protectedResources).toEqual(protectedResources);
    expect(program.resources.flatMap(violations)).toEqual([]);
  });
});

test("with a CA of its own the key of that is protected too", async () => {
  const { protectedResources } = await runProgram({ ...stackFile("prod"), ...tarball }, [], "prod");
  expect(protectedResources).toEqual([
    "aws:ec2/eip:Eip balancer",
    "tls:index/privateKey:PrivateKey certificate-ca",
  ]);
});
