/** The context of a request: AWS's condition keys with their values. Keys that the request lacks are left out. */
export type Context = Record<string, string | string[]>;

type Conditions = Record<string, Record<string, string | boolean | (string | boolean)[]>>;

export interface Statement {
  Sid?: string;
  Effect: string;
  Action: string | string[];
  Resource: string | string[];
  Principal?: string | Record<string, string | string[]>;
  Condition?: Conditions;
}

/** The rights of a role. */
export interface Rights {
  policies: string[];
  /** The text of its permissions boundary: what its policies can allow at most. @default none */
  boundary?: string;
}

/** A request: its caller, action, resource and context. */
interface Question extends Rights {
  /** The policy of the resource itself. */
  resourcePolicy?: string;
  action: string;
  resource: string;
  context: Context;
}

/** A request is denied by policies of the role or the resource, or not allowed by policies or by the boundary. */
type Verdict =
  | "allowed"
  | "not allowed"
  | "not allowed by the boundary"
  | "denied"
  | "denied by the resource";

function list<T>(value: T | T[] | undefined): T[] {
  return value === undefined ? [] : ([value].flat() as T[]);
}

function matches(pattern: string, value: string): boolean {
  const expression = pattern
    .split(/([*?])/)
    .map((part) => (part === "*" ? ".*" : part === "?" ? "." : part.replace(/[\\^$.|+()[\]{}]/g, "\\$&")))
    .join("");
  return new RegExp(`^${expression}$`).test(value);
}

export function statementsOf(policy: string): Statement[] {
  return list((JSON.parse(policy) as { Statement: Statement | Statement[] }).Statement);
}

/** ARNs are compared part by part, so that no wildcard reaches over a colon. */
function matchesArn(pattern: string, value: string): boolean {
  const split = (arn: string) => {
    const parts = arn.split(":");
    return [...parts.slice(0, 5), parts.slice(5).join(":")];
  };
  const parts = split(value);
  return parts.length === 6 && split(pattern).every((part, index) => matches(part, parts[index] ?? ""));
}

const operators: Record<string, (wanted: string, value: string) => boolean> = {
  StringEquals: (wanted, value) => wanted === value,
  StringLike: matches,
  ArnEquals: matchesArn,
  ArnLike: matchesArn,
  Bool: (wanted, value) => wanted.toLowerCase() === value.toLowerCase(),
};

/** The condition keys that a statement may use: those that the sandbox's services know of a request. */
const knownKeys = [
  /^aws:(RequestedRegion|ResourceAccount|SecureTransport|TagKeys)$/,
  /^aws:(RequestTag|ResourceTag)\/[\w.:/=+@-]+$/,
  /^ec2:(AssociatePublicIpAddress|CreateAction|InstanceProfile|InstanceType|MetadataHttpTokens|NetworkInterfaceID)$/,
  /^ec2:(NewInstanceProfile|Owner|Subnet|SubnetID|Vpc|VpcID)$/,
  /^elasticloadbalancing:(CreateAction|ListenerProtocol|Scheme|SecurityGroup|Subnet)$/,
  /^elasticloadbalancing:ResourceTag\/[\w.:/=+@-]+$/,
  /^iam:(PassedToService|PermissionsBoundary)$/,
  /^kms:ViaService$/,
  /^route53:ChangeResourceRecordSets(Actions|NormalizedRecordNames|RecordTypes)$/,
  /^s3:prefix$/,
];

/**
 * Whether one condition holds (IAM User Guide, "IAM JSON policy elements: Condition operators", and "Conditions with
 * multiple context keys or values").
 * @throws Error for an operator, a key or a value that the sandbox cannot judge
 */
function holds(operator: string, key: string, wanted: string[], context: Context): boolean {
  const [, quantifier, name = "", ifExists] =
    operator.match(/^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/) ?? [];
  const known = knownKeys.some((pattern) => pattern.test(key));
  const comparison = operators[name.replace(/^StringNot/, "String").replace(/^ArnNot/, "Arn")];
  const variable = wanted.some((value) => value.includes("${"));
  if (!known || variable || (!comparison && name !== "Null"))
    throw new Error(
      `the sandbox does not know this Condition of a policy: ${JSON.stringify({ [operator]: { [key]: wanted } })}`,
    );
  const found = context[key];
  if (name === "Null") return wanted.includes(String(found === undefined));
  const negated = /^(String|Arn)Not/.test(name);
  const compare = (value: string) => {
    const equal = wanted.some((pattern) => comparison?.(pattern, value));
    return negated ? !equal : equal;
  };
  const values = list(found);
  if (quantifier === "ForAllValues") return values.every(compare);
  if (quantifier === "ForAnyValue") return values.some(compare);
  if (found === undefined) return negated || ifExists !== undefined;
  if (values.length !== 1)
    throw new Error(`${key} has several values, and the Condition ${operator} is for one`);
  return values.every(compare);
}

