import { imageOwner, region, vpcId } from "../account";
import {
  type ApiCall,
  arnOf,
  everywhere,
  type Inventory,
  noCalls,
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

type Ec2Type =
  | "elastic-ip"
  | "instance"
  | "network-interface"
  | "security-group"
  | "security-group-rule"
  | "volume";

const vpcArn = arnOf("ec2", `vpc/${vpcId}`);
const inVpc = { "ec2:Vpc": vpcArn };

/** A resource that the call makes: it has no id yet, only the tags of the request. */
function made(type: Ec2Type, tags: Tags, context = {}): Target {
  return { resource: arnOf("ec2", `${type}/*`), context: { ...requestTags(tags), ...context } };
}

function existing(type: Ec2Type, id: string, tags: Tags, context = {}): Target {
  return { resource: arnOf("ec2", `${type}/${id}`), context: { ...resourceTags(tags), ...context } };
}

/** Tags that a call gives to the resource that it makes: AWS checks them like a separate call. */
function tagged(createAction: string, tags: Tags, ...types: Ec2Type[]): ApiCall {
  return {
    action: "ec2:CreateTags",
    targets: types.map((type) => made(type, tags, { "ec2:CreateAction": createAction })),
  };
}

/** Other tags for a resource that exists (internal/service/ec2/tags_gen.go, updateTags). */
function otherTags(type: Ec2Type, id: string, subject: Pick<Subject, "inputs" | "olds">): ApiCall[] {
  const target = existing(type, id, tagsOf(subject.olds ?? {}));
  return retagged(target, subject, { remove: "ec2:DeleteTags", set: "ec2:CreateTags" });
}

function retags(type: Ec2Type) {
  return (subject: Subject) => otherTags(type, subject.id, subject);
}

function groups(ids: unknown, inventory: Inventory): Target[] {
  return ((ids ?? []) as string[]).map((id) => existing("security-group", id, inventory.tagsOf(id), inVpc));
}

function subnet(id: unknown): Target[] {
  return id === undefined ? [] : [{ resource: arnOf("ec2", `subnet/${id}`), context: inVpc }];
}

export const securityGroupCalls: ResourceCalls = {
  source: "ec2/vpc_security_group.go",
  create: ({ id, inputs }) => [
    {
      action: "ec2:CreateSecurityGroup",
      targets: [
        made("security-group", tagsOf(inputs)),
        { resource: arnOf("ec2", `vpc/${inputs.vpcId}`), context: { "ec2:VpcID": String(inputs.vpcId) } },
      ],
    },
    tagged("CreateSecurityGroup", tagsOf(inputs), "security-group"),
    // AWS gives each new group a rule that allows all outgoing traffic.
    ...on(existing("security-group", id, tagsOf(inputs), inVpc), "ec2:RevokeSecurityGroupEgress"),
  ],
  read: () => everywhere("ec2:DescribeSecurityGroups"),
  update: { tags: retags("security-group") },
  remove: ({ id, inputs }) => [
    ...everywhere("ec2:DescribeNetworkInterfaces"),
    ...on(existing("security-group", id, tagsOf(inputs), inVpc), "ec2:DeleteSecurityGroup"),
  ],
};

function ruleCalls(direction: "Ingress" | "Egress"): ResourceCalls {
  const group = ({ inputs }: Subject, inventory: Inventory) => groups([inputs.securityGroupId], inventory);
  const modify = (subject: Subject, inventory: Inventory): ApiCall[] => [
    {
      action: "ec2:ModifySecurityGroupRules",
      targets: [
        ...group(subject, inventory),
        existing("security-group-rule", subject.id, tagsOf(subject.olds ?? subject.inputs)),
      ],
    },
  ];
  return {
    source: `ec2/vpc_security_group_${direction.toLowerCase()}_rule.go`,
    create: (subject, inventory) => [
      {
        action: `ec2:AuthorizeSecurityGroup${direction}`,
        targets: [...group(subject, inventory), { resource: arnOf("ec2", "security-group-rule/*") }],
      },
      // A separate call, for a rule that has no tags yet.
      ...on(
        existing("security-group-rule", subject.id, {}, requestTags(tagsOf(subject.inputs))),
        "ec2:CreateTags",
      ),
    ],
    read: () => everywhere("ec2:DescribeSecurityGroupRules"),
    update: {
      ipProtocol: modify,
      fromPort: modify,
      toPort: modify,
      cidrIpv4: modify,
      referencedSecurityGroupId: modify,
      description: modify,
      tags: retags("security-group-rule"),
    },
    remove: (subject, inventory) => [
      { action: `ec2:RevokeSecurityGroup${direction}`, targets: group(subject, inventory) },
    ],
  };
}

export const ingressRuleCalls = ruleCalls("Ingress");
export const egressRuleCalls = ruleCalls("Egress");

function ownInterface({ id, inputs, olds }: Subject): Target {
  return existing("network-interface", id, tagsOf(olds ?? inputs), inVpc);
}

export const networkInterfaceCalls: ResourceCalls = {
  source: "ec2/vpc_network_interface.go",
  create: ({ inputs }, inventory) => [
    {
      action: "ec2:CreateNetworkInterface",
      targets: [
        made("network-interface", tagsOf(inputs)),
        ...subnet(inputs.subnetId),
        ...groups(inputs.securityGroups, inventory),
      ],
    },
    tagged("CreateNetworkInterface", tagsOf(inputs), "network-interface"),
  ],
  read: () => everywhere("ec2:DescribeNetworkInterfaces"),
  update: {
    securityGroups: (subject, inventory) => [
      {
        action: "ec2:ModifyNetworkInterfaceAttribute",
        targets: [ownInterface(subject), ...groups(subject.inputs.securityGroups, inventory)],
      },
    ],
    description: (subject) => on(ownInterface(subject), "ec2:ModifyNetworkInterfaceAttribute"),
    tags: retags("network-interface"),
  },
  remove: (subject) => on(ownInterface(subject), "ec2:DeleteNetworkInterface"),
};

export const elasticIpCalls: ResourceCalls = {
  source: "ec2/ec2_eip.go",
  create: ({ inputs }) => [
    ...on(made("elastic-ip", tagsOf(inputs)), "ec2:AllocateAddress"),
    tagged("AllocateAddress", tagsOf(inputs), "elastic-ip"),
  ],
  read: () => everywhere("ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute"),
  update: { tags: retags("elastic-ip") },
  remove: ({ id, inputs }) => on(existing("elastic-ip", id, tagsOf(inputs)), "ec2:ReleaseAddress"),
};

function associatedAddress({ inputs }: Subject, inventory: Inventory): Target {
  const id = String(inputs.allocationId);
  return existing("elastic-ip", id, inventory.tagsOf(id));
}

function associatedInterface(id: string, inventory: Inventory): Target {
  return existing("network-interface", id, inventory.tagsOf(id), inVpc);
}

export const elasticIpAssociationCalls: ResourceCalls = {
  source: "ec2/ec2_eip_association.go",
  create: (subject, inventory) => {
    const { instanceId, networkInterfaceId } = subject.inputs;
    const target = instanceId
      ? existing("instance", String(instanceId), inventory.tagsOf(String(instanceId)))
      : associatedInterface(String(networkInterfaceId), inventory);
    return [{ action: "ec2:AssociateAddress", targets: [associatedAddress(subject, inventory), target] }];
  },
  read: () => everywhere("ec2:DescribeAddresses"),
  update: {},
  // AWS's reference has no instance here: it may look at the instance's interface, which has no tags.
  remove: (subject, inventory) => {
    const id = String(subject.inputs.networkInterfaceId ?? subject.outputs.networkInterfaceId);
    return [
      {
        action: "ec2:DisassociateAddress",
        targets: [associatedAddress(subject, inventory), associatedInterface(id, inventory)],
      },
    ];
  },
};

/** The id of an instance's disk. The sandbox has no such disks. */
function volumeOf(instanceId: string): string {
  return instanceId.replace(/^i-/, "vol-");
}

function ownInstance({ id, inputs, olds }: Subject, context = {}): Target {
  return existing("instance", id, tagsOf(olds ?? inputs), context);
}

/** Giving a profile to an instance needs the right to pass the role in it. */
function passRole(profile: string, inventory: Inventory): ApiCall[] {
  const role = inventory.role(inventory.instanceProfile(profile).role);
  return on({ resource: role.arn, context: { "iam:PassedToService": "ec2.amazonaws.com" } }, "iam:PassRole");
}

function run({ inputs }: Subject, inventory: Inventory): ApiCall[] {
  const profile = inputs.iamInstanceProfile as string | undefined;
  const own = (inputs.primaryNetworkInterface as { networkInterfaceId: string } | undefined)
    ?.networkInterfaceId;
  const place = own
    ? inventory.networkInterface(own)
    : { subnetId: inputs.subnetId, securityGroups: inputs.vpcSecurityGroupIds };
  const volumeTags = (inputs.volumeTags ?? {}) as Tags;
  const { httpTokens } = (inputs.metadataOptions ?? {}) as { httpTokens?: string };
  return [
    {
      action: "ec2:RunInstances",
      targets: [
        {
          resource: `arn:aws:ec2:${region}::image/${inputs.ami}`,
          context: { "ec2:Owner": imageOwner(inputs.ami) },
        },
        made("instance", tagsOf(inputs), {
          "ec2:InstanceType": String(inputs.instanceType),
          ...(profile && { "ec2:InstanceProfile": inventory.instanceProfile(profile).arn }),
          ...(httpTokens && { "ec2:MetadataHttpTokens": httpTokens }),
        }),
        made("volume", volumeTags),
        // AWS ignores the tags of an interface here, even of an existing one.
        { resource: arnOf("ec2", `network-interface/${own ?? "*"}`), context: inVpc },
        ...subnet(place.subnetId),
        ...groups(place.securityGroups, inventory),
      ],
    },
    tagged("RunInstances", tagsOf(inputs), "instance"),
    tagged("RunInstances", volumeTags, "volume"),
    ...(profile ? passRole(profile, inventory) : []),
    ...everywhere("ec2:DescribeImages"),
  ];
}

export const instanceCalls: ResourceCalls = {
  source: "ec2/ec2_instance.go",
  create: run,
  read: (subject) => [
    ...on(ownInstance(subject), "ec2:DescribeInstanceAttribute"),
    ...everywhere(
      "ec2:DescribeInstances",
      "ec2:DescribeInstanceCreditSpecifications",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeTags",
      "ec2:DescribeVolumes",
    ),
  ],
  update: {
    // On a running instance the profile is replaced. On a stopped one it is removed and added.
    iamInstanceProfile: (subject, inventory) => {
      const profile = String(subject.inputs.iamInstanceProfile);
      const target = ownInstance(subject, {
        "ec2:NewInstanceProfile": inventory.instanceProfile(profile).arn,
      });
      return [
        ...everywhere("ec2:DescribeIamInstanceProfileAssociations"),
        ...on(target, "ec2:ReplaceIamInstanceProfileAssociation", "ec2:AssociateIamInstanceProfile"),
        ...on(ownInstance(subject), "ec2:DisassociateIamInstanceProfile"),
        ...passRole(profile, inventory),
      ];
    },
    // The interface that an instance was made with has no tags.
    vpcSecurityGroupIds: ({ inputs, outputs }, inventory) => [
      {
        action: "ec2:ModifyNetworkInterfaceAttribute",
        targets: [
          existing("network-interface", String(outputs.primaryNetworkInterfaceId), {}, inVpc),
          ...groups(inputs.vpcSecurityGroupIds, inventory),
        ],
      },
    ],
    metadataOptions: (subject) => on(ownInstance(subject), "ec2:ModifyInstanceMetadataOptions"),
    userDataReplaceOnChange: noCalls,
    tags: retags("instance"),
    volumeTags: ({ id, inputs, olds = {} }) =>
      otherTags("volume", volumeOf(id), {
        inputs: { tags: inputs.volumeTags },
        olds: { tags: olds.volumeTags },
      }),
  },
  // The first call removes the protection against termination, even if there is none.
  remove: (subject) => on(ownInstance(subject), "ec2:ModifyInstanceAttribute", "ec2:TerminateInstances"),
};
