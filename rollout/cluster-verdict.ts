/** Judges the statuses of all balancers for a rollout. Pure functions. */
import { deadSeconds } from "../contract/facts";
import type { ClusterMember, ClusterStatus, LeavingPath, Status } from "../contract/status";
import { summaryOf } from "./summary";
import { judge, notUp, warningsOf } from "./verdict";

/** The state that a rollout waits for. */
export interface WantedBalancers {
  /** The instances by the names. */
  balancers: Record<string, string>;
  revision: string;
  servers: string[];
  /** Servers that this stack does not make. */
  furtherServers: string[];
  /** Whether clients come by a load balancer. */
  hasLoadBalancer: boolean;
  /** Whether it is enough that every wanted balancer serves: others may still leave, and nodes drain. @default false */
  untilServing?: boolean;
}

/** The kinds of things that are waited for. Each has its own deadline. */
export type Clock = "rollout" | "drain" | "leave";

interface ClusterVerdict {
  done: boolean;
  /** Every wanted balancer serves. Others may still leave, and nodes drain. */
  allServe: boolean;
  /** Waiting does not help. */
  failed: boolean;
  /** What is missing, in an operator's words; empty when done. */
  waitingFor: string[];
  /** The deadline that counts. */
  clock: Clock;
  /** The machine whose console may say more. */
  suspect?: string;
  warnings: string[];
  /** Servers of other stacks that are down. */
  furtherDown: string[];
  /** The end of a rollout in words. */
  summary: string[];
}

/** Something that is missing at one balancer. */
interface Missing {
  clock: Clock;
  reasons: string[];
  failed?: boolean;
  suspect?: string;
}

const ways: Record<LeavingPath["path"], string> = {
  address: "the Elastic IP",
  loadBalancer: "the load balancer",
};

/** The progress of a balancer that gives up a way of clients, as text for an operator. */
export function leavingPath({ path, phase, reason, sockets, secondsLeft }: LeavingPath): string {
  const seconds = secondsLeft === null ? "" : `, ${secondsLeft} s at least`;
  const minutes = secondsLeft === null ? "" : `, ${Math.ceil(secondsLeft / 60)} min at most`;
  const progress: Record<LeavingPath["phase"], string> = {
    waiting: "waits until the others serve",
    tail: `still takes clients${seconds}`,
    draining: `${sockets ?? "unknown"} sockets left${minutes}`,
    left: "done",
  };
  // The lines about the others say why they do not serve.
  const why = reason && phase !== "waiting" ? `: ${reason}` : "";
  return `leaves ${ways[path]}: ${progress[phase]}${why}`;
}

function stillLeaving(leaving: LeavingPath[]): string[] {
  return leaving.filter(({ phase }) => phase !== "left").map(leavingPath);
}

/** Whether the load balancer sends clients to a wanted balancer. */
function targetProblem({ target }: Status): string[] {
  if (target?.state === "healthy") return [];
  if (target === null) return ["it is not registered at the load balancer yet"];
  return [`the load balancer finds it ${target.state}${target.reason ? `: ${target.reason}` : ""}`];
}

/** What is missing at a wanted balancer. With several balancers each line begins with a balancer's name. */
function missingAt(instance: string, status: Status, wanted: WantedBalancers, beginning: string): Missing[] {
  const isOnly = Object.keys(wanted.balancers).length === 1;
  const verdict = judge(status, { ...wanted, instance }, isOnly ? beginning : "");
  const { done, failed, onlyDrains } = verdict;
  const waitingFor = verdict.waitingFor.map((reason) => (isOnly ? reason : beginning + reason));
  const serves = done || onlyDrains;
  const target = serves && wanted.hasLoadBalancer ? targetProblem(status) : [];
  // One that has lost its notes knows of no way that it gives up, until it has read the document again.
  const unaware = serves && status.named === null ? ["it does not know yet on which ways clients come"] : [];
  const suspect = status.setup?.state === "failed" ? instance : undefined;
  return [
    { clock: serves ? "drain" : "rollout", reasons: waitingFor, failed, suspect },
    { clock: "rollout", reasons: [...unaware, ...target].map((reason) => beginning + reason) },
    { clock: "leave", reasons: stillLeaving(status.leaving).map((reason) => `${beginning}it ${reason}`) },
  ];
}

/**
 * What is missing until a removed balancer can be deleted. Once it has read the document, its status says that it is not
 * named. One of a version before that field names the load balancer among the ways that it gives up, even after it has left.
 */
function missingAtOther(member: ClusterMember, hasLoadBalancer: boolean): Missing {
  const leaving = stillLeaving(member.leaving ?? []);
  const knows = member.named === false || member.leaving?.some(({ path }) => path === "loadBalancer");
  const error = member.status?.error ? `: ${member.status.error}` : "";
  // Without a load balancer it counts only if it says itself that it is wanted: it may still serve the one that was given up.
  const isUnaware = hasLoadBalancer ? !knows : member.named === true;
  const unaware = isUnaware ? ["does not know yet that it is to leave"] : [];
  const reasons = [...unaware, ...leaving];
  return { clock: "leave", reasons: reasons.map((reason) => `${member.instance}: it ${reason}${error}`) };
}

