import type { ClusterMember, ClusterStatus, NodeStatus, RemovedServer, Status } from "../contract/status";
import { leavingPath } from "../rollout/cluster-verdict";
import { removedServer, setupProgress } from "../rollout/verdict";

/** A machine as a balancer sees it. */
interface View {
  text: string;
  /** Null when it does not know. */
  sockets: number | null;
}

/** A node's state with its reason, or with the check that is nearest to its threshold. */
function viewOfNode({ state, takenOut, reason, setup, load, weight, sockets }: NodeStatus): View {
  if (takenOut === "drain") return { text: "an operator drains it", sockets };
  const up = `up, weight ${weight}${load ? ` (${load})` : ""}`;
  const why = setup ? setupProgress(setup) : reason;
  return { text: state === "up" ? up : `${state}${why ? `: ${why}` : ""}`, sockets };
}

function viewOfRemoved(removed: RemovedServer): View {
  const what = removed.held ? "held" : removed.lastResort ? "last resort" : "draining";
  return { text: `${what}: ${removedServer(removed)}`, sockets: removed.sockets };
}

/** A machine as one balancer sees it, found by the end of its instance id; nothing when it is none of its servers. */
function viewOf({ nodes, draining }: Status, id: string): View | undefined {
  const isIt = ({ server }: { server: string }) => server.endsWith(`-${id.slice(-8)}`);
  const node = nodes.find(isIt);
  if (node) return viewOfNode(node);
  const removed = draining.find(isIt);
  return removed && viewOfRemoved(removed);
}

/** The name of a balancer for an operator. */
const nameOf = ({ name, instance }: ClusterMember) => name ?? instance ?? "a balancer without a name";

/**
 * Gives each balancer a name. A balancer without a document knows no names, and one that has just started does not know
 * its own instance.
 * @param asked the instance that has answered
 * @param names the machines' names by their instance ids
 */
export function nameEach(
  cluster: ClusterStatus,
  asked: string,
  names: ReadonlyMap<string, string>,
): ClusterStatus {
  const own = cluster.balancers.find(({ instance }) => instance === null);
  const known = cluster.balancers.find(({ instance }) => instance === asked);
  const named = cluster.balancers
    .filter((one) => !own || one !== known)
    .map((one) => (one === own ? { ...one, instance: asked, name: known?.name ?? one.name } : one))
    .map((one) => {
      const name = one.instance && names.get(one.instance);
      return one.name === null && name ? { ...one, name: `${name} (${one.instance})` } : one;
    });
  return { ...cluster, balancers: named };
}

/** A balancer's own state: whether it serves, its health in the load balancer, and the ways of clients that it gives up. */
function describeBalancer({ status, reason }: ClusterMember): string {
  if (!status) return reason;
  const serves = status.revision === null ? "serves only its status" : "serves";
  const target = status.target && `target ${status.target.state}`;
  return [serves, target, ...status.leaving.map(leavingPath)].filter(Boolean).join(", ");
}

/**
 * A machine as the balancers see it, by its instance id; empty when it is not one of theirs. Sockets are added up. When
 * the balancers do not agree about a node, the text names each.
 */
export function inTheBalancers({ balancers }: ClusterStatus, id: string): string {
  const balancer = balancers.find(({ instance }) => instance === id);
  if (balancer) return describeBalancer(balancer);
  const views = balancers.flatMap((one) => {
    const view = one.status && viewOf(one.status, id);
    return view ? [{ ...view, by: nameOf(one) }] : [];
  });
  const [first] = views;
  if (!first) return "";
  const agree = views.every(({ text }) => text === first.text);
  const text = agree ? first.text : views.map((view) => `${view.by}: ${view.text}`).join("; ");
  const sockets = views.some((view) => view.sockets === null)
    ? "unknown"
    : views.reduce((sum, view) => sum + (view.sockets ?? 0), 0);
  return `${text}, ${sockets} sockets`;
}

/** Whether the running revision is the wanted one. */
function howApplied(applied: Status["applied"]): string {
  if (applied === null) return " (AWS does not say which one is wanted)";
  return applied ? "" : " (another one is wanted)";
}

/** A balancer's revision, faults and warnings. */
function summaryOf({ revision, applied, error, setup, away, warnings }: Status): string[] {
  const state = howApplied(applied);
  return [
    `revision ${revision ?? "none"}${state}${error ? `, error: ${error}` : ""}`,
    ...(setup ? [setupProgress(setup)] : []),
    ...away,
    ...warnings.map((warning) => `warning: ${warning}`),
  ];
}

/** The lines below the table: each balancer's revision, faults and warnings. */
export function summary({ balancers }: ClusterStatus): string[] {
  const lines = balancers.map((balancer) => ({
    name: nameOf(balancer),
    lines: balancer.status ? summaryOf(balancer.status) : [balancer.reason],
  }));
  return lines.flatMap((of) => of.lines.map((line) => `${of.name}: ${line}`));
}
