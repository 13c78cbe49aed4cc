import { z } from "zod";
import { asset } from "./asset";
import { inCloud, type ResourceType } from "./resource-type";
import {
  bucketCalls,
  bucketEncryptionCalls,
  bucketObjectCalls,
  bucketPolicyCalls,
  ownershipControlsCalls,
  publicAccessBlockCalls,
} from "./s3-calls";
import { json, tags, text } from "./values";

/** The provider appends 26 digits, and a bucket's name has 63 at most. */
const prefixLength = 63 - 26;
const objectTags = 10;

const nameCharacters = /^[a-z0-9][a-z0-9-]*$/;
const nameRule =
  "may have only lowercase letters, digits and hyphens (no dots: S3's certificate covers one label)";

const bucket = z
  .strictObject({
    bucket: text.min(3).max(63).regex(nameCharacters, nameRule).optional(),
    bucketPrefix: text
      .max(prefixLength, `has more than ${prefixLength} characters`)
      .regex(nameCharacters, nameRule)
      .optional(),
    forceDestroy: z.boolean().optional(),
    tags,
  })
  .refine(
    (value) => value.bucket === undefined || value.bucketPrefix === undefined,
    '"bucket": conflicts with bucketPrefix',
  )
  .refine(
    (value) => value.bucket !== undefined || value.bucketPrefix !== undefined,
    "bucketPrefix is missing; the sandbox does not invent names of buckets",
  );

const bucketObject = z.strictObject({
  bucket: text.min(1),
  // The real provider removes leading and repeated slashes, which would change the key.
  key: text
    .max(1024)
    .regex(
      /^[^/]+(\/[^/]+)*$/,
      "must have no slash at the beginning or the end, and no two slashes together",
    ),
  source: asset,
  contentType: text.optional(),
  tags: tags.refine(
    (value) => Object.keys(value ?? {}).length <= objectTags,
    "an object can have 10 tags at most",
  ),
});

export const s3Types: Record<string, ResourceType> = {
  "aws:s3/bucket:Bucket": inCloud("bucket", bucketCalls, {
    inputs: bucket,
    replaceOn: ["bucket", "bucketPrefix"],
    computed: ["bucket", "arn", "bucketDomainName", "bucketRegionalDomainName", "bucketRegion", "region"],
    updatable: true,
  }),
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": inCloud(
    "bucketPublicAccessBlock",
    publicAccessBlockCalls,
    {
      inputs: z.strictObject({
        bucket: text,
        blockPublicAcls: z.boolean().optional(),
        blockPublicPolicy: z.boolean().optional(),
        ignorePublicAcls: z.boolean().optional(),
        restrictPublicBuckets: z.boolean().optional(),
      }),
      replaceOn: ["bucket"],
      computed: [],
      updatable: true,
    },
  ),
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls": inCloud(
    "bucketOwnershipControls",
    ownershipControlsCalls,
    {
      inputs: z.strictObject({
        bucket: text,
        rule: z.strictObject({
          objectOwnership: z.enum(["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]),
        }),
      }),
      replaceOn: ["bucket"],
      computed: [],
      updatable: true,
    },
  ),
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": inCloud(
    "bucketEncryption",
    bucketEncryptionCalls,
    {
      inputs: z.strictObject({
        bucket: text,
        rules: z
          .array(
            z.strictObject({
              applyServerSideEncryptionByDefault: z.strictObject({
                sseAlgorithm: z.literal("AES256", "the sandbox knows AES256 only"),
              }),
            }),
          )
          .length(1),
      }),
      replaceOn: ["bucket"],
      computed: [],
      updatable: true,
    },
  ),
  "aws:s3/bucketPolicy:BucketPolicy": inCloud("bucketPolicy", bucketPolicyCalls, {
    inputs: z.strictObject({ bucket: text, policy: json }),
    replaceOn: ["bucket"],
    computed: [],
    updatable: true,
  }),
  "aws:s3/bucketObjectv2:BucketObjectv2": inCloud("bucketObject", bucketObjectCalls, {
    inputs: bucketObject,
    replaceOn: ["bucket", "key"],
    computed: ["arn"],
    updatable: true,
  }),
};
