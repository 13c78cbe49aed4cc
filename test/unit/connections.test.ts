import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { endConnections } from "../../sandbox/cloud/connections";

const path = process.env.PATH;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wcs-connections-"));
  process.env.PATH = `${folder}:${path}`;
});

afterEach(() => {
  process.env.PATH = path;
  rmSync(folder, { recursive: true });
});

/** Puts a stand-in for conntrack in place, which gives these errors, and then says that there is nothing to delete. */
function conntrackThatFails(...errors: string[]): () => string[] {
  const calls = join(folder, "calls");
  const cases = errors.map((text, index) => `${index + 1}) echo "conntrack v1.4.7: ${text}" >&2; exit 1;;`);
  const script = `#!/bin/sh
echo "$@" >> ${calls}
case $(wc -l < ${calls}) in
${cases.join("\n")}
esac
echo "conntrack v1.4.7: 0 flow entries have been deleted." >&2
exit 1
`;
  const file = join(folder, "conntrack");
  writeFileSync(file, script);
  chmodSync(file, 0o755);
  return () => readFileSync(calls, "utf8").trim().split("\n");
}

const gone = "Operation failed: such conntrack doesn't exist";

test("a connection that ends by itself meanwhile is no error, and the others are ended, too", () => {
  const calls = conntrackThatFails(gone, gone);
  endConnections("203.0.113.10");
  expect(calls()).toEqual([
    "--delete --orig-dst 203.0.113.10",
    "--delete --orig-dst 203.0.113.10",
    "--delete --orig-dst 203.0.113.10",
    "--delete --reply-dst 203.0.113.10",
  ]);
});

test("another error of conntrack is one", () => {
  conntrackThatFails("Operation failed: sorry, you must be root or get CAP_NET_ADMIN capability to do this");
  expect(() => endConnections("203.0.113.10")).toThrow(
    /^conntrack --delete --orig-dst 203\.0\.113\.10 failed: .*must be root/,
  );
});
