import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runtimeSocket } from "../../cluster/haproxy-config";
import { machineSoftware } from "../../cluster/machine-software";
import { projectRoot } from "../../sandbox/paths";
import { renderStack } from "../../scripts/render";

const packageFolder = "machines/balancer/wcs_balancer";
const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");
const { "balancer/haproxy.cfg": haproxyConfig = "" } = renderStack("dev", { domain: "wcs.example.com" });

/** A constant of places.py, as text. */
function place(name: string): string {
  const found = read(`${packageFolder}/places.py`).match(
    new RegExp(`^${name} = (?:Path\\()?"?([^")\\n]+)`, "m"),
  );
  if (!found?.[1]) throw new Error(`places.py has no ${name}`);
  return found[1];
}

describe("what the balancer's Python names is what stands elsewhere:", () => {
  test.each([
    ["the nodes' backend", () => `\nbackend ${place("BACKEND")}\n`],
    [
      "nginx",
      () => `\nbackend ${place("PAGES_BACKEND")}\n    server nginx 127.0.0.1:${place("PAGES_PORT")} `,
    ],
    ["the table of client addresses", () => `\nbackend ${place("ADDRESSES")}\n    stick-table `],
    ["the status", () => `\n    server sync 127.0.0.1:${place("STATUS_PORT")} `],
    ["a node's port", () => `\n    tcp-check connect comment "port ${place("NODE_PORT")}"\n`],
    ["an agent's port", () => ` agent-port ${place("AGENT_PORT")} `],
    ["the socket of the runtime API", () => `\n    stats socket ${place("RUNTIME_SOCKET")} `],
    ["the servers' states", () => `\n    server-state-file ${place("SERVER_STATE")}\n`],
  ])("%s in haproxy.cfg", (_, line) => expect(haproxyConfig).toContain(line()));

  test("the socket of the runtime API in TypeScript", () => {
    expect(place("RUNTIME_SOCKET")).toBe(runtimeSocket);
  });

  test("in the units and in nginx.conf", () => {
    expect(read("machines/balancer/haproxy.conf")).toContain(`--force ${place("SERVER_STATE")}\n`);
    expect(read("machines/balancer/nginx.conf")).toContain(`listen 127.0.0.1:${place("PAGES_PORT")};`);
    expect(place("STATE")).toBe("/var/lib/wcs-balancer");
    expect(read("machines/balancer/wcs-balancer-sync.service")).toContain("\nStateDirectory=wcs-balancer\n");
  });

  test("in the balancer's user-data", () => {
    const { "balancer/user-data.yaml": userData } = renderStack("dev", { domain: "wcs.example.com" });
    expect(userData).toContain(place("SETTINGS"));
  });
});

test("every module of the package lands on the balancer", () => {
  const modules = Object.keys(machineSoftware("balancer")).filter((path) => path.includes("/wcs_balancer/"));
  const map = read(`${packageFolder}/__init__.py`);
  const named = [...map.matchAll(/^([a-z_]+(?:, [a-z_]+)*)(?: \*)? {2,}/gm)].flatMap(([, names = ""]) =>
    names.split(", "),
  );
  expect(modules.map((path) => path.replace(/.*\//, ""))).toEqual(
    [...named, "__init__"].sort().map((name) => `${name}.py`),
  );
});
