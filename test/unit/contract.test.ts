import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as contract from "../../cluster/contract";
import { contractJson, machineSoftware } from "../../cluster/machine-software";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { fillIn, machineFile } from "../../userdata/machine-file";

const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");
const places = "machines/balancer/wcs_balancer/places.py";

/** What the program, the sandbox and the machines are made of. */
const folders = ["machines", "cluster", "components", "userdata", "rollout", "sandbox", "scripts", "bench"];
const sources = [
  "index.ts",
  ...folders.flatMap((folder) =>
    readdirSync(join(projectRoot, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !/\.(pyc|sum|mod|svg)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(projectRoot.length + 1)),
  ),
];

/** Where a fact of the contract may stand again, and why. */
const exceptions: Record<string, string> = {
  "cluster/contract.ts": "the contract itself",
  "machines/balancer/steps/websdk-install.sh":
    "8443 is what the WebSDK's pages say, as Flashphoner ships them",
  "sandbox/open.ts": "8443 of localhost is the sandbox's own choice",
  "sandbox/wcs/flashphoner.properties":
    "what WCS itself has before it is configured, as Flashphoner ships it",
  "sandbox/wcs/server.ts": "the same: the ports of a WCS that is not told any",
};

/** Facts that look like nothing else. 80 and 443 are also other things' ports, and percentages. */
const facts = [
  contract.statisticsPort,
  contract.pagesPort,
  contract.statusPort,
  contract.nodePort,
  contract.nodeTlsPort,
  contract.nodeStatisticsPort,
  contract.agentPort,
  contract.nodesBackend,
  contract.pagesBackend,
  contract.addressTable,
  contract.runtimeSocket,
  contract.serverStateFile,
  contract.busyPage,
  contract.syncSettingsFile,
  contract.balancerFacts.syncStateFolder,
  contract.setupSettingsFile,
  contract.balancerFacts.setupStateFile,
  contract.nodeSettingsFile,
  contract.nodeShellSettingsFile,
  contract.statusPath,
  contract.setupWords.running.trim(),
  contract.setupWords.failed.trim(),
];

/** Facts that stand in a text by themselves, not as a part of a longer word or number. */
function copiesIn(text: string): string[] {
  return facts
    .map(String)
    .filter((fact) => new RegExp(`(?<![\\w-])${fact.replace(/[.]/g, "\\$&")}(?![\\w-])`).test(text));
}

describe("each fact of the contract stands once:", () => {
  test("no source has a copy, with exceptions that have a reason", () => {
    expect(sources.length).toBeGreaterThan(150);
    const copies = sources
      .map((path) => [path, copiesIn(read(path))] as const)
      .filter(([path, found]) => found.length > 0 && !(path in exceptions));
    expect(Object.fromEntries(copies)).toEqual({});
  });

  test("every exception is one", () => {
    expect(Object.keys(exceptions).filter((path) => copiesIn(read(path)).length === 0)).toEqual([]);
  });

  test("the clients' ports stand in no machine file and no text of the program by themselves", () => {
    const bare = sources
      .filter((path) => /^(machines|cluster|userdata|rollout)\//.test(path) && !(path in exceptions))
      .filter((path) =>
        /(?<=port:? |:|, |\[)(443|80)\b(?! ?%)/.test(read(path).replace(/^ *(#|\/?\*|"""|\/\/).*$/gm, "")),
      );
    expect(bare).toEqual([]);
  });
});

describe("a placeholder", () => {
  test("that the contract does not know is an error, which names what it has", () => {
    expect(() => fillIn("listen @PAGE_PORT@;", "balancer/nginx.conf")).toThrow(
      /^machines\/balancer\/nginx\.conf has the placeholder @PAGE_PORT@, which .*contract\.ts does not know; it has .*PAGES_PORT/,
    );
  });

  test("that a machine fills in stays", () => {
    expect(fillIn("only_from = @ALLOWED_ADDRESSES@", "x")).toBe("only_from = @ALLOWED_ADDRESSES@");
  });

  test("is in some machine file, each that the contract has", () => {
    const texts = sources.filter((path) => path.startsWith("machines/")).map(read);
    const names = [...Object.keys(contract.placeholders), ...contract.filledOnMachine];
    expect(names.filter((name) => !texts.some((text) => text.includes(`@${name}@`)))).toEqual([]);
  });

  test("is left on no machine", () => {
    const rendered = renderStack("dev", { domain: "wcs.example.com" });
    const left = Object.values(rendered).flatMap((text) => text.match(/@[A-Z][A-Z0-9_]*@/g) ?? []);
    expect([...new Set(left)]).toEqual(["@ALLOWED_ADDRESSES@"]);
    expect(machineFile("balancer/nginx.conf")).toContain("listen 127.0.0.1:8180;");
  });
});

describe("the balancer's Python", () => {
  test("reads each fact that it is given, and no other", () => {
    const named = [...read(places).matchAll(/FACTS\["(\w+)"\]/g)].map(([, name]) => name);
    expect(named.sort()).toEqual(Object.keys(JSON.parse(contractJson)).sort());
  });

  test("finds them beside its modules", () => {
    expect(machineSoftware("balancer")["/usr/local/lib/wcs_balancer/contract.json"]).toBe(contractJson);
  });

  test("lands on the balancer with every module, and the map names each", () => {
    const modules = Object.keys(machineSoftware("balancer")).filter((path) =>
      /\/wcs_balancer\/.*\.py$/.test(path),
    );
    const map = read("machines/balancer/wcs_balancer/__init__.py");
    const named = [...map.matchAll(/^([a-z_]+(?:, [a-z_]+)*)(?: \*)? {2,}/gm)].flatMap(([, names = ""]) =>
      names.split(", "),
    );
    expect(modules.map((path) => path.replace(/.*\//, ""))).toEqual(
      [...named, "__init__"].sort().map((name) => `${name}.py`),
    );
  });
});
