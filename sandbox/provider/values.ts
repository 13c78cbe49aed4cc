import { z } from "zod";

/** Properties of a resource. */
export type Values = Record<string, unknown>;

/** Schemas that the inputs of several AWS resources share. */

export const text = z.string();
export const tags = z.record(z.string(), z.string()).optional();

export const json = text.refine((value) => {
  try {
    return typeof JSON.parse(value) === "object";
  } catch {
    return false;
  }
}, "contains an invalid JSON policy");
