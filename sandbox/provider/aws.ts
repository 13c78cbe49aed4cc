import * as ipaddr from "ipaddr.js";
import { z } from "zod";
import { accountId, region, subnetIds, subnets, vpcId } from "../account";
import { vpcNetwork } from "../addresses";
import { arnOf, everywhere, on } from "../rights/calls";
import { dnsRecordCalls } from "./dns-record-calls";
import {
  egressRuleCalls,
  elasticIpAssociationCalls,
  elasticIpCalls,
  ingressRuleCalls,
  instanceCalls,
  networkInterfaceCalls,
  securityGroupCalls,
} from "./ec2-calls";
import { instanceProfileCalls, roleCalls, rolePolicyCalls } from "./iam-calls";
import { loadBalancingTypes } from "./load-balancing";
import { parameterCalls } from "./parameter-calls";
import { type Invoke, inCloud, type ResourceType } from "./resource-type";
import { s3Types } from "./s3";
import type { Values } from "./values";
import { json, tags, text } from "./values";

/** Debian publishes a newer one now and then. */
const debianAmi = process.env.WCS_SANDBOX_NEWEST_AMI ?? "ami-0d3b1a13000000001";

const securityGroupRule = z
  .strictObject({
    securityGroupId: text,
    ipProtocol: z.enum(["tcp", "udp", "icmp", "-1"]),
    fromPort: z.int().min(0).max(65535).optional(),
    toPort: z.int().min(0).max(65535).optional(),
    cidrIpv4: text.refine((value) => ipaddr.IPv4.isValidCIDR(value), "is not a valid CIDR block").optional(),
    referencedSecurityGroupId: text.optional(),
    description: text.optional(),
    tags,
  })
  .refine(
    (rule) =>
      [rule.cidrIpv4, rule.referencedSecurityGroupId].filter((source) => source !== undefined).length === 1,
    "exactly one of cidrIpv4 and referencedSecurityGroupId must be set",
  )
  .refine(
    (rule) => rule.ipProtocol === "-1" || (rule.fromPort !== undefined && rule.toPort !== undefined),
    "fromPort and toPort are required for this protocol",
  );

const instance = z
  .strictObject({
    ami: text.regex(/^ami-/),
    instanceType: text,
    subnetId: text.optional(),
    associatePublicIpAddress: z.boolean().optional(),
    vpcSecurityGroupIds: z.array(text).optional(),
    primaryNetworkInterface: z.strictObject({ networkInterfaceId: text }).optional(),
    iamInstanceProfile: text.optional(),
    userData: text.optional(),
    userDataBase64: z.base64("user data is not base64").optional(),
    userDataReplaceOnChange: z.boolean().optional(),
    metadataOptions: z
      .strictObject({
        httpEndpoint: z.enum(["enabled", "disabled"]).optional(),
        httpTokens: z.enum(["required", "optional"]).optional(),
        httpPutResponseHopLimit: z.int().min(1).max(64).optional(),
      })
      .optional(),
    rootBlockDevice: z
      .strictObject({
        encrypted: z.boolean().optional(),
        volumeType: z.enum(["standard", "gp2", "gp3", "io1", "io2", "sc1", "st1"]).optional(),
        volumeSize: z.int().min(1).optional(),
      })
      .optional(),
    tags,
    volumeTags: tags,
  })
  .refine(
    (value) => value.userData === undefined || value.userDataBase64 === undefined,
    '"userData": conflicts with userDataBase64',
  )
  .refine(
    (value) =>
      value.primaryNetworkInterface === undefined ||
      (value.vpcSecurityGroupIds === undefined &&
        value.subnetId === undefined &&
        value.associatePublicIpAddress === undefined),
    '"primaryNetworkInterface": conflicts with vpcSecurityGroupIds, subnetId and associatePublicIpAddress',
  );

/** IAM wants a slash at both ends. */
const iamPath = text
  .max(512)
  .regex(/^\/([!-~]+\/)?$/, "must begin and end with /")
  .optional();

const parameter = z
  .strictObject({
    name: text.regex(/^\/[a-zA-Z0-9_./-]+$/),
    type: z.enum(["String", "StringList", "SecureString"]),
    tier: z.enum(["Standard", "Advanced", "Intelligent-Tiering"]).optional(),
    value: text.optional(),
    insecureValue: text.optional(),
    description: text.optional(),
    tags,
  })
  .refine(
    (value) => (value.value === undefined) !== (value.insecureValue === undefined),
    "exactly one of value and insecureValue must be set",
  )
  .refine(
    (value) => value.insecureValue === undefined || value.type !== "SecureString",
    "insecureValue cannot be set with type SecureString",
  )
  .refine(
    (value) => (value.value ?? value.insecureValue ?? "").length <= (value.tier === "Advanced" ? 8192 : 4096),
    "is larger than the parameter's tier allows",
  );

