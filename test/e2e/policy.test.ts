import { expect, test } from "vitest";
import { certificateOptions, ownCertificate } from "../own-certificate";
import { domain, long, sandbox, up } from "./cluster";

test("a preview runs the policy pack, and fails on what no stack may do", () => {
  const { status, output } = sandbox("preview", "--config", 'openPorts=["rtmp"]');
  expect(status).toBe(1);
  expect(output).toMatch(/wcs-balancer@v[\d.]+ \[mandatory\] +world-ports/);
  expect(output).toContain("tcp 1935 is open to the world; name the networks that need it");
});

test("protect keeps the CA's key: a change that would delete it fails in its preview", async () => {
  up("--config", "protect=true");
  const own = certificateOptions(await ownCertificate(domain));
  const { status, output } = sandbox("preview", "--config", "protect=true", ...own);
  expect(status).toBe(1);
  expect(output).toMatch(/PrivateKey::certificate-ca" cannot be deleted\s+because it is protected/);
});

if (long)
  test("the world in parts is the world", () => {
    const parts = ["--config", 'clientCidrs=["12.0.0.0/8","13.0.0.0/8"]'];
    const { status, output } = sandbox("preview", "--config", 'openPorts=["rtmp"]', ...parts);
    expect(status).toBe(1);
    expect(output).toContain("tcp 1935 is open to the world, by 12.0.0.0/8, 13.0.0.0/8 together");
  });

if (long)
  test("what names the networks that need it passes", () => {
    const limits = ["--config", 'clientCidrs=["198.51.100.0/24"]'];
    const { status, output } = sandbox("preview", "--config", 'openPorts=["rtmp"]', ...limits);
    expect(output, output.slice(-2000)).toSatisfy(() => status === 0);
  });
