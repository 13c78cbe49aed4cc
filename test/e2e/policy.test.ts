import { expect, test } from "vitest";
import { long, sandbox, up } from "./cluster";

test("a preview runs the policy pack, and fails when a stack breaks a rule", () => {
  const { status, output } = sandbox("preview", "--config", 'openPorts=["rtmp"]');
  expect(status).toBe(1);
  expect(output).toMatch(/wcs-balancer@v[\d.]+ \[mandatory\] +world-ports/);
  expect(output).toContain("tcp 1935 is open to the world; name the networks that need it");
});

test("protect keeps the Elastic IP and the CA's key: a destroy fails in its preview and names them", () => {
  up("--config", "protect=true");
  const { status, output } = sandbox("destroy");
  expect(status).toBe(1);
  expect(output).toMatch(/Eip::entry" cannot be deleted\s+because it is protected/);
  expect(output).toMatch(/PrivateKey::certificate-ca" cannot be deleted\s+because it is protected/);
});

if (long)
  test("two halves of the internet count as the whole internet", () => {
    const parts = ["--config", 'clientCidrs=["12.0.0.0/8","13.0.0.0/8"]'];
    const { status, output } = sandbox("preview", "--config", 'openPorts=["rtmp"]', ...parts);
    expect(status).toBe(1);
    expect(output).toContain("tcp 1935 is open to the world, by 12.0.0.0/8, 13.0.0.0/8 together");
  });

if (long)
  test("a rule for the networks that need it passes", () => {
    const limits = ["--config", 'clientCidrs=["198.51.100.0/24"]'];
    const { status, output } = sandbox("preview", "--config", 'openPorts=["rtmp"]', ...limits);
    expect(output, output.slice(-2000)).toSatisfy(() => status === 0);
  });
