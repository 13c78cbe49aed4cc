import type { ResourceValidationArgs, StackValidationArgs } from "@pulumi/policy";
import { policies } from "../policy/policies";

export interface CheckedResource {
  type: string;
  inputs: Record<string, unknown>;
  /** For properties that refer to other resources of a list: the places of these in the list. */
  refersTo?: Record<string, number[]>;
}

/** The violations that the policy pack finds in a resource, each with the policy's name before it. */
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

/** The violations that it finds in several resources together: the others' `bucket` depends on the first one. */
export function stackViolations(resources: CheckedResource[]): string[] {
  const found: string[] = [];
  const all = resources.map(({ type, inputs, refersTo = {} }, index) => {
    const references = inputs.bucket === unknownBucket ? { bucket: [0] } : refersTo;
    const propertyDependencies = Object.fromEntries(
      Object.entries(references).map(([property, places]) => [
        property,
        places.map((place) => ({ urn: `urn:${place}` })),
      ]),
    );
    return { type, props: inputs, urn: `urn:${index}`, name: `thing-${index}`, propertyDependencies };
  });
  // As above.
  const args = { resources: all } as unknown as StackValidationArgs;
  for (const policy of policies)
    if ("validateStack" in policy)
      policy.validateStack(args, (message) => found.push(`${policy.name}: ${message}`));
  return found;
}

/** The placeholder for the name of a bucket that is not made yet. */
export const unknownBucket = "unknown";
