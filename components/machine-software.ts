import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type MachineKind, packMachineSoftware } from "../cluster/machine-software";
import type { PackageSource, PackageSources } from "../cluster/packages";
import { packWebSdk } from "../cluster/websdk";
import { hashFile, type LocalFile } from "../config/local-file";
import type { BalancerPackages } from "../userdata/balancer";
import type { NodePackages } from "../userdata/node";
import type { Package } from "../userdata/user-data";
import { writeArchive } from "./archive-file";
import { balancerTags, bucketTags, nodeTags } from "./tags";

export interface MachineSoftwareArgs extends PackageSources {
  /** Whether the bucket is protected against deletion. @default false */
  protect?: boolean;
}

/** What one kind of machine fetches at its first boot. */
export interface FetchedSoftware<Packages> {
  packages: pulumi.Output<Packages>;
  /** ARNs of the objects that its role has to be allowed to read. */
  objects: pulumi.Input<string>[];
}

/** S3 takes 37 characters and adds 26 (AWS provider, `bucketPrefix`). */
const bucketPrefixLength = 37;

/** The beginning of the bucket's name, by which a deployment's rights can be limited to one stack. */
export function bucketPrefix(project: string, stack: string): string {
  const name = `${project}-${stack}`.toLowerCase().replace(/[^a-z0-9-]+/g, "-");
  return `${name.slice(0, bucketPrefixLength - 1)}-`;
}

/**
 * The stack's private bucket with the software of its machines, under names that hold each object's SHA-256. A new
 * version is a new object. The old ones stay as long as the bucket: a machine of an older version may still boot.
 */
export class MachineSoftware extends pulumi.ComponentResource {
  readonly bucket: pulumi.Output<string>;
  readonly balancer: FetchedSoftware<BalancerPackages>;
  readonly node: FetchedSoftware<NodePackages>;
  /** The objects that this version of the stack names; all others serve older machines or nobody. */
  readonly keys: pulumi.Output<string[]>;

  constructor(name: string, args: MachineSoftwareArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:software:MachineSoftware", name, {}, opts);
    const parent = { parent: this };
    const bucket = new aws.s3.Bucket(
      name,
      {
        bucketPrefix: bucketPrefix(pulumi.getProject(), pulumi.getStack()),
        forceDestroy: !args.protect,
        tags: bucketTags,
      },
      { ...parent, protect: args.protect },
    );
    makePrivate(name, bucket, parent);

    const uploaded: aws.s3.BucketObjectv2[] = [];
    const upload = (kind: MachineKind, what: string, { path, sha256 }: LocalFile): pulumi.Output<Package> => {
      const object = new aws.s3.BucketObjectv2(
        `${name}-${kind}-${what}`,
        {
          bucket: bucket.bucket,
          key: `${kind}/${what}-${sha256}`,
          source: new pulumi.asset.FileAsset(path),
          tags: kind === "node" ? nodeTags : balancerTags,
        },
        { ...parent, retainOnDelete: true },
      );
      uploaded.push(object);
      return pulumi.interpolate`s3://${object.bucket}/${object.key}`.apply((source) => ({ source, sha256 }));
    };
    const software = (kind: MachineKind) =>
      upload(kind, "software", writeArchive(kind, packMachineSoftware(kind)));
    const objects = (kind: MachineKind) => pulumi.interpolate`${bucket.arn}/${kind}/*`;

    const websdk = args.webSdk ?? upload("balancer", "websdk", writeArchive("websdk", packWebSdk()));
    this.balancer = {
      packages: pulumi
        .all([software("balancer"), websdk])
        .apply(([software, websdk]) => ({ software, websdk })),
      objects: [objects("balancer")],
    };

    const { wcsPackage } = args;
    const wcs =
      wcsPackage && "file" in wcsPackage ? upload("node", "wcs", hashFile(wcsPackage.file)) : wcsPackage;
    this.node = {
      packages: pulumi.all([software("node"), wcs]).apply(([software, wcs]) => ({ software, wcs })),
      objects: [objects("node"), ...objectOf(wcsPackage, bucket.arn)],
    };

    this.bucket = bucket.bucket;
    this.keys = pulumi
      .all([bucket.bucket, wcs, pulumi.all(uploaded.map(({ key }) => key))])
      .apply(([own, tarball, keys]) => {
        const prefix = `s3://${own}/`;
        // One that was uploaded before, and is named as an object now.
        const named = tarball?.source.startsWith(prefix) ? [tarball.source.slice(prefix.length)] : [];
        return [...new Set([...keys, ...named])];
      });
    this.registerOutputs({ bucket: this.bucket });
  }
}

/** The object of another bucket that a package is. */
function objectOf(source: PackageSource | undefined, arn: pulumi.Output<string>): pulumi.Output<string>[] {
  const path = source && "source" in source ? source.source.match(/^s3:\/\/(.+)$/)?.[1] : undefined;
  // Buckets have no region and no account in their ARN, but the partition of this one.
  return path === undefined ? [] : [arn.apply((own) => `${own.split(":::")[0]}:::${path}`)];
}

/** Closes a bucket to everybody but roles of this account that may read it, and to everything but TLS. */
function makePrivate(name: string, bucket: aws.s3.Bucket, opts: pulumi.ResourceOptions): void {
  // One after the other: S3 refuses two changes of a bucket's settings at once (OperationAborted).
  const closed = new aws.s3.BucketPublicAccessBlock(
    name,
    {
      bucket: bucket.bucket,
      blockPublicAcls: true,
      blockPublicPolicy: true,
      ignorePublicAcls: true,
      restrictPublicBuckets: true,
    },
    opts,
  );
  const owned = new aws.s3.BucketOwnershipControls(
    name,
    { bucket: bucket.bucket, rule: { objectOwnership: "BucketOwnerEnforced" } },
    { ...opts, dependsOn: closed },
  );
  const encrypted = new aws.s3.BucketServerSideEncryptionConfiguration(
    name,
    {
      bucket: bucket.bucket,
      rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }],
    },
    { ...opts, dependsOn: owned },
  );
  const policy = {
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "TlsOnly",
        Effect: "Deny",
        Principal: "*",
        Action: "s3:*",
        Resource: [bucket.arn, pulumi.interpolate`${bucket.arn}/*`],
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      },
    ],
  };
  new aws.s3.BucketPolicy(
    name,
    { bucket: bucket.bucket, policy: pulumi.jsonStringify(policy) },
    { ...opts, dependsOn: encrypted },
  );
}
