import type { Status } from "../contract/status";
import { type Answer, askCluster, askStatus, type StatusAccess } from "./status-client";

/**
 * The status of a balancer, from itself, or else from any balancer behind the load balancer. A machine that once had
 * the Elastic IP has a new address since then, which is not known.
 * @param own the address that AWS gave the machine when it was made
 * @param loadBalancer the load balancer's addresses; none without one
 */
export async function askMachine(
  instance: string,
  own: StatusAccess,
  loadBalancer: StatusAccess[],
): Promise<Answer<Status>> {
  const answer = await askStatus(own);
  if (answer.kind === "status" && answer.status.instance === instance) return answer;
  for (const access of loadBalancer) {
    const cluster = await askCluster(access);
    if (cluster.kind !== "status") continue;
    const member = cluster.status.balancers.find((balancer) => balancer.instance === instance);
    if (member?.status) return { kind: "status", status: member.status };
  }
  return answer;
}
