import { randomBytes } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { accountId, region } from "../account";
import { judge, type Rights, refusal } from "../rights/policy";
import type { ObjectFault } from "./client";
import { type Credentials, SignatureError, type SignatureFault, verifySignature } from "./signature";
import { escapeXml } from "./xml";

export const s3Host = `s3.${region}.amazonaws.com`;

/** A bucket's name must be a single label, since S3's certificate covers no more. */
const bucketHost = new RegExp(`^([a-z0-9-]+)\\.${s3Host.replaceAll(".", "\\.")}$`);

/** The bucket that a host name stands for. */
export function bucketOf(host: string): string | undefined {
  return host.match(bucketHost)?.[1];
}

export interface StoredObject {
  /** Where its content lies. */
  file: string;
  hash: string;
  contentType?: string;
}

/** The facts about the account that the service needs. */
export interface S3Account {
  credentialsOf(accessKeyId: string): Credentials | undefined;
  rightsOf(role: string): Rights;
  bucket(name: string): { policy?: string } | undefined;
  object(bucket: string, key: string): StoredObject | undefined;
  /** The fault that a test has set for the machine with this address. */
  objectFault(address: string): ObjectFault | undefined;
}

/** A refusal as S3 words it. */
class S3Error extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const clockSkewMilliseconds = 15 * 60_000;
const hashOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const signatureErrors: Record<SignatureFault, [status: number, code: string, message?: string]> = {
  // An anonymous request, which no bucket here allows.
  missing: [403, "AccessDenied", "Access Denied"],
  malformed: [400, "AuthorizationHeaderMalformed"],
  "unknown key": [
    403,
    "InvalidAccessKeyId",
    "The AWS Access Key Id you provided does not exist in our records.",
  ],
  "wrong token": [400, "InvalidToken", "The provided token is malformed or otherwise invalid."],
  "wrong scope": [400, "AuthorizationHeaderMalformed"],
  "unsigned header": [403, "AccessDenied"],
  skewed: [
    403,
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large.",
  ],
  mismatch: [403, "SignatureDoesNotMatch"],
};

function authenticate(request: IncomingMessage, account: S3Account): Credentials {
  try {
    const credentials = verifySignature(request, {
      service: "s3",
      skewMilliseconds: clockSkewMilliseconds,
      credentialsOf: (accessKeyId) => account.credentialsOf(accessKeyId),
    });
    const hash = request.headers["x-amz-content-sha256"];
    if (hash === undefined)
      throw new S3Error(
        400,
        "InvalidRequest",
        "Missing required header for this request: x-amz-content-sha256",
      );
    if (hash !== hashOfNothing && hash !== "UNSIGNED-PAYLOAD") {
      const message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
      throw new S3Error(400, "XAmzContentSHA256Mismatch", message);
    }
    return credentials;
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error;
    const [status, code, message = error.message] = signatureErrors[error.fault];
    throw new S3Error(status, code, message);
  }
}

function keyOf(url: string): string {
  try {
    return decodeURIComponent(url.slice(1));
  } catch {
    throw new S3Error(400, "InvalidURI", "Couldn't parse the specified URI.");
  }
}

/** Finds the requested object; checks the request in the same order as S3. */
function find(request: IncomingMessage, name: string, account: S3Account, secure: boolean): StoredObject {
  const url = request.url ?? "/";
  if (request.method !== "GET" || url.includes("?") || request.headers.range !== undefined) {
    const message = `the sandbox knows GET of a whole object only, not ${request.method} ${url}`;
    throw new S3Error(501, "NotImplemented", message);
  }
  const { role } = authenticate(request, account);
  const bucket = account.bucket(name);
  if (!bucket) throw new S3Error(404, "NoSuchBucket", "The specified bucket does not exist");
  const rights = account.rightsOf(role);
  const context = { "aws:SecureTransport": String(secure) };
  const authorize = (action: string, resource: string) => {
    const answer = judge({ ...rights, resourcePolicy: bucket.policy, action, resource, context });
    if (answer === "allowed") return;
    const user = `arn:aws:sts::${accountId}:assumed-role/${role}`;
    const message = `User: ${user} is not authorized to perform: ${action} on resource: "${resource}" ${refusal(answer, action)}`;
    throw new S3Error(403, "AccessDenied", message);
  };
  const key = keyOf(url);
  authorize("s3:GetObject", `arn:aws:s3:::${name}/${key}`);
  const isGone = account.objectFault(request.socket.remoteAddress ?? "") === "gone";
  const object = isGone ? undefined : account.object(name, key);
  if (!object) {
    // A caller that may not list a bucket must not learn its content.
    authorize("s3:ListBucket", `arn:aws:s3:::${name}`);
    throw new S3Error(404, "NoSuchKey", "The specified key does not exist.");
  }
  return object;
}

/** Changes the first byte of a stream. */
function corruptor(): Transform {
  let begun = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (!begun && chunk.length > 0) {
        chunk.writeUInt8(chunk.readUInt8(0) ^ 1, 0);
        begun = true;
      }
      done(null, chunk);
    },
  });
}

async function send({ file, hash, contentType }: StoredObject, response: ServerResponse, corrupt: boolean) {
  const { size, mtime } = statSync(file);
  response.writeHead(200, {
    "Content-Length": size,
    "Content-Type": contentType ?? "binary/octet-stream",
    // Opaque, like the real ETag of an object that was uploaded in parts.
    ETag: `"${hash.slice(0, 32)}-1"`,
    "Last-Modified": mtime.toUTCString(),
    "x-amz-server-side-encryption": "AES256",
  });
  const content = createReadStream(file);
  await (corrupt ? pipeline(content, corruptor(), response) : pipeline(content, response));
}

/**
 * S3, but only GET of an object, at the host name of its bucket: checks the signature, the role's policies and the
 * bucket's policy.
 * @param secure whether the request has come over TLS
 */
export async function answerS3(
  request: IncomingMessage,
  response: ServerResponse,
  bucket: string,
  account: S3Account,
  secure: boolean,
): Promise<void> {
  const fault = account.objectFault(request.socket.remoteAddress ?? "");
  if (fault === "away") {
    request.socket.destroy();
    return;
  }
  response.setHeader("x-amz-request-id", randomBytes(8).toString("hex").toUpperCase());
  try {
    await send(find(request, bucket, account, secure), response, fault === "corrupt");
  } catch (error) {
    // The client has closed the connection before the end.
    if (response.headersSent) return;
    const { status, code } = error instanceof S3Error ? error : { status: 500, code: "InternalError" };
    const body = `<Code>${code}</Code><Message>${escapeXml((error as Error).message)}</Message>`;
    response
      .writeHead(status, { "Content-Type": "application/xml" })
      .end(`<?xml version="1.0" encoding="UTF-8"?>\n<Error>${body}</Error>`);
  }
}
