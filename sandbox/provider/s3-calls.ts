import {
  type ApiCall,
  changedTags,
  noCalls,
  on,
  type ResourceCalls,
  requestTags,
  type Subject,
  type Target,
  tagsOf,
} from "./calls";

const arn = (name: unknown) => `arn:aws:s3:::${name}`;
const bucketOf = ({ inputs }: Subject): Target => ({ resource: arn(inputs.bucket) });

/** By S3 Control, since version 6.23 of the provider, which falls back to s3:PutBucketTagging where it may not. */
function retagged({ id, inputs, olds = {} }: Subject): ApiCall[] {
  const { set, gone } = changedTags(tagsOf(olds), tagsOf(inputs));
  return [
    ...(gone.length > 0
      ? on({ resource: arn(id), context: { "aws:TagKeys": gone } }, "s3:UntagResource")
      : []),
    ...(Object.keys(set).length > 0
      ? on({ resource: arn(id), context: requestTags(set) }, "s3:TagResource")
      : []),
  ];
}

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
  update: { forceDestroy: noCalls, tags: retagged },
  // With forceDestroy and what is in it: by versions, of which each object has one that is called null.
  remove: ({ id }) => [
    ...on({ resource: arn(id) }, "s3:DeleteBucket", "s3:ListBucketVersions"),
    ...on({ resource: arn(`${id}/node/software`) }, "s3:DeleteObjectVersion"),
  ],
};

/** A setting of a bucket, which is put, read and taken away as a whole. */
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
/** In parts where it is large, which are taken back when that breaks off. */
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
