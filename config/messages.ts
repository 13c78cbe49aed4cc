import { z } from "zod";
import { certificateKeys, configSchema, isSecretKey } from "./schema";
import { hasCredentials, holdsPrivateKey } from "./value-types";

/** A configuration value is not allowed. The message names the key, its value, what is allowed and the fix. */
export class ConfigError extends Error {}

/** A value as messages show it, 80 characters at most. */
export function show(value: unknown): string {
  const json = JSON.stringify(value) ?? "missing";
  return json.length > 80 ? `${json.slice(0, 77)}...` : json;
}

/** A key with its place in a list or object, as `pulumi config set --path` takes it. */
function pathName([key, ...rest]: PropertyKey[]): string {
  const places = rest.map((part) => {
    if (typeof part === "number") return `[${part}]`;
    return /^[A-Za-z0-9_-]+$/.test(String(part)) ? `.${String(part)}` : `[${JSON.stringify(part)}]`;
  });
  return String(key) + places.join("");
}

/** The schema of a key, or of a place in its value. */
function schemaAt(path: PropertyKey[], schema: z.ZodType = configSchema): z.ZodType | undefined {
  const [part, ...rest] = path;
  if (part === undefined) return schema;
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject)
    return String(part) in inner.shape ? schemaAt(rest, inner.shape[String(part)]) : undefined;
  if (inner instanceof z.ZodArray) return schemaAt(rest, inner.element as z.ZodType);
  return inner instanceof z.ZodRecord ? schemaAt(rest, inner.valueType as z.ZodType) : undefined;
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  return schema instanceof z.ZodOptional || schema instanceof z.ZodDefault
    ? unwrap(schema.unwrap() as z.ZodType)
    : schema;
}

/** The first place in a list or object: `pulumi config set --path` sets texts, and no whole lists or objects. */
function firstPlace(path: PropertyKey[]): PropertyKey[] {
  const schema = schemaAt(path);
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray) return firstPlace([...path, 0]);
  if (inner instanceof z.ZodObject) return firstPlace([...path, ...Object.keys(inner.shape).slice(0, 1)]);
  return inner instanceof z.ZodRecord ? [...path, String(schema?.meta()?.element)] : path;
}

/** The example of a place, or else of the list or object around it. */
function exampleOf(path: PropertyKey[]): string {
  const example = schemaAt(path)?.meta()?.example;
  return example === undefined ? exampleOf(path.slice(0, -1)) : String(example);
}

function inShell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The command that sets a key, or a place in a list or object, to an example that is allowed. */
export function fixCommand(path: PropertyKey[]): string {
  const place = firstPlace(path);
  const target = place.length === 1 ? String(place[0]) : `--path ${inShell(pathName(place))}`;
  return `pulumi config set ${isSecretKey(place[0] as PropertyKey) ? "--secret " : ""}${target} ${exampleOf(place)}`;
}

function valueAt(root: unknown, path: PropertyKey[]): unknown {
  // biome-ignore lint/suspicious/noExplicitAny: walks an unvalidated value of any shape.
  return path.reduce((value: any, part) => value?.[part], root);
}

/** One line for a problem that zod has found: key, value, what is allowed, and the fix. */
export function explain(issue: z.core.$ZodIssue, values: Record<string, unknown>): string {
  // A name may be a key that was pasted at the wrong place.
  if (holdsPrivateKey([issue.path, issue.code === "unrecognized_keys" ? issue.keys : []]))
    return `${String(issue.path[0] ?? "a key's name")} has a private key as a name, which is not shown; remove it`;
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => unknownKey(issue.path, key)).join("\n");
  const name = pathName(issue.path);
  return `${name} is ${shownAt(issue.path, values)}; ${issue.message}. Set it with: ${fixCommand(issue.path)}`;
}

function unknownKey(path: PropertyKey[], key: string): string {
  const name = pathName([...path, key]);
  const inner = unwrap(schemaAt(path));
  const allowed = inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
  return (
    `${name} is not a configuration key; the keys are ${allowed.join(", ")}. ` +
    `Remove it with: pulumi config rm ${path.length > 0 ? `--path ${inShell(name)}` : name}`
  );
}

/** A value as an error shows it. A value that may hold a private key or a password is not shown. */
function shownAt(path: PropertyKey[], values: Record<string, unknown>): string {
  const value = valueAt(values, path);
  const [key] = path;
  if (holdsPrivateKey(value)) return "not shown, since it holds a private key";
  if (typeof value === "string" && hasCredentials(value)) return "not shown, since it holds a password";
  if (typeof value === "string" && /:[^/@]*@/.test(value)) return "not shown, since it may hold a password";
  const isHidden = key !== undefined && (certificateKeys.includes(key) || isSecretKey(key));
  return value !== undefined && isHidden ? "not valid (not shown)" : show(value);
}
