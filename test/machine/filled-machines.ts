/**
 * The files of `machines/` as machines have them: with the contract filled in, and with the JSON file that the balancer's
 * Python reads. Run as a script it writes them to the folder that is named.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { contractJson } from "../../cluster/machine-software";
import { projectRoot } from "../../sandbox/paths";
import { machineFile } from "../../userdata/machine-file";

const machineFolder = join(projectRoot, "machines");

function writeFilled(target: string): void {
  const names = readdirSync(machineFolder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.endsWith("__pycache__"))
    .map((entry) => join(entry.parentPath, entry.name).slice(machineFolder.length + 1));
  const contents = Object.fromEntries(names.map((name) => [name, machineFile(name)]));
  for (const [name, content] of Object.entries({
    ...contents,
    "balancer/wcs_balancer/contract.json": contractJson,
  })) {
    const path = join(target, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    if (content.startsWith("#!")) chmodSync(path, 0o755);
  }
}

/** A folder with the filled files, which goes when this process ends. */
export function filledMachines(): string {
  const folder = mkdtempSync(join(tmpdir(), "wcs-machines-"));
  // Tests run scripts as other users, too.
  chmodSync(folder, 0o755);
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  writeFilled(folder);
  return folder;
}

if (require.main === module) {
  const [target] = process.argv.slice(2);
  if (!target) throw new Error("name a folder to write to");
  writeFilled(target);
}
