import { spawn } from "node:child_process";
import { z } from "zod";
import { programRoot } from "../paths";
import type { Context, Invoke, ResourceType } from "./resource-type";
import type { Values } from "./values";

const text = z.string();

/**
 * Runs a command like a CI runner would: on the internet, where the balancer has only its public address.
 * Like the real provider, a cancellation kills the process that it has started, but not that process's children. Then
 * it waits until all of them have closed the output (pulumi-command, local/commandOutputs.go).
 */
function runOnInternet(command: string, inputs: Values, context: Context, urn: string): Promise<Values> {
  const environment = (inputs.environment ?? {}) as Record<string, string>;
  const interpreter = (inputs.interpreter ?? ["/bin/sh", "-c"]) as string[];
  return new Promise((resolve, reject) => {
    const child = spawn("nsenter", [`--net=${context.cloud.internetNamespace}`, ...interpreter, command], {
      cwd: programRoot,
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
      // The engine gives providers a process group of their own, which Ctrl-C does not reach.
      detached: true,
    });
    const kill = () => child.kill("SIGKILL");
    if (context.cancelled.aborted) kill();
    context.cancelled.addEventListener("abort", kill);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      stdout += part;
      for (const line of part.split("\n").filter(Boolean)) context.log(urn, line);
    });
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      stderr += part;
    });
    child.on("error", reject);
    child.on("close", (status, signal) => {
      context.cancelled.removeEventListener("abort", kill);
      const end = signal ? "signal: killed" : `exit status ${status}`;
      if (status === 0) resolve({ stdout: stdout.trimEnd(), stderr: stderr.trimEnd() });
      else reject(new Error(`${end}: running ${JSON.stringify(command)}:\n${stderr.trim()}`));
    });
  });
}

/** The inputs that a command and a run have in common. */
const settings = {
  environment: z.record(z.string(), z.string()).optional(),
  interpreter: z.array(text).min(1).optional(),
  logging: z.enum(["stdout", "stderr", "stdoutAndStderr", "none"]).optional(),
};

export const commandTypes: Record<string, ResourceType> = {
  "command:local:Command": {
    inputs: z.strictObject({
      create: text.optional(),
      update: text.optional(),
      delete: text.optional(),
      triggers: z.array(z.unknown()).optional(),
      ...settings,
    }),
    // Whether or not there is an update command (pulumi-command, `replaceOnChanges` in local/command.go).
    replaceOn: ["triggers"],
    computed: ["stdout", "stderr"],
    async create(inputs, context, urn) {
      const outputs = inputs.create ? await runOnInternet(String(inputs.create), inputs, context, urn) : {};
      return { id: `command-${Date.now()}`, outputs };
    },
    async update(_id, inputs, _outputs, context, urn) {
      const command = inputs.update ?? inputs.create;
      return command ? runOnInternet(String(command), inputs, context, urn) : {};
    },
    async remove(_id, outputs, context) {
      if (outputs.delete) await runOnInternet(String(outputs.delete), {}, context, "");
    },
  },
};

const runInputs = z.strictObject({ command: text, ...settings });

export const commandInvokes: Record<string, Invoke> = {
  // A run belongs to no resource, so its output is shown under the stack.
  "command:local:run": {
    calls: [],
    answer: async (inputs, context) => {
      const { command } = runInputs.parse(inputs);
      return { command, ...(await runOnInternet(command, inputs, context, "")) };
    },
  },
};
