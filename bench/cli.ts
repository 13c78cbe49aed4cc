import { parseArgs } from "node:util";
import { underLock } from "../sandbox/lock";
import { checkSpace, prepare, testPackages } from "../sandbox/prepare";
import { benchAgent } from "./agent";
import { benchBalancer } from "./balancer";
import { benchChanges } from "./changes";

const usage = `Usage: npm run bench -- agent|balancer --guide FILE
       npm run bench -- changes

Measures what the project promises, as ratios against the guide's set-up in the same run, and writes the tables to
docs/benchmarks.md.

  agent          CPU and processes of one answer of the agent
  balancer       HAProxy: CPU of a TLS handshake, round trip of a message, memory of an idle WebSocket (3 minutes)
  changes        every change of a running cluster: sockets, messages and lost ones, and times (20 minutes)

  --guide FILE   the text of Flashphoner's guide, out of which the scripts and the haproxy.cfg to compare with are
                 cut; without it only the agent can be measured, alone
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
  if (name !== "agent" && name !== "balancer" && name !== "changes")
    throw new Error(`there is no measurement "${name}"; see: npm run bench -- help`);
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    throw new Error("measuring needs Linux and root");
  checkSpace();
  await prepare([...testPackages(), "gnuplot-nox"]);
  if (name === "changes") {
    process.exitCode = await underLock("test", "npm test is running", benchChanges);
    return;
  }
  if (name === "agent") {
    await benchAgent(values.guide);
    return;
  }
  if (!values.guide) throw new Error("there is nothing to compare with; add: --guide FILE");
  await benchBalancer(values.guide);
}

main().catch((error: Error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
