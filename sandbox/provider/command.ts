import { spawn } from "node:child_process";
import { z } from "zod";
import type { Context, ResourceType, Values } from "./resource-type";

const text = z.string();

/** Runs a command like a CI runner would: on the internet, where the balancer has only its public address. */
function runOnInternet(
  command: string,
  environment: Record<string, string>,
  context: Context,
  urn: string,
): Promise<Values> {
  return new Promise((resolve, reject) => {
    const child = spawn("nsenter", [`--net=${context.cloud.internetNamespace}`, "/bin/sh", "-c", command], {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
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
    child.on("close", (status) => {
      if (status === 0) resolve({ stdout: stdout.trimEnd(), stderr: stderr.trimEnd() });
      else reject(new Error(`exit status ${status}: running ${JSON.stringify(command)}:\n${stderr.trim()}`));
    });
  });
}

export const commandTypes: Record<string, ResourceType> = {
  "command:local:Command": {
    inputs: z.strictObject({
      create: text.optional(),
      update: text.optional(),
      delete: text.optional(),
      triggers: z.array(z.unknown()).optional(),
      environment: z.record(z.string(), z.string()).optional(),
      logging: z.enum(["stdout", "stderr", "stdoutAndStderr", "none"]).optional(),
    }),
    replaceOn: (_olds, news) => (news.update === undefined ? ["triggers"] : []),
    computed: ["stdout", "stderr"],
    async create(inputs, context, urn) {
      const environment = (inputs.environment ?? {}) as Record<string, string>;
      const outputs = inputs.create
        ? await runOnInternet(String(inputs.create), environment, context, urn)
        : {};
      return { id: `command-${Date.now()}`, outputs };
    },
    async update(_id, inputs, _outputs, context, urn) {
      const environment = (inputs.environment ?? {}) as Record<string, string>;
      const command = inputs.update ?? inputs.create;
      return command ? runOnInternet(String(command), environment, context, urn) : {};
    },
    async remove(_id, outputs, context) {
      if (outputs.delete) await runOnInternet(String(outputs.delete), {}, context, "");
    },
  },
};
