import { type ApiCall, everywhere, on, resourceTags } from "../rights/calls";
import type { TargetHealth, TargetId } from "./load-balancing";
import { type Parameters, type QueryAccount, QueryError, type QueryService } from "./query-api";
import { elements } from "./xml";

const service = "elasticloadbalancing";

function groupOf(parameters: Parameters): string {
  const group = parameters.get("TargetGroupArn");
  if (group === undefined) throw new QueryError(400, "ValidationError", "TargetGroupArn must be specified");
  return group;
}

function existingGroup(parameters: Parameters, account: QueryAccount): string {
  const group = groupOf(parameters);
  if (account.targetGroupTags(group) === undefined)
    throw new QueryError(400, "TargetGroupNotFound", `Target groups '${group}' not found`);
  return group;
}

/** The targets that a request names; without a port of their own with the group's. */
function targetsOf(parameters: Parameters, group: string, account: QueryAccount): TargetId[] {
  return parameters.list("Targets.member").map((prefix) => ({
    id: parameters.get(`${prefix}.Id`) ?? "",
    port: Number(parameters.get(`${prefix}.Port`) ?? account.targetGroupPort(group)),
  }));
}

function namedTargets(parameters: Parameters, group: string, account: QueryAccount): TargetId[] {
  const targets = targetsOf(parameters, group, account);
  if (targets.length === 0) throw new QueryError(400, "ValidationError", "Targets must be specified");
  return targets;
}

/** A call on the target group, which policies can limit by its ARN and its tags. */
function onGroup(parameters: Parameters, account: QueryAccount, action: string): ApiCall[] {
  const group = groupOf(parameters);
  const tags = account.targetGroupTags(group) ?? {};
  const own = Object.fromEntries(
    Object.entries(tags).map(([key, value]) => [`${service}:ResourceTag/${key}`, value]),
  );
  return on({ resource: group, context: { ...resourceTags(tags), ...own } }, `${service}:${action}`);
}

/** Rights that a caller of RegisterTargets needs besides (user guide, "Elastic Load Balancing API permissions"). */
const ec2Rights = everywhere(
  "ec2:DescribeInstances",
  "ec2:DescribeInternetGateways",
  "ec2:DescribeSubnets",
  "ec2:DescribeVpcs",
);

function memberOf({ id, port, state, reason, description }: TargetHealth, checkPort: number): string {
  const health = elements({ State: state, Reason: reason, Description: description });
  return (
    `<member><Target>${elements({ Id: id, Port: port })}</Target>${elements({ HealthCheckPort: checkPort })}` +
    `<TargetHealth>${health}</TargetHealth></member>`
  );
}

/** Elastic Load Balancing, version 2, as far as machines register themselves. */
export const elasticLoadBalancingApi: QueryService = {
  name: service,
  version: "2015-12-01",
  operations: {
    RegisterTargets: {
      calls: (parameters, account) => [...onGroup(parameters, account, "RegisterTargets"), ...ec2Rights],
      answer: (parameters, account) => {
        const group = existingGroup(parameters, account);
        const targets = namedTargets(parameters, group, account);
        try {
          account.registerTargets(group, targets);
        } catch (error) {
          throw new QueryError(400, "InvalidTarget", (error as Error).message);
        }
        return "";
      },
    },
    DeregisterTargets: {
      calls: (parameters, account) => onGroup(parameters, account, "DeregisterTargets"),
      answer: (parameters, account) => {
        const group = existingGroup(parameters, account);
        account.deregisterTargets(group, namedTargets(parameters, group, account));
        return "";
      },
    },
    DescribeTargetHealth: {
      calls: () => everywhere(`${service}:DescribeTargetHealth`),
      answer: (parameters, account) => {
        const group = existingGroup(parameters, account);
        const asked = targetsOf(parameters, group, account);
        const targets = account.targetHealth(group, asked.length > 0 ? asked : undefined);
        const members = targets.map((target) =>
          memberOf(target, account.healthCheckPort(group) ?? target.port),
        );
        return `<TargetHealthDescriptions>${members.join("")}</TargetHealthDescriptions>`;
      },
    },
  },
  signatureErrors: {
    missing: [403, "MissingAuthenticationToken"],
    malformed: [400, "IncompleteSignature"],
    "unknown key": [403, "InvalidClientTokenId"],
    "wrong token": [403, "InvalidClientTokenId"],
    "wrong scope": [403, "SignatureDoesNotMatch"],
    "unsigned header": [403, "SignatureDoesNotMatch"],
    skewed: [403, "SignatureDoesNotMatch"],
    mismatch: [403, "SignatureDoesNotMatch"],
  },
  denied: "AccessDenied",
  unknownAction: "InvalidAction",
  unknownParameter: "ValidationError",
  answer: (action, content, RequestId) =>
    `<${action}Response xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">` +
    `<${action}Result>${content}</${action}Result>` +
    `<ResponseMetadata>${elements({ RequestId })}</ResponseMetadata></${action}Response>`,
  error: (Code, Message, RequestId) =>
    '<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">' +
    `<Error>${elements({ Type: "Sender", Code, Message })}</Error>${elements({ RequestId })}</ErrorResponse>`,
};
