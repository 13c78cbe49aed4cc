import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** Debian's own account (Debian Wiki, "Cloud/AmazonEC2Image"). The deploy role runs its images: docs/ci/deploy-role.json */
export const debianAccount = "136693071363";

let newest: Promise<string> | undefined;

/**
 * The newest Debian 13 for x86_64, published by Debian's own account. Looked up once for all machines, so that a failure
 * is one message.
 * @throws pulumi.RunError when there is none, or AWS does not tell
 */
export function newestDebian(): pulumi.Output<string> {
  newest ??= aws.ec2
    .getAmi({
      mostRecent: true,
      owners: [debianAccount],
      filters: [
        { name: "name", values: ["debian-13-amd64-*"] },
        { name: "architecture", values: ["x86_64"] },
        { name: "virtualization-type", values: ["hvm"] },
      ],
    })
    .then(
      ({ id }) => id,
      (error: Error) => {
        throw new pulumi.RunError(
          `the newest image of Debian 13 (debian-13-amd64-*) was not found: ${error.message}. Images can be named: ` +
            "pulumi config set balancerAmi ami-0123456789abcdef0, and nodeAmi",
        );
      },
    );
  return pulumi.output(newest);
}

/**
 * Inputs that EC2 changes by stopping the machine and starting it again, which would cut every socket: a machine is
 * replaced instead.
 */
export const replaceOnChanges = ["instanceType"];

/** What every instance here has in common: IMDSv2 only, for this machine only, and an encrypted disk. */
export const instanceDefaults = {
  userDataReplaceOnChange: true,
  metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
  rootBlockDevice: { encrypted: true, volumeType: "gp3", volumeSize: 16 },
};
