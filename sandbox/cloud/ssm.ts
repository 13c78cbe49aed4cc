import type { IncomingMessage, ServerResponse } from "node:http";
import { z } from "zod";
import { arnOf } from "../rights/calls";
import { judge, type Rights, refusal } from "../rights/policy";
import type { Cloud } from "./cloud";
import { SignatureError, type SignatureFault, verifySignature } from "./signature";

/** A refusal as SSM words it. */
class SsmError extends Error {
  constructor(
    readonly type: string,
    message: string,
    readonly status = 400,
  ) {
    super(message);
  }
}

/** The facts of the account that SSM needs. */
export type ParameterStore = Pick<
  Cloud,
  "credentialsOf" | "faults" | "parameter" | "putParameter" | "rightsOf"
>;

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

/** Identifies the caller, and gives the rights of its role. */
function authenticate(request: IncomingMessage, body: string, cloud: ParameterStore): Rights {
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

/** The caller's right to an action on a parameter. */
interface Access {
  rights: Rights;
  cloud: ParameterStore;
}

/** @throws SsmError when the role's policies do not allow the action */
function authorizeFor(action: string, name: string, { rights }: Access): void {
  const arn = arnOf("ssm", `parameter${name}`);
  const verdict = judge({ ...rights, action, resource: arn, context: { "aws:SecureTransport": "true" } });
  if (verdict === "allowed") return;
  const why = refusal(verdict, action);
  throw new SsmError(
    "AccessDeniedException",
    `User is not authorized to perform: ${action} on resource: ${arn} ${why}`,
  );
}

interface GetRequest {
  Name: string;
  WithDecryption?: boolean;
}

function getParameter(input: unknown, access: Access): unknown {
  const { Name: name, WithDecryption: decrypt } = input as GetRequest;
  authorizeFor("ssm:GetParameter", name, access);
  const { cloud } = access;
  const parameter = cloud.parameter(name);
  if (!parameter) throw new SsmError("ParameterNotFound", "");
  const secret = parameter.type === "SecureString";
  const value =
    cloud.faults.ssm === "half" ? parameter.value.slice(0, parameter.value.length / 2) : parameter.value;
  return {
    Parameter: {
      ARN: arnOf("ssm", `parameter${name}`),
      Name: name,
      Type: parameter.type,
      Version: parameter.version,
      DataType: "text",
      Value: secret && !decrypt ? Buffer.from("encrypted").toString("base64") : value,
    },
  };
}

const putRequest = z.strictObject({
  Name: z.string().regex(/^\/[a-zA-Z0-9_./-]+$/),
  Value: z.string().min(1),
  Type: z.enum(["String", "StringList", "SecureString"]).optional(),
  Tier: z.enum(["Standard", "Advanced"]).optional(),
  Overwrite: z.boolean().optional(),
});

const mostCharacters: Record<string, number> = { Standard: 4096, Advanced: 8192 };

/** Writes a parameter by the rules of SSM's API reference, "PutParameter". Cases that it leaves open are refused. */
function putParameter(input: unknown, access: Access): unknown {
  const parsed = putRequest.safeParse(input);
  if (!parsed.success)
    throw new SsmError(
      "ValidationException",
      `the sandbox does not take this PutParameter: ${z.prettifyError(parsed.error)}`,
    );
  const { Name: name, Value: value, Type, Tier, Overwrite } = parsed.data;
  authorizeFor("ssm:PutParameter", name, access);
  const { cloud } = access;
  if (cloud.faults.ssm === "read only")
    throw new SsmError("InternalServerError", "An error occurred on the server side.", 500);
  const known = cloud.parameter(name);
  if (known && !Overwrite)
    throw new SsmError(
      "ParameterAlreadyExists",
      "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
    );
  const type = Type ?? known?.type;
  if (type === undefined)
    throw new SsmError("ValidationException", "A parameter type is required when you create a parameter.");
  if (known?.tier === "Advanced" && Tier !== "Advanced")
    throw new SsmError(
      "ValidationException",
      Tier === undefined
        ? `the sandbox wants the Tier of ${name}, which is an advanced parameter: what SSM does without it is not documented`
        : "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier.",
    );
  const tier = Tier ?? known?.tier ?? "Standard";
  if (value.length > (mostCharacters[tier] ?? 0))
    throw new SsmError(
      "ValidationException",
      tier === "Standard"
        ? "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier."
        : "Value is too long: advanced-parameter tier parameters support a maximum parameter value of 8192 characters.",
    );
  return { Version: cloud.putParameter(name, { type, tier, value }), Tier: tier };
}

const operations: Record<string, (input: unknown, access: Access) => unknown> = {
  "AmazonSSM.GetParameter": getParameter,
  "AmazonSSM.PutParameter": putParameter,
};

/** Systems Manager, but only two of its calls: checks the signature and the role's policy like the real service. */
export async function answerSsm(
  request: IncomingMessage,
  response: ServerResponse,
  cloud: ParameterStore,
): Promise<void> {
  let status = 200;
  let answer: unknown;
  try {
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    const rights = authenticate(request, body, cloud);
    const target = String(request.headers["x-amz-target"]);
    const operation = request.method === "POST" ? operations[target] : undefined;
    if (!operation) throw new SsmError("UnknownOperationException", `the sandbox does not know ${target}`);
    answer = operation(JSON.parse(body), { rights, cloud });
  } catch (error) {
    status = error instanceof SsmError ? error.status : 500;
    answer = {
      __type: error instanceof SsmError ? error.type : "InternalServerError",
      message: (error as Error).message,
    };
  }
  response.writeHead(status, { "Content-Type": "application/x-amz-json-1.1" }).end(JSON.stringify(answer));
}
