import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { longVariable } from "../test/long";
import { bringClusterUp, endToEnd } from "../test/run/jobs";
import { runJobs } from "../test/run/queue";
import { Sandboxes } from "../test/run/sandboxes";
import { table, thisMachine, writeSection } from "./report";

/** One change as the end-to-end test of it reports it. */
interface Row {
  name: string;
  sockets: number;
  messages: number;
  lost: number;
  closed: number;
  newClients: number;
  refusedClients: number;
  /** Longest time between two new clients that got in, in seconds. */
  outage: number;
  seen?: number;
  serving?: number;
  drained?: number;
}

/** The e2e files that make changes. */
const files = ["changes-nodes", "changes-settings", "outages", "cancelled", "external-nodes"];

/**
 * Runs the end-to-end tests of the changes one after the other, and writes their counts to docs/benchmarks.md. Gives the
 * exit status.
 */
export async function benchChanges(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "wcs-changes-"));
  const report = join(folder, "report.jsonl");
  const sandboxes = new Sandboxes();
  const jobs = files.map((name) =>
    endToEnd(`test/e2e/${name}.test.ts`, sandboxes, { ...longVariable(true), WCS_CHANGES_REPORT: report }),
  );
  try {
    const results = await runJobs([bringClusterUp(sandboxes), ...jobs], 1, folder);
    const failed = results.filter((result) => result.failed > 0);
    for (const { output } of failed) console.error(output);
    if (!existsSync(report)) throw new Error("no change was measured; the tests above say why");
    const rows = readFileSync(report, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    const seconds = (value: number | undefined) => (value === undefined ? "" : `${value.toFixed(1)} s`);
    const text = `## Changes of a running cluster: \`npm run bench -- changes\`

${thisMachine()}, which runs everything: balancer, nodes, clients and engine. Each change is made by \`pulumi up\` in the
sandbox. Meanwhile 200 WebSockets send a numbered message every 200 ms and get it back, and new clients come one after the
other. "Lost" counts messages of sockets that stayed open. "Closed" counts sockets that ended without their client. A
socket is closed by design when its node has reached the drain time-out and when the balancer itself is replaced; new
clients are refused by design when every node is full (\`checks\` at 1 %), and while there is no balancer. The times start
when the desired state is written. "Applied": the balancer runs it. "Serving": every node takes clients. "Drained": the
last removed node has no socket left. "Longest gap" is the time between two accepted new clients.

${table(
  [
    "change",
    "sockets",
    "messages",
    "lost",
    "closed",
    "new clients",
    "refused",
    "longest gap",
    "applied",
    "serving",
    "drained",
  ],
  rows.map((row) => [
    row.name,
    String(row.sockets),
    String(row.messages),
    String(row.lost),
    String(row.closed),
    String(row.newClients),
    String(row.refusedClients),
    seconds(row.outage),
    seconds(row.seen),
    seconds(row.serving),
    seconds(row.drained),
  ]),
)}`;
    console.log(text);
    writeSection("changes", text);
    return failed.length === 0 ? 0 : 1;
  } finally {
    sandboxes.remove();
    rmSync(folder, { recursive: true, force: true });
  }
}
