import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { webSdkBundle } from "../../sandbox/downloads";
import { cached, projectRoot } from "../../sandbox/paths";
import { shellSettings } from "../../userdata/files";
import { DebianRoot } from "../debian-root";

const pages = "usr/share/nginx/html/wcs";
const tarball = "var/lib/wcs-setup/websdk.tar.gz";

let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("nginx");
  debian.copy(join(projectRoot, "machines/setup/step.sh"), "usr/local/lib/wcs-setup/step.sh");
  debian.copy(join(projectRoot, "machines/balancer/steps"), "steps");
  debian.write(
    "etc/wcs-balancer/settings",
    shellSettings({ WEBSDK_URL: "unused", WEBSDK_SHA256: "", WEBSDK_STRIP_COMPONENTS: "2" }),
  );
});

afterAll(() => debian?.remove());

function install(): { status: number | null; output: string } {
  // As cloud-init does, which sees a script's state by its end alone.
  debian.exec("rm", "-f", "/var/lib/wcs-setup/state");
  return debian.exec("bash", "/steps/websdk-install.sh");
}

function place(url: string): void {
  mkdirSync(join(debian.root, "var/lib/wcs-setup"), { recursive: true });
  copyFileSync(join(cached.downloads, basename(url)), join(debian.root, tarball));
}

describe.each([
  ["the current bundle", "@flashphoner/websdk"],
  ["one whose ports are fixed, as in the guide's", "websdk-2.0.218"],
])("the pages of %s", (_, packageName) => {
  beforeAll(() => {
    place(webSdkBundle(packageName).url);
    const { status, output } = install();
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

test("a bundle that is cut off leaves the pages that were there, and names the step", () => {
  const whole = readFileSync(join(cached.downloads, basename(webSdkBundle().url)));
  writeFileSync(join(debian.root, tarball), whole.subarray(0, whole.length / 2));
  const { status, output } = install();
  expect(status).not.toBe(0);
  expect(output).toContain("set-up: step install.sh failed");
  expect(existsSync(join(debian.root, pages, "examples/demo"))).toBe(true);
});
