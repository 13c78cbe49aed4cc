import { timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { type Request as SignableRequest, sign } from "aws4";
import { region } from "../account";

/** Short-lived credentials of a role. */
export interface Credentials {
  role: string;
  accessKeyId: string;
  secretAccessKey: string;
  token: string;
  expiration: Date;
}

/** The faults of a signature. Each service has its own error texts for them. */
export type SignatureFault =
  | "missing"
  | "malformed"
  | "unknown key"
  | "wrong token"
  | "wrong scope"
  | "unsigned header"
  | "skewed"
  | "mismatch";

export class SignatureError extends Error {
  constructor(
    readonly fault: SignatureFault,
    message: string,
  ) {
    super(message);
  }
}

interface SignatureCheck {
  service: string;
  /** The allowed error of the caller's clock. */
  skewMilliseconds: number;
  /** Of the request; a service that gets none with it needs none. */
  body?: string;
  credentialsOf(accessKeyId: string): Credentials | undefined;
}

const authorization =
  /^AWS4-HMAC-SHA256 Credential=(\w+)\/(\d{8})\/([\w-]+)\/(\w+)\/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})$/;

/**
 * Identifies the caller by AWS Signature Version 4.
 * @throws SignatureError when the request is not signed by a role's present credentials
 */
export function verifySignature(request: IncomingMessage, check: SignatureCheck): Credentials {
  const header = request.headers.authorization;
  if (!header) throw new SignatureError("missing", "Missing Authentication Token");
  const parts = header.match(authorization);
  if (!parts) throw new SignatureError("malformed", "The authorization header is malformed.");
  const [, accessKeyId = "", day = "", scopeRegion, service, signedHeaders = "", signature = ""] = parts;
  const credentials = check.credentialsOf(accessKeyId);
  if (!credentials) throw new SignatureError("unknown key", `The access key ${accessKeyId} does not exist.`);
  if (request.headers["x-amz-security-token"] !== credentials.token)
    throw new SignatureError("wrong token", "The security token included in the request is invalid.");
  if (scopeRegion !== region || service !== check.service) {
    const message = `Credential should be scoped to ${region} and ${check.service}, not ${scopeRegion} and ${service}.`;
    throw new SignatureError("wrong scope", message);
  }
  const names = signedHeaders.split(";");
  const unsigned = [
    "host",
    ...Object.keys(request.headers).filter((name) => name.startsWith("x-amz-")),
  ].filter((name) => !names.includes(name));
  if (unsigned.length > 0)
    throw new SignatureError("unsigned header", `Headers that are not signed: ${unsigned.join(", ")}`);
  const timestamp = String(request.headers["x-amz-date"]);
  const time = Date.parse(
    timestamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"),
  );
  // Written as "not close enough", so that an unreadable time is refused, too.
  if (!(Math.abs(Date.now() - time) < check.skewMilliseconds) || !timestamp.startsWith(day))
    throw new SignatureError("skewed", `Signature expired: ${timestamp}`);
  const expected = Buffer.from(signatureOf(request, names, credentials, check));
  if (!timingSafeEqual(expected, Buffer.from(signature))) {
    throw new SignatureError(
      "mismatch",
      "The request signature we calculated does not match the signature you provided.",
    );
  }
  return credentials;
}

/** The signature that a request should have over the headers of these names. */
function signatureOf(
  request: IncomingMessage,
  names: string[],
  credentials: Credentials,
  { service, body }: SignatureCheck,
): string {
  const all = (some: string[]) => Object.fromEntries(some.map((name) => [name, true]));
  const signable: SignableRequest & Record<`extraHeadersTo${"Ignore" | "Include"}`, Record<string, boolean>> =
    {
      service,
      region,
      method: request.method,
      path: request.url,
      body,
      headers: Object.fromEntries(names.map((name) => [name, String(request.headers[name] ?? "")])),
      // The client chose the signed headers; aws4 would add the first ones, and leave out some of the others.
      extraHeadersToIgnore: all(["content-length", "content-type"].filter((name) => !names.includes(name))),
      extraHeadersToInclude: all(names),
    };
  const { accessKeyId, secretAccessKey, token } = credentials;
  const signed = sign(signable, { accessKeyId, secretAccessKey, sessionToken: token });
  return String(signed.headers?.Authorization).match(/Signature=(\w+)$/)?.[1] ?? "";
}
