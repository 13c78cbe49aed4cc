/** The account that the sandbox plays, and what is in it before any stack. */
export const accountId = "123456789012";
export const region = "eu-central-1";
/** Debian's own account, and what the ids of its images begin with here. */
export const debianAccount = "136693071363";
const debianImages = "ami-0d3b1a13";
export const vpcId = "vpc-0a1b2c3d4e5f60718";
export const subnetIds = ["subnet-0a1b2c3d4e5f60718"];

/** Whose an image is. */
export function imageOwner(ami: unknown): string {
  return String(ami).startsWith(debianImages) ? debianAccount : accountId;
}
