import { timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Request as SignableRequest, sign } from "aws4";
import { accountId, region } from "../provider/aws";
import type { Cloud } from "./cloud";
import { isAllowed } from "./policy";

/** A refusal as SSM words it. */
class SsmError extends Error {
  constructor(
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

const clockSkewMilliseconds = 5 * 60_000;

/** Checks who asks, by AWS Signature Version 4, and gives the role's policies. */
function authenticate(request: IncomingMessage, body: string, cloud: Cloud): string[] {
  const header = request.headers.authorization ?? "";
  const parts = header.match(
    /^AWS4-HMAC-SHA256 Credential=(\w+)\/(\d{8})\/([\w-]+)\/(\w+)\/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})$/,
  );
  if (!parts) throw new SsmError("MissingAuthenticationTokenException", "Missing Authentication Token");
  const [, accessKeyId, day, scopeRegion, service, signedHeaders, signature] = parts as unknown as string[];
  const credentials = cloud.credentialsOf(accessKeyId ?? "");
  if (!credentials || request.headers["x-amz-security-token"] !== credentials.token) {
    throw new SsmError(
      "UnrecognizedClientException",
      "The security token included in the request is invalid.",
    );
  }
  if (scopeRegion !== region || service !== "ssm") {
    throw new SsmError("InvalidSignatureException", `Credential should be scoped to ${region} and ssm.`);
  }
  const names = (signedHeaders ?? "").split(";");
  const missing = ["host", "x-amz-date", "x-amz-target", "x-amz-security-token"].filter(
    (name) => !names.includes(name),
  );
  if (missing.length > 0)
    throw new SsmError("InvalidSignatureException", `Not signed: ${missing.join(", ")}`);
  const timestamp = String(request.headers["x-amz-date"]);
  const time = Date.parse(
    timestamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"),
  );
  if (!(Math.abs(Date.now() - time) < clockSkewMilliseconds) || !timestamp.startsWith(day ?? "")) {
    throw new SsmError("InvalidSignatureException", `Signature expired: ${timestamp}`);
  }
  const signable: SignableRequest & { extraHeadersToIgnore: Record<string, boolean> } = {
    service: "ssm",
    region,
    method: "POST",
    path: request.url,
    body,
    headers: Object.fromEntries(names.map((name) => [name, String(request.headers[name] ?? "")])),
    // The client chose what it signs; aws4 would add these.
    extraHeadersToIgnore: Object.fromEntries(
      ["content-length", "content-type"].filter((name) => !names.includes(name)).map((name) => [name, true]),
    ),
  };
  const expected = sign(signable, {
    accessKeyId: credentials.accessKeyId,
    secretAccessKey: credentials.secretAccessKey,
    sessionToken: credentials.token,
  }).headers?.Authorization;
  const expectedSignature = String(expected).match(/Signature=(\w+)$/)?.[1] ?? "";
  if (!timingSafeEqual(Buffer.from(expectedSignature), Buffer.from(signature ?? ""))) {
    throw new SsmError(
      "InvalidSignatureException",
      "The request signature we calculated does not match the signature you provided.",
    );
  }
  return cloud.policiesOf(credentials.role);
}

function getParameter(body: string, policies: string[], cloud: Cloud): unknown {
  const { Name: name, WithDecryption: decrypt } = JSON.parse(body) as {
    Name: string;
    WithDecryption?: boolean;
  };
  const arn = `arn:aws:ssm:${region}:${accountId}:parameter${name}`;
  if (!isAllowed(policies, "ssm:GetParameter", arn)) {
    throw new SsmError(
      "AccessDeniedException",
      `User is not authorized to perform: ssm:GetParameter on resource: ${arn} because no identity-based policy allows the ssm:GetParameter action`,
    );
  }
  const parameter = cloud.parameter(name);
  if (!parameter) throw new SsmError("ParameterNotFound", "");
  const secret = parameter.type === "SecureString";
  const value =
    cloud.faults.ssm === "half" ? parameter.value.slice(0, parameter.value.length / 2) : parameter.value;
  return {
    Parameter: {
      ARN: arn,
      Name: name,
      Type: parameter.type,
      Version: parameter.version,
      DataType: "text",
      Value: secret && !decrypt ? Buffer.from("encrypted").toString("base64") : value,
    },
  };
}

/** Systems Manager, as far as GetParameter: checks the signature and the role's policy like the real one. */
export async function answerSsm(
  request: IncomingMessage,
  response: ServerResponse,
  cloud: Cloud,
): Promise<void> {
  let status = 200;
  let answer: unknown;
  try {
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    const policies = authenticate(request, body, cloud);
    const target = request.headers["x-amz-target"];
    if (request.method !== "POST" || target !== "AmazonSSM.GetParameter") {
      throw new SsmError("UnknownOperationException", `the sandbox does not know ${target}`);
    }
    answer = getParameter(body, policies, cloud);
  } catch (error) {
    status = error instanceof SsmError ? 400 : 500;
    answer = {
      __type: error instanceof SsmError ? error.type : "InternalServerError",
      message: (error as Error).message,
    };
  }
  response.writeHead(status, { "Content-Type": "application/x-amz-json-1.1" }).end(JSON.stringify(answer));
}
