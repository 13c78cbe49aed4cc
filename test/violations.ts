import type { ResourceValidationArgs } from "@pulumi/policy";
import { policies } from "../policy/policies";

/** What the policy pack has against a resource, each with the policy's name before it. */
export function violations({ type, inputs }: { type: string; inputs: Record<string, unknown> }): string[] {
  const found: string[] = [];
  // The policies read nothing else of what the engine gives them.
  const args = { type, props: inputs } as unknown as ResourceValidationArgs;
  for (const { name, validateResource = [] } of policies) {
    for (const validate of [validateResource].flat())
      validate(args, (message) => found.push(`${name}: ${message}`));
  }
  return found;
}
