import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as contract from "../../cluster/contract";
import { contractJson, machineSoftware } from "../../cluster/machine-software";
import { targetPorts } from "../../policy/load-balancers";
import { internalPorts, proxyPorts, worldPorts } from "../../policy/ports";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";
import { fillIn, machineFile } from "../../userdata/machine-file";

const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");
const places = "machines/balancer/wcs_balancer/places.py";

/** What the program, the sandbox and the machines are made of. */
const folders = [
  ...["machines", "config", "cluster", "components", "userdata"],
  ...["rollout", "sandbox", "scripts", "bench"],
];
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

/** Facts that are not looked for, since other things are called the same. */
const ordinary: Record<string, string> = {
  httpsPort: "443 is a port of many servers; a test below looks at some places",
  httpPort: "the same for 80",
  documentContract: "a small number",
  agentRequestVersion: "a small number",
  expiryWarningDays: "a small number",
  handOverMostSeconds: "a number of seconds",
  deadSeconds: "a number of seconds",
  addressFrontend: "the name of this project",
  loadBalancerFrontend: "a security group and files have this name, too",
};

/** What is made of the facts, for other languages. */
const collections = ["placeholders", "filledOnMachine", "balancerFacts"];

/** The texts and numbers of a fact. */
function values(fact: unknown): string[] {
  if (typeof fact === "string" || typeof fact === "number") return [String(fact).trim()];
  return Object(fact) === fact && typeof fact !== "function"
    ? Object.values(Object(fact)).flatMap(values)
    : [];
}

/** All other facts of the contract: a new one is looked for by itself. */
const facts = Object.entries(contract)
  .filter(([name]) => !(name in ordinary) && !collections.includes(name))
  .flatMap(([, fact]) => values(fact));

/** Facts that stand in a text by themselves, not as a part of a longer word or number. */
function copiesIn(text: string): string[] {
  const plain = text.replace(/(?<=\d)_(?=\d)/g, "");
  return facts.filter((fact) =>
    new RegExp(`(?<![\\w-])${fact.replace(/[.]/g, "\\$&")}(?![\\w-])`).test(plain),
  );
}

describe("each fact of the contract stands once:", () => {
  test("no source has a copy, with exceptions that have a reason", () => {
    expect(sources.length).toBeGreaterThan(150);
    const copies = sources
      .map((path) => [path, copiesIn(read(path))] as const)
      .filter(([path, found]) => found.length > 0 && !(path in exceptions));
    expect(Object.fromEntries(copies)).toEqual({});
  });

  test("a copy is found in each of its forms", () => {
    expect(facts.length).toBeGreaterThan(40);
    expect(copiesIn("{ https: 10_443, health: 8404 }")).toEqual(["10443", "8404"]);
    expect(copiesIn('  stats socket "/run/haproxy/wcs-balancer.sock" mode 600')).toEqual([
      contract.runtimeSocket,
    ]);
    expect(copiesIn("{ path /healthz }; 18404; my-8404; /run/haproxy/wcs-balancer.sockets")).toEqual([
      "/healthz",
    ]);
  });

  test("every exception is one", () => {
    expect(Object.keys(ordinary).filter((name) => !(name in contract))).toEqual([]);
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

/** It is written apart from the program that it judges (docs/decisions.md), so it has its own numbers. */
describe("the policy pack means the same ports:", () => {
  test("those of the load balancer", () => {
    expect(proxyPorts).toEqual({
      https: contract.loadBalancerHttpsPort,
      redirect: contract.loadBalancerHttpPort,
      health: contract.loadBalancerHealthPort,
    });
    expect(targetPorts).toEqual({
      [contract.httpsPort]: contract.loadBalancerHttpsPort,
      [contract.httpPort]: contract.loadBalancerHttpPort,
    });
  });

  test("those that the world may reach, and those that nobody may", () => {
    const single = worldPorts.filter(({ from, to }) => from === to).map(({ from }) => from);
    expect(single.sort()).toEqual([contract.httpsPort, contract.httpPort, contract.nodeTlsPort].sort());
    expect(internalPorts).toContain(contract.nodeStatisticsPort);
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
