import type { ResourceValidationPolicy } from "@pulumi/policy";

/** The types of resources that the program makes, in alphabetical order. */
export const knownTypes: readonly string[] = [
  "aws:ec2/eip:Eip",
  "aws:ec2/eipAssociation:EipAssociation",
  "aws:ec2/instance:Instance",
  "aws:ec2/networkInterface:NetworkInterface",
  "aws:ec2/securityGroup:SecurityGroup",
  "aws:iam/instanceProfile:InstanceProfile",
  "aws:iam/role:Role",
  "aws:iam/rolePolicy:RolePolicy",
  "aws:lb/listener:Listener",
  "aws:lb/loadBalancer:LoadBalancer",
  "aws:lb/targetGroup:TargetGroup",
  "aws:route53/record:Record",
  "aws:s3/bucket:Bucket",
  "aws:s3/bucketObjectv2:BucketObjectv2",
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
  "aws:s3/bucketPolicy:BucketPolicy",
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
  "aws:ssm/parameter:Parameter",
  "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
  "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
  "command:local:Command",
  "tls:index/certRequest:CertRequest",
  "tls:index/locallySignedCert:LocallySignedCert",
  "tls:index/privateKey:PrivateKey",
  "tls:index/selfSignedCert:SelfSignedCert",
];

/** Pulumi's own stacks, providers and references, and the program's components. */
const freeTypes = /^(pulumi|wcs-balancer):/;

export const typePolicies: ResourceValidationPolicy[] = [
  {
    name: "known-types",
    description: "A stack has only resources of types that the other policies know.",
    validateResource: ({ type }, report) => {
      if (freeTypes.test(type) || knownTypes.includes(type)) return;
      report(
        `${type} is a type that the policies do not know; extend the policies that must cover it, then add it to policy/known-types.ts`,
      );
    },
  },
];
