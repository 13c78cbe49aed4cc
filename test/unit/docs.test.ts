import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { renderArchitecture, renderConfigurationReference } from "../../scripts/docs";

const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");
const pagesIn = (folder: string) =>
  readdirSync(join(projectRoot, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));
const pages = [...pagesIn("."), ...pagesIn("docs")];

/** The text without its fenced blocks, in which a bracket is no link. */
function prose(page: string): string {
  return read(page).replace(/^ *```[\s\S]*?^ *```$/gm, "");
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchors(page: string): string[] {
  const headings = [...prose(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading ?? "");
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

describe.each(pages)("%s", (page) => {
  const targets = [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? "");

  test("links to what is there", () => {
    for (const target of targets.filter((link) => !link.startsWith("https://"))) {
      const [path = "", anchor] = target.split("#");
      const file = path ? join(dirname(page), path) : page;
      expect(existsSync(join(projectRoot, file)), target).toBe(true);
      if (anchor) expect(anchors(file), target).toContain(anchor);
    }
  });

  test("says of each block what it is", () => {
    const fences = [...read(page).matchAll(/^ *```(.*)$/gm)].map(([, info]) => info);
    const opening = fences.filter((_, index) => index % 2 === 0);
    expect(fences.length % 2).toBe(0);
    for (const info of opening) expect(["", "sh", "sh aws", "sh clone"]).toContain(info);
  });
});

test("the configuration's reference is current: npm run docs", () => {
  expect(read("docs/configuration.md")).toBe(renderConfigurationReference());
});

test("the picture is current: npm run docs", async () => {
  expect(read("docs/architecture.svg")).toBe(await renderArchitecture());
});

test("the README names every npm script", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const readme = read("README.md");
  for (const name of Object.keys(scripts).filter((script) => script !== "prepare")) {
    expect(readme, name).toMatch(new RegExp(`npm (run )?${name}\\b`));
  }
});

describe("each error message that the operations guide explains is one that something says", () => {
  const folders = ["cluster", "config", "machines", "rollout", "sandbox", "scripts", "userdata"];
  const sources = folders.flatMap((folder) =>
    readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(ts|py|sh)$/.test(name))
      .map((name) => join(folder, name)),
  );
  /** Without the joints of messages that are longer than a line. */
  const code = sources
    .map(read)
    .join("\n")
    .replace(/["'`]\s*\+?\s*\n\s*f?["'`]/g, "");
  /** What the engine or Node says. */
  const foreign = [
    "ECONNREFUSED",
    "cannot be deleted because it is protected",
    "AccessDeniedException",
    "[mandatory]",
  ];

  const guide = read("docs/operations.md");
  const rows = [...guide.slice(guide.indexOf("## Error messages")).matchAll(/^\| (`.*?) \|/gm)].map(
    ([, cell]) => cell ?? "",
  );
  const messages = rows.flatMap((cell) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, message]) => message ?? ""),
  );

  const literally = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  test("there are some", () => expect(messages.length).toBeGreaterThan(20));

  test.each(messages)("%s", (message) => {
    // One part of the project puts its clause before another's. Capitals and numbers may vary within a clause.
    const clauses = message.split(/\.\.\.|: |\n/).map((clause) => clause.trim());
    const words = clauses.map((clause) =>
      code.includes(clause) ? [clause] : clause.split(/\b[A-Z]+\b|\d+/),
    );
    const isSaid = (parts: string[]) => new RegExp(parts.map(literally).join("[^\\n]{0,80}?")).test(code);
    const longest = Math.max(...words.flat().map((part) => part.trim().length));
    const known = longest >= 9 && words.every(isSaid);
    expect(known || foreign.some((words) => message.includes(words)), message).toBe(true);
  });
});