/**
 * Since when each balancer has been silent, by its instance id. One whose HAProxy answers is not silent, however long its
 * wcs-balancer-sync is away: if HAProxy's answer is missing then, it may have got lost.
 * @param before the same after the last answer
 */
export function silentSince<Moment>(
  { balancers }: ClusterStatus,
  before: ReadonlyMap<string | null, Moment>,
  now: Moment,
): Map<string | null, Moment> {
  const silent = balancers.filter(({ leaving, haproxyAnswers }) => !leaving && !haproxyAnswers);
  return new Map(silent.map(({ instance }) => [instance, before.get(instance) ?? now]));
}

/**
 * Judges the statuses of all balancers.
 * @param cluster the answer of any balancer
 * @param silentSeconds how long a balancer that does not answer has been silent
 */
export function judgeCluster(
  cluster: ClusterStatus,
  wanted: WantedBalancers,
  silentSeconds: (instance: string | null) => number,
): ClusterVerdict {
  const names = Object.entries(wanted.balancers);
  const isOnly = names.length === 1;
  const named = names.map(([name, instance]) => ({
    instance,
    beginning: isOnly ? "the balancer: " : `${name}: `,
    member: cluster.balancers.find((member) => member.instance === instance),
  }));
  const missing: Missing[] = named.flatMap(({ instance, beginning, member }) =>
    member?.status
      ? missingAt(instance, member.status, wanted, beginning)
      : [
          {
            clock: "rollout",
            reasons: [member ? beginning + member.reason : notFound(cluster, wanted, instance, beginning)],
            // A balancer that gets no answer from AWS does not know the others: its own console has the reason.
            suspect: wanted.hasLoadBalancer && !cluster.complete ? (cluster.instance ?? undefined) : instance,
          },
        ],
  );
  const others = cluster.balancers.filter(
    ({ instance }) => !names.some(([, wantedInstance]) => wantedInstance === instance),
  );
  // The machine that had the Elastic IP before has handed it over before the rollout, so it need not leave that.
  missing.push(
    ...others.filter(({ leaving }) => leaving).map((one) => missingAtOther(one, wanted.hasLoadBalancer)),
  );
  // Where the load balancer has just been given up, another one may still have its clients.
  const silent = others.filter(({ leaving }) => !leaving);
  // One whose HAProxy answers is not dead: only its wcs-balancer-sync is away, or cannot ask the instance metadata.
  const mayLive = ({ instance, haproxyAnswers }: ClusterMember) =>
    haproxyAnswers || silentSeconds(instance) < deadSeconds;
  missing.push({
    clock: "leave",
    reasons: silent.filter(mayLive).map(({ instance, reason, haproxyAnswers }) => {
      const then = haproxyAnswers
        ? ", so its HAProxy may have clients, but wcs-balancer-sync does not say so"
        : "";
      return `${instance}: ${reason}${then}`;
    }),
  });
  if (wanted.hasLoadBalancer && !cluster.complete)
    missing.push({
      clock: "rollout",
      reasons: [`${cluster.instance}: it does not know all balancers, since AWS does not answer it`],
    });
  const waitingFor = missing.filter(
    ({ reasons, clock }) => reasons.length > 0 && (!wanted.untilServing || clock === "rollout"),
  );
  const clocks: Clock[] = ["rollout", "leave", "drain"];
  const statuses = named.flatMap(({ beginning, member }) =>
    member?.status ? [{ status: member.status, prefix: isOnly ? "" : beginning }] : [],
  );
  return {
    done: waitingFor.length === 0,
    allServe: missing.every(({ reasons, clock }) => reasons.length === 0 || clock !== "rollout"),
    failed: missing.some(({ failed }) => failed),
    waitingFor: [...new Set(waitingFor.flatMap(({ reasons }) => reasons))],
    clock: clocks.find((clock) => waitingFor.some((one) => one.clock === clock)) ?? "rollout",
    suspect: waitingFor.find(({ suspect }) => suspect)?.suspect,
    warnings: [
      ...statuses.flatMap(({ status, prefix }) =>
        warningsOf(status, wanted.revision).map((warning) => prefix + warning),
      ),
      ...silent
        .filter((member) => !mayLive(member))
        .map(
          ({ instance, reason }) =>
            `the removed balancer ${instance} does not answer (${reason}), so pulumi up deletes it without a drain`,
        ),
    ],
    furtherDown: statuses.flatMap(({ status, prefix }) =>
      notUp(status, wanted.furtherServers).map((reason) => prefix + reason),
    ),
    summary: summaryOf(
      statuses.map(({ status }) => status),
      wanted,
    ),
  };
}

/** Why a wanted balancer is not among those that the answering one knows. */
function notFound(
  { instance }: ClusterStatus,
  { hasLoadBalancer }: WantedBalancers,
  wanted: string,
  beginning: string,
): string {
  if (instance === null) return "the machine does not know its instance id yet";
  return hasLoadBalancer
    ? `${beginning}${wanted} is not known to ${instance} yet`
    : `another machine answers: ${instance}, not ${wanted}`;
}
