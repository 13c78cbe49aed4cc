import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pagesPort } from "../../cluster/contract";
import { examplePage } from "../../cluster/haproxy-config";
import { packWebSdk } from "../../cluster/websdk";
import { shellSettings } from "../../userdata/shell-settings";
import { DebianRoot } from "../debian-root";
import { filledMachines } from "./filled-machines";

const pages = "usr/share/nginx/html/wcs";
const fetched = "var/lib/wcs-setup/websdk";

const machines = filledMachines();

let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("nginx");
  debian.copy(join(machines, "balancer/steps"), "steps");
});

afterAll(() => debian?.remove());

/** Installs a bundle as if it had been fetched and checked. */
function install(bundle: Uint8Array, stripComponents: number): { status: number | null; output: string } {
  mkdirSync(join(debian.root, "var/lib/wcs-setup"), { recursive: true });
  writeFileSync(join(debian.root, fetched), bundle);
  debian.write(
    "etc/wcs-balancer/settings",
    shellSettings({ WEBSDK_STRIP_COMPONENTS: String(stripComponents) }),
  );
  return debian.exec("bash", "/steps/websdk-install.sh");
}

/** Documentation, tests and what builds a bundle; names that are hidden. */
const notForBrowsers =
  /(^|\/)(\.[^/]+|README[^/]*|[^/]+\.md)(\/|$)|^((test|docTemplate)\/|package\.json$|Gruntfile\.js$)/;

/** The answers of the balancer's nginx by path, in a separate network. */
function statuses(paths: string[]): Record<string, string> {
  debian.copy(join(machines, "balancer/nginx.conf"), "etc/nginx/nginx.conf");
  const urls = paths.map(
    (path) => `url = "http://127.0.0.1:${pagesPort}${encodeURI(path)}"\noutput = "/dev/null"\n`,
  );
  debian.write("urls", `${urls.join("")}write-out = "%{http_code} %{url}\\n"\npath-as-is\nsilent\n`);
  const commands = "nginx && curl --config /urls; nginx -s quit";
  const { stdout, stderr } = spawnSync(
    "unshare",
    ["--net", "sh", "-c", `ip link set lo up && exec chroot "$0" sh -c '${commands}'`, debian.root],
    { encoding: "utf8" },
  );
  const answers = [...stdout.matchAll(/^(\d{3}) http:\/\/[^/]+(.*)$/gm)];
  expect(answers.length, stderr).toBe(paths.length);
  return Object.fromEntries(answers.map(([, status = "", path = ""]) => [decodeURI(path), status]));
}

let packed: Uint8Array | undefined;

/** An older WebSDK from npm as a tarball with two leading folders, as the guide's. */
function oldBundle(): Uint8Array {
  packed ??= execFileSync(
    "tar",
    [
      "--create",
      "--gzip",
      `--directory=${dirname(require.resolve("websdk-2.0.218/package.json"))}`,
      "--transform=s,^\\.,flashphoner_client/wcs_api-2.0,",
      ".",
    ],
    { maxBuffer: 1 << 28 },
  );
  return packed;
}

describe.each([
  ["the npm package", () => packWebSdk().bytes, 0],
  ["a bundle whose ports are fixed, as in the guide's", oldBundle, 2],
])("the pages of %s", (_, bundle, stripComponents) => {
  beforeAll(() => {
    const { status, output } = install(bundle(), stripComponents);
    expect(output, output).toSatisfy(() => status === 0);
  });

  test("are all served, except for files that browsers do not need", () => {
    const files = readdirSync(join(debian.root, pages), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(join(debian.root, pages), join(entry.parentPath, entry.name)));
    const answers = statuses(files.map((file) => `/wcs/${file}`));
    const refused = files.filter((file) => answers[`/wcs/${file}`] !== "200");
    expect(refused.filter((file) => !notForBrowsers.test(file))).toEqual([]);
    expect(files.filter((file) => notForBrowsers.test(file) && !refused.includes(file))).toEqual([]);
    expect(files.length - refused.length).toBeGreaterThan(300);
    expect(answers[examplePage]).toBe("200");
  });

  test.each([
    ["https://wcs.example.com/wcs/x.html", "wss://wcs.example.com:443"],
    ["https://localhost:8443/wcs/x.html", "wss://localhost:8443"],
    ["https://localhost:9443/wcs/x.html", "wss://localhost:9443"],
  ])("opened at %s connect to %s", (page, expected) => {
    const script = readFileSync(join(debian.root, pages, "examples/demo/dependencies/js/utils.js"), "utf8");
    const window = { location: new URL(page) };
    const context = { window, document: {}, console: { log() {} }, Number, $: () => ({ ready() {} }) };
    // Browsers find what is set on `window` as a global name too.
    const proxy = new Proxy(context, {
      has: (target, name) => name in target || name in window,
      get: (target, name) => Reflect.get(name in target ? target : window, name),
    });
    expect(runInNewContext(`with (scope) { ${script}\n setURL(); }`, { scope: proxy })).toBe(expected);
  });
});

test("refused paths are refused in every spelling, and only the bundle is served", () => {
  install(oldBundle(), 2);
  debian.write("usr/share/nginx/html/index.html", "Welcome to nginx!");
  debian.write(`${pages}/tests/a.js`, "");
  debian.write(`${pages}/.git/config`, "");
  const paths = [
    "/",
    "/index.html",
    "/wcs/.git/config",
    "/wcs/%2egit/config",
    "/wcs/readme.MD",
    "/wcs//README.md",
  ];
  paths.push("/wcs/tests/a.js", "/wcs/TEST/../test/test.html", "/wcs/examples/../test/test.html", "/other");
  paths.push("/wcs/../../../../etc/wcs-balancer/no-websdk.html");
  const answers = statuses(paths);
  for (const status of Object.values(answers)) expect(["400", "404"]).toContain(status);
});

test("a bundle that is cut off leaves the pages that were there", () => {
  const whole = oldBundle();
  const { status } = install(whole.subarray(0, whole.length / 2), 2);
  expect(status).not.toBe(0);
  expect(existsSync(join(debian.root, pages, "examples/demo"))).toBe(true);
});
