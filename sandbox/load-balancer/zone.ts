import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { Checker, type Health, type HealthCheck } from "./health-check";
import { proxyHeader } from "./proxy-protocol";

export interface Target {
  address: string;
  port: number;
  /** Whether it is registered, or was so recently that new connections still arrive. */
  takesNew: boolean;
  /** Whether its connections end now. */
  isClosed: boolean;
}

export interface TargetGroup {
  proxyProtocol: boolean;
  healthCheck: HealthCheck;
  /** How long the connections of a target live on after it was found unhealthy. @default as long as they like */
  unhealthySeconds?: number;
  targets: Record<string, Target>;
}

interface Listener {
  port: number;
  group: string;
  idleSeconds: number;
}

/** The configuration of a load balancer in one zone. */
export interface ZoneConfig {
  /** Its address there: clients' packets come to it, and its own come from it. */
  address: string;
  listeners: Listener[];
  groups: Record<string, TargetGroup>;
}

/** Says that a target's health has changed. */
export type HealthReport = { group: string; target: string } & Health;

interface Connection {
  client: Socket;
  server: Socket;
  group: string;
  target: string;
}

const emptyConfig: ZoneConfig = { address: "", listeners: [], groups: {} };

/**
 * A Network Load Balancer in one availability zone, for TCP listeners whose targets do not see the clients' addresses:
 * each connection of a client goes through one to a target.
 */
export class Zone {
  private config = emptyConfig;
  private readonly servers = new Map<number, Server>();
  private readonly checkers = new Map<string, Checker>();
  private readonly connections = new Set<Connection>();

  constructor(private readonly report: (health: HealthReport) => void) {}

  /** Takes another configuration. Open connections stay, except those of a target that is closed. */
  async configure(config: ZoneConfig): Promise<void> {
    this.config = config;
    this.adjustCheckers();
    for (const connection of this.connections)
      if (config.groups[connection.group]?.targets[connection.target]?.isClosed) reset(connection);
    const ports = config.listeners.map(({ port }) => port);
    for (const [port, server] of this.servers) {
      if (ports.includes(port)) continue;
      server.close();
      this.servers.delete(port);
    }
    await Promise.all(ports.filter((port) => !this.servers.has(port)).map((port) => this.listen(port)));
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    await this.configure(emptyConfig);
    for (const connection of this.connections) reset(connection);
  }

  private async listen(port: number): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (client) => this.accept(client, port));
    this.servers.set(port, server);
    await once(server.listen(port, this.config.address), "listening");
  }

  private adjustCheckers(): void {
    const wanted = new Map<string, [group: string, target: string]>();
    for (const [group, { targets }] of Object.entries(this.config.groups))
      for (const [target, { takesNew }] of Object.entries(targets))
        if (takesNew) wanted.set(`${group} ${target}`, [group, target]);
    for (const [key, checker] of this.checkers) {
      if (wanted.has(key)) continue;
      checker.stop();
      this.checkers.delete(key);
    }
    for (const [key, [group, target]] of wanted)
      if (!this.checkers.has(key)) this.checkers.set(key, this.newChecker(group, target));
  }

  private newChecker(group: string, target: string): Checker {
    const settings = () => {
      const { healthCheck: check, proxyProtocol, targets } = this.config.groups[group] as TargetGroup;
      return { check, proxyProtocol, from: this.config.address, target: targets[target] as Target };
    };
    return new Checker(settings, (health) => {
      this.report({ group, target, ...health });
      const seconds = this.config.groups[group]?.unhealthySeconds;
      if (health.state === "unhealthy" && seconds !== undefined) this.abandonLater(group, target, seconds);
    });
  }

  private abandonLater(group: string, target: string, seconds: number): void {
    const isUnhealthy = () => this.checkers.get(`${group} ${target}`)?.health?.state === "unhealthy";
    const abandonAll = () => {
      for (const connection of this.connections)
        if (connection.group === group && connection.target === target) abandon(connection);
    };
    if (seconds === 0) abandonAll();
    else setTimeout(() => isUnhealthy() && abandonAll(), seconds * 1000).unref();
  }

  /**
   * The target for a connection: one of the healthy ones by a hash of the client's address and port. Where all are
   * unhealthy, one of all. A target without a verdict yet gets no connection.
   */
  private choose(name: string, client: Socket): string | undefined {
    const targets = Object.entries(this.config.groups[name]?.targets ?? {})
      .filter(([, { takesNew }]) => takesNew)
      .map(([target]) => ({ target, state: this.checkers.get(`${name} ${target}`)?.health?.state }));
    const healthy = targets.filter(({ state }) => state === "healthy");
    const candidates = healthy.length > 0 ? healthy : targets.filter(({ state }) => state === "unhealthy");
    const flow = `${client.remoteAddress} ${client.remotePort} ${client.localPort}`;
    const hash = createHash("sha256").update(flow).digest().readUInt32BE();
    return candidates[hash % candidates.length]?.target;
  }

  private accept(client: Socket, port: number): void {
    // Without this, the client of a connection that has already been reset would end the process.
    client.on("error", () => {});
    const listener = this.config.listeners.find((one) => one.port === port);
    const name = listener && this.choose(listener.group, client);
    const group = listener && this.config.groups[listener.group];
    const target = name === undefined ? undefined : group?.targets[name];
    if (!listener || !group || !target || name === undefined) {
      client.resetAndDestroy();
      return;
    }
    const source = { address: client.remoteAddress ?? "", port: client.remotePort ?? 0 };
    const server = connect({
      host: target.address,
      port: target.port,
      localAddress: this.config.address,
      allowHalfOpen: true,
      noDelay: true,
    });
    client.setNoDelay(true);
    const connection: Connection = { client, server, group: listener.group, target: name };
    this.connections.add(connection);
    if (group.proxyProtocol) server.write(proxyHeader(source, { address: this.config.address, port }));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.pipe(to);
      from.on("error", () => reset(connection));
      from.on("close", () => {
        if (client.destroyed && server.destroyed) this.connections.delete(connection);
      });
      // Each sees bytes of both directions, those that it reads and those that it writes.
      from.setTimeout(listener.idleSeconds * 1000, () => reset(connection));
    }
  }
}

/**
 * Ends a connection to an unhealthy target. The client gets a reset when it sends something (AWS, "Health checks for Network
 * Load Balancer target groups"): a client that sends nothing does not notice.
 */
function abandon({ client, server }: Connection): void {
  client.unpipe(server);
  server.unpipe(client);
  server.resetAndDestroy();
  client.on("data", () => client.resetAndDestroy()).on("end", () => client.destroy());
  client.resume();
}

/** Ends both sides of a connection with a reset. */
function reset({ client, server }: Connection): void {
  client.resetAndDestroy();
  server.resetAndDestroy();
}
