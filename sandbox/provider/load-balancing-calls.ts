import {
  type ApiCall,
  arnOf,
  everywhere,
  type Inventory,
  on,
  type ResourceCalls,
  requestTags,
  resourceTags,
  retagged,
  type Subject,
  type Tags,
  type Target,
  tagsOf,
} from "../rights/calls";

const action = (name: string) => `elasticloadbalancing:${name}`;

function made(resource: string, tags: Tags, context = {}): Target {
  return { resource, context: { ...requestTags(tags), ...context } };
}

function own({ id, inputs, olds }: Subject, context = {}): Target {
  return { resource: id, context: { ...resourceTags(tagsOf(olds ?? inputs)), ...context } };
}

/** Tags that a call gives along with what it makes: AWS judges them like a call of their own. */
function tagged(createAction: string, resource: string, tags: Tags): ApiCall[] {
  const target = made(resource, tags, { "elasticloadbalancing:CreateAction": createAction });
  return on(target, action("AddTags"));
}

const otherTags = (subject: Subject) =>
  retagged(own(subject), subject, { remove: action("RemoveTags"), set: action("AddTags") });

/**
 * The rights for EC2 that a caller needs as well, by Elastic Load Balancing's user guide, "API permissions". It also
 * names iam:CreateServiceLinkedRole, for an account's first load balancer: its administrator makes that role.
 */
const ec2Rights = {
  CreateLoadBalancer: everywhere(
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
  ),
  CreateTargetGroup: everywhere("ec2:DescribeInternetGateways", "ec2:DescribeVpcs"),
  SetSubnets: everywhere("ec2:DescribeSubnets"),
};

const subnetsOf = ({ subnetMappings }: Subject["inputs"]) =>
  (subnetMappings as { subnetId: string }[]).map(({ subnetId }) => subnetId);

const changeAttributes = (subject: Subject) => on(own(subject), action("ModifyLoadBalancerAttributes"));

export const loadBalancerCalls: ResourceCalls = {
  source: "elbv2/load_balancer.go",
  create: (subject) => {
    const { inputs } = subject;
    const place = arnOf("elasticloadbalancing", `loadbalancer/net/${inputs.name}/*`);
    const context = {
      "elasticloadbalancing:Scheme": "internet-facing",
      "elasticloadbalancing:SecurityGroup": inputs.securityGroups as string[],
      "elasticloadbalancing:Subnet": subnetsOf(inputs),
    };
    return [
      ...on(made(place, tagsOf(inputs), context), action("CreateLoadBalancer")),
      ...tagged("CreateLoadBalancer", place, tagsOf(inputs)),
      ...ec2Rights.CreateLoadBalancer,
      ...changeAttributes(subject),
    ];
  },
  // Without the right to ask for the reserved capacity the provider continues, but AWS refuses at every read.
  read: () =>
    everywhere(
      action("DescribeLoadBalancers"),
      action("DescribeLoadBalancerAttributes"),
      action("DescribeCapacityReservation"),
      action("DescribeTags"),
    ),
  update: {
    enableCrossZoneLoadBalancing: changeAttributes,
    enableDeletionProtection: changeAttributes,
    securityGroups: (subject) =>
      on(
        own(subject, { "elasticloadbalancing:SecurityGroup": subject.inputs.securityGroups as string[] }),
        action("SetSecurityGroups"),
      ),
    subnetMappings: (subject) => [
      ...on(own(subject, { "elasticloadbalancing:Subnet": subnetsOf(subject.inputs) }), action("SetSubnets")),
      ...ec2Rights.SetSubnets,
    ],
    tags: otherTags,
  },
  // The provider waits until the interfaces in the subnets are gone.
  remove: (subject) => [
    ...on(own(subject), action("DeleteLoadBalancer")),
    ...everywhere("ec2:DescribeNetworkInterfaces"),
  ],
};

const changeGroupAttributes = (subject: Subject) => on(own(subject), action("ModifyTargetGroupAttributes"));

export const targetGroupCalls: ResourceCalls = {
  source: "elbv2/target_group.go",
  create: (subject) => {
    const place = arnOf("elasticloadbalancing", `targetgroup/${subject.inputs.name}/*`);
    return [
      ...on(made(place, tagsOf(subject.inputs)), action("CreateTargetGroup")),
      ...tagged("CreateTargetGroup", place, tagsOf(subject.inputs)),
      ...ec2Rights.CreateTargetGroup,
      ...changeGroupAttributes(subject),
    ];
  },
  read: () =>
    everywhere(
      action("DescribeTargetGroups"),
      action("DescribeTargetGroupAttributes"),
      action("DescribeTags"),
    ),
  update: {
    healthCheck: (subject) => on(own(subject), action("ModifyTargetGroup")),
    connectionTermination: changeGroupAttributes,
    deregistrationDelay: changeGroupAttributes,
    loadBalancingCrossZoneEnabled: changeGroupAttributes,
    proxyProtocolV2: changeGroupAttributes,
    targetHealthStates: changeGroupAttributes,
    tags: otherTags,
  },
  remove: (subject) => on(own(subject), action("DeleteTargetGroup")),
};

const changeListener = (subject: Subject) =>
  on(
    own(subject, { "elasticloadbalancing:ListenerProtocol": String(subject.inputs.protocol) }),
    action("ModifyListener"),
  );
const changeListenerAttributes = (subject: Subject) => on(own(subject), action("ModifyListenerAttributes"));

export const listenerCalls: ResourceCalls = {
  source: "elbv2/listener.go",
  create: (subject, inventory: Inventory) => {
    const { inputs } = subject;
    const balancer = String(inputs.loadBalancerArn);
    const context = {
      ...resourceTags(inventory.tagsOf(balancer)),
      "elasticloadbalancing:ListenerProtocol": String(inputs.protocol),
    };
    return [
      ...on(made(balancer, tagsOf(inputs), context), action("CreateListener")),
      ...tagged("CreateListener", `${balancer.replace(":loadbalancer/", ":listener/")}/*`, tagsOf(inputs)),
      ...(inputs.tcpIdleTimeoutSeconds === undefined ? [] : changeListenerAttributes(subject)),
    ];
  },
  read: () =>
    everywhere(action("DescribeListeners"), action("DescribeListenerAttributes"), action("DescribeTags")),
  update: {
    port: changeListener,
    protocol: changeListener,
    defaultActions: changeListener,
    tcpIdleTimeoutSeconds: changeListenerAttributes,
    tags: otherTags,
  },
  remove: (subject) => on(own(subject), action("DeleteListener")),
};