export const awsTypes: Record<string, ResourceType> = {
  ...loadBalancingTypes,
  ...s3Types,
  "aws:ec2/securityGroup:SecurityGroup": inCloud("securityGroup", securityGroupCalls, {
    inputs: z.strictObject({
      name: text.refine(
        (name) => !name.startsWith("sg-"),
        'invalid value for name (cannot begin with "sg-")',
      ),
      description: text.optional(),
      vpcId: text.optional(),
      tags,
    }),
    autoName: "name",
    replaceOn: ["name", "description", "vpcId"],
    computed: ["arn"],
    updatable: true,
  }),
  "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": inCloud("ingressRule", ingressRuleCalls, {
    inputs: securityGroupRule,
    replaceOn: ["securityGroupId"],
    computed: ["securityGroupRuleId", "arn"],
    updatable: true,
  }),
  "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": inCloud("egressRule", egressRuleCalls, {
    inputs: securityGroupRule,
    replaceOn: ["securityGroupId"],
    computed: ["securityGroupRuleId", "arn"],
    updatable: true,
  }),
  "aws:ec2/networkInterface:NetworkInterface": inCloud("networkInterface", networkInterfaceCalls, {
    inputs: z.strictObject({
      subnetId: text,
      securityGroups: z.array(text).optional(),
      description: text.optional(),
      tags,
    }),
    replaceOn: ["subnetId"],
    computed: ["privateIp", "arn", "macAddress"],
    updatable: true,
  }),
  "aws:ec2/eip:Eip": inCloud("elasticIp", elasticIpCalls, {
    inputs: z.strictObject({ domain: z.literal("vpc"), tags }),
    replaceOn: ["domain"],
    computed: ["allocationId", "publicIp", "arn"],
    updatable: true,
  }),
  "aws:ec2/eipAssociation:EipAssociation": inCloud("elasticIpAssociation", elasticIpAssociationCalls, {
    inputs: z
      .strictObject({
        allocationId: text,
        instanceId: text.optional(),
        networkInterfaceId: text.optional(),
        allowReassociation: z.boolean().optional(),
      })
      .refine(
        (value) => (value.instanceId === undefined) !== (value.networkInterfaceId === undefined),
        "exactly one of instanceId and networkInterfaceId must be set",
      ),
    replaceOn: ["allocationId", "instanceId", "networkInterfaceId", "allowReassociation"],
    computed: ["publicIp", "instanceId", "networkInterfaceId", "privateIpAddress"],
    updatable: false,
  }),
  "aws:ec2/instance:Instance": inCloud("instance", instanceCalls, {
    inputs: instance,
    replaceOn: (_olds, news) => [
      "ami",
      "subnetId",
      "associatePublicIpAddress",
      "primaryNetworkInterface",
      ...(news.userDataReplaceOnChange ? ["userData", "userDataBase64"] : []),
    ],
    computed: [
      "arn",
      "availabilityZone",
      "privateIp",
      "publicIp",
      "instanceState",
      "primaryNetworkInterfaceId",
    ],
    updatable: true,
  }),
  "aws:iam/role:Role": inCloud("role", roleCalls, {
    inputs: z.strictObject({
      name: text.max(64),
      path: iamPath,
      assumeRolePolicy: json,
      permissionsBoundary: text.regex(/^arn:/, "is an invalid ARN").optional(),
      description: text.optional(),
      tags,
    }),
    autoName: "name",
    replaceOn: ["name", "path"],
    computed: ["arn", "uniqueId"],
    updatable: true,
  }),
  "aws:iam/rolePolicy:RolePolicy": inCloud("rolePolicy", rolePolicyCalls, {
    inputs: z.strictObject({ name: text, role: text, policy: json }),
    autoName: "name",
    replaceOn: ["name", "role"],
    computed: [],
    updatable: true,
  }),
  "aws:iam/instanceProfile:InstanceProfile": inCloud("instanceProfile", instanceProfileCalls, {
    inputs: z.strictObject({ name: text, path: iamPath, role: text, tags }),
    autoName: "name",
    replaceOn: ["name", "path"],
    computed: ["arn", "uniqueId"],
    updatable: true,
  }),
  "aws:route53/record:Record": inCloud("dnsRecord", dnsRecordCalls, {
    inputs: z.strictObject({
      zoneId: text,
      name: text,
      type: z.literal("A"),
      ttl: z.int().positive(),
      records: z.array(z.ipv4()).min(1),
    }),
    replaceOn: ["zoneId", "name", "type"],
    computed: ["fqdn"],
    updatable: true,
  }),
  "aws:ssm/parameter:Parameter": inCloud("parameter", parameterCalls, {
    inputs: parameter,
    replaceOn: ["name"],
    computed: ["arn", "version"],
    updatable: true,
  }),
};

