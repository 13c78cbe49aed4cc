import type { Health, HealthCheck } from "../load-balancer/health-check";
import type { HealthReport, Target, TargetGroup, ZoneConfig } from "../load-balancer/zone";
import type { Delays } from "./delays";

/** A load balancer's part in one zone. */
interface BalancerZone {
  zone: string;
  address: string;
}

export interface BalancerModel {
  arn: string;
  crossZone: boolean;
  zones: BalancerZone[];
  listeners: { port: number; group: string; idleSeconds: number }[];
}

export interface GroupModel {
  arn: string;
  port: number;
  proxyProtocol: boolean;
  healthCheck: HealthCheck;
  unhealthySeconds?: number;
  deregistrationSeconds: number;
  closesConnections: boolean;
  /** @default as the load balancer */
  crossZone?: boolean;
}

interface TargetModel {
  address: string;
  zone: string;
  isRunning: boolean;
}

/** The load balancing of the account. */
export interface BalancingModel {
  balancers: BalancerModel[];
  groups: GroupModel[];
  /** An instance; nothing when there is none. */
  instance(id: string): TargetModel | undefined;
}

/** Runs load balancers' zones. */
export interface ZoneRunner {
  /** Called when a target's health has changed in a zone. */
  report: (key: string, health: HealthReport) => void;
  /** Gives a zone its configuration; one that does not run is started. */
  configure(key: string, config: ZoneConfig): Promise<void>;
  remove(key: string): Promise<void>;
}

export interface TargetId {
  id: string;
  port: number;
}

/** In milliseconds. */
interface Registration extends TargetId {
  registered: number;
  deregistered?: number;
}

export type SavedRegistrations = [group: string, registrations: Registration[]][];

/** A target's health as DescribeTargetHealth gives it. */
export interface TargetHealth extends TargetId {
  state: "initial" | "healthy" | "unhealthy" | "unused" | "draining";
  reason?: string;
  description?: string;
}

const descriptions: Record<string, string> = {
  "Elb.RegistrationInProgress": "Target registration is in progress",
  "Elb.InitialHealthChecking": "Initial health checks in progress",
  "Target.DeregistrationInProgress": "Target deregistration is in progress",
  "Target.FailedHealthChecks": "Health checks failed",
  "Target.InvalidState": "Target is in the stopped state",
  "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
  "Target.NotRegistered": "Target is not registered to the target group",
  "Target.ResponseCodeMismatch": "Health checks failed because of the status code",
  "Target.Timeout": "Request timed out",
};

function healthOf(target: TargetId, state: TargetHealth["state"], reason?: string): TargetHealth {
  const { id, port } = target;
  return { id, port, state, ...(reason && { reason, description: descriptions[reason] }) };
}

const keyOf = ({ id, port }: TargetId) => `${id}:${port}`;
/** For this time a closed target stays in the zones' configuration, so that each sees that it is closed. */
const closedMilliseconds = 1000;

/**
 * The targets of all target groups, with the delays of registering and deregistering, and the configuration of each zone
 * that follows from them.
 */
export class LoadBalancing {
  private readonly registrations: Map<string, Map<string, Registration>>;
  private readonly health = new Map<string, Health>();
  private readonly running = new Map<string, string>();
  private work: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;

  /**
   * @param model asked for whenever something may have changed
   * @param runner none where no load balancer is made
   */
  constructor(
    private readonly model: () => BalancingModel,
    private readonly runner: ZoneRunner | undefined,
    private readonly delays: Delays,
    saved: SavedRegistrations = [],
  ) {
    this.registrations = new Map(
      saved.map(([group, targets]) => [group, new Map(targets.map((target) => [keyOf(target), target]))]),
    );
    if (!runner) return;
    runner.report = (zone, { group, target, state, reason }) => {
      this.health.set(`${zone} ${group} ${target}`, { state, reason });
    };
  }

  save(): SavedRegistrations {
    return [...this.registrations].map(([group, targets]) => [group, [...targets.values()]]);
  }

