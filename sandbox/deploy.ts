import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CommandError as EngineError, type Stack } from "@pulumi/pulumi/automation";
import { agentPort } from "../contract/facts";
import { CloudClient } from "./cloud/client";
import { boundaryArn, fillPolicy, namesOf } from "./deploy-role";
import { startCloud } from "./lifecycle";
import { nameOption, programRoot, type SandboxPaths } from "./paths";
import { checkSpace, prepare, stackNeeds } from "./prepare";
import { stackSettings, stackValues, withStack } from "./stack";

/** The stack to bring up or to preview, and its settings. */
export interface Deployment {
  paths: SandboxPaths;
  stack: string;
  overrides: Record<string, unknown>;
  secrets: Record<string, string>;
  file: string | undefined;
}

/** Prints the engine's output at once. */
const engineOutput = {
  color: process.stdout.isTTY ? ("always" as const) : ("never" as const),
  onOutput: (text: string) => void process.stdout.write(text),
  onError: (text: string) => void process.stderr.write(text),
};

async function prepareFor({ stack, overrides, secrets, file }: Deployment): Promise<void> {
  checkSpace();
  const values = { ...stackValues(stackSettings(stack, overrides, file)), ...secrets };
  await prepare(stackNeeds(stack, values));
}

/** Opens the stack in the engine. The engine's exception is replaced, since it only repeats the printed output. */
async function inEngine<T>(
  { paths, stack, overrides, secrets, file }: Deployment,
  use: (opened: Stack) => Promise<T>,
): Promise<T> {
  // Ctrl-C also reaches the engine, which then cancels; this process holds the providers that it cancels with.
  const stayForEngine = () => {};
  process.on("SIGINT", stayForEngine);
  try {
    return await withStack(paths, stack, overrides, secrets, file, use);
  } catch (error) {
    if (error instanceof EngineError) throw new Error("the engine ended with an error, see above");
    throw error;
  } finally {
    process.off("SIGINT", stayForEngine);
  }
}

/** Makes the stack's permissions boundary. In a real account the administrator makes it, by docs/ci.md. */
async function putBoundary({ paths, stack, overrides, file }: Deployment): Promise<void> {
  const names = namesOf(stack, stackValues(stackSettings(stack, overrides, file)));
  const document = fillPolicy("permissions-boundary", names);
  await new CloudClient(paths).call("putManagedPolicy", { arn: boundaryArn(stack), document });
}

/** Brings a stack up, and says what to try next. */
export async function up(options: Deployment): Promise<void> {
  const { paths, stack } = options;
  const began = Date.now();
  await prepareFor(options);
  console.log("Bringing up the stack; the machines boot and install as on EC2.");
  await startCloud(paths);
  await putBoundary(options);
  let outputs: Record<string, unknown> = {};
  await inEngine(options, (opened) =>
    opened.up({
      ...engineOutput,
      onEvent({ resOutputsEvent }) {
        const { type, new: state } = resOutputsEvent?.metadata ?? {};
        if (type === "pulumi:pulumi:Stack") outputs = state?.outputs ?? {};
      },
    }),
  );
  const authority = join(paths.state, `ca-${stack}.pem`);
  if (outputs.certificateAuthority) {
    // Replaced in one step, since clients may read it at this moment.
    writeFileSync(`${authority}.new`, String(outputs.certificateAuthority));
    renameSync(`${authority}.new`, authority);
  }
  const address = String(outputs.balancerAddress);
  const url = new URL(String(outputs.url));
  const nodes = outputs.wcsNodes as { name: string; publicAddress: string }[];
  const suffix = nameOption(paths);
  const records = outputs.dnsRecords as string[];
  const makeRecord = stackValues(stackSettings(stack, options.overrides, options.file)).acme
    ? `\n  npm run sandbox --${suffix} dns ${url.host} ${records.map((record) => record.split(" ").at(-1)).join(" ")}`
    : "";
  console.log(`
Up after ${Math.round((Date.now() - began) / 1000)} s: ${url.host} is ${address}, in front of ${nodes.map(({ name }) => name).join(", ")}.

Try next:${makeRecord}
  npm run sandbox --${suffix} status
  npm run sandbox --${suffix} open
  npm run sandbox --${suffix} shell internet curl --cacert ${authority} --resolve ${url.host}:443:${address} ${url}
  npm run sandbox --${suffix} shell ${nodes[0]?.name} telnet localhost ${agentPort}
  npm run sandbox --${suffix} preview --nodes ${nodes.length + 1}
Stop with:
  npm run sandbox --${suffix} down`);
}

/** Shows what `up` would change, and the violations that the policy pack finds. */
export async function preview(options: Deployment): Promise<void> {
  await prepareFor(options);
  await inEngine(options, (opened) =>
    opened.preview({ ...engineOutput, diff: true, policyPacks: [join(programRoot, "policy")] }),
  );
}

/** A resource that differs from the state. */
interface Drift {
  type: string;
  name: string;
  /** Names of properties, not values: there are secrets among those. Empty for a resource that is gone. */
  properties: string[];
  isGone: boolean;
}

function describeDrift({ type, name, properties, isGone }: Drift): string {
  const what = isGone ? "is gone" : `has changed: ${properties.join(", ")}`;
  return `  ${type.split(":").at(-1)} ${name} ${what}`;
}

/**
 * Updates the state to the real resources, as `pulumi refresh` does, and prints what was changed behind Pulumi's back.
 * @param clearPendingCreates forgets the resources that a killed `up` was making
 */
export async function refresh(options: Deployment, clearPendingCreates: boolean): Promise<void> {
  await new CloudClient(options.paths).call("ping", {});
  const found: Drift[] = [];
  await inEngine(options, (opened) =>
    opened.refresh({
      ...engineOutput,
      // No refresh changes them.
      suppressOutputs: true,
      clearPendingCreates,
      onEvent({ resOutputsEvent }) {
        if (!resOutputsEvent) return;
        const { op, urn, type, diffs = [] } = resOutputsEvent.metadata;
        if (op !== "update" && op !== "delete") return;
        const name = urn.split("::").at(-1) ?? urn;
        found.push({ type, name, properties: diffs, isGone: op === "delete" });
      },
    }),
  );
  if (found.length === 0) {
    // The engine takes other outputs into the state without a word, such as a machine's new public address.
    console.log("Nothing that the program sets was changed behind Pulumi's back.");
    return;
  }
  const suffix = nameOption(options.paths);
  console.log(`Changed behind Pulumi's back:
${found.map(describeDrift).sort().join("\n")}
The state has these changes now. Next:
  npm run sandbox --${suffix} preview    # shows what up would put right
  npm run sandbox --${suffix} up`);
}

/** Deletes the resources of the stack. */
export async function destroy(options: Deployment): Promise<void> {
  await inEngine(options, (opened) => opened.destroy(engineOutput));
}
