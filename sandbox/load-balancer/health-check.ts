import { connect } from "node:net";
import { type Endpoint, localHeader } from "./proxy-protocol";

/** How a target group's targets are checked. */
export interface HealthCheck {
  protocol: "HTTP" | "TCP";
  /** @default the target's own port */
  port?: number;
  path: string;
  /** Good status codes, such as `200`, `200,202` or `200-399`. */
  matcher: string;
  intervalSeconds: number;
  timeoutSeconds: number;
  healthyThreshold: number;
  unhealthyThreshold: number;
}

export interface Health {
  state: "healthy" | "unhealthy";
  /** Why it is unhealthy, as DescribeTargetHealth says it. */
  reason?: string;
}

/** Whether a status code is one of a matcher. */
export function matches(matcher: string, status: number): boolean {
  return matcher.split(",").some((part) => {
    const [first = Number.NaN, last = first] = part.split("-").map(Number);
    return status >= first && status <= last;
  });
}

/**
 * Checks a target once.
 * @returns what is wrong with it; nothing when it is healthy
 */
function probe(
  check: HealthCheck,
  target: Endpoint,
  from: string,
  proxyProtocol: boolean,
): Promise<string | undefined> {
  const port = check.port ?? target.port;
  return new Promise((resolve) => {
    const socket = connect({ host: target.address, port, localAddress: from });
    const end = (problem?: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => end("Target.Timeout"), check.timeoutSeconds * 1000);
    socket.on("error", () => end("Target.FailedHealthChecks"));
    socket.on("close", () => end("Target.FailedHealthChecks"));
    socket.on("connect", () => {
      if (check.protocol === "TCP") return end();
      if (proxyProtocol) socket.write(localHeader);
      const lines = [`GET ${check.path} HTTP/1.1`, `Host: ${from}`, "User-Agent: ELB-HealthChecker/2.0"];
      socket.write(`${[...lines, "Connection: close"].join("\r\n")}\r\n\r\n`);
    });
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      if (!answer.includes("\r\n")) return;
      const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1]);
      end(matches(check.matcher, status) ? undefined : "Target.ResponseCodeMismatch");
    });
  });
}

/** Checks one target again and again. It has no verdict until as many checks in a row agree as the threshold says. */
export class Checker {
  health: Health | undefined;
  private sameInARow = 0;
  private lastProblem: string | undefined;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  /**
   * @param settings asked for before each check, so that they can change
   * @param report called when the verdict has changed
   */
  constructor(
    private readonly settings: () => {
      check: HealthCheck;
      target: Endpoint;
      from: string;
      proxyProtocol: boolean;
    },
    private readonly report: (health: Health) => void,
  ) {
    void this.run();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async run(): Promise<void> {
    const { check, target, from, proxyProtocol } = this.settings();
    const began = Date.now();
    const problem = await probe(check, target, from, proxyProtocol);
    if (this.stopped) return;
    this.count(problem, check);
    const rest = Math.max(0, check.intervalSeconds * 1000 - (Date.now() - began));
    this.timer = setTimeout(() => void this.run(), rest);
  }

  private count(problem: string | undefined, { healthyThreshold, unhealthyThreshold }: HealthCheck): void {
    const isSame = (problem === undefined) === (this.lastProblem === undefined);
    this.sameInARow = isSame ? this.sameInARow + 1 : 1;
    this.lastProblem = problem;
    const state = problem === undefined ? "healthy" : "unhealthy";
    const needed = problem === undefined ? healthyThreshold : unhealthyThreshold;
    if (this.sameInARow < needed || this.health?.state === state) return;
    this.health = { state, reason: problem };
    this.report(this.health);
  }
}
