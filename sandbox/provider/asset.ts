import { isAbsolute } from "node:path";
import { z } from "zod";

/** The key that marks an asset among the values of a resource. */
export const assetMark = { "4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17" } as const;
const [[markKey, markValue]] = Object.entries(assetMark) as [[keyof typeof assetMark, string]];

/**
 * A FileAsset or StringAsset, with the SHA-256 that the engine has computed. In a `diff` the engine leaves out
 * everything but the hash.
 */
export const asset = z.strictObject({
  [markKey]: z.literal(markValue),
  hash: z.string().regex(/^[0-9a-f]{64}$/, "has no SHA-256"),
  path: z
    .string()
    // The engine and the provider have different working folders.
    .refine(isAbsolute, "is a path relative to the project; the sandbox takes absolute ones")
    .optional(),
  text: z.string().optional(),
});

export type Asset = z.infer<typeof asset>;

/** The hash of an asset; undefined for any other value. */
export function assetHash(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { [markKey]: mark, hash } = value as Record<string, unknown>;
  return mark === markValue && typeof hash === "string" ? hash : undefined;
}
