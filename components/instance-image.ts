import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";

/** The newest Debian 13 for x86_64, published by Debian's own account (Debian Wiki, "Cloud/AmazonEC2Image"). */
export function newestDebian(parent: pulumi.Resource): pulumi.Output<string> {
  return aws.ec2.getAmiOutput(
    {
      mostRecent: true,
      owners: ["136693071363"],
      filters: [
        { name: "name", values: ["debian-13-amd64-*"] },
        { name: "architecture", values: ["x86_64"] },
        { name: "virtualization-type", values: ["hvm"] },
      ],
    },
    { parent },
  ).id;
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