function allHold(conditions: Conditions = {}, context: Context): boolean {
  return Object.entries(conditions)
    .flatMap(([operator, keys]) => {
      const pairs = Object.entries(keys);
      if (pairs.length === 0)
        throw new Error(`the sandbox does not know this Condition of a policy: ${operator} of nothing`);
      return pairs.map(([key, wanted]) => ({ operator, key, wanted }));
    })
    .map(({ operator, key, wanted }) => holds(operator, key, list(wanted).map(String), context))
    .every(Boolean);
}

function isEverybody(principal: Statement["Principal"]): boolean {
  return principal === "*" || (typeof principal === "object" && principal.AWS === "*");
}

/** @throws Error for parts of a statement that the sandbox cannot judge */
function checkParts(statement: Statement, ofResource: boolean): void {
  const { Sid, Effect, Action, Resource, Principal, Condition, ...rest } = statement;
  const unknown = Object.keys(rest);
  if (Principal !== undefined && !ofResource) unknown.push("Principal");
  if (unknown.length > 0)
    throw new Error(`the sandbox does not know these parts of a policy: ${unknown.join(", ")}`);
  if (ofResource && !isEverybody(Principal))
    throw new Error(`the sandbox knows the Principal "*" only, not ${JSON.stringify(Principal)}`);
}

/** The statements about an action. Every condition is evaluated, so an unknown one is always an error. */
function effectsOf(statements: Statement[], { action, resource, context }: Question): string[] {
  return statements
    .filter(
      ({ Action, Resource, Condition }) =>
        allHold(Condition, context) &&
        list(Action).some((pattern) => matches(pattern.toLowerCase(), action.toLowerCase())) &&
        list(Resource).some((pattern) => matches(pattern, resource)),
    )
    .map(({ Effect }) => Effect);
}

/**
 * The verdict of policies on an action, as IAM evaluates them within one account: an explicit deny wins, an action that
 * no policy allows is denied, and the boundary limits the caller's own policies.
 * @throws Error for parts of a policy that the sandbox cannot judge
 */
export function judge(question: Question): Verdict {
  const own = question.policies.flatMap(statementsOf);
  const limits = question.boundary === undefined ? undefined : statementsOf(question.boundary);
  const ofResource = question.resourcePolicy === undefined ? [] : statementsOf(question.resourcePolicy);
  for (const statement of [...own, ...(limits ?? [])]) checkParts(statement, false);
  for (const statement of ofResource) checkParts(statement, true);
  const effects = effectsOf(own, question);
  const limit = limits && effectsOf(limits, question);
  const resourceEffects = effectsOf(ofResource, question);
  if (resourceEffects.includes("Deny")) return "denied by the resource";
  if (effects.includes("Deny") || limit?.includes("Deny")) return "denied";
  if (![...effects, ...resourceEffects].includes("Allow")) return "not allowed";
  return limit === undefined || limit.includes("Allow") ? "allowed" : "not allowed by the boundary";
}

/** The reason of a refusal in AWS's words (IAM User Guide, "Troubleshoot access denied error messages"). */
export function refusal(verdict: Exclude<Verdict, "allowed">, action: string): string {
  switch (verdict) {
    case "denied":
      return "with an explicit deny in an identity-based policy";
    case "denied by the resource":
      return "with an explicit deny in a resource-based policy";
    case "not allowed":
      return `because no identity-based policy allows the ${action} action`;
    case "not allowed by the boundary":
      return `because no permissions boundary allows the ${action} action`;
  }
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
  const context = { "aws:SecureTransport": "true" };
  judge({ policies: [], resourcePolicy: policy, action: "s3:GetObject", resource: arn, context });
}
