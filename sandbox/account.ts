/** The AWS account that the sandbox plays, and what it has before any stack. */
export const accountId = "123456789012";
export const region = "eu-central-1";
/** Debian's own account; in the sandbox the ids of its images begin with this prefix. */
const debianAccount = "136693071363";
const debianImages = "ami-0d3b1a13";

export interface Subnet {
  id: string;
  zone: string;
  zoneId: string;
  network: string;
}

export const vpcId = "vpc-0a1b2c3d4e5f60718";
/** The default subnets, one in each zone, with their networks. */
export const subnets: readonly Subnet[] = [
  { id: "subnet-0a1b2c3d4e5f60718", zone: `${region}a`, zoneId: "euc1-az2", network: "172.31.0.0/20" },
  { id: "subnet-0b2c3d4e5f6071829", zone: `${region}b`, zoneId: "euc1-az3", network: "172.31.16.0/20" },
];
export const subnetIds = subnets.map(({ id }) => id);

/** @throws Error when the VPC has no such subnet */
export function findSubnet(id: unknown): Subnet {
  const subnet = subnets.find((one) => one.id === id);
  if (!subnet) throw new Error(`InvalidSubnetID.NotFound: The subnet ID '${id}' does not exist`);
  return subnet;
}

/** The account that owns an image. */
export function imageOwner(ami: unknown): string {
  return String(ami).startsWith(debianImages) ? debianAccount : accountId;
}