  /** @throws Error when this cloud cannot run a load balancer */
  checkRunner(): void {
    if (!this.runner) throw new Error("this cloud has been made without anything that runs load balancers");
  }

  register(group: string, targets: TargetId[]): void {
    const known = this.registrations.get(group) ?? new Map<string, Registration>();
    this.registrations.set(group, known);
    for (const target of targets) {
      const before = known.get(keyOf(target));
      if (before && before.deregistered === undefined) continue;
      known.set(keyOf(target), { ...target, registered: Date.now() });
    }
    this.apply();
  }

  deregister(group: string, targets: TargetId[]): void {
    const known = this.registrations.get(group);
    for (const target of targets) {
      const registration = known?.get(keyOf(target));
      if (registration) registration.deregistered ??= Date.now();
    }
    this.apply();
  }

  /** Forgets an instance that is terminated, or a group that is deleted. */
  forget(id: string): void {
    this.registrations.delete(id);
    for (const targets of this.registrations.values())
      for (const [key, target] of targets) if (target.id === id) targets.delete(key);
  }

  /** @param asked the targets to describe @default all that are registered or draining */
  describe(group: string, asked?: TargetId[]): TargetHealth[] {
    const known = this.registrations.get(group);
    const targets = asked ?? [...(known?.values() ?? [])];
    return targets.flatMap((target) => {
      const registration = known?.get(keyOf(target));
      const health = registration && this.describeOne(group, registration);
      if (health) return [health];
      return asked ? [healthOf(target, "unused", "Target.NotRegistered")] : [];
    });
  }

  private describeOne(group: string, registration: Registration): TargetHealth | undefined {
    const model = this.model();
    const settings = model.groups.find(({ arn }) => arn === group);
    const instance = model.instance(registration.id);
    if (!settings || !instance) return undefined;
    if (registration.deregistered !== undefined)
      return Date.now() < this.drained(registration, settings)
        ? healthOf(registration, "draining", "Target.DeregistrationInProgress")
        : undefined;
    const balancer = model.balancers.find(({ listeners }) => listeners.some((one) => one.group === group));
    if (!balancer) return healthOf(registration, "unused", "Target.NotInUse");
    if (!instance.isRunning) return healthOf(registration, "unused", "Target.InvalidState");
    const zones = balancer.zones.filter((zone) => reaches(balancer, settings, zone, instance));
    if (zones.length === 0) return healthOf(registration, "unused", "Target.NotInUse");
    if (Date.now() < this.joined(registration))
      return healthOf(registration, "initial", "Elb.RegistrationInProgress");
    // Each zone checks the targets separately.
    const verdicts = zones.map(({ zone }) =>
      this.health.get(`${zoneKey(balancer.arn, zone)} ${group} ${keyOf(registration)}`),
    );
    const bad = verdicts.find((verdict) => verdict?.state === "unhealthy");
    if (bad) return healthOf(registration, "unhealthy", bad.reason);
    return verdicts.every(Boolean)
      ? healthOf(registration, "healthy")
      : healthOf(registration, "initial", "Elb.InitialHealthChecking");
  }

  private joined({ registered }: Registration): number {
    return registered + this.delays.registerSeconds * 1000;
  }

  private drained({ deregistered = 0 }: Registration, { deregistrationSeconds }: GroupModel): number {
    return deregistered + Math.min(deregistrationSeconds, this.delays.drainingSeconds) * 1000;
  }

  private tailEnd({ deregistered = 0 }: Registration): number {
    return deregistered + this.delays.tailSeconds * 1000;
  }

  /** Brings the zones to what the account has now, and comes back when time changes that. */
  apply(): void {
    if (!this.runner) return;
    const model = this.model();
    const now = Date.now();
    const changes = this.forgetDrained(model, now);
    const wanted = new Map(
      model.balancers.flatMap((balancer) =>
        balancer.zones.map((zone) => [
          zoneKey(balancer.arn, zone.zone),
          this.configOf(model, balancer, zone, now),
        ]),
      ),
    );
    for (const key of this.running.keys()) if (!wanted.has(key)) this.remove(key);
    for (const [key, config] of wanted) this.configure(key, config);
    clearTimeout(this.timer);
    const next = Math.min(...changes.filter((time) => time > now));
    if (Number.isFinite(next)) this.timer = setTimeout(() => this.apply(), next - now + 5).unref();
  }

