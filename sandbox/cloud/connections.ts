import { spawnSync } from "node:child_process";

/** conntrack ends with an error when it has found nothing to delete. */
const nothing = /\b0 flow entries have been deleted/;

/**
 * Ends all connections through a public address, incoming and outgoing, as EC2 does when the address moves to another
 * machine. Neither side is told. nftables alone is not enough: established connections would keep their old path.
 */
export function endConnections(publicAddress: string): void {
  for (const direction of ["--orig-dst", "--reply-dst"]) {
    const args = ["--delete", direction, publicAddress];
    const { status, error, stderr } = spawnSync("conntrack", args, { encoding: "utf8" });
    if (status === 0 || nothing.test(stderr ?? "")) continue;
    throw new Error(`conntrack ${args.join(" ")} failed: ${error?.message ?? stderr}`);
  }
}
