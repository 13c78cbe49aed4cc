import { parseArgs } from "node:util";
import { underLock } from "../sandbox/lock";
import { checkSpace, prepare, testNeeds } from "../sandbox/prepare";
import { benchAgent } from "./agent";
import { benchBalancer } from "./balancer";
import { benchChanges } from "./changes";
import { benchDeath } from "./death";
import { benchGap } from "./gap";

const usage = `Usage: npm run bench -- agent|balancer --guide FILE
       npm run bench -- changes|gap|death

Measures what the project promises, often as ratios against the guide's set-up in the same run or against an earlier
commit, and writes the tables to docs/benchmarks.md.

  agent          CPU and processes of one answer of the agent
  balancer       HAProxy: CPU of a TLS handshake, round trip of a message, memory of an idle WebSocket (3 minutes)
  changes        every change of a running cluster: sockets, messages and lost ones, and times (20 minutes)
  gap            how long clients have no path while the balancer is replaced, with this program and with the last one
                 that deleted the old balancer first (10 minutes; needs the history of git)
  death          how soon clients are back after one of two balancers has died (15 minutes)

  --guide FILE   the text of Flashphoner's guide, which contains the scripts and the haproxy.cfg to compare with;
                 without it only the agent can be measured, without a comparison
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { guide: { type: "string" }, help: { type: "boolean", short: "h" } },
  });
  const [name] = positionals;
  if (values.help || name === undefined || name === "help") {
    process.stdout.write(usage);
    return;
  }
  if (!["agent", "balancer", "changes", "gap", "death"].includes(name))
    throw new Error(`there is no measurement "${name}"; see: npm run bench -- help`);
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    throw new Error("bench needs Linux and root: it makes network namespaces");
  // Each checkout prepares what its own sandbox needs.
  if (name === "gap") return benchGap();
  if (name === "death") return benchDeath();
  checkSpace();
  await prepare(testNeeds("gnuplot-nox"));
  if (name === "changes") {
    process.exitCode = await underLock("test", "npm test is running", benchChanges);
    return;
  }
  if (name === "agent") {
    await benchAgent(values.guide);
    return;
  }
  if (!values.guide)
    throw new Error(
      "--guide is missing; the balancer is compared with the guide's haproxy.cfg. Add: --guide FILE",
    );
  await benchBalancer(values.guide);
}

main().catch((error: Error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
