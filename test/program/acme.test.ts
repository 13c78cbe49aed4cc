import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { ownCertificate } from "../own-certificate";
import { resolveOutput, runProgram } from "./program";

const domain = "wcs.example.com";
const minimal = {
  domain,
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};
const acme = { email: "operations@example.com" };
const directory = "https://acme-v02.api.letsencrypt.org/directory";
const secretSignature = "4dabf18193072939515e22adb298388d";
const accountKey = "key of acme-account";

type Program = Awaited<ReturnType<typeof runProgram>>;
const programs = {} as Record<"none" | "acme" | "supplied" | "two", Program>;
let suppliedKey: string;

beforeAll(async () => {
  const own = await ownCertificate(domain);
  suppliedKey = own.tlsPrivateKey;
  programs.none = await runProgram(minimal);
  programs.acme = await runProgram({ ...minimal, acme });
  programs.supplied = await runProgram({ ...minimal, ...own }, ["tlsPrivateKey"]);
  programs.two = await runProgram({ ...minimal, acme, balancers: 2, hostedZone: "Z0123456789ABC" });
}, 120_000);

const byName = ({ resources }: Program) =>
  Object.fromEntries(
    resources.map(({ type, name, inputs }) => [`${type.split(":").at(-1)} ${name}`, inputs]),
  );

/** The names of the resources that a step from one program to another makes, changes and deletes. */
function steps(before: Program, after: Program) {
  const [olds, news] = [byName(before), byName(after)];
  const names = (inputs: Record<string, unknown>) => Object.keys(inputs).sort();
  return {
    made: names(news).filter((name) => !(name in olds)),
    changed: names(news).filter(
      (name) => name in olds && JSON.stringify(olds[name]) !== JSON.stringify(news[name]),
    ),
    deleted: names(olds).filter((name) => !(name in news)),
  };
}

function documentOf(program: Program) {
  const { insecureValue } = byName(program)["Parameter desired-state-document"] ?? {};
  return JSON.parse(gunzipSync(Buffer.from(String(insecureValue), "base64")).toString());
}

const account = ["Parameter acme-account", "Parameter acme-account-certificate", "PrivateKey acme-account"];
const updated = ["Command rollout", "Parameter desired-state-document"];

describe("no machine is replaced", () => {
  test("when acme is set: the account is made, rights and document change", () => {
    expect(steps(programs.none, programs.acme)).toEqual({
      made: account,
      changed: ["Command rollout", "Parameter desired-state-document", "RolePolicy balancer-1"],
      deleted: [],
    });
  });

  test("when it is removed: nothing of it stays", () => {
    expect(steps(programs.acme, programs.none)).toEqual({
      made: [],
      changed: ["Command rollout", "Parameter desired-state-document", "RolePolicy balancer-1"],
      deleted: account,
    });
  });

  test("from acme to a user-supplied certificate, and back", () => {
    const own = ["CertRequest", "LocallySignedCert", "PrivateKey"].map(
      (type) => `${type} certificate-server`,
    );
    const changed = [...updated, "Parameter desired-state-secret", "RolePolicy balancer-1"];
    expect(steps(programs.acme, programs.supplied)).toEqual({
      made: [],
      changed,
      deleted: [...account, ...own].sort(),
    });
    expect(steps(programs.supplied, programs.acme)).toEqual({
      made: [...account, ...own].sort(),
      changed,
      deleted: [],
    });
  });

  test("when another directory or contact is configured", async () => {
    const other = {
      email: "admin@example.com",
      directory: "https://ca.example.com/directory",
      profile: "classic",
    };
    expect(steps(programs.acme, await runProgram({ ...minimal, acme: other }))).toEqual({
      made: [],
      changed: updated,
      deleted: [],
    });
  });
});

describe("the document", () => {
  test("names the source, and the certificate that serves until the first one has come", () => {
    const { acme: source, ...others } = documentOf(programs.acme);
    expect(source).toEqual({
      domain,
      email: acme.email,
      directory,
      profile: null,
      delays: { turnSeconds: 180, checkSeconds: 60, failSeconds: 300 },
    });
    const { certificateHash } = documentOf(programs.none);
    expect(others).toMatchObject({ contract: 4, certificateHash });
  });

  test("has no such field without acme", () => {
    expect(documentOf(programs.none)).not.toHaveProperty("acme");
    expect(documentOf(programs.supplied)).not.toHaveProperty("acme");
  });

  test("comes after the account, of which it tells the balancers", () => {
    // The engine hears of a component, and then of its parts, when all that it depends on is there.
    const component = programs.acme.registrations.find(({ type }) => type.endsWith(":DesiredState"));
    expect(
      component?.dependencies.filter((urn) => urn.includes("ssm/parameter:Parameter::acme-")),
    ).toHaveLength(2);
  });
});

