import { z } from "zod";
import { setupWords } from "./facts";

const count = z.int().nonnegative();

/** The progress of a machine's set-up: its current step, or the step that has failed. */
const setupSchema = z.strictObject({
  state: z.literal(Object.keys(setupWords) as (keyof typeof setupWords)[]),
  step: z.string(),
});

const nodeStates = ["up", "full", "down", "maint", "unknown"] as const;

const nodeTakenOut = z.enum(["maint", "drain"]).nullable();

const nodeSchema = z.strictObject({
  server: z.string(),
  /** The node's name in the configuration. */
  node: z.string(),
  address: z.string(),
  state: z.enum(nodeStates),
  /** How an operator has taken it out of this balancer. Versions before this field do not say it. */
  takenOut: nodeTakenOut.optional(),
  /** Why the node is in this state; for a full node the threshold that it has reached. */
  reason: z.string(),
  /** Set while the node is down because its set-up is not complete. */
  setup: setupSchema.nullable(),
  /** The check that is nearest to its threshold; empty when the agent names none. */
  load: z.string(),
  weight: count,
  /** Open sockets, in all of HAProxy's workers. */
  sockets: count,
  /** The highest number of sockets. */
  limit: z.number().nonnegative(),
});

const removedServerSchema = z.strictObject({
  server: z.string(),
  node: z.string(),
  /** The node's own state while it may take clients. */
  state: z.enum([...nodeStates, "draining"]),
  reason: z.string(),
  /** Null when HAProxy does not answer. */
  sockets: count.nullable(),
  secondsLeft: count,
  /** Whether it serves until the new nodes are proven. */
  held: z.boolean(),
  /** Whether it may take clients again, because every wanted node is down. */
  lastResort: z.boolean(),
});

const leavingSchema = z.strictObject({
  /** The way of clients that is given up. */
  path: z.enum(["address", "loadBalancer"]),
  /** `waiting` until others serve, `tail` until no new clients come, `draining` until the last WebSocket ends. */
  phase: z.enum(["waiting", "tail", "draining", "left"]),
  /** Why the phase continues; empty when only time has to pass. */
  reason: z.string(),
  /** WebSockets of this path; null when they are not known or not counted any more. */
  sockets: count.nullable(),
  /** How long the phase lasts at least (`tail`) or at most (`draining`); null for the others. */
  secondsLeft: count.nullable(),
});

const targetSchema = z.strictObject({
  state: z.enum(["initial", "healthy", "unhealthy", "unused", "draining", "unknown"]),
  reason: z.string(),
});

const acmeSchema = z.strictObject({
  /** `issued`: a certificate of this domain and directory is in force. */
  state: z.enum(["waiting", "ordering", "issued"]),
  /** Why there is no certificate yet, or no new one; empty when nothing is wrong. */
  reason: z.string(),
  /** When the next order or look is due. */
  nextTry: z.string().nullable(),
  directory: z.string(),
});

const brief = {
  revision: z.string().nullable(),
  /** Null while AWS does not answer. */
  applied: z.boolean().nullable(),
};

/** Every version has this: a newer `pulumi up` asks the balancer that it replaces for it. */
const identity = {
  /** The id of the instance that answers; null while it does not know it. */
  instance: z.string().nullable(),
};

/** The nodes in a status of any version; none if they have a form that this version does not know. */
const anyNodes = z
  .array(
    z.object({ server: z.string(), state: z.string(), takenOut: nodeTakenOut.optional().catch(undefined) }),
  )
  .catch([]);
/** A node in a status of any version. */
export type AnyNode = z.infer<typeof anyNodes>[number];

const identitySchema = z.object({ ...identity, nodes: anyNodes });
/** The machine that answers. */
export type Identity = z.infer<typeof identitySchema>;

/** The status for everybody. */
export const briefStatusSchema = z.strictObject(brief);

/**
 * The status for clients with the stack's token. Strict: an answer with other fields comes from a balancer of another
 * version, which `pulumi up` replaces.
 */
export const statusSchema = z.strictObject({
  ...brief,
  ...identity,
  error: z.string().nullable(),
  /** The wanted revision, if it cannot be applied. */
  refused: z.string().nullable(),
  /** Null when the set-up of the machine is complete. */
  setup: setupSchema.nullable(),
  /** Parts of the balancer itself that do not answer. */
  away: z.array(z.string()),
  /** For how many more seconds it refuses clients after a hand-over; null when it takes them. */
  handedOver: count.nullable(),
  /**
   * Whether it is a wanted balancer; null while it does not know that. Versions before this field list the load balancer in
   * `leaving` instead, even if they never had it.
   */
  named: z.boolean().nullable().optional(),
  /** Ways of clients that it has had and gives up. Every version with this field keeps its form. */
  leaving: z.array(leavingSchema),
  /** Its health in the target groups, the worst of them; null without a load balancer. */
  target: targetSchema.nullable(),
  nodes: z.array(nodeSchema),
  /** Removed servers that HAProxy still has. */
  draining: z.array(removedServerSchema),
  /** The certificate that is served. */
  certificate: z
    .strictObject({
      /** Whether it is the desired state's own, was ordered at the ACME directory, or is a user-supplied one that serves until the first order. */
      source: z.enum(["document", "acme", "former"]),
      notAfter: z.iso.datetime(),
      daysLeft: z.int(),
    })
    .nullable(),
  /** The orders at the ACME directory; null without one. */
  acme: acmeSchema.nullable(),
  /** Things that are not wrong yet. */
  warnings: z.array(z.string()),
});

/** The detailed status of wcs-balancer-sync. */
export type Status = z.infer<typeof statusSchema>;
export type NodeStatus = z.infer<typeof nodeSchema>;
export type RemovedServer = z.infer<typeof removedServerSchema>;
export type LeavingPath = z.infer<typeof leavingSchema>;
export type AcmeStatus = z.infer<typeof acmeSchema>;

