interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: string | string[];
  Principal?: string | Record<string, string | string[]>;
  Condition?: unknown;
}

export interface Question {
  /** Policies of who asks. */
  policies: string[];
  /** The policy of the resource itself. */
  resourcePolicy?: string;
  action: string;
  resource: string;
  /** Whether the question has come over TLS. */
  secure: boolean;
}

function list(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

function matches(pattern: string, value: string): boolean {
  const expression = pattern
    .split(/([*?])/)
    .map((part) => (part === "*" ? ".*" : part === "?" ? "." : part.replace(/[\\^$.|+()[\]{}]/g, "\\$&")))
    .join("");
  return new RegExp(`^${expression}$`).test(value);
}

function statementsOf(policy: string): Statement[] {
  return [(JSON.parse(policy) as { Statement: Statement | Statement[] }).Statement].flat();
}

/**
 * Whether a condition holds.
 * @throws Error for any other condition than `Bool` of `aws:SecureTransport`
 */
function holds(condition: unknown, secure: boolean): boolean {
  const known = condition as { Bool?: Record<string, unknown> } | undefined;
  if (known === undefined) return true;
  const value = String(known.Bool?.["aws:SecureTransport"]);
  const onlyThat = Object.keys(known).length === 1 && Object.keys(known.Bool ?? {}).length === 1;
  if (!onlyThat || !["true", "false"].includes(value))
    throw new Error(`the sandbox does not know this Condition of a policy: ${JSON.stringify(condition)}`);
  return value === String(secure);
}

function isEverybody(principal: Statement["Principal"]): boolean {
  return principal === "*" || (typeof principal === "object" && principal.AWS === "*");
}

/** @throws Error for parts of a statement that the sandbox cannot judge */
function checkParts(statement: Statement, ofResource: boolean): void {
  const { Effect, Action, Resource, Principal, Condition, ...rest } = statement;
  const unknown = Object.keys(rest).filter((key) => key !== "Sid");
  if (Principal !== undefined && !ofResource) unknown.push("Principal");
  if (unknown.length > 0)
    throw new Error(`the sandbox does not know these parts of a policy: ${unknown.join(", ")}`);
  if (ofResource && !isEverybody(Principal))
    throw new Error(`the sandbox knows the Principal "*" only, not ${JSON.stringify(Principal)}`);
}

/** What policies say of an action: an explicit deny wins, and what is not allowed is denied. */
export function judge(question: Question): "allowed" | "not allowed" | "denied" {
  const { policies, resourcePolicy, action, resource, secure } = question;
  const own = policies.flatMap(statementsOf);
  const ofResource = resourcePolicy === undefined ? [] : statementsOf(resourcePolicy);
  for (const statement of own) checkParts(statement, false);
  for (const statement of ofResource) checkParts(statement, true);
  const effects = [...own, ...ofResource]
    .filter(
      ({ Action, Resource, Condition }) =>
        // First, so that an unknown condition is an error wherever it stands.
        holds(Condition, secure) &&
        list(Action).some((pattern) => matches(pattern.toLowerCase(), action.toLowerCase())) &&
        list(Resource).some((pattern) => matches(pattern, resource)),
    )
    .map(({ Effect }) => Effect);
  if (effects.includes("Deny")) return "denied";
  return effects.includes("Allow") ? "allowed" : "not allowed";
}

/**
 * Checks a bucket's policy when it is put, as S3 does.
 * @throws Error when it is about another bucket, or when `judge` could not judge it
 */
export function checkBucketPolicy(bucket: string, policy: string): void {
  const arn = `arn:aws:s3:::${bucket}`;
  const other = statementsOf(policy)
    .flatMap(({ Resource }) => list(Resource))
    .find((resource) => resource !== arn && !resource.startsWith(`${arn}/`));
  if (other !== undefined) throw new Error(`MalformedPolicy: Policy has invalid resource: ${other}`);
  judge({ policies: [], resourcePolicy: policy, action: "s3:GetObject", resource: arn, secure: true });
}

/** Whether policies allow an action that was asked for over TLS. */
export function isAllowed(policies: string[], action: string, resource: string): boolean {
  return judge({ policies, action, resource, secure: true }) === "allowed";
}
