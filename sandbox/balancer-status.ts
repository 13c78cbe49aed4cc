import { removedServer, type Status } from "../scripts/wait-for-rollout";

/** What the balancer says of a machine, by the end of its instance id; empty of one that is none of its servers. */
export function inTheBalancer({ nodes, draining }: Pick<Status, "nodes" | "draining">, id: string): string {
  const isIt = ({ server }: { server: string }) => server.endsWith(`-${id.slice(-8)}`);
  const node = nodes.find(isIt);
  if (node) return `${node.state}${node.reason ? ` (${node.reason})` : ""}, ${node.sockets} sockets`;
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
  warnings,
}: Partial<Pick<Status, "revision" | "applied" | "error" | "warnings">>): string[] {
  const state =
    applied === false
      ? " (not what is wanted)"
      : applied === null
        ? " (AWS does not say whether it is what is wanted)"
        : "";
  return [
    `revision ${revision ?? "none"}${state}${error ? `, error: ${error}` : ""}`,
    ...(warnings ?? []).map((warning) => `warning: ${warning}`),
  ];
}
