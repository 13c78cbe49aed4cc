import { type ApiCall, on } from "../sandbox/rights/calls";

/** Where the state of a stack is, as in `pulumi login s3://BUCKET/PREFIX`. */
interface StatePlace {
  bucket: string;
  prefix: string;
  /** ARN of the key that its secrets are encrypted with. */
  key: string;
}

const file = ({ bucket, prefix }: StatePlace, name: string) => ({
  resource: `arn:aws:s3:::${bucket}/${prefix}/.pulumi/${name}`,
});
const list = ({ bucket, prefix }: StatePlace, folder: string) => ({
  resource: `arn:aws:s3:::${bucket}`,
  context: { "s3:prefix": `${prefix}/.pulumi/${folder}/` },
});
/** S3 says that a file is missing only to those who may list; the request for it names no prefix. */
const missing = ({ bucket }: StatePlace) => ({ resource: `arn:aws:s3:::${bucket}` });

/**
 * The calls with which the engine reads a stack's state, as `pulumi preview` does: pkg/backend/diy (backend.go puts the
 * prefix before every name, meta.go, stack_tags.go, lock.go, state.go) and pkg/secrets/cloud/manager.go of pulumi/pulumi.
 * The key of the data is in the stack's file, so nothing is encrypted by KMS after `pulumi stack init`.
 */
export function callsToReadState(place: StatePlace): ApiCall[] {
  return [
    ...on(file(place, "meta.yaml"), "s3:GetObject"),
    ...on(file(place, "stacks/wcs-balancer/dev.json"), "s3:GetObject"),
    ...on(missing(place), "s3:ListBucket"),
    ...on(list(place, "stacks/wcs-balancer"), "s3:ListBucket"),
    ...on({ resource: place.key }, "kms:Decrypt"),
  ];
}

/** Those with which `pulumi up` locks, writes and unlocks it besides. */
export function callsToWriteState(place: StatePlace): ApiCall[] {
  return [
    ...on(list(place, "locks/organization/wcs-balancer/dev"), "s3:ListBucket"),
    ...on(file(place, "locks/organization/wcs-balancer/dev/1.json"), "s3:PutObject", "s3:DeleteObject"),
    ...on(file(place, "stacks/wcs-balancer/dev.json"), "s3:PutObject"),
    ...on(file(place, "backups/wcs-balancer/dev/dev.1.json"), "s3:PutObject"),
  ];
}
