import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeSandbox } from "../sandbox/lifecycle";
import { projectRoot, sandboxPaths } from "../sandbox/paths";
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
  /** Longest time without a client that got in, in seconds. */
  outage: number;
  seen?: number;
  serving?: number;
  drained?: number;
}

const outageSeconds = 300;

/** Runs the end-to-end tests of the changes, outages at full length, and writes their counts to docs/benchmarks.md. */
export function benchChanges(): void {
  const paths = sandboxPaths("test");
  const folder = mkdtempSync(join(tmpdir(), "wcs-changes-"));
  const report = join(folder, "report.jsonl");
  const run = (command: string, args: string[]) => {
    const { status } = spawnSync(command, args, {
      cwd: projectRoot,
      stdio: "inherit",
      env: { ...process.env, WCS_CHANGES_REPORT: report, WCS_OUTAGE_SECONDS: String(outageSeconds) },
    });
    if (status !== 0) process.exitCode = 1;
  };
  removeSandbox(paths);
  try {
    run("npm", ["run", "--silent", "sandbox", "--", "up", "--name", paths.name]);
    const vitest = ["node_modules/.bin/vitest", "run", "--project", "e2e", "test/e2e/4-changes.test.ts"];
    run("nsenter", [`--net=/run/netns/${paths.internetNamespace}`, ...vitest]);
    if (!existsSync(report)) throw new Error("no change has been measured, see above");
    const rows = readFileSync(report, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    const seconds = (value: number | undefined) => (value === undefined ? "" : `${value.toFixed(1)} s`);
    const text = `## Changes of a running cluster: \`npm run bench -- changes\`

${thisMachine()}, everything on it: balancer, nodes, clients, and the engine. Each change is made through \`pulumi up\` in the
sandbox while 200 WebSockets send a numbered message every 200 ms and get it back, and new clients come one after the
other. "Lost" counts messages of sockets that stayed open; "closed" the sockets that ended without their client. A
socket is closed by design when its node has reached the drain time-out and when the balancer itself is replaced; new
clients are refused by design when every node is full (\`checks\` at 1 %), and while there is no balancer. The times
begin with the moment at which the desired state was written: applied by the balancer, every node takes clients, the
last removed node has no socket left. The longest gap is between two new clients that got in.

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
  } finally {
    removeSandbox(paths);
    rmSync(folder, { recursive: true, force: true });
  }
}
