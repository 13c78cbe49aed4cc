/** How long changes of load balancers may take: npm run test:long has AWS's delays. */

import { delaysVariable } from "../../sandbox/cloud/delays";

const likeAws = process.env[delaysVariable] === "aws";

/** How long a balancer that leaves serves on: longer than the sandbox's load balancer sends new clients to it. */
export const leave = { WCS_BALANCER_LEAVE: likeAws ? "tail=130,quiet=10" : "tail=6,quiet=3" };

/** How much longer a change of the load balancer's targets takes with AWS's delays. */
export const slowerSeconds = likeAws ? 420 : 0;

/** The time-out of a test in which such changes may happen twice, in seconds without AWS's delays. */
export const within = (seconds: number) => ({ timeout: 1000 * (seconds + 2 * slowerSeconds) });
