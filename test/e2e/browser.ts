import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { expect } from "vitest";
import { examplePage } from "../../cluster/haproxy-config";
import { run } from "../../sandbox/shell";
import { DebianRoot } from "../debian-root";
import { authority, balancerAddress, domain, eventually } from "./cluster";

/**
 * Debian's Chromium with a camera that shows a moving picture. It knows the balancer by its name, and trusts the
 * stack's CA as a company's browsers trust the company's.
 */
export class Chromium {
  private readonly browsers: Browser[] = [];

  private constructor(private readonly debian: DebianRoot) {}

  static async install(): Promise<Chromium> {
    const debian = await DebianRoot.with("chromium", "fonts-liberation");
    for (const folder of ["dev", "sys"]) run("mount", ["--rbind", `/${folder}`, join(debian.root, folder)]);
    debian.write("etc/hosts", `127.0.0.1 localhost\n${balancerAddress} ${domain}\n`);
    debian.write(
      "etc/chromium/policies/managed/authority.json",
      JSON.stringify({ CACertificates: authority().map((pem) => pem.replace(/-----.*-----|\s/g, "")) }),
    );
    return new Chromium(debian);
  }

  /** Starts it where the tests are, or in another network namespace. */
  async start(namespace?: string): Promise<Browser> {
    const command = join(this.debian.root, "start-chromium");
    const enter = namespace ? `nsenter --net=${namespace} ` : "";
    writeFileSync(command, `#!/bin/sh\nexec ${enter}chroot ${this.debian.root} /usr/bin/chromium "$@"\n`);
    chmodSync(command, 0o755);
    const browser = await chromium.launch({
      executablePath: command,
      args: [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
    this.browsers.push(browser);
    return browser;
  }

  async remove(): Promise<void> {
    for (const browser of this.browsers) await browser.close();
    this.debian.remove();
  }
}

/** Keeps a picture of a page in the folder WCS_SCREENSHOTS, if that is set. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env.WCS_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** The frames of a picture while something else happens. */
interface Frames {
  count: number;
  /** Between two frames, or the last one and now. */
  longestGapMilliseconds: number;
}

/** A window with the WebSDK's Two Way Streaming page, used as a person does. */
export class TwoWayStreaming {
  private constructor(readonly page: Page) {}

  static async open(browser: Browser, site = `https://${domain}`): Promise<TwoWayStreaming> {
    const context = await browser.newContext({ ignoreHTTPSErrors: !site.includes(domain) });
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    // The page keeps its connections to itself; where media goes is asked of them.
    await page.addInitScript(() => {
      const connections: RTCPeerConnection[] = [];
      Object.assign(window, { connections });
      window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(configuration?: RTCConfiguration) {
          super(configuration);
          connections.push(this);
        }
      };
    });
    await page.goto(`${site}${examplePage}`);
    return new TwoWayStreaming(page);
  }

  /** The address that the page proposes, once its script has run. */
  address(): Promise<string> {
    return eventually(async () => {
      const address = await this.page.inputValue("#urlServer");
      expect(address).not.toBe("");
      return address;
    }, 90);
  }

  /** Gives the session's state. */
  async connect(address?: string): Promise<string> {
    if (address) await this.page.fill("#urlServer", address);
    return this.click("#connectBtn", "#connectStatus");
  }

  /** Gives the stream's state, with what the page says of a failure. */
  async publish(name: string): Promise<string> {
    await this.page.fill("#publishStream", name);
    return this.click("#publishBtn", "#publishStatus", "#publishInfo");
  }

  async play(name: string): Promise<string> {
    await this.page.fill("#playStream", name);
    return this.click("#playBtn", "#playStatus", "#playInfo");
  }

  /** Pictures of the played stream that were decoded so far. */
  decodedFrames(): Promise<number> {
    return this.page.evaluate(() => {
      const video = document.querySelector<HTMLVideoElement>("#remoteVideo video");
      return video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
    });
  }

  /** Whether it shows ever more of the stream that it plays. */
  async moves(): Promise<boolean> {
    const before = await this.decodedFrames();
    try {
      await eventually(async () => expect(await this.decodedFrames()).toBeGreaterThan(before + 10), 10);
      return true;
    } catch {
      return false;
    }
  }

  /** What the page says of its streams, and the states of all connections for media that it has ever made. */
  async mediaState(): Promise<{ playing: string | null; publishing: string | null; connections: string[] }> {
    const connections = await this.page.evaluate(() => {
      const { connections } = window as unknown as { connections: RTCPeerConnection[] };
      return connections.map(({ connectionState }) => connectionState);
    });
    const [playing, publishing] = [
      await this.page.textContent("#playStatus"),
      await this.page.textContent("#publishStatus"),
    ];
    return { playing, publishing, connections };
  }

  /** Where this window's media goes: address and UDP port of the other side. */
  mediaTargets(): Promise<{ address: string; port: number; protocol: string }[]> {
    return this.page.evaluate(async () => {
      const { connections } = window as unknown as { connections: RTCPeerConnection[] };
      const reports = await Promise.all(connections.map((connection) => connection.getStats()));
      return reports.flatMap((report) => {
        const all = [...report.values()];
        const withId = (wanted: string) => all.find(({ id }) => id === wanted);
        // Other pairs may have succeeded, too: the browser tries each of its addresses.
        const used = all.filter(
          ({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId,
        );
        return used.map(({ selectedCandidatePairId }) => {
          const { address, port, protocol } = withId(withId(selectedCandidatePairId).remoteCandidateId);
          return { address, port, protocol };
        });
      });
    });
  }

  /** Watches the played picture from now on; the function that it gives ends that. */
  async watchFrames(): Promise<() => Promise<Frames>> {
    await this.page.evaluate(() => {
      const video = document.querySelector<HTMLVideoElement>("#remoteVideo video");
      const watch = { count: 0, longest: 0, last: performance.now() };
      Object.assign(window, { watch });
      const next = () => {
        const now = performance.now();
        watch.count += 1;
        watch.longest = Math.max(watch.longest, now - watch.last);
        watch.last = now;
        video?.requestVideoFrameCallback(next);
      };
      video?.requestVideoFrameCallback(next);
    });
    return () =>
      this.page.evaluate(() => {
        const { watch } = window as unknown as { watch: { count: number; longest: number; last: number } };
        return {
          count: watch.count,
          longestGapMilliseconds: Math.round(Math.max(watch.longest, performance.now() - watch.last)),
        };
      });
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  /** Clicks, and waits for the state that follows. */
  private async click(button: string, status: string, info?: string): Promise<string> {
    const before = await this.page.textContent(status);
    await this.page.click(button);
    const state = await eventually(async () => {
      const text = await this.page.textContent(status);
      if (!text || text === before) throw new Error(`${status} stays "${before}" after a click on ${button}`);
      return text;
    }, 90);
    const reason = info ? await this.page.textContent(info) : "";
    return state === "FAILED" && reason ? `${state}: ${reason}` : state;
  }
}
