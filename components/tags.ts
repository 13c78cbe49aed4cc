import * as pulumi from "@pulumi/pulumi";

/** The tag with the purpose of a resource. */
export const balancerTags = { Role: "balancer" };
export const loadBalancerTags = { Role: "load-balancer" };
export const nodeTags = { Role: "node" };
export const bucketTags = { Role: "software" };

/** Types of this project's AWS resources that take no tags. */
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
 * Gives every resource that takes tags a Name, Project and Stack, for readers of a console or a bill. Components add
 * the Role. Must be called before the first resource is made.
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
