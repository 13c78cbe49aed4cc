import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { agentPort } from "../../cluster/contract";
import { run } from "../../sandbox/shell";
import { shellSettings } from "../../userdata/shell-settings";
import { DebianRoot } from "../debian-root";
import { filledMachines } from "./filled-machines";

/** Asks from each address given, and prints what each got; the first question waits until xinetd listens. */
const askFrom = `
import socket, subprocess, sys, time

for source in sys.argv[1:]:
    subprocess.run(["ip", "address", "add", f"{source}/32", "dev", "lo"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
xinetd = subprocess.Popen(["xinetd", "-dontfork"])


def ask(source):
    with socket.create_connection(("127.0.0.1", ${agentPort}), source_address=(source, 0)) as client:
        client.sendall(b";")
        return client.makefile().readline().strip()


while xinetd.poll() is None:
    try:
        ask("127.0.0.1")
        break
    except ConnectionRefusedError:
        time.sleep(0.02)
for source in sys.argv[1:]:
    try:
        print(source, ask(source) or "nothing")
    except ConnectionResetError:
        print(source, "nothing")
xinetd.kill()
`;

const machines = filledMachines();

let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("xinetd");
  for (const name of ["haproxy-agent-check.sh", "haproxy-agent-check-launch.sh"]) {
    debian.copy(join(machines, "node", name), `usr/local/bin/${name}`);
    run("chmod", ["755", join(debian.root, "usr/local/bin", name)]);
  }
  const allowed = "10.0.0.10 10.2.0.0/16 172.31.0.10/32 127.0.0.1";
  debian.write("etc/wcs-node/settings", shellSettings({ ALLOWED_ADDRESSES: allowed }));
  const file = "haproxy-agent-check.xinetd";
  debian.copy(join(machines, "node", file), `usr/local/share/wcs-node/${file}`);
  debian.copy(join(machines, "node/steps"), "steps");
  const { status, output } = debian.exec("env", "SYSTEMD_OFFLINE=1", "bash", "/steps/agent-xinetd.sh");
  expect(output, output).toSatisfy(() => status === 0);
  debian.write("tmp/ask-from.py", askFrom);
});

afterAll(() => debian?.remove());

test("xinetd answers only balancers, by their addresses and by networks in balancerCidrs", () => {
  const sources = ["10.0.0.10", "10.2.200.7", "172.31.0.10", "10.0.0.11", "10.3.0.1", "172.31.0.11"];
  const output = run("unshare", ["--net", "chroot", debian.root, "python3", "/tmp/ask-from.py", ...sources]);
  expect(output.trim().split("\n")).toEqual([
    "10.0.0.10 down #empty request",
    "10.2.200.7 down #empty request",
    "172.31.0.10 down #empty request",
    "10.0.0.11 nothing",
    "10.3.0.1 nothing",
    "172.31.0.11 nothing",
  ]);
});
