import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Reads a file that lands on a machine, from `machines/`: with LF endings, whatever the checkout has. */
export function machineFile(name: string): string {
  return readFileSync(join(__dirname, "../machines", name), "utf8").replaceAll("\r\n", "\n");
}

/** A file of `NAME='value'` lines that a shell script can source, whatever the values hold. */
export function shellSettings(values: Record<string, string>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join("");
}
