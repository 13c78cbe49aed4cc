import type { ResourceValidationArgs, StackValidationArgs } from "@pulumi/policy";
import { policies } from "../policy/policies";

export interface CheckedResource {
  type: string;
  inputs: Record<string, unknown>;
}

/** What the policy pack has against a resource, each with the policy's name before it. */
export function violations({ type, inputs }: CheckedResource): string[] {
  const found: string[] = [];
  // The policies read nothing else of what the engine gives them.
  const args = { type, props: inputs } as unknown as ResourceValidationArgs;
  for (const policy of policies) {
    const validations = "validateResource" in policy ? [policy.validateResource ?? []].flat() : [];
    for (const validate of validations) validate(args, (message) => found.push(`${policy.name}: ${message}`));
  }
  return found;
}

/** What the policy pack has against resources together: the first one has the others' `bucket` as a dependency. */
export function stackViolations(resources: CheckedResource[]): string[] {
  const found: string[] = [];
  const all = resources.map(({ type, inputs }, index) => ({
    type,
    props: inputs,
    urn: `urn:${index}`,
    name: `thing-${index}`,
    propertyDependencies: inputs.bucket === unknownBucket ? { bucket: [{ urn: "urn:0" }] } : {},
  }));
  // As above.
  const args = { resources: all } as unknown as StackValidationArgs;
  for (const policy of policies)
    if ("validateStack" in policy)
      policy.validateStack(args, (message) => found.push(`${policy.name}: ${message}`));
  return found;
}

/** Stands for the name of a bucket that is not made yet. */
export const unknownBucket = "unknown";
