import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../sandbox/paths";

const folder = join(projectRoot, "docs");
const page = join(folder, "benchmarks.md");

const introduction = `# Benchmarks

\`npm run bench\` measures and writes these tables. Each compares within one run on one machine. On another machine the
figures differ: measure there.
`;

export function median(values: number[]): number {
  return percentile(values, 50);
}

export function percentile(values: number[], percent: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}

export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "--:"))), ...rows.map(line)].join(
    "\n",
  );
}

export function thisMachine(): string {
  const [processor] = cpus();
  return `${cpus().length} processors (${processor?.model.trim()}), Linux ${release()}, ${new Date().toISOString().slice(0, 10)}`;
}

/** Puts a measurement's text into its place on the page, in that of its last run. */
export function writeSection(name: string, text: string): void {
  mkdirSync(folder, { recursive: true });
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const old = existsSync(page) ? readFileSync(page, "utf8") : introduction;
  const section = `${begin}\n\n${text.trim()}\n\n${end}`;
  const from = old.indexOf(begin);
  const content =
    from < 0
      ? `${old.trimEnd()}\n\n${section}\n`
      : old.slice(0, from) + section + old.slice(old.indexOf(end) + end.length);
  writeFileSync(page, content);
}

export function writePicture(name: string, svg: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), svg);
}
