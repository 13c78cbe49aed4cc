import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../sandbox/shell";
import { Chromium, screenshot, TwoWayStreaming } from "./browser";
import { cloud, eventually, ownAddress, paths, type Running, startSandbox, statisticsPage } from "./cluster";

const minute = 60_000;

let chromium: Chromium;
beforeAll(async () => {
  chromium = await Chromium.install();
}, 5 * minute);

afterAll(() => chromium?.remove());

describe("open", () => {
  /** A network like this machine's own, separate from the sandbox's networks. */
  const desk = `wcs-desk-${paths.name}`;
  const ownNetwork = `/run/netns/${desk}`;
  beforeAll(() => {
    run("ip", ["netns", "add", desk]);
    run("ip", ["-n", desk, "link", "set", "lo", "up"]);
  });
  const running: Running[] = [];
  const open = async (...args: string[]): Promise<Running> => {
    const opened = startSandbox(["open", ...args], {}, ownNetwork);
    running.push(opened);
    await eventually(() => expect(opened.output).toContain("until Ctrl-C"));
    return opened;
  };
  afterAll(async () => {
    for (const opened of running) {
      opened.interrupt();
      await opened.ended;
    }
    run("ip", ["netns", "delete", desk]);
  });

  /** What localhost shows in the machine's own browser. */
  const look = async (own: Browser, url: string, name: string): Promise<string> => {
    const context = await own.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    await page.goto(url);
    await screenshot(page, name);
    const text = (await page.textContent("body")) ?? "";
    await context.close();
    return text;
  };

  test("makes localhost the balancer for this machine's own browser, media included, and the statistics pages", async () => {
    const opened = await open();
    // After it: Chromium cuts off what it loads when it sees a new network interface, and a person sees it load again.
    const own = await chromium.start(ownNetwork);
    expect(opened.output).toMatch(/Open https:\/\/localhost:8443\/wcs\/.*two_way_streaming\.html/);
    const window = await TwoWayStreaming.open(own, "https://localhost:8443");
    expect(await window.address()).toBe("wss://localhost:8443");
    expect(await window.connect()).toBe("ESTABLISHED");
    expect(await window.publish("by-hand")).toBe("PUBLISHING");
    expect(await window.play("by-hand")).toBe("PLAYING");
    expect(await window.moves()).toBe(true);

    const machines = await cloud.call("machines", {});
    const nodes = machines.map(({ name }) => name).filter((name) => name.startsWith("wcs-"));
    const pages = await Promise.all(nodes.map((node) => statisticsPage(node)));
    const node = nodes[pages.findIndex((page) => page.includes("published=by-hand"))] ?? "none";
    expect((await open(node)).output).toContain(`http://localhost:8081 is the statistics page of ${node}`);
    expect(await look(own, "http://localhost:8081", "wcs-statistics")).toMatch(
      new RegExp(`^published=by-hand session=/${ownAddress}:`, "m"),
    );
    await open("statistics");
    expect(await look(own, "https://localhost:8404", "haproxy-statistics")).toContain(node);
    await window.close();
  });

  test("a second one says that the port is in use", async () => {
    const second = async (...args: string[]) =>
      (await startSandbox(["open", ...args], {}, ownNetwork).ended).output;
    expect(await second()).toBe(
      "sandbox: port 8443 of this machine is in use; name another one with --port\n",
    );
    expect(await second("--port", "9443")).toMatch(
      /^sandbox: the network interface wcs-open is there already/,
    );
  });

  test("leaves nothing behind when it is ended", async () => {
    for (const opened of running.splice(0)) {
      opened.interrupt();
      await opened.ended;
    }
    const here = (...command: string[]) => run("nsenter", [`--net=${ownNetwork}`, ...command]);
    await eventually(() => expect(here("ip", "link")).not.toContain("wcs-open"));
    expect(here("ip", "route")).toBe("");
    expect(here("ss", "-Htln")).toBe("");
  });
});