describe("the parameters", () => {
  const parameters = ({ resources }: Program) =>
    resources
      .filter(({ type, name }) => type === "aws:ssm/parameter:Parameter" && name.startsWith("acme-"))
      .toSorted((one, other) => (one.name < other.name ? -1 : 1));

  test("are SecureStrings: the account's key, and an empty ledger for the balancers", () => {
    expect(parameters(programs.acme).map(({ name, inputs }) => [name, inputs])).toEqual([
      [
        "acme-account",
        expect.objectContaining({
          name: "/wcs-balancer/dev/acme-account",
          type: "SecureString",
          value: { [secretSignature]: expect.any(String), value: accountKey },
        }),
      ],
      [
        "acme-account-certificate",
        expect.objectContaining({
          name: "/wcs-balancer/dev/acme-certificate",
          type: "SecureString",
          tier: "Advanced",
          value: { [secretSignature]: expect.any(String), value: "{}" },
        }),
      ],
    ]);
    for (const { inputs } of parameters(programs.acme)) expect(inputs).not.toHaveProperty("insecureValue");
  });

  // What the engine and the provider make of it stands in components/acme-account.ts, with the sources.
  test("are never updated by an up, whatever a later version changes in them: tags, descriptions, tiers", () => {
    const ignored = Object.fromEntries(
      programs.acme.registrations
        .filter(({ type }) => type === "aws:ssm/parameter:Parameter")
        .map(({ name, ignoredChanges }) => [name, ignoredChanges]),
    );
    expect(ignored).toEqual({
      "acme-account": [],
      "acme-account-certificate": ["*", "value"],
      "desired-state-document": [],
      "desired-state-secret": [],
      "desired-state-status": [],
    });
  });
});

describe("rights", () => {
  const statements = (program: Program, name: string) =>
    JSON.parse(String(byName(program)[`RolePolicy ${name}`]?.policy)).Statement as {
      Action: string | string[];
      Resource: string[];
    }[];
  const arn = (name: string) => `arn:aws:ssm:eu-central-1:123456789012:parameter/wcs-balancer/dev/${name}`;

  test("a balancer reads the account's key, and reads and writes the certificate", () => {
    for (const [program, name] of [
      [programs.acme, "balancer-1"],
      [programs.two, "balancer-2"],
    ] as const) {
      const ofSsm = statements(program, name).filter(({ Action }) => String(Action).startsWith("ssm:"));
      expect(ofSsm).toEqual([
        {
          Effect: "Allow",
          Action: "ssm:GetParameter",
          Resource: ["desired-state", "secret", "status", "acme-account", "acme-certificate"].map(arn),
        },
        { Effect: "Allow", Action: "ssm:PutParameter", Resource: [arn("acme-certificate")] },
      ]);
    }
  });

  test("nobody writes anything without acme, and a node never", () => {
    for (const program of [programs.none, programs.supplied])
      expect(JSON.stringify(program.resources)).not.toContain("ssm:PutParameter");
    expect(JSON.stringify(statements(programs.acme, "node"))).not.toContain("ssm:");
  });
});

describe("the account's key", () => {
  test("is in one SecureString, and nowhere else", () => {
    for (const program of [programs.acme, programs.two]) {
      const holders = program.resources.filter(({ inputs }) => JSON.stringify(inputs).includes(accountKey));
      expect(holders.map(({ name }) => name)).toEqual(["acme-account"]);
    }
  });

  test("is in no output, nor is any other key", async () => {
    const { softwareObjects: _, ...others } = programs.acme.outputs;
    const values = await Promise.all(Object.values(others).map((output) => resolveOutput(output)));
    expect(JSON.stringify(values.map(({ value }) => value))).not.toMatch(/key of|PRIVATE KEY|acme-account/);
    expect(values.every(({ secret }) => !secret)).toBe(true);
    const supplied = await Promise.all(
      Object.values(programs.supplied.outputs).map((output) => resolveOutput(output)),
    );
    expect(JSON.stringify(supplied.map(({ value }) => value))).not.toContain(suppliedKey.split("\n")[1]);
  });
});

test("clients have to trust the stack's own CA until the first public certificate is served", async () => {
  const ca = async ({ outputs }: Program) => (await resolveOutput(outputs.certificateAuthority)).value;
  expect(await ca(programs.acme)).toBe("certificate of certificate-ca");
  expect(await ca(programs.supplied)).toBeNull();
});

describe("the wait at the end of up", () => {
  const environment = (program: Program) =>
    (byName(program)["Command rollout"]?.environment as { value: Record<string, string> }).value;

  test("knows the domain and who makes its record, to say what is missing for the certificate", () => {
    expect(environment(programs.acme)).toMatchObject({ ACME_DOMAIN: domain, MAKES_RECORD: "false" });
    expect(environment(programs.two)).toMatchObject({ ACME_DOMAIN: domain, MAKES_RECORD: "true" });
  });

  test("says nothing of certificates without acme", () => {
    for (const program of [programs.none, programs.supplied]) {
      expect(environment(program)).not.toHaveProperty("ACME_DOMAIN");
      expect(environment(program)).not.toHaveProperty("MAKES_RECORD");
    }
  });
});

describe("bad input ends the program before a resource is registered:", () => {
  test.each<[Record<string, unknown>, string]>([
    [{ acme: {} }, "acme.email is missing"],
    [{ acme: { email: "nobody" } }, 'acme.email is "nobody"; it must be an email address'],
    [{ acme: { ...acme, directory: "http://ca.example.com" } }, "it must be an https:// address"],
    [{ acme: { ...acme, profile: "a b" } }, "it must be the name of a profile"],
    [{ acme, clientCidrs: ["10.0.0.0/8"] }, "with acme it must be"],
    [{ acme, domain: "wcs.internal" }, "no public CA certifies names that end with .internal"],
    [
      { acme, tlsChain: "-----BEGIN CERTIFICATE-----x-----END CERTIFICATE-----" },
      "acme is set, and so is tlsChain",
    ],
  ])("%j", async (config, message) => {
    await expect(runProgram({ ...minimal, ...config })).rejects.toMatchObject({
      message: expect.stringContaining(message),
      resources: [],
    });
  });
});
