/** Prints what a pull request would do as one comment, for the preview workflow. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const usage = `Usage: npm run preview-comment -- --rendered DIR [--previews DIR] --stacks "STACK..."

Prints Markdown with the preview of each stack (DIR/STACK.txt) and the difference of what its machines get and of what
is open (DIR/STACK.diff).
`;

/** GitHub takes no longer comment than 65,536 characters. */
const commentLimit = 65_000;

interface StackPreview {
  stack: string;
  /** The output of `pulumi preview`; none if it has not run, since it was not approved or the branch is a fork's. */
  preview?: string;
  /** Unified diff of the rendered files; empty where they stay the same. */
  rendered: string;
}

function shorten(text: string, limit: number): string {
  if (text.length <= limit) return text;
  return `${text.slice(0, Math.max(0, limit - 100))}\n... ${text.length - limit + 100} more characters: see the artifact "rendered" and the job's log`;
}

/** A fence that nothing in the text can close. */
function block(language: string, text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text.trimEnd()}\n${fence}`;
}

function details(summary: string, body: string): string {
  return `<details><summary>${summary}</summary>\n\n${body}\n\n</details>`;
}

function describePreview(preview: string | undefined, limit: number): string[] {
  if (preview === undefined)
    return ["No preview: nobody has approved it, or it was cancelled. Code from a fork gets no preview."];
  const errors = preview.match(/^error: .*$/gm) ?? [];
  const resources = preview.match(/^Resources:\n(?: +.*\n)+/m)?.[0] ?? "";
  return [
    ...(errors.length > 0 ? [`**The preview failed.**\n\n${block("", errors.join("\n"))}`] : []),
    ...(resources ? [block("", resources)] : []),
    details("The whole preview", block("", shorten(preview, limit))),
  ];
}

/** Machines that `pulumi preview --diff` replaces, for any reason. */
function replacedInstances(preview: string): string[] {
  const steps = preview.matchAll(
    /aws:ec2\/instance:Instance: \(replace\)\n(?: +\[id=.*\n)? +\[urn=\S*::([\w-]+)\]/g,
  );
  return [...new Set([...steps].map(([, name = ""]) => name))].sort();
}

/**
 * The machines that are replaced: those that the preview names. Without a preview, those whose files change, since the
 * user-data names everything that a machine gets.
 */
function replacedMachines(rendered: string, preview: string | undefined): string {
  if (preview !== undefined) {
    const names = replacedInstances(preview);
    return names.length > 0 ? `**Replaced: ${names.join(", ")}.**` : "No machine is replaced by this.";
  }
  const changed = (kind: string) => rendered.includes(` after/${kind}/user-data.yaml\n`);
  const machines = [
    ...(changed("node") ? ["every node (new ones first; the old ones drain)"] : []),
    ...(changed("balancer") ? ["every balancer (new ones first; the old ones hand over or drain)"] : []),
  ];
  return machines.length > 0
    ? `**Replaced: ${machines.join(", and ")}.** Another user-data or other machine software makes a new machine.`
    : "No machine is replaced by a change of its files. Changes of instance types and images would not show here.";
}

/** The comment, never longer than GitHub takes. */
export function renderComment(stacks: StackPreview[]): string {
  if (stacks.length === 0) return "No stack changes.\n";
  const share = Math.floor(commentLimit / stacks.length / 2) - 500;
  const sections = stacks.map(({ stack, preview, rendered }) => {
    const machines =
      rendered.trim() === ""
        ? "The machines' files and the firewall stay the same."
        : details(
            "What changes in the machines' files and the firewall",
            block("diff", shorten(rendered, share)),
          );
    return [
      `### ${stack}`,
      ...describePreview(preview, share),
      replacedMachines(rendered, preview),
      machines,
    ].join("\n\n");
  });
  return `## What this would do\n\n${sections.join("\n\n")}\n`;
}

/**
 * Reads what the jobs of the workflow have left for each stack.
 * @param rendered folder with STACK.diff
 * @param previews folder with STACK.txt, where a preview has run
 */
export function readPreviews(stacks: string[], rendered: string, previews?: string): StackPreview[] {
  const read = (folder: string | undefined, name: string) => {
    const path = folder === undefined ? undefined : join(folder, name);
    return path && existsSync(path) ? readFileSync(path, "utf8") : undefined;
  };
  return stacks.map((stack) => ({
    stack,
    preview: read(previews, `${stack}.txt`),
    rendered: read(rendered, `${stack}.diff`) ?? "",
  }));
}

function main(): void {
  const { values } = parseArgs({
    options: {
      rendered: { type: "string" },
      previews: { type: "string" },
      stacks: { type: "string", default: "" },
      help: { type: "boolean" },
    },
  });
  if (values.help || !values.rendered) {
    (values.help ? process.stdout : process.stderr).write(usage);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const { rendered, previews, stacks } = values;
  process.stdout.write(renderComment(readPreviews(stacks.split(" ").filter(Boolean), rendered, previews)));
}

if (require.main === module) main();
