import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filledOnMachine, placeholders } from "../cluster/contract";

/** The folder of the files that land on machines. */
const machineFolder = join(__dirname, "../machines");

/**
 * Fills the facts of `cluster/contract.ts` into a machine file, in the place of placeholders such as `@AGENT_PORT@`.
 * @throws Error for a placeholder that the contract does not have
 */
export function fillIn(text: string, file: string): string {
  return text.replace(/@([A-Z][A-Z0-9_]*)@/g, (placeholder, name: string) => {
    if (filledOnMachine.includes(name)) return placeholder;
    const value = placeholders[name];
    if (value === undefined) {
      throw new Error(
        `machines/${file} has the placeholder ${placeholder}, which cluster/contract.ts does not know; it has ` +
          `${Object.keys(placeholders).join(", ")}, and machines fill in ${filledOnMachine.join(", ")}`,
      );
    }
    return value;
  });
}

/**
 * A file that lands on a machine, from `machines/`: with the facts of the contract, and with LF endings whatever the
 * checkout has.
 */
export function machineFile(name: string): string {
  return fillIn(readFileSync(join(machineFolder, name), "utf8").replaceAll("\r\n", "\n"), name);
}
