import {
  arnOf,
  everywhere,
  on,
  type ResourceCalls,
  requestTags,
  retagged,
  type Subject,
  tagsOf,
} from "../rights/calls";

const parameter = ({ inputs }: Subject) => ({ resource: arnOf("ssm", `parameter${inputs.name}`) });
const put = (subject: Subject) => on(parameter(subject), "ssm:PutParameter");

export const parameterCalls: ResourceCalls = {
  source: "ssm/parameter.go",
  create: (subject) =>
    on(
      { ...parameter(subject), context: requestTags(tagsOf(subject.inputs)) },
      "ssm:PutParameter",
      "ssm:AddTagsToResource",
    ),
  read: (subject) => [
    ...on(parameter(subject), "ssm:GetParameter", "ssm:ListTagsForResource"),
    ...everywhere("ssm:DescribeParameters"),
  ],
  update: {
    type: put,
    tier: put,
    value: put,
    insecureValue: put,
    description: put,
    tags: (subject) =>
      retagged(parameter(subject), subject, {
        remove: "ssm:RemoveTagsFromResource",
        set: "ssm:AddTagsToResource",
      }),
  },
  remove: (subject) => on(parameter(subject), "ssm:DeleteParameter"),
};
