import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { PackageSource, PackageSources } from "../cluster/downloads";
import { type MachineKind, packMachineSoftware } from "../cluster/machine-software";
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

/** The packages that one kind of machine fetches at its first boot. */
export interface FetchedSoftware<Packages> {
  packages: pulumi.Output<Packages>;
  /** ARNs of the objects that its role must be able to read. */
  objects: pulumi.Input<string>[];
}

/** The provider allows 37 characters and adds 26 (AWS provider, `bucketPrefix`). */
const bucketPrefixLength = 37;

/** The beginning of the bucket's name, by which a deployment's rights can be limited to one stack. */
export function bucketPrefix(project: string, stack: string): string {
  const name = `${project}-${stack}`.toLowerCase().replace(/[^a-z0-9-]+/g, "-");
  return `${name.slice(0, bucketPrefixLength - 1)}-`;
}

/**
 * The stack's private bucket with the software of its machines. Each object has its SHA-256 in its name, so a new
 * version is a new object. Old objects stay in the bucket: a machine of an older version may still boot.
 */
export class MachineSoftware extends pulumi.ComponentResource {
  readonly bucket: pulumi.Output<string>;
  readonly balancer: FetchedSoftware<BalancerPackages>;
  readonly node: FetchedSoftware<NodePackages>;
  /** The objects that this version of the stack needs. Only older machines may need others. */
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
        // A tarball that an earlier version has uploaded, and that the configuration now names as an object.
        const named = tarball?.source.startsWith(prefix) ? [tarball.source.slice(prefix.length)] : [];
        return [...new Set([...keys, ...named])];
      });
    this.registerOutputs({ bucket: this.bucket });
  }
}

/** The ARN of a package that is an object of another bucket. */
function objectOf(source: PackageSource | undefined, arn: pulumi.Output<string>): pulumi.Output<string>[] {
  const path = source && "source" in source ? source.source.match(/^s3:\/\/(.+)$/)?.[1] : undefined;
  // The ARN of a bucket has no region and no account, but a partition: take this bucket's.
  return path === undefined ? [] : [arn.apply((own) => `${own.split(":::")[0]}:::${path}`)];
}

/** Closes a bucket, except for roles of this account that may read it, and for requests over TLS. */
function makePrivate(name: string, bucket: aws.s3.Bucket, opts: pulumi.ResourceOptions): void {
  // One after the other: S3 refuses simultaneous changes of a bucket's settings (OperationAborted).
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
