import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sign } from "aws4";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ObjectFault } from "../../sandbox/cloud/client";
import { ObjectStore, shareObjects } from "../../sandbox/cloud/objects";
import { answerS3, bucketOf, type S3Account } from "../../sandbox/cloud/s3";
import { assetMark } from "../../sandbox/provider/asset";
import { machineCredentials } from "../machine-credentials";

const name = "wcs-balancer-dev-1";
const host = `${name}.s3.eu-central-1.amazonaws.com`;
const key = "node/software-0a1b.tar.gz";
const content = "what a node installs";

const folder = mkdtempSync(join(tmpdir(), "wcs-s3-"));
const store = new ObjectStore(join(folder, "objects"));
const hash = createHash("sha256").update(content).digest("hex");
const asset = { ...assetMark, hash, text: content };

const credentials = machineCredentials("node");
const { accessKeyId, secretAccessKey, token: sessionToken } = credentials;
const mine = { accessKeyId, secretAccessKey, sessionToken };

const readNode = JSON.stringify({
  Statement: { Effect: "Allow", Action: "s3:GetObject", Resource: `arn:aws:s3:::${name}/node/*` },
});
const listBucket = JSON.stringify({
  Statement: { Effect: "Allow", Action: "s3:ListBucket", Resource: `arn:aws:s3:::${name}` },
});
const onlyTls = JSON.stringify({
  Statement: {
    Effect: "Deny",
    Principal: "*",
    Action: "s3:*",
    Resource: [`arn:aws:s3:::${name}`, `arn:aws:s3:::${name}/*`],
    Condition: { Bool: { "aws:SecureTransport": "false" } },
  },
});

let policies: string[];
let boundary: string | undefined;
let fault: ObjectFault | undefined;
const account: S3Account = {
  credentialsOf: (id) => (id === accessKeyId ? credentials : undefined),
  rightsOf: () => ({ policies, boundary }),
  bucket: (bucket) => (bucket === name ? { policy: onlyTls } : undefined),
  object: (bucket, objectKey) => {
    const file = store.fileOf(bucket, objectKey);
    return existsSync(file) ? { file, hash } : undefined;
  },
  objectFault: () => fault,
};

/** One that believes itself behind TLS, and one that does not. */
let secure: Server;
let plain: Server;

