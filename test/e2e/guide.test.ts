import { spawnSync } from "node:child_process";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Chromium, screenshot, TwoWayStreaming } from "./browser";
import {
  balancerAddress,
  closePort,
  domain,
  eventually,
  long,
  machine,
  startSandbox,
  statisticsPage,
  whileAllUp,
} from "./cluster";

const minute = 60_000;

let chromium: Chromium;
let browser: Browser;

beforeAll(async () => {
  chromium = await Chromium.install();
  browser = await chromium.start();
}, 5 * minute);

afterAll(() => chromium?.remove());

function numberOf(page: string, name: string): number {
  return Number(page.match(new RegExp(`^${name}=(\\d+)$`, "m"))?.[1]);
}

/** What one node shows of WebSockets, streams and whose they are. */
async function seenOn(node: string) {
  const page = await statisticsPage(node);
  const session = page.match(/^published=(\S+) session=\/([^/]+)\//m);
  return {
    websockets: numberOf(page, "connections_websocket"),
    incoming: numberOf(page, "streams_webrtc_in"),
    stream: session?.[1],
    ownAddressAndPort: localAddresses().includes(session?.[2] ?? ""),
  };
}

/** Addresses and ports from which this machine's programs, the browser, have connections to the balancer. */
function localAddresses(): string[] {
  const { stdout } = spawnSync("ss", ["-Htn", "dst", `${balancerAddress}:443`], { encoding: "utf8" });
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[3] ?? "");
}

async function nodesInTurn(): Promise<[string, string]> {
  const first = (await seenOn("wcs-1")).websockets === 1 ? "wcs-1" : "wcs-2";
  return [first, first === "wcs-1" ? "wcs-2" : "wcs-1"];
}

/** Every step of the guide's test, with what there was to see; `look` gets the first window while it plays. */
async function guideTest(look = async (_: TwoWayStreaming) => {}) {
  const windows: TwoWayStreaming[] = [];
  const openWindow = async () => {
    const window = await TwoWayStreaming.open(browser);
    windows.push(window);
    return window;
  };
  try {
    const one = await openWindow();
    const address = await one.address();
    const connected = [await one.connect()];
    const [first, second] = await nodesInTurn();
    const published = [await one.publish("test")];
    const afterFirst = { first: await seenOn(first), second: await seenOn(second) };

    const two = await openWindow();
    connected.push(await two.connect(`wss://${domain}:443`));
    published.push(await two.publish("test2"));
    const afterSecond = { first: await seenOn(first), second: await seenOn(second) };

    const played = [await one.play("test"), await two.play("test2")];
    const decoded = [await one.moves(), await two.moves()];
    await look(one);
    const targets = [await one.mediaTargets(), await two.mediaTargets()];
    const expected = [(await machine(first)).publicAddress, (await machine(second)).publicAddress];
    const media = targets.map(
      (ofWindow, index) =>
        ofWindow.length === 2 &&
        ofWindow.every(
          ({ address, port, protocol }) =>
            address === expected[index] && protocol === "udp" && port >= 30_000 && port <= 33_000,
        ),
    );
    return { address, connected, published, afterFirst, afterSecond, played, decoded, media };
  } finally {
    for (const window of windows) await window.close();
    // The next test begins with nodes that have nobody.
    for (const node of ["wcs-1", "wcs-2"])
      await eventually(async () => expect((await seenOn(node)).websockets).toBe(0));
  }
}

const nobody = { websockets: 0, incoming: 0, stream: undefined, ownAddressAndPort: false };

describe("the guide's test", () => {
  test("two windows stream through two nodes, each session known by the browser's address and port", async () => {
    const one = { websockets: 1, incoming: 1, stream: "test", ownAddressAndPort: true };
    const two = { websockets: 1, incoming: 1, stream: "test2", ownAddressAndPort: true };
    await whileAllUp(2, async () => {
      const seen = await guideTest(({ page }) => screenshot(page, "two-way-streaming"));
      expect(seen).toEqual({
        address: `wss://${domain}:443`,
        connected: ["ESTABLISHED", "ESTABLISHED"],
        published: ["PUBLISHING", "PUBLISHING"],
        afterFirst: { first: one, second: nobody },
        afterSecond: { first: one, second: two },
        played: ["PLAYING", "PLAYING"],
        decoded: [true, true],
        media: [true, true],
      });
    });
  });

  test("with the media ports closed in the security group it fails on media, and only there", async () => {
    const open = await closePort(30_000, 2);
    try {
      const connectedOnly = { ...nobody, websockets: 1 };
      const failure = "FAILED: Other: Failed by ICE timeout";
      await whileAllUp(2, async () =>
        expect(await guideTest()).toEqual({
          address: `wss://${domain}:443`,
          connected: ["ESTABLISHED", "ESTABLISHED"],
          published: [failure, failure],
          afterFirst: { first: connectedOnly, second: nobody },
          afterSecond: { first: connectedOnly, second: connectedOnly },
          played: ["FAILED: Actual session does not exist", "FAILED: Actual session does not exist"],
          decoded: [false, false],
          media: [false, false],
        }),
      );
    } finally {
      await open();
    }
  });
});

/**
 * In milliseconds. It is one or two tenths of a second, more when other tests need the processors. That the stream does not
 * begin anew is seen by its connections.
 */
const longestGapAllowed = long ? 1000 : 15_000;

describe("while a window plays its own stream", () => {
  let window: TwoWayStreaming;
  beforeAll(async () => {
    window = await TwoWayStreaming.open(browser);
    expect(await window.connect()).toBe("ESTABLISHED");
    expect(await window.publish("steady")).toBe("PUBLISHING");
    expect(await window.play("steady")).toBe("PLAYING");
    expect(await window.moves()).toBe(true);
  });
  afterAll(() => window?.close());

  const changes: [string, Record<string, string>][] = [
    ["a third node is added", {}],
    ["the certificate is renewed", { WCS_SANDBOX_DATE: "2031-05-01" }],
  ];
  test.each(
    long ? changes : changes.slice(0, 1),
  )("%s, and its picture does not stop", async (name, variables) => {
    const before = await window.mediaState();
    expect(before).toEqual({
      playing: "PLAYING",
      publishing: "PUBLISHING",
      connections: ["connected", "connected"],
    });
    const ended = await window.watchFrames();
    const { status, output } = await startSandbox(["up", "--nodes", "3"], variables).ended;
    const { count, longestGapMilliseconds } = await ended();
    expect(output, output.slice(-3000)).toSatisfy(() => status === 0);
    console.log(`${name}: ${count} frames, the longest gap was ${longestGapMilliseconds} ms`);
    expect(count).toBeGreaterThan(50);
    expect(longestGapMilliseconds).toBeLessThan(longestGapAllowed);
    expect(await window.mediaState()).toEqual(before);
    expect(await window.moves()).toBe(true);
  });
});
