import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Reads a file that lands on a machine, from `machines/`. */
export function machineFile(name: string): string {
  return readFileSync(join(__dirname, "../machines", name), "utf8");
}

/**
 * Puts values in the place of `@NAME@` marks.
 * @throws Error when a mark has no value or a value no mark
 */
export function fillIn(template: string, values: Record<string, string>): string {
  const unused = new Set(Object.keys(values));
  const text = template.replace(/@([A-Z_]+)@/g, (mark, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${mark} has no value`);
    unused.delete(name);
    return value;
  });
  if (unused.size > 0) throw new Error(`no mark for ${[...unused].join(", ")}`);
  return text;
}

/** A file of `NAME='value'` lines that a shell script can source, whatever the values hold. */
export function shellSettings(values: Record<string, string>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join("");
}

/**
 * A file as it goes into user-data where EC2's 16 KB are scarce: without comments and a Python file's docstrings.
 * Where they are, its second line says.
 */
export function leanFile(name: string): string {
  const [interpreter = "", ...lines] = machineFile(name)
    .replace(/^( *)"""[^"]*"""\n(?=\s*?( *)\S)/gm, (_, indent: string, next: string) =>
      // A docstring may be all that a body has.
      next.length < indent.length ? `${indent}pass\n` : "",
    )
    .replace(/^ *#(?!!).*\n/gm, "")
    .split("\n");
  const source = `# Comments: ${name}`;
  return (
    interpreter.startsWith("#!") ? [interpreter, source, ...lines] : [source, interpreter, ...lines]
  ).join("\n");
}
