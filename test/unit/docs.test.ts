import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { statusServerName } from "../../cluster/contract";
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
  /** Without comments and the joints of messages that are longer than a line, and with the one name that they fill in. */
  const code = sources
    .map(read)
    .join("\n")
    .replace(/^ *(\/\/|\/?\*|#).*$/gm, "")
    .replace(/["'`]\s*\+?\s*\n\s*f?["'`]/g, "")
    .replaceAll(`\${statusServerName}`, statusServerName);
  /** Clauses that the engine, Node or AWS says. */
  const foreign = [
    "ECONNREFUSED",
    "cannot be deleted because it is protected",
    "AccessDeniedException",
    "wcs-balancer@v",
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

  /** Whether these parts stand in the code one after the other, the first and the last not as parts of words. */
  function standTogether(parts: string[]): boolean {
    const begin = /^\w/.test(parts[0] ?? "") ? "(?<!\\w)" : "";
    const end = /\w$/.test(parts.at(-1) ?? "") ? "(?!\\w)" : "";
    return new RegExp(begin + parts.map(literally).join("[^\\n]{0,80}?") + end).test(code);
  }

  /** Whether every clause of a message is said, by this project or by others, and one is more than a fragment. */
  function isSaid(message: string): boolean {
    // One part of the project puts its clause before another's. Capitals and numbers may vary within a clause.
    const own = message
      .split(/\.\.\.|: |\n/)
      .map((clause) => clause.trim())
      .filter((clause) => clause !== "" && !foreign.includes(clause))
      .map((clause) => (standTogether([clause]) ? [clause] : clause.split(/\b[A-Z]+\b|\d+/)));
    const longest = Math.max(...own.flat().map((part) => part.trim().length));
    return own.length === 0 || (own.every(standTogether) && longest >= 9);
  }

  test("there are some", () => expect(messages.length).toBeGreaterThan(20));

  test.each(messages)("%s", (message) => {
    expect(isSaid(message), message).toBe(true);
  });

  test.each([
    ["that nothing says", "the balancer has no room for another node"],
    ["with a known beginning", "the SHA-256 is ...: nobody has signed it"],
    ["with a known end", "the node is tired: WCS does not answer on port 8081"],
    ["with a clause of the engine's in it", "the node is tired: ECONNREFUSED"],
    ["around a phrase of the engine's", "the node cannot be deleted because it is protected"],
    ["that is a fragment", "is"],
    ["that is a fragment with values", "KEY is VALUE"],
    ["that is cut inside a word", "ertificate ends in N day"],
    ["that is only in a comment", "have effects that operators should know"],
  ])("a message %s would be found: %s", (_, message) => {
    expect(isSaid(message)).toBe(false);
  });
});
