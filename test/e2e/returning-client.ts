import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "./client";

/** A client that connects again when its socket ends. Without vitest, for other processes. */

interface ReturningClientOptions {
  /** Opens a session. */
  connect(): Promise<Client>;
  /** How often it sends a message. @default it sends nothing by itself, as the WebSDK's sockets do */
  talkMilliseconds?: number;
  /** How long it waits before each attempt to connect again, in milliseconds. */
  pause(): number;
  /** Called when it has a session again for the first time. */
  onBack?(): void;
}

/** What a client has seen since it was opened, or told to forget. Moments are in milliseconds since the epoch. */
export interface ClientReport {
  talks: boolean;
  /** When it sent its first message that had no answer before the first socket ended. */
  unanswered?: number;
  /** When its first socket ended. */
  ended?: number;
  /** When it had a session again. */
  back?: number;
  /** How often its sockets ended. */
  ends: number;
  /** Why its attempts have failed, with the moments at which they began. */
  failures: Failure[];
}

/** An attempt to connect that has failed. */
export interface Failure {
  error: string;
  /** In milliseconds since the epoch. */
  began: number;
}

export class ReturningClient {
  report: ClientReport;
  /** Messages on the current socket that have no answer yet. */
  waiting: { text: string; at: number }[] = [];
  private isOver = false;
  private timer?: NodeJS.Timeout;

  static async open(options: ReturningClientOptions): Promise<ReturningClient> {
    return new ReturningClient(options, await options.connect());
  }

  /** @param client its session; the last one while it has none */
  private constructor(
    private readonly options: ReturningClientOptions,
    public client: Client,
  ) {
    this.report = this.emptyReport();
    this.watch();
  }

  private emptyReport(): ClientReport {
    return { talks: this.options.talkMilliseconds !== undefined, ends: 0, failures: [] };
  }

  private watch(): void {
    const { socket } = this.client;
    // What was under way on the socket before is not counted.
    const waiting: typeof this.waiting = [];
    this.waiting = waiting;
    let sent = 0;
    const talk = () => {
      if (!this.isOpen) return;
      sent++;
      waiting.push({ text: String(sent), at: Date.now() });
      socket.ping(String(sent));
    };
    const { talkMilliseconds } = this.options;
    this.timer = talkMilliseconds === undefined ? undefined : setInterval(talk, talkMilliseconds);
    socket.on("pong", (data) => {
      if (data.toString() === waiting[0]?.text) waiting.shift();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.stopTalking();
      if (this.isOver) return;
      if (this.report.ended === undefined) {
        this.report.ended = Date.now();
        this.report.unanswered = waiting[0]?.at;
      }
      this.report.ends++;
      void this.comeBack();
    });
  }

  private async comeBack(): Promise<void> {
    while (!this.isOver) {
      await sleep(this.options.pause());
      const began = Date.now();
      try {
        this.client = await this.options.connect();
      } catch (error) {
        this.report.failures.push({ error: (error as Error).message, began });
        continue;
      }
      this.watch();
      if (this.report.back === undefined) {
        this.report.back = Date.now();
        this.options.onBack?.();
      }
      return;
    }
  }

  /** Whether it has a socket that is open, as far as it knows. */
  get isOpen(): boolean {
    const { socket } = this.client;
    return socket.readyState === socket.OPEN;
  }

  /** Begins a new report. */
  forget(): void {
    this.report = this.emptyReport();
  }

  stopTalking(): void {
    clearInterval(this.timer);
  }

  /** Stays away when its socket ends. */
  stayAway(): void {
    this.isOver = true;
    this.stopTalking();
  }
}
