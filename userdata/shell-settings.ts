/** A file of `NAME='value'` lines that a shell script can source, whatever the values hold. */
export function shellSettings(values: Record<string, string>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join("");
}
