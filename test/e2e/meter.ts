import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sandboxPaths } from "../../sandbox/paths";

/** The parts of a test's time, in seconds. */
export interface Times {
  /** Bringing the cluster into the state that the test wants. */
  settingUp: number;
  /** Processor time of the test, its commands and the machines of its sandbox. */
  working: number;
  /** The rest: no process works. On a busy machine this includes the wait for a processor. */
  waiting: number;
}

interface Reading {
  seconds: number;
  processor: number;
}

const ticksPerSecond = 100;

/** Processor seconds of this process and of its commands that have ended. */
function ownProcessor(): number {
  // See proc(5): after the name, user and system time are fields 14 and 15, those of waited-for children 16 and 17.
  const fields = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}

/** Processor seconds of everything in the sandbox. */
function sandboxProcessor(): number {
  const file = join(sandboxPaths(process.env.WCS_SANDBOX_NAME ?? "").cgroup, "cpu.stat");
  if (!existsSync(file)) return 0;
  return Number(readFileSync(file, "utf8").match(/^usage_usec (\d+)/)?.[1] ?? 0) / 1e6;
}

function read(): Reading {
  return { seconds: performance.now() / 1000, processor: ownProcessor() + sandboxProcessor() };
}

function since(began: Reading): Reading {
  const now = read();
  return { seconds: now.seconds - began.seconds, processor: Math.max(0, now.processor - began.processor) };
}

/** The time of setting up since the current test began. */
const setUp: Reading = { seconds: 0, processor: 0 };

/** Does something whose time counts as setting up. */
export function settingUp<T>(what: () => T): T {
  const began = read();
  try {
    return what();
  } finally {
    const { seconds, processor } = since(began);
    setUp.seconds += seconds;
    setUp.processor += processor;
  }
}

/** Begins to measure. The returned function ends it. */
export function startMeter(): () => Times {
  setUp.seconds = 0;
  setUp.processor = 0;
  const began = read();
  return () => {
    const { seconds, processor } = since(began);
    const rest = seconds - setUp.seconds;
    const working = Math.min(rest, Math.max(0, processor - setUp.processor));
    return { settingUp: setUp.seconds, working, waiting: rest - working };
  };
}
