import { type NodeStatus, removedServer, type Status } from "../rollout/wait-for-rollout";

/** What the balancer says of a node: its state and why, or how far it is from being full; and its sockets. */
function describeNode({ state, reason, load, weight, sockets }: NodeStatus): string {
  const up = `up, weight ${weight}${load ? ` (${load})` : ""}`;
  return `${state === "up" ? up : `${state}${reason ? `: ${reason}` : ""}`}, ${sockets} sockets`;
}

/** What the balancer says of a machine, by the end of its instance id; empty of one that is none of its servers. */
export function inTheBalancer({ nodes, draining }: Pick<Status, "nodes" | "draining">, id: string): string {
  const isIt = ({ server }: { server: string }) => server.endsWith(`-${id.slice(-8)}`);
  const node = nodes.find(isIt);
  if (node) return describeNode(node);
  const removed = draining.find(isIt);
  if (!removed) return "";
  const what = removed.held ? "held" : removed.lastResort ? "last resort" : "draining";
  return `${what}: ${removedServer(removed)}, ${removed.sockets ?? "unknown"} sockets`;
}

/** The lines below the table: what is applied, what is wrong, and what will be. */
export function summary({
  revision,
  applied,
  error,
  away,
  warnings,
}: Partial<Pick<Status, "revision" | "applied" | "error" | "away" | "warnings">>): string[] {
  const state =
    applied === false
      ? " (not what is wanted)"
      : applied === null
        ? " (AWS does not say whether it is what is wanted)"
        : "";
  return [
    `revision ${revision ?? "none"}${state}${error ? `, error: ${error}` : ""}`,
    ...(away ?? []).map((part) => `the balancer: ${part}`),
    ...(warnings ?? []).map((warning) => `warning: ${warning}`),
  ];
}
