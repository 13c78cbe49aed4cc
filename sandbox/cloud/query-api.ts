import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { accountId, region, type Subnet } from "../account";
import type { ApiCall, Tags } from "../rights/calls";
import { judge, type Rights, refusal } from "../rights/policy";
import type { TargetHealth, TargetId } from "./load-balancing";
import { type Credentials, SignatureError, type SignatureFault, verifySignature } from "./signature";

/** An instance as DescribeInstances tells it. */
export interface DescribedInstance {
  id: string;
  state: "running" | "stopped" | "terminated";
  image: string;
  type: string;
  subnet: Subnet;
  groups: string[];
  tags: Tags;
  launched: Date;
  privateAddress?: string;
  publicAddress?: string;
}

/** The facts of the account that the services need, and the changes that they can make. */
export interface QueryAccount {
  credentialsOf(accessKeyId: string): Credentials | undefined;
  rightsOf(role: string): Rights;
  describedInstances(): DescribedInstance[];
  targetGroupTags(arn: string): Tags | undefined;
  targetGroupPort(arn: string): number;
  /** @default each target's own port */
  healthCheckPort(arn: string): number | undefined;
  registerTargets(group: string, targets: TargetId[]): void;
  deregisterTargets(group: string, targets: TargetId[]): void;
  targetHealth(group: string, asked?: TargetId[]): TargetHealth[];
}

/** A refusal in the words of a service. */
export class QueryError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The parameters of a request. Unknown ones are refused. */
export class Parameters {
  private readonly unread: Set<string>;

  constructor(private readonly values: URLSearchParams) {
    this.unread = new Set(values.keys());
  }

  get(name: string): string | undefined {
    this.unread.delete(name);
    return this.values.get(name) ?? undefined;
  }

  /** The members of a list, such as `Filter.1.Name` and `Filter.2.Name` for the prefix `Filter`. */
  list(prefix: string): string[] {
    const numbers = [...this.values.keys()]
      .filter((name) => name.startsWith(`${prefix}.`))
      .map((name) => Number(name.slice(prefix.length + 1).split(".")[0]));
    return [...new Set(numbers)].sort((one, other) => one - other).map((number) => `${prefix}.${number}`);
  }

  get unknown(): string[] {
    return [...this.unread];
  }
}

interface Operation {
  /** The calls that the caller has to be allowed to make. */
  calls(parameters: Parameters, account: QueryAccount): ApiCall[];
  /** The answer's elements. */
  answer(parameters: Parameters, account: QueryAccount): string;
}

/** A service of AWS that speaks the query protocol: a form is posted, XML comes back. */
export interface QueryService {
  /** In host names and signatures. */
  name: string;
  version: string;
  operations: Record<string, Operation>;
  signatureErrors: Record<SignatureFault, [status: number, code: string]>;
  /** The code of a refusal by policies. */
  denied: string;
  unknownAction: string;
  unknownParameter: string;
  answer(action: string, elements: string, requestId: string): string;
  error(code: string, message: string, requestId: string): string;
}

const clockSkewMilliseconds = 5 * 60_000;

function authenticate(request: IncomingMessage, body: string, service: QueryService, account: QueryAccount) {
  try {
    return verifySignature(request, {
      service: service.name,
      skewMilliseconds: clockSkewMilliseconds,
      body,
      credentialsOf: (accessKeyId) => account.credentialsOf(accessKeyId),
    });
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error;
    throw new QueryError(...service.signatureErrors[error.fault], error.message);
  }
}

function authorize(role: string, calls: ApiCall[], service: QueryService, account: QueryAccount): void {
  const rights = account.rightsOf(role);
  for (const { action, targets } of calls) {
    for (const { resource, context } of targets) {
      const circumstances = { "aws:RequestedRegion": region, "aws:SecureTransport": "true" };
      const verdict = judge({ ...rights, action, resource, context: { ...circumstances, ...context } });
      if (verdict === "allowed") continue;
      const user = `arn:aws:sts::${accountId}:assumed-role/${role}`;
      const message = `User: ${user} is not authorized to perform: ${action} on resource: ${resource} ${refusal(verdict, action)}`;
      throw new QueryError(403, service.denied, message);
    }
  }
}

async function answerOf(request: IncomingMessage, service: QueryService, account: QueryAccount, id: string) {
  let body = "";
  for await (const part of request.setEncoding("utf8")) body += part;
  const { role } = authenticate(request, body, service, account);
  const parameters = new Parameters(new URLSearchParams(body));
  const [action = "", version] = [parameters.get("Action"), parameters.get("Version")];
  const operation = service.operations[action];
  if (request.method !== "POST" || request.url !== "/" || version !== service.version || !operation) {
    const asked = `${request.method} ${request.url} with the action ${action} of version ${version}`;
    throw new QueryError(400, service.unknownAction, `the sandbox does not know ${asked}`);
  }
  authorize(role, operation.calls(parameters, account), service, account);
  const answer = operation.answer(parameters, account);
  const [unknown] = parameters.unknown;
  if (unknown !== undefined)
    throw new QueryError(400, service.unknownParameter, `the sandbox does not know the parameter ${unknown}`);
  return service.answer(action, answer, id);
}

/** A service over the query protocol: checks the signature and the role's policy like the real one. */
export async function answerQuery(
  request: IncomingMessage,
  response: ServerResponse,
  service: QueryService,
  account: QueryAccount,
): Promise<void> {
  const id = randomUUID();
  let status = 200;
  let answer: string;
  try {
    answer = await answerOf(request, service, account, id);
  } catch (error) {
    const problem = error instanceof QueryError ? error : { status: 500, code: "InternalFailure" };
    status = problem.status;
    answer = service.error(problem.code, (error as Error).message, id);
  }
  const type = { "Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": id };
  response.writeHead(status, type).end(`<?xml version="1.0" encoding="UTF-8"?>\n${answer}`);
}
