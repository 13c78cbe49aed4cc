/** The last words of a `pulumi up` that has made the cluster serve. Pure functions. */
import type { NodeStatus, Status } from "../cluster/status";
import type { WantedState } from "./environment";

/** The servers that are full, with the threshold that each has reached. */
export function full(status: Status, servers: string[]): string[] {
  return status.nodes
    .filter(({ server, state }) => state === "full" && servers.includes(server))
    .map(({ server, reason }) => `${server}: full${reason ? `: ${reason}` : ""}`);
}

/** Counts the nodes by their state, for the end of a rollout. */
export function inWhichState(status: Status, servers: string[]): string {
  const count = (state: NodeStatus["state"]) =>
    status.nodes.filter((node) => node.state === state && servers.includes(node.server)).length;
  const verb = (number: number) => (number === 1 ? "is" : "are");
  const others = [
    ["full", "full"],
    ["maint", "in maintenance"],
  ] as const;
  return [
    `${count("up")} of ${servers.length} nodes ${verb(count("up"))} up`,
    ...others.map(([state, words]) => (count(state) ? `${count(state)} ${verb(count(state))} ${words}` : "")),
  ]
    .filter(Boolean)
    .join(", ");
}

/** The nodes that are full, and how many are in which state. The agents tell every balancer the same. */
export function summaryOf([first, ...others]: Status[], wanted: WantedState): string[] {
  if (!first) return [];
  const { revision, servers, furtherServers } = wanted;
  const where = others.length > 0 ? ` by ${others.length + 1} balancers` : "";
  return [
    ...full(first, [...servers, ...furtherServers]).map(
      (reason) => `${reason}; it takes no new clients until it is below`,
    ),
    `revision ${revision} is applied${where}, ${inWhichState(first, servers)}`,
  ];
}
