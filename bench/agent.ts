import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { nodeStatisticsPort } from "../cluster/contract";
import { run } from "../sandbox/shell";
import { DebianRoot } from "../test/debian-root";
import { machineFile } from "../userdata/machine-file";
import { inNamespace } from "./namespace";
import { median, table, thisMachine, writeSection } from "./report";

const rounds = 10;
const checksPerRound = 50;

/** Statistics of a node with every field that the six checks read, far below every threshold. */
const statistics = {
  connections_stats: { connections: 3, connections_websocket: 3, connections_rtmfp: 0 },
  streams_stats: Object.fromEntries(
    [
      "webrtc_in",
      "rtmp_in",
      "rtsp_in",
      "rtsp_push_in",
      "webrtc_out",
      "rtmp_out",
      "rtmp_client_out",
      "rtsp_out",
    ]
      .concat(["websocket_out", "hls"])
      .map((name) => [`streams_${name}`, 1]),
  ),
  network_stats: { global_bandwidth_in: 1.5, global_bandwidth_out: 2.5 },
  port_stats: { ports_media_free: 499, ports_media_busy: 0, ports_media_quarantine: 0 },
  system_stats: { system_java_cpu_usage: 0.01, system_memory_total: 8000, system_memory_free: 4000 },
};

/** The guide's agent, cut out of its text. */
function cutGuideAgent(guide: string): string {
  const script = guide.match(/^#!\/bin\/bash\nCPU_MAX_LOAD=[\s\S]*?\nmain "\$@"\n/m)?.[0];
  if (!script) throw new Error("the guide has no haproxy-agent-check.sh that begins with CPU_MAX_LOAD");
  return script;
}

interface Cost {
  milliseconds: number;
  processes: number;
}

/** Runs a script in the root as often as a round has checks; bash itself adds up the time of its children. */
function measure(root: string, script: string): Cost {
  const loop = `forks() { while read -r word count; do [[ $word != processes ]] || echo "$count"; done </proc/stat; }
before=$(forks)
for ((i = 0; i < ${checksPerRound}; i++)); do ${script} >/dev/null; done
after=$(forks)
times
echo "$((after - before - 1))"`;
  const lines = run("chroot", [root, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", loop])
    .trim()
    .split("\n");
  const [user, system] = (lines[1] ?? "")
    .split(" ")
    .map((time) => time.match(/^(\d+)m([\d.]+)s$/))
    .map((match) => Number(match?.[1]) * 60 + Number(match?.[2]));
  return {
    milliseconds: (((user ?? 0) + (system ?? 0)) * 1000) / checksPerRound,
    processes: Math.round(Number(lines[2]) / checksPerRound),
  };
}

/** In a network namespace of its own, where the port of WCS's statistics is free. Prints a table, with the guide's to docs/benchmarks.md too. */
export async function benchAgent(guideFile: string | undefined): Promise<void> {
  if (!inNamespace()) return;
  const debian = await DebianRoot.with("bc", "jq");
  try {
    const scripts: Record<string, string> = {
      ours: machineFile("node/haproxy-agent-check.sh"),
      ...(guideFile ? { "the guide's": cutGuideAgent(readFileSync(guideFile, "utf8")) } : {}),
    };
    for (const [index, script] of Object.values(scripts).entries()) {
      debian.write(`usr/local/bin/agent-${index}`, script);
      chmodSync(join(debian.root, `usr/local/bin/agent-${index}`), 0o755);
    }
    writeFileSync(join(debian.root, "loadavg"), "0.10 0.10 0.10 1/100 1000\n");
    run("mount", ["--bind", join(debian.root, "loadavg"), join(debian.root, "proc/loadavg")]);
    run("mount", ["--bind", "/sys", join(debian.root, "sys")]);
    run("ip", ["link", "set", "lo", "up"]);
    // WCS runs in its own thread, since the measurement blocks this one.
    const wcs = new Worker(
      `const { createServer } = require("node:http");
       createServer((_, response) => response.end(${JSON.stringify(JSON.stringify(statistics))}))
         .listen(${nodeStatisticsPort}, () => require("node:worker_threads").parentPort.postMessage("up"));`,
      { eval: true },
    );
    await new Promise((resolve) => wcs.once("message", resolve));

    const costs = Object.keys(scripts).map((): Cost[] => []);
    // Alternating, so that other work of the machine affects both.
    for (let round = 0; round < rounds; round++) {
      for (const [index, list] of costs.entries())
        list.push(measure(debian.root, `/usr/local/bin/agent-${index}`));
    }
    await wcs.terminate();
    const medians = costs.map((list) => median(list.map(({ milliseconds }) => milliseconds)));
    const rows = Object.keys(scripts).map((name, index) => [
      name,
      `${(medians[index] ?? 0).toFixed(1)} ms`,
      String(median((costs[index] ?? []).map(({ processes }) => processes))),
    ]);
    const [own, theirs] = medians;
    const ratio = own && theirs ? `\n\nOurs costs 1/${(theirs / own).toFixed(1)} of the guide's CPU.` : "";
    const text = `## The agent: \`npm run bench -- agent --guide FILE\`

All six checks, median of ${rounds} rounds of ${checksPerRound}, alternating. ${thisMachine()}.

${table(["agent", "CPU a check", "processes a check"], rows)}${ratio}`;
    console.log(text);
    if (guideFile) writeSection("agent", text);
  } finally {
    debian.remove();
  }
}
