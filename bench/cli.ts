import { parseArgs } from "node:util";
import { checkSpace, machinePackages, prepare } from "../sandbox/prepare";
import { stackSettings, stackValues } from "../sandbox/stack";
import { benchAgent } from "./agent";

const usage = `Usage: npm run bench -- agent [--guide FILE]

Measures what the project promises, as ratios against the guide's set-up in the same run.

  agent          CPU and processes of one answer of the agent

  --guide FILE   the text of Flashphoner's guide, out of which the script to compare with is cut;
                 without it ours is measured alone
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
  if (name !== "agent") throw new Error(`there is no measurement "${name}"; see: npm run bench -- help`);
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    throw new Error("measuring needs Linux and root");
  checkSpace();
  await prepare(machinePackages("dev", stackValues(stackSettings("dev", {}))));
  await benchAgent(values.guide);
}

main().catch((error: Error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
