import { once } from "node:events";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { sign } from "aws4";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Faults } from "../../sandbox/cloud/client";
import type { Parameter } from "../../sandbox/cloud/cloud";
import { answerSsm, type ParameterStore } from "../../sandbox/cloud/ssm";
import { machineCredentials } from "../machine-credentials";

const name = "/wcs-balancer/dev/acme-certificate";
const host = "ssm.eu-central-1.amazonaws.com";

const credentials = machineCredentials("balancer");

const arn = `arn:aws:ssm:eu-central-1:123456789012:parameter${name}`;
const allow = (...Action: string[]) =>
  JSON.stringify({ Statement: { Effect: "Allow", Action, Resource: [arn, `${arn}-2`] } });

let policies: string[];
let parameters: Map<string, Parameter>;
let faults: Faults;
const store: ParameterStore = {
  credentialsOf: (id) => (id === credentials.accessKeyId ? credentials : undefined),
  rightsOf: () => ({ policies }),
  get faults() {
    return faults;
  },
  parameter: (key) => parameters.get(key),
  putParameter(key, parameter) {
    const version = (parameters.get(key)?.version ?? 0) + 1;
    parameters.set(key, { ...parameter, version });
    return version;
  },
};

let server: Server;
beforeEach(async () => {
  policies = [allow("ssm:GetParameter", "ssm:PutParameter")];
  parameters = new Map([[name, { type: "SecureString", tier: "Advanced", value: "{}", version: 1 }]]);
  faults = {};
  server = createServer((incoming, response) => void answerSsm(incoming, response, store));
  await once(server.listen(0, "127.0.0.1"), "listening");
});
afterEach(() => {
  server.close();
});

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

/** Calls SSM as an AWS client does. */
function call(action: string, input: unknown, secret = credentials.secretAccessKey): Promise<Answer> {
  const signed = sign(
    {
      service: "ssm",
      region: "eu-central-1",
      host,
      method: "POST",
      path: "/",
      headers: { "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": `AmazonSSM.${action}` },
      body: JSON.stringify(input),
    },
    { accessKeyId: credentials.accessKeyId, secretAccessKey: secret, sessionToken: credentials.token },
  );
  return new Promise((resolve, reject) => {
    const { port } = server.address() as AddressInfo;
    const outgoing = request(
      {
        host: "127.0.0.1",
        port,
        method: "POST",
        path: "/",
        headers: signed.headers as Record<string, string>,
      },
      async (response) => {
        let text = "";
        for await (const part of response.setEncoding("utf8")) text += part;
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(signed.body);
  });
}

const write = (input: Record<string, unknown>) =>
  call("PutParameter", { Name: name, Overwrite: true, Tier: "Advanced", ...input });

const valueNow = async () => {
  const { body } = await call("GetParameter", { Name: name, WithDecryption: true });
  const { Value, Version, Type } = body.Parameter as Record<string, unknown>;
  return { Value, Version, Type };
};

describe("PutParameter", () => {
  test("overwrites a value, keeps its type, and counts the versions", async () => {
    expect(await write({ Value: '{"a":1}' })).toEqual({
      status: 200,
      body: { Version: 2, Tier: "Advanced" },
    });
    expect((await write({ Value: "b", Type: "SecureString" })).body).toEqual({
      Version: 3,
      Tier: "Advanced",
    });
    expect(await valueNow()).toEqual({ Value: "b", Version: 3, Type: "SecureString" });
  });

  test("makes a parameter only with a type", async () => {
    const other = { Name: `${name}-2`, Value: "x" };
    expect((await call("PutParameter", other)).body).toEqual({
      __type: "ValidationException",
      message: "A parameter type is required when you create a parameter.",
    });
    expect((await call("PutParameter", { ...other, Type: "String" })).body).toEqual({
      Version: 1,
      Tier: "Standard",
    });
  });

  test.each<[string, Record<string, unknown>, string, RegExp]>([
    ["no Overwrite", { Overwrite: undefined }, "ParameterAlreadyExists", /already exists/],
    [
      "more than an advanced one holds",
      { Value: "x".repeat(8193) },
      "ValidationException",
      /8192 characters/,
    ],
    ["a step back to the standard tier", { Tier: "Standard" }, "ValidationException", /can't downgrade/],
    ["no tier for an advanced one", { Tier: undefined }, "ValidationException", /wants the Tier/],
    ["no value", { Value: undefined }, "ValidationException", /does not take this PutParameter/],
    ["an option that the sandbox does not know", { KeyId: "x" }, "ValidationException", /KeyId/],
    ["a type that does not exist", { Type: "Text" }, "ValidationException", /Type/],
  ])("refuses %s", async (_, input, type, message) => {
    const { status, body } = await write({ Value: "b", ...input });
    expect([status, body.__type]).toEqual([400, type]);
    expect(body.message).toMatch(message);
    expect(await valueNow()).toEqual({ Value: "{}", Version: 1, Type: "SecureString" });
  });

  test("takes 8192 characters in an advanced parameter, and 4096 in a standard one", async () => {
    expect((await write({ Value: "x".repeat(8192) })).status).toBe(200);
    const standard = { Name: `${name}-2`, Type: "String" };
    expect((await call("PutParameter", { ...standard, Value: "x".repeat(4096) })).status).toBe(200);
    const { body } = await call("PutParameter", { ...standard, Overwrite: true, Value: "x".repeat(4097) });
    expect(body.message).toContain("4096 characters");
  });

  test("needs a right of its own, on this parameter, and a signature", async () => {
    policies = [allow("ssm:GetParameter")];
    expect((await write({ Value: "b" })).body.message).toBe(
      `User is not authorized to perform: ssm:PutParameter on resource: ${arn} because no identity-based policy allows the ssm:PutParameter action`,
    );
    policies = [allow("ssm:PutParameter")];
    const other = await write({ Name: "/wcs-balancer/dev/secret", Value: "b" });
    expect(other.body.__type).toBe("AccessDeniedException");
    const forged = await call("PutParameter", { Name: name, Value: "b", Overwrite: true }, "another secret");
    expect(forged.body.__type).toBe("InvalidSignatureException");
  });

  test("fails while SSM is read only, and reading goes on", async () => {
    faults = { ssm: "read only" };
    const { status, body } = await write({ Value: "b" });
    expect([status, body.__type]).toEqual([500, "InternalServerError"]);
    expect(await valueNow()).toEqual({ Value: "{}", Version: 1, Type: "SecureString" });
  });
});

test("other calls are refused", async () => {
  expect((await call("DeleteParameter", { Name: name })).body.__type).toBe("UnknownOperationException");
});
