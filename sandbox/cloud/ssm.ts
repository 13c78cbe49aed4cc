import type { IncomingMessage, ServerResponse } from "node:http";
import { accountId, region } from "../provider/aws";
import type { Cloud } from "./cloud";
import { judge, type Rights, refusal } from "./policy";
import { SignatureError, type SignatureFault, verifySignature } from "./signature";

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

const signatureTypes: Record<SignatureFault, string> = {
  missing: "MissingAuthenticationTokenException",
  malformed: "IncompleteSignatureException",
  "unknown key": "UnrecognizedClientException",
  "wrong token": "UnrecognizedClientException",
  "wrong scope": "InvalidSignatureException",
  "unsigned header": "InvalidSignatureException",
  skewed: "InvalidSignatureException",
  mismatch: "InvalidSignatureException",
};

/** Checks who asks, and gives what its role may do. */
function authenticate(request: IncomingMessage, body: string, cloud: Cloud): Rights {
  try {
    const { role } = verifySignature(request, {
      service: "ssm",
      skewMilliseconds: clockSkewMilliseconds,
      body,
      credentialsOf: (accessKeyId) => cloud.credentialsOf(accessKeyId),
    });
    return cloud.rightsOf(role);
  } catch (error) {
    throw error instanceof SignatureError ? new SsmError(signatureTypes[error.fault], error.message) : error;
  }
}

function getParameter(body: string, rights: Rights, cloud: Cloud): unknown {
  const { Name: name, WithDecryption: decrypt } = JSON.parse(body) as {
    Name: string;
    WithDecryption?: boolean;
  };
  const arn = `arn:aws:ssm:${region}:${accountId}:parameter${name}`;
  const action = "ssm:GetParameter";
  const verdict = judge({ ...rights, action, resource: arn, context: { "aws:SecureTransport": "true" } });
  if (verdict !== "allowed") {
    const why = refusal(verdict, action);
    throw new SsmError(
      "AccessDeniedException",
      `User is not authorized to perform: ${action} on resource: ${arn} ${why}`,
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
    const rights = authenticate(request, body, cloud);
    const target = request.headers["x-amz-target"];
    if (request.method !== "POST" || target !== "AmazonSSM.GetParameter") {
      throw new SsmError("UnknownOperationException", `the sandbox does not know ${target}`);
    }
    answer = getParameter(body, rights, cloud);
  } catch (error) {
    status = error instanceof SsmError ? 400 : 500;
    answer = {
      __type: error instanceof SsmError ? error.type : "InternalServerError",
      message: (error as Error).message,
    };
  }
  response.writeHead(status, { "Content-Type": "application/x-amz-json-1.1" }).end(JSON.stringify(answer));
}