beforeAll(async () => {
  await store.put(name, key, asset);
  await store.put(name, "balancer/secret", asset);
  await store.put(name, "node/a b+ü", asset);
  const serve = async (isSecure: boolean) => {
    const server = createServer((asked, response) => {
      const bucket = bucketOf(asked.headers.host ?? "") ?? "";
      void answerS3(asked, response, bucket, account, isSecure);
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    return server;
  };
  secure = await serve(true);
  plain = await serve(false);
});

afterAll(() => {
  secure.close();
  plain.close();
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  policies = [readNode];
  boundary = undefined;
  fault = undefined;
});

interface Asked {
  path: string;
  headers: Record<string, string>;
}

/** A request as a client of AWS signs it. */
function signed(path: string, changes: Record<string, unknown> = {}, by = mine): Asked {
  const { headers = {} } = sign(
    { service: "s3", region: "eu-central-1", method: "GET", host, path, ...changes },
    by,
  );
  return { path, headers: headers as Record<string, string> };
}

async function get({ path, headers }: Asked, server = secure): Promise<{ status?: number; body: string }> {
  const { port } = server.address() as AddressInfo;
  const asked = request({ port, host: "127.0.0.1", path, headers, agent: false }).end();
  const [response] = await once(asked, "response");
  let body = "";
  for await (const part of response.setEncoding("utf8")) body += part;
  return { status: response.statusCode, body };
}

async function refusal(asked: Asked, server = secure): Promise<string> {
  const { status, body } = await get(asked, server);
  return `${status} ${body.match(/<Code>(\w+)<\/Code>/)?.[1]}`;
}

describe("S3 gives an object to whom its role's policy names", () => {
  test.each([
    ["a plain key", key],
    ["a key that has to be encoded", "node/a%20b%2B%C3%BC"],
  ])("%s", async (_, path) => {
    expect(await get(signed(`/${path}`))).toEqual({ status: 200, body: content });
  });

  test("signed by hand, over a header that most clients leave out", async () => {
    const time = new Date().toISOString().replace(/[:-]|\.\d{3}/g, "");
    const scope = `${time.slice(0, 8)}/eu-central-1/s3/aws4_request`;
    const empty = createHash("sha256").digest("hex");
    const headers: Record<string, string> = {
      host,
      "user-agent": "by hand",
      "x-amz-content-sha256": empty,
      "x-amz-date": time,
      "x-amz-security-token": sessionToken,
    };
    const names = Object.keys(headers).join(";");
    const lines = Object.entries(headers).map(([header, value]) => `${header}:${value}\n`);
    const canonical = ["GET", `/${key}`, "", lines.join(""), names, empty].join("\n");
    const toSign = ["AWS4-HMAC-SHA256", time, scope, createHash("sha256").update(canonical).digest("hex")];
    const hmac = (secret: string | Buffer, text: string) =>
      createHmac("sha256", secret).update(text).digest();
    const secret = scope.split("/").reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
    const signature = hmac(secret, toSign.join("\n")).toString("hex");
    headers.authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
    expect(await get({ path: `/${key}`, headers })).toEqual({ status: 200, body: content });
  });
});

describe("S3 refuses", () => {
  const minutesAgo = (minutes: number) =>
    new Date(Date.now() - minutes * 60_000).toISOString().replace(/[:-]|\.\d{3}/g, "");
  const tampered = (header: string, value: string): Asked => {
    const asked = signed(`/${key}`);
    return { ...asked, headers: { ...asked.headers, [header]: value } };
  };

  test.each<[string, () => Asked, string]>([
    ["who does not sign", () => ({ path: `/${key}`, headers: { host } }), "403 AccessDenied"],
    [
      "a signature of something else",
      () => ({ ...signed("/node/x"), path: `/${key}` }),
      "403 SignatureDoesNotMatch",
    ],
    [
      "a wrong secret",
      () => signed(`/${key}`, {}, { accessKeyId, secretAccessKey: "wrong", sessionToken }),
      "403 SignatureDoesNotMatch",
    ],
    ["another token", () => tampered("X-Amz-Security-Token", "other"), "400 InvalidToken"],
    [
      "an unknown key",
      () => ({
        path: `/${key}`,
        headers: sign(
          { service: "s3", region: "eu-central-1", host, path: `/${key}` },
          { accessKeyId: "ASIA0", secretAccessKey },
        ).headers as Record<string, string>,
      }),
      "403 InvalidAccessKeyId",
    ],
    ["another region", () => signed(`/${key}`, { region: "us-east-1" }), "400 AuthorizationHeaderMalformed"],
    ["another service", () => signed(`/${key}`, { service: "ssm" }), "400 AuthorizationHeaderMalformed"],
    [
      "an old request",
      () => signed(`/${key}`, { headers: { "X-Amz-Date": minutesAgo(16) } }),
      "403 RequestTimeTooSkewed",
    ],
    ["a header that is not signed", () => tampered("x-amz-acl", "private"), "403 AccessDenied"],
    [
      "a body",
      () => signed(`/${key}`, { headers: { "X-Amz-Content-Sha256": "0".repeat(64) } }),
      "400 XAmzContentSHA256Mismatch",
    ],
    ["the prefix of another role", () => signed("/balancer/secret"), "403 AccessDenied"],
    ["an unknown bucket", () => signed(`/${key}`, { host: host.replace("dev", "prod") }), "404 NoSuchBucket"],
    ["what the sandbox does not know", () => signed(`/?list-type=2`), "501 NotImplemented"],
  ])("%s", async (_, asked, expected) => {
    expect(await refusal(asked())).toBe(expected);
  });

  test("what the role's policy allows and its permissions boundary does not", async () => {
    boundary = readNode;
    expect((await get(signed(`/${key}`))).status).toBe(200);
    boundary = listBucket;
    const { status, body } = await get(signed(`/${key}`));
    expect(status).toBe(403);
    expect(body).toContain("because no permissions boundary allows the s3:GetObject action");
  });

  test("a key that is not there, as its own secret from who may not list the bucket", async () => {
    expect(await refusal(signed("/node/missing"))).toBe("403 AccessDenied");
    policies.push(listBucket);
    expect(await refusal(signed("/node/missing"))).toBe("404 NoSuchKey");
  });

  test("plain HTTP, by the bucket's policy", async () => {
    const { status, body } = await get(signed(`/${key}`), plain);
    expect(status).toBe(403);
    expect(body).toContain("with an explicit deny in a resource-based policy");
  });
});

describe("S3 broken for a machine", () => {
  test("away: the connection is dropped", async () => {
    fault = "away";
    await expect(get(signed(`/${key}`))).rejects.toThrow(/socket hang up|ECONNRESET/);
  });

  test("gone: as if the object did not exist", async () => {
    fault = "gone";
    expect(await refusal(signed(`/${key}`))).toBe("403 AccessDenied");
    policies.push(listBucket);
    expect(await refusal(signed(`/${key}`))).toBe("404 NoSuchKey");
  });

  test("corrupt: one byte is another one", async () => {
    fault = "corrupt";
    const { body } = await get(signed(`/${key}`));
    expect([...body].filter((letter, index) => letter !== content[index])).toHaveLength(1);
    expect(body).toHaveLength(content.length);
  });
});

describe("what lies in the buckets", () => {
  test("a copy of a sandbox shares the bytes, and a change in one does not reach the other", async () => {
    const copy = join(folder, "copy");
    mkdirSync(copy);
    shareObjects(join(folder, "objects"), copy);
    const other = new ObjectStore(copy);
    expect(statSync(other.fileOf(name, key)).ino).toBe(statSync(store.fileOf(name, key)).ino);
    await other.put(name, key, { ...asset, text: "newer" });
    expect(readFileSync(store.fileOf(name, key), "utf8")).toBe(content);
    await other.removeBucket(name);
    expect(readFileSync(store.fileOf(name, key), "utf8")).toBe(content);
  });

  test("a file is copied: what happens to it later does not reach the bucket", async () => {
    const path = join(folder, "source");
    writeFileSync(path, "first");
    await store.put(name, "node/file", { ...assetMark, hash, path });
    writeFileSync(path, "second");
    expect(readFileSync(store.fileOf(name, "node/file"), "utf8")).toBe("first");
  });

  test("a host name stands for a bucket, one label before S3's", () => {
    expect(bucketOf(host)).toBe(name);
    expect(bucketOf("s3.eu-central-1.amazonaws.com")).toBeUndefined();
    expect(bucketOf("a.b.s3.eu-central-1.amazonaws.com")).toBeUndefined();
    expect(bucketOf(`${host}.evil.example`)).toBeUndefined();
  });
});
