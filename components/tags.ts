import * as pulumi from "@pulumi/pulumi";

/** What a resource is for, in its tags. */
export const balancerTags = { Role: "balancer" };
export const nodeTags = { Role: "node" };
export const bucketTags = { Role: "software" };

/** Types of AWS resources here that take no tags. */
const untagged = [
  "aws:ec2/eipAssociation:EipAssociation",
  "aws:iam/rolePolicy:RolePolicy",
  "aws:route53/record:Record",
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
  "aws:s3/bucketPolicy:BucketPolicy",
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
];

/**
 * Tags every resource that takes tags, so that a console and a bill can be read: Name, Project and Stack, beside the
 * Role that its component gives it. To be called before the first resource is made.
 */
export function tagResources(): void {
  const stack = pulumi.getStack();
  const common = { Project: pulumi.getProject(), Stack: stack };
  pulumi.runtime.registerStackTransformation(({ type, name, props, opts }) => {
    if (!type.startsWith("aws:") || untagged.includes(type)) return undefined;
    const tags = { ...common, Name: `${stack}-${name}`, ...props.tags };
    const volumeTags = type === "aws:ec2/instance:Instance" ? { volumeTags: tags } : {};
    return { props: { ...props, tags, ...volumeTags }, opts };
  });
}
