import { spawnSync } from "node:child_process";

/** conntrack ends with an error when it has found nothing to delete. */
const nothing = /\b0 flow entries have been deleted/;
/** conntrack lists connections, then deletes each, and stops at one that has ended by itself meanwhile. */
const endedMeanwhile = /such conntrack doesn't exist/;
const mostAttempts = 100;

/**
 * Ends all connections through a public address, incoming and outgoing, as EC2 does when the address moves to another
 * machine. Neither side is told. nftables alone is not enough: established connections would keep their old path.
 */
export function endConnections(publicAddress: string): void {
  for (const direction of ["--orig-dst", "--reply-dst"]) deleteAll(["--delete", direction, publicAddress]);
}

/** Runs conntrack until it has deleted every connection. */
function deleteAll(args: string[]): void {
  for (let attempt = 1; ; attempt++) {
    const { status, error, stderr } = spawnSync("conntrack", args, { encoding: "utf8" });
    if (status === 0 || nothing.test(stderr ?? "")) return;
    if (endedMeanwhile.test(stderr ?? "") && attempt < mostAttempts) continue;
    throw new Error(`conntrack ${args.join(" ")} failed: ${error?.message ?? stderr}`);
  }
}
