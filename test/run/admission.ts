import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** Above this many percent no further job begins. */
const mostPressure = 70;
/** The time in which a job that has begun shows in the pressure, in milliseconds. */
const settleMs = 8_000;

/**
 * The share of the last ten seconds in which a process waited for a processor, in percent. Source: the Linux kernel's
 * "PSI - Pressure Stall Information".
 * @returns 0 where the kernel does not measure it
 */
function cpuPressure(): number {
  try {
    return Number(readFileSync("/proc/pressure/cpu", "utf8").match(/^some avg10=([\d.]+)/)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/**
 * Lets jobs begin one by one, while the processors have room. More jobs on busy processors end no sooner, and every
 * second that a client, a health check or an agent has then becomes too short.
 */
export class Admission {
  private running = 0;
  private lastBegan = Number.NEGATIVE_INFINITY;
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly pressure: () => number = cpuPressure,
    private readonly settle = settleMs,
  ) {}

  /** Waits for room, which there always is beside no other job, and runs the job. */
  async run<T>(job: () => Promise<T>): Promise<T> {
    this.queue = this.queue.then(() => this.begin());
    await this.queue;
    try {
      return await job();
    } finally {
      this.running--;
    }
  }

  private async begin(): Promise<void> {
    while (this.running > 0 && (Date.now() - this.lastBegan < this.settle || this.pressure() > mostPressure))
      await sleep(Math.min(1000, this.settle));
    this.running++;
    this.lastBegan = Date.now();
  }
}
