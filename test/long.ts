const variable = "WCS_TEST_LONG";

/** Whether examinations last as long as in `npm run test:long`. */
export const long = process.env[variable] === "1";

/** Environment that makes them last as long. */
export function longVariable(long: boolean): Record<string, string> {
  return long ? { [variable]: "1" } : {};
}
