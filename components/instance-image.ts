import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { LookUpError } from "./look-up-error";

/** Debian's own account (Debian Wiki, "Cloud/AmazonEC2Image"). docs/ci/deploy-role.json allows its images. */
export const debianAccount = "136693071363";

let newest: Promise<string> | undefined;

/**
 * The newest Debian 13 for x86_64 of Debian's own account. It is looked up once for all machines, so that a failure
 * gives only one message.
 * @throws LookUpError when there is no such image, or the look-up fails
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
        throw new LookUpError(
          `the newest image of Debian 13 (debian-13-amd64-*) was not found: ${error.message}. Name an image yourself: ` +
            "pulumi config set balancerAmi ami-0123456789abcdef0, and the same for nodeAmi",
        );
      },
    );
  return pulumi.output(newest);
}

/**
 * Inputs whose change replaces the machine. EC2 would stop and start the machine instead, which closes every socket.
 */
export const replaceOnChanges = ["instanceType"];

/**
 * Inputs whose change does not replace an existing machine: a newer image, another subnet of the VPC, and the public
 * address, since a refresh finds none while the machine is stopped.
 * @param ami the configured image; its change does replace the machine
 */
export function ignoredChanges(ami: string | undefined): string[] {
  return ["subnetId", "associatePublicIpAddress", ...(ami ? [] : ["ami"])];
}

/** Inputs of every instance: IMDSv2 only, for the machine itself only, and an encrypted disk. */
export const instanceDefaults = {
  userDataReplaceOnChange: true,
  metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
  rootBlockDevice: { encrypted: true, volumeType: "gp3", volumeSize: 16 },
};
