import { accountId, vpcId } from "../account";
import { everywhere } from "../rights/calls";
import { type DescribedInstance, type Parameters, QueryError, type QueryService } from "./query-api";
import { elements } from "./xml";

const stateCodes = { running: 16, terminated: 48, stopped: 80 };
const mostResults = 1000;
const invalid = (message: string) => new QueryError(400, "InvalidParameterValue", message);

/** Whether a value is one of a filter's, in which `*` and `?` stand for other characters. */
function isOneOf(patterns: string[], value: string | undefined): boolean {
  return patterns.some((pattern) => {
    const expression = pattern
      .split(/([*?])/)
      .map((part) => (part === "*" ? ".*" : part === "?" ? "." : part.replace(/[\\^$.|+()[\]{}]/g, "\\$&")))
      .join("");
    return value !== undefined && new RegExp(`^${expression}$`, "s").test(value);
  });
}

function passes(instance: DescribedInstance, name: string, values: string[]): boolean {
  const [kind, ...rest] = name.split(":");
  if (kind === "tag" && rest.length > 0) return isOneOf(values, instance.tags[rest.join(":")]);
  switch (name) {
    case "tag-key":
      return Object.keys(instance.tags).some((key) => isOneOf(values, key));
    case "instance-state-name":
      return isOneOf(values, instance.state);
    case "instance-id":
      return isOneOf(values, instance.id);
    case "vpc-id":
      return isOneOf(values, instance.state === "terminated" ? undefined : vpcId);
    case "availability-zone":
      return isOneOf(values, instance.subnet.zone);
    default:
      throw invalid(`The filter '${name}' is invalid, or the sandbox does not know it`);
  }
}

function tokenOf(offset: number): string {
  return Buffer.from(`after ${offset}`).toString("base64");
}

function offsetOf(token: string | undefined): number {
  if (token === undefined) return 0;
  const offset = /^after (\d+)$/.exec(Buffer.from(token, "base64").toString())?.[1];
  if (offset === undefined) throw invalid("Invalid value for NextToken");
  return Number(offset);
}

function itemOf(instance: DescribedInstance): string {
  const { id, state, subnet, tags, groups, launched, privateAddress, publicAddress } = instance;
  // EC2 takes a machine out of its network when it is terminated.
  const place = state === "terminated" ? {} : { subnetId: subnet.id, vpcId };
  const list = (name: string, items: string[]) =>
    `<${name}>${items.map((item) => `<item>${item}</item>`).join("")}</${name}>`;
  return [
    elements({ instanceId: id, imageId: instance.image }),
    `<instanceState>${elements({ code: stateCodes[state], name: state })}</instanceState>`,
    elements({ instanceType: instance.type, launchTime: launched.toISOString(), amiLaunchIndex: 0 }),
    `<placement>${elements({ availabilityZone: subnet.zone, tenancy: "default" })}</placement>`,
    elements({ ...place, privateIpAddress: privateAddress, ipAddress: publicAddress }),
    list(
      "groupSet",
      (state === "terminated" ? [] : groups).map((groupId) => elements({ groupId })),
    ),
    list(
      "tagSet",
      Object.entries(tags).map(([key, value]) => elements({ key, value })),
    ),
  ].join("");
}

/** Each instance in a reservation of its own, as the provider launches them. */
function reservationOf(instance: DescribedInstance): string {
  const reservation = elements({ reservationId: instance.id.replace(/^i-/, "r-"), ownerId: accountId });
  return `<item>${reservation}<groupSet/><instancesSet><item>${itemOf(instance)}</item></instancesSet></item>`;
}

function page(parameters: Parameters, instances: DescribedInstance[]): string {
  const ids = parameters.list("InstanceId").map((name) => parameters.get(name) ?? "");
  const filters = parameters.list("Filter").map((prefix) => ({
    name: parameters.get(`${prefix}.Name`) ?? "",
    values: parameters.list(`${prefix}.Value`).map((name) => parameters.get(name) ?? ""),
  }));
  const most = parameters.get("MaxResults");
  const token = parameters.get("NextToken");
  if (most !== undefined && !(Number(most) >= 5 && Number(most) <= mostResults))
    throw invalid(`Value ( ${most} ) for parameter maxResults is invalid. Expecting a value from 5 to 1000.`);
  if (ids.length > 0 && (most !== undefined || token !== undefined))
    throw new QueryError(
      400,
      "InvalidParameterCombination",
      "The parameter instancesSet cannot be used with the parameter maxResults",
    );
  const missing = ids.find((id) => !instances.some((instance) => instance.id === id));
  if (missing !== undefined)
    throw new QueryError(400, "InvalidInstanceID.NotFound", `The instance ID '${missing}' does not exist`);
  const found = instances
    .filter(({ id }) => ids.length === 0 || ids.includes(id))
    .filter((instance) => filters.every(({ name, values }) => passes(instance, name, values)));
  const begin = offsetOf(token);
  const end = begin + Number(most ?? mostResults);
  const nextToken = end < found.length ? tokenOf(end) : undefined;
  return `<reservationSet>${found.slice(begin, end).map(reservationOf).join("")}</reservationSet>${elements({ nextToken })}`;
}

const refused = "AuthFailure";

/** EC2, as far as DescribeInstances. */
export const ec2Api: QueryService = {
  name: "ec2",
  version: "2016-11-15",
  operations: {
    DescribeInstances: {
      calls: () => everywhere("ec2:DescribeInstances"),
      answer: (parameters, account) => page(parameters, account.describedInstances()),
    },
  },
  signatureErrors: {
    missing: [400, "MissingParameter"],
    malformed: [400, "IncompleteSignature"],
    "unknown key": [401, refused],
    "wrong token": [401, refused],
    "wrong scope": [401, refused],
    "unsigned header": [401, refused],
    skewed: [400, "RequestExpired"],
    mismatch: [403, "SignatureDoesNotMatch"],
  },
  denied: "UnauthorizedOperation",
  unknownAction: "InvalidAction",
  unknownParameter: "UnknownParameter",
  answer: (action, content, requestId) =>
    `<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${elements({ requestId })}${content}</${action}Response>`,
  error: (Code, Message, RequestID) =>
    `<Response><Errors><Error>${elements({ Code, Message })}</Error></Errors>${elements({ RequestID })}</Response>`,
};