const filters = z.array(z.strictObject({ name: text, values: z.array(text) })).optional();

function knownFilters(allowed: string[], inputs: Values): void {
  for (const { name } of filters.parse(inputs.filters) ?? []) {
    if (!allowed.includes(name)) throw new Error(`the sandbox does not know the filter ${name}`);
  }
}

/** A function that asks AWS, and depends on nothing else. */
type AwsFunction = Invoke & { answer(inputs: Values): Values };

export const awsInvokes: Record<string, AwsFunction> = {
  "aws:index/getRegion:getRegion": {
    calls: [],
    answer: () => ({ id: region, region, name: region }),
  },
  // sts:GetCallerIdentity, which needs no right.
  "aws:index/getCallerIdentity:getCallerIdentity": {
    calls: [],
    answer: () => ({
      id: accountId,
      accountId,
      arn: `arn:aws:iam::${accountId}:user/sandbox`,
      userId: "AIDASANDBOX",
    }),
  },
  // ec2/vpc_data_source.go
  "aws:ec2/getVpc:getVpc": {
    calls: [
      ...everywhere("ec2:DescribeVpcs", "ec2:DescribeRouteTables"),
      ...on({ resource: arnOf("ec2", `vpc/${vpcId}`) }, "ec2:DescribeVpcAttribute"),
    ],
    answer: (inputs) => {
      const { id } = z
        .union([z.strictObject({ default: z.literal(true) }), z.strictObject({ id: text })])
        .transform((wanted) => ({ id: vpcId, ...wanted }))
        .parse(inputs);
      if (id !== vpcId) throw new Error(`no matching EC2 VPC found: ${id}; the sandbox has ${vpcId}`);
      return {
        id: vpcId,
        arn: arnOf("ec2", `vpc/${vpcId}`),
        default: true,
        ownerId: accountId,
        cidrBlock: vpcNetwork,
        cidrBlockAssociations: [
          { associationId: "vpc-cidr-assoc-0a1b2c3d", cidrBlock: vpcNetwork, state: "associated" },
        ],
      };
    },
  },
  // ec2/vpc_subnets_data_source.go
  "aws:ec2/getSubnets:getSubnets": {
    calls: everywhere("ec2:DescribeSubnets"),
    answer: (inputs) => {
      knownFilters(["vpc-id", "default-for-az"], inputs);
      // AWS promises no order.
      return { id: region, ids: [...subnetIds].sort(() => Math.random() - 0.5) };
    },
  },
  // ec2/vpc_subnet_data_source.go
  "aws:ec2/getSubnet:getSubnet": {
    calls: everywhere("ec2:DescribeSubnets"),
    answer: (inputs) => {
      const { id } = z.strictObject({ id: text }).parse(inputs);
      const subnet = subnets.find((one) => one.id === id);
      if (!subnet)
        throw new Error(`no matching EC2 Subnet found: ${id}; the sandbox has ${subnetIds.join(", ")}`);
      return {
        id,
        arn: arnOf("ec2", `subnet/${id}`),
        availabilityZone: subnet.zone,
        availabilityZoneId: subnet.zoneId,
        cidrBlock: subnet.network,
        defaultForAz: true,
        mapPublicIpOnLaunch: true,
        ownerId: accountId,
        state: "available",
        vpcId,
      };
    },
  },
  // ec2/ec2_ami_data_source.go
  "aws:ec2/getAmi:getAmi": {
    calls: everywhere("ec2:DescribeImages"),
    answer: (inputs) => {
      knownFilters(["name", "architecture", "virtualization-type"], inputs);
      if (debianAmi === "none")
        throw new Error("Your query returned no results. Please change your search criteria and try again.");
      return { id: debianAmi, imageId: debianAmi, name: "debian-13-amd64-sandbox", architecture: "x86_64" };
    },
  },
};
