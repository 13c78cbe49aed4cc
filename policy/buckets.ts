import { isDeepStrictEqual } from "node:util";
import type {
  PolicyResource,
  ResourceValidationPolicy,
  StackValidationArgs,
  StackValidationPolicy,
} from "@pulumi/policy";
import { list, principalsOf, type Statement, statementsOf } from "./documents";

const publicAccessBlock = [
  "blockPublicAcls",
  "blockPublicPolicy",
  "ignorePublicAcls",
  "restrictPublicBuckets",
] as const;

/** Some types have a second, older name that ends with V2. */
const types = {
  bucket: /^aws:s3\/bucket(V2)?:/,
  publicAccessBlock: /^aws:s3\/bucketPublicAccessBlock:/,
  encryption: /^aws:s3\/bucketServerSideEncryptionConfiguration(V2)?:/,
  policy: /^aws:s3\/bucketPolicy:/,
  website: /^aws:s3\/bucketWebsiteConfiguration(V2)?:/,
};

/** The principals of a statement in a bucket's policy, as a message shows them. */
function show(statement: Statement): string {
  const principals = principalsOf(statement);
  return principals.includes("*") || statement.NotPrincipal !== undefined
    ? "everybody"
    : principals.join(", ");
}

/** Whether a statement is about everybody. A "*" of services, for example, does not include people. */
function isForEverybody({ Principal }: Statement): boolean {
  return list(typeof Principal === "object" ? Principal.AWS : Principal).includes("*");
}

/** Whether a statement denies everything that does not come over TLS. */
function deniesPlainHttp(statement: Statement, bucketArn: string): boolean {
  const { Effect, Action, Resource, Condition } = statement;
  // The only condition: each further one would let some plain HTTP through.
  const isPlain = ["false", false].some((value) =>
    isDeepStrictEqual(Condition, { Bool: { "aws:SecureTransport": value } }),
  );
  return (
    Effect === "Deny" &&
    isForEverybody(statement) &&
    list(Action).some((action) => action === "s3:*" || action === "*") &&
    [bucketArn, `${bucketArn}/*`].every((arn) => list(Resource).includes(arn)) &&
    isPlain
  );
}

/** The resources of a type that configure a bucket. */
function settingsOf(
  bucket: PolicyResource,
  type: RegExp,
  { resources }: StackValidationArgs,
): PolicyResource[] {
  return resources.filter((resource) => {
    if (!type.test(resource.type)) return false;
    // In a preview a new bucket has no name yet, but the resources that refer to it are known.
    const buckets = resource.propertyDependencies.bucket ?? [];
    return buckets.length > 0
      ? buckets.some(({ urn }) => urn === bucket.urn)
      : resource.props.bucket === bucket.props.bucket;
  });
}

function bucketsOf({ resources }: StackValidationArgs): PolicyResource[] {
  return resources.filter(({ type }) => types.bucket.test(type));
}

export const bucketPolicies: (ResourceValidationPolicy | StackValidationPolicy)[] = [
  {
    name: "private-buckets",
    description:
      "Nobody outside of the account reads a bucket: no public ACL, no website, no policy with an Allow, and AWS's block is on.",
    validateResource: ({ type, props }, report) => {
      if (!type.startsWith("aws:s3/")) return;
      if (props.acl !== undefined && props.acl !== "private") report(`acl is ${props.acl}, not private`);
      if (props.grants?.length > 0 || props.accessControlPolicy !== undefined)
        report("the bucket has grants in an ACL; give roles rights by their own policies instead");
      if (types.website.test(type) || props.website !== undefined)
        report("the bucket is a website; remove its website configuration");
      if (types.publicAccessBlock.test(type))
        for (const setting of publicAccessBlock)
          if (props[setting] !== true) report(`${setting} is ${props[setting]}, not true`);
      if (props.policy === undefined) return;
      // Roles of this account get their rights from policies of their own.
      for (const statement of statementsOf(props.policy))
        if (statement.Effect !== "Deny")
          report(`the bucket's policy allows something to ${show(statement)}; it may only deny`);
    },
  },
  {
    name: "guarded-buckets",
    description: "Each bucket is encrypted, and AWS's block of public access is on for it.",
    validateStack: (args, report) => {
      for (const bucket of bucketsOf(args)) {
        if (settingsOf(bucket, types.publicAccessBlock, args).length === 0)
          report(`${bucket.name} has no aws.s3.BucketPublicAccessBlock; add one`, bucket.urn);
        if (settingsOf(bucket, types.encryption, args).length === 0)
          report(`${bucket.name} has no aws.s3.BucketServerSideEncryptionConfiguration; add one`, bucket.urn);
      }
    },
  },
  {
    name: "tls-only-buckets",
    description: "Each bucket has a policy that denies everything over plain HTTP.",
    validateStack: (args, report) => {
      for (const bucket of bucketsOf(args)) {
        const statements = settingsOf(bucket, types.policy, args).flatMap(({ props }) =>
          statementsOf(props.policy),
        );
        if (!statements.some((statement) => deniesPlainHttp(statement, String(bucket.props.arn))))
          report(
            `${bucket.name} has no aws.s3.BucketPolicy that denies s3:* where aws:SecureTransport is false; add one`,
            bucket.urn,
          );
      }
    },
  },
];
