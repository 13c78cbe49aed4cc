/** Says which nodes an operator has taken out of one balancer and not of another. Pure functions. */
import { nodesBackend } from "../contract/facts";
import type { AnyNode, ClusterStatus } from "../contract/status";
import type { WantedBalancers } from "./cluster-verdict";

/** The nodes as one balancer sees them. */
interface View {
  /** The balancer's name for an operator. */
  balancer: string;
  nodes: AnyNode[];
}

/** How an operator has taken a node out. A balancer of an earlier version says only whether it is in maintenance. */
function howTakenOut({ state, takenOut }: AnyNode): "maint" | "drain" | null {
  return takenOut === undefined ? (state === "maint" ? "maint" : null) : takenOut;
}

const words = { maint: "in maintenance", drain: "in drain" };

/**
 * The warnings about nodes that take clients on a wanted balancer, although an operator has taken them out of another one:
 * a balancer keeps that for itself.
 * @param servers the nodes that are wanted
 * @param wanted the balancers that are to serve
 * @param removed the others
 */
export function takenOutElsewhere(servers: string[], wanted: View[], removed: View[]): string[] {
  return servers.flatMap((server) => {
    const statesIn = (views: View[]) =>
      views.flatMap(({ balancer, nodes }) => {
        const node = nodes.find((one) => one.server === server);
        return node ? [{ balancer, how: howTakenOut(node) }] : [];
      });
    const here = statesIn(wanted);
    const out = [...statesIn(removed), ...here].filter(({ how }) => how);
    const serving = here.filter(({ how }) => !how);
    const how = out[0]?.how;
    if (!how || serving.length === 0) return [];
    const list = (of: { balancer: string }[]) => of.map(({ balancer }) => balancer).join(" and ");
    return [
      `${server}: an operator has it ${words[how]} on ${list(out)}, but it is in service on ${list(serving)}: a balancer ` +
        "does not take this over from another one. If the node is to stay out, give HAProxy there the command: " +
        `set server ${nodesBackend}/${server} state ${how}`,
    ];
  });
}

/** The same, for the balancers of a cluster. */
export function takenOutInPart({ balancers }: ClusterStatus, wanted: WantedBalancers): string[] {
  const names = Object.entries(wanted.balancers);
  const nodesOf = (instance: string) => balancers.find((member) => member.instance === instance)?.nodes ?? [];
  const others = balancers.filter(({ instance }) => !names.some(([, one]) => one === instance));
  return takenOutElsewhere(
    [...wanted.servers, ...wanted.furtherServers],
    names.map(([name, instance]) => ({ balancer: `${name} (${instance})`, nodes: nodesOf(instance) })),
    others.map(({ instance, nodes }) => ({ balancer: `the removed balancer ${instance}`, nodes })),
  );
}
