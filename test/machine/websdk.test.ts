import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packWebSdk } from "../../cluster/websdk";
import { webSdkBundle } from "../../sandbox/downloads";
import { projectRoot } from "../../sandbox/paths";
import { shellSettings } from "../../userdata/files";
import { DebianRoot } from "../debian-root";

const pages = "usr/share/nginx/html/wcs";
const fetched = "var/lib/wcs-setup/websdk";

let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("nginx");
  debian.copy(join(projectRoot, "machines/balancer/steps"), "steps");
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

/** A tarball with two leading folders, as the guide's. */
const oldBundle = () => readFileSync(webSdkBundle("websdk-2.0.218").path);

describe.each([
  ["the npm package", () => packWebSdk().bytes, 0],
  ["a bundle whose ports are fixed, as in the guide's", oldBundle, 2],
])("the pages of %s", (_, bundle, stripComponents) => {
  beforeAll(() => {
    const { status, output } = install(bundle(), stripComponents);
    expect(output, output).toSatisfy(() => status === 0);
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

test("a bundle that is cut off leaves the pages that were there", () => {
  const whole = oldBundle();
  const { status } = install(whole.subarray(0, whole.length / 2), 2);
  expect(status).not.toBe(0);
  expect(existsSync(join(debian.root, pages, "examples/demo"))).toBe(true);
});