const clusterSchema = z.strictObject({
  /** The machine that answers. */
  instance: z.string().nullable(),
  /** Whether it knows every balancer that runs: not while AWS does not answer. */
  complete: z.boolean(),
  balancers: z.array(
    z.strictObject({
      /** Null for a balancer that is not wanted. */
      name: z.string().nullable(),
      /** Null only for a machine that does not know its own yet. */
      instance: z.string().nullable(),
      address: z.string().nullable(),
      status: z.unknown(),
      /** Why there is no status. */
      reason: z.string(),
      /**
       * Whether HAProxy answers there, though not with a status. Balancers of versions before this field do not say it.
       * Then it counts as true: `pulumi up` waits for a balancer that may have clients, and in the end one of its own
       * version answers.
       */
      haproxyAnswers: z.boolean().default(true),
    }),
  ),
});

/** One of the balancers of a cluster. */
export interface ClusterMember {
  /** Null for a balancer that is not wanted. */
  name: string | null;
  instance: string | null;
  /** Null when it is not known. */
  address: string | null;
  /** Null when it does not answer, or is of another version. */
  status: Status | null;
  /** Why there is no status; empty when there is one. */
  reason: string;
  /** Whether only HAProxy answers there: it may have clients, and nothing says so. */
  haproxyAnswers: boolean;
  /** The ways of clients that it gives up. Balancers of other versions say it, too; null for those that do not. */
  leaving: LeavingPath[] | null;
  /** Whether it is a wanted balancer by its own words; null when it does not know that, or is of a version that does not say it. */
  named: boolean | null;
  /** The nodes in its status, which may be of another version. */
  nodes: AnyNode[];
}

/** The statuses of all balancers, by one of them. */
export interface ClusterStatus {
  instance: string | null;
  /** Whether it knows every balancer that runs. */
  complete: boolean;
  balancers: ClusterMember[];
}

/** An answer is not a status of this version; the message has one line. */
export class StatusError extends Error {}

/** A status with many nodes could have more problems than fit on a screen. */
const shownProblems = 5;

/** The value at a path, as a message shows it. */
function found(status: unknown, path: PropertyKey[]): string {
  const value = path.reduce<unknown>(
    (outer, part) => (Object(outer) === outer ? Reflect.get(Object(outer), part) : undefined),
    status,
  );
  const json = JSON.stringify(value);
  if (json === undefined) return "is missing";
  return `is ${json.length > 80 ? `${json.slice(0, 77)}...` : json}`;
}

/** A problem that zod has found: the field, its value and what it must be. */
function problem(status: unknown, issue: z.core.$ZodIssue): string {
  const place = issue.path.length > 0 ? issue.path.map(String).join(".") : "it";
  if (issue.code === "unrecognized_keys")
    return `${place} has ${issue.keys.join(", ")}, which this version does not know`;
  const is = `${place} ${found(status, issue.path)}`;
  switch (issue.code) {
    case "invalid_type":
      return `${is}; it must be of the type ${issue.expected}`;
    case "invalid_value":
      return `${is}; it must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
    case "too_small":
      return `${is}; it must be ${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    default:
      return `${is}; it must be what this version knows (${issue.message})`;
  }
}

/** @throws StatusError */
function parseJson(answer: string): unknown {
  try {
    return JSON.parse(answer);
  } catch {
    throw new StatusError("the status of the balancer is not JSON");
  }
}

/** @throws StatusError that names each wrong field, its value and what it must be */
function readAs<T>(schema: z.ZodType<T>, content: unknown): T {
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const all = parsed.error.issues.map((issue) => problem(content, issue));
  const more = all.length > shownProblems ? [`and ${all.length - shownProblems} more`] : [];
  const what = [...all.slice(0, shownProblems), ...more].join("; ");
  throw new StatusError(`the status of the balancer is not understood: ${what}`);
}

/**
 * Reads the detailed status.
 * @throws StatusError
 */
export function parseStatus(answer: string): Status {
  return readAs(statusSchema, parseJson(answer));
}

/** The status of a cluster's member. A status that is not understood becomes the reason why there is none. */
function readMemberStatus(status: unknown, reason: string): Pick<ClusterMember, "status" | "reason"> {
  if (status === null) return { status, reason };
  try {
    return { status: readAs(statusSchema, status), reason };
  } catch (error) {
    if (error instanceof StatusError) return { status: null, reason: error.message };
    throw error;
  }
}

/** The parts of a status that are read in any version. */
const anyVersionSchema = z.object({
  leaving: z.array(leavingSchema).nullable().catch(null),
  named: z.boolean().nullable().catch(null),
  nodes: anyNodes,
});

function readAnyVersion(status: unknown): z.infer<typeof anyVersionSchema> {
  return anyVersionSchema.safeParse(status).data ?? { leaving: null, named: null, nodes: [] };
}

/**
 * Reads the statuses of all balancers. Balancers of other versions may be among them.
 * @throws StatusError
 */
export function parseCluster(answer: string): ClusterStatus {
  const { instance, complete, balancers } = readAs(clusterSchema, parseJson(answer));
  return {
    instance,
    complete,
    balancers: balancers.map(({ name, instance, address, status, reason, haproxyAnswers }) => ({
      name,
      instance,
      address,
      ...readMemberStatus(status, reason),
      haproxyAnswers: haproxyAnswers && status === null,
      ...readAnyVersion(status),
    })),
  };
}

/**
 * Reads the identity of the machine from a status of any version.
 * @throws StatusError
 */
export function parseIdentity(answer: string): Identity {
  return readAs(identitySchema, parseJson(answer));
}
