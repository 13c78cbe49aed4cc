/** The account that the sandbox plays, and what is in it before any stack. */
export const accountId = "123456789012";
export const region = "eu-central-1";
export const vpcId = "vpc-0a1b2c3d4e5f60718";
export const subnetIds = ["subnet-0a1b2c3d4e5f60718"];