  /** Waits until the zones have taken what was applied. */
  async settled(): Promise<void> {
    const { work } = this;
    try {
      await work;
    } finally {
      // A failure is reported once.
      if (this.work === work) this.work = Promise.resolve();
    }
  }

  /** Forgets what has left for good, and gives the times at which something changes. */
  private forgetDrained(model: BalancingModel, now: number): number[] {
    const times: number[] = [];
    for (const group of model.groups) {
      const targets = this.registrations.get(group.arn);
      for (const [key, target] of targets ?? []) {
        if (target.deregistered === undefined) {
          times.push(this.joined(target));
          continue;
        }
        const [tail, drained] = [this.tailEnd(target), this.drained(target, group)];
        const gone = Math.max(tail, drained) + closedMilliseconds;
        if (gone <= now) targets?.delete(key);
        else times.push(this.joined(target), tail, drained, gone);
      }
    }
    return times;
  }

  private configOf(
    model: BalancingModel,
    balancer: BalancerModel,
    zone: BalancerZone,
    now: number,
  ): ZoneConfig {
    const used = balancer.listeners.map(({ group }) => group);
    const groups = model.groups
      .filter(({ arn }) => used.includes(arn))
      .map((group): [string, TargetGroup] => {
        const targets = [...(this.registrations.get(group.arn)?.values() ?? [])].flatMap(
          (registration): [string, Target][] => {
            const instance = model.instance(registration.id);
            if (!instance || this.joined(registration) > now || !reaches(balancer, group, zone, instance))
              return [];
            const isLeaving = registration.deregistered !== undefined;
            const target = {
              address: instance.address,
              port: registration.port,
              takesNew: !isLeaving || now < this.tailEnd(registration),
              isClosed: isLeaving && group.closesConnections && now >= this.drained(registration, group),
            };
            return [[keyOf(registration), target]];
          },
        );
        const { intervalSeconds, ...check } = group.healthCheck;
        const healthCheck = {
          ...check,
          intervalSeconds: Math.min(intervalSeconds, this.delays.checkSeconds),
        };
        const { proxyProtocol, unhealthySeconds } = group;
        return [
          group.arn,
          { proxyProtocol, unhealthySeconds, healthCheck, targets: Object.fromEntries(targets) },
        ];
      });
    return { address: zone.address, listeners: balancer.listeners, groups: Object.fromEntries(groups) };
  }

  private configure(key: string, config: ZoneConfig): void {
    const text = JSON.stringify(config);
    if (this.running.get(key) === text) return;
    this.running.set(key, text);
    // A target that comes back begins without a verdict.
    for (const known of this.health.keys()) {
      const [zone, group = "", target = ""] = known.split(" ");
      if (zone === key && !config.groups[group]?.targets[target]?.takesNew) this.health.delete(known);
    }
    this.enqueue(() => this.runner?.configure(key, config));
  }

  private remove(key: string): void {
    this.running.delete(key);
    this.enqueue(() => this.runner?.remove(key));
  }

  /** One after the other, so that the last configuration is the last to arrive. */
  private enqueue(step: () => Promise<void> | undefined): void {
    const work = this.work.catch(() => {}).then(step);
    this.work = work;
    work.catch((error: Error) => console.error(`load balancer: ${error.message}`));
  }
}

/** The name of a load balancer's part in a zone. */
function zoneKey(balancer: string, zone: string): string {
  return `${balancer}@${zone}`;
}

/** Whether a load balancer's part in a zone sends connections to an instance. */
function reaches(
  balancer: BalancerModel,
  group: GroupModel,
  { zone }: BalancerZone,
  instance: TargetModel,
): boolean {
  return (group.crossZone ?? balancer.crossZone) || instance.zone === zone;
}
