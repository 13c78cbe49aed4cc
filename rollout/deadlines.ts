/** How long `pulumi up` waits for what, in seconds. */

/** Until everything serves, unless a wait has its own deadline. */
export const deadlineSeconds = Number(process.env.DEADLINE_SECONDS ?? 900);

/** How long to wait for servers that this stack does not make, before a warning. */
export const furtherSeconds = 20;

/** How long after the drain time-out the balancer may still close sockets. */
export const drainMarginSeconds = 60;
/** How much longer it may take: AWS deregisters slowly, and single new clients prolong the wait for a quiet minute. */
export const leaveMarginSeconds = 600;
