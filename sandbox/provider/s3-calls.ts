import {
  noCalls,
  on,
  type ResourceCalls,
  requestTags,
  retagged,
  type Subject,
  type Target,
  tagsOf,
} from "../rights/calls";

const arn = (name: unknown) => `arn:aws:s3:::${name}`;
const bucketOf = ({ inputs }: Subject): Target => ({ resource: arn(inputs.bucket) });

/**
 * S3 Control changes a bucket's tags, since version 6.23 of the provider. Without the right to that, the provider tries
 * s3:PutBucketTagging.
 */
const otherTags = (subject: Subject) =>
  retagged({ resource: arn(subject.id) }, subject, { remove: "s3:UntagResource", set: "s3:TagResource" });

export const bucketCalls: ResourceCalls = {
  source: "s3/bucket.go, s3/tags.go",
  create: ({ id, inputs }) =>
    on({ resource: arn(id), context: requestTags(tagsOf(inputs)) }, "s3:CreateBucket", "s3:TagResource"),
  read: ({ id }) =>
    on(
      { resource: arn(id) },
      "s3:ListBucket",
      "s3:GetAccelerateConfiguration",
      "s3:GetBucketAcl",
      "s3:GetBucketCORS",
      "s3:GetBucketLogging",
      "s3:GetBucketObjectLockConfiguration",
      "s3:GetBucketPolicy",
      "s3:GetBucketRequestPayment",
      "s3:GetBucketVersioning",
      "s3:GetBucketWebsite",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:GetReplicationConfiguration",
      "s3:ListTagsForResource",
    ),
  update: { forceDestroy: noCalls, tags: otherTags },
  // forceDestroy first deletes the objects by their versions. Without versioning each object has one version, named
  // null.
  remove: ({ id }) => [
    ...on({ resource: arn(id) }, "s3:DeleteBucket", "s3:ListBucketVersions"),
    ...on({ resource: arn(`${id}/node/software`) }, "s3:DeleteObjectVersion"),
  ],
};

/** The calls for a setting of a bucket, which is written, read and removed as a whole. */
function setting(source: string, put: string, get: string, remove = put): ResourceCalls {
  const puts = (subject: Subject) => on(bucketOf(subject), put);
  return {
    source,
    create: puts,
    read: (subject) => on(bucketOf(subject), get),
    update: {
      blockPublicAcls: puts,
      blockPublicPolicy: puts,
      ignorePublicAcls: puts,
      restrictPublicBuckets: puts,
      rule: puts,
      rules: puts,
      policy: puts,
    },
    remove: (subject) => on(bucketOf(subject), remove),
  };
}

export const publicAccessBlockCalls = setting(
  "s3/bucket_public_access_block.go",
  "s3:PutBucketPublicAccessBlock",
  "s3:GetBucketPublicAccessBlock",
);
export const ownershipControlsCalls = setting(
  "s3/bucket_ownership_controls.go",
  "s3:PutBucketOwnershipControls",
  "s3:GetBucketOwnershipControls",
);
export const bucketEncryptionCalls = setting(
  "s3/bucket_server_side_encryption_configuration.go",
  "s3:PutEncryptionConfiguration",
  "s3:GetEncryptionConfiguration",
);
export const bucketPolicyCalls = setting(
  "s3/bucket_policy.go",
  "s3:PutBucketPolicy",
  "s3:GetBucketPolicy",
  "s3:DeleteBucketPolicy",
);

const object = ({ inputs }: Subject): Target => ({ resource: arn(`${inputs.bucket}/${inputs.key}`) });
/** A large object is uploaded in parts, which are deleted if the upload fails. */
const upload = (subject: Subject) =>
  on(object(subject), "s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload");

export const bucketObjectCalls: ResourceCalls = {
  source: "s3/object.go, s3/tags.go",
  create: upload,
  read: (subject) => on(object(subject), "s3:GetObject", "s3:GetObjectTagging"),
  update: {
    source: upload,
    contentType: upload,
    tags: (subject) => on(object(subject), "s3:PutObjectTagging"),
  },
  remove: (subject) => on(object(subject), "s3:DeleteObject"),
};
