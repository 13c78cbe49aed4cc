import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DebianRoot } from "../debian-root";
import { balancerIds } from "./balancers";
import {
  balancerAddress,
  canConnect,
  cloud,
  connect,
  eventually,
  get,
  http2PriorKnowledge,
  long,
  onMachine,
  ownAddress,
  rawAnswer,
  sandbox,
  up,
} from "./cluster";

/** A client's machine on the internet, with tools of its own. */
let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("sslscan");
});

afterAll(() => debian?.remove());

describe("for operators", () => {
  test("the access log is in the journal, with node, queue and session times, and the journal is bounded", async () => {
    const client = await connect();
    await client.close();
    await eventually(async () => {
      const { output } = await onMachine(
        "balancer",
        `journalctl -u haproxy --no-pager -o cat | grep ':${client.localPort} '`,
      );
      // Client, frontend, backend/node, request/queue/connect/response/session ms, status, bytes, ..., queues.
      expect(output).toMatch(
        /^198\.51\.100\.10:\d+ \[.*\] wcs-balancer~ wcs_back\/wcs-\d-[0-9a-f]{8} \d+\/\d+\/\d+\/\d+\/\d+ 101 \d+ .* 0\/0 "GET /m,
      );
    });
    const { output } = await onMachine(
      "balancer",
      "systemd-analyze cat-config systemd/journald.conf | grep -E '^(SystemMaxUse|MaxRetentionSec)'",
    );
    expect(output).toBe("SystemMaxUse=2G\nMaxRetentionSec=1month\n");
  });

  test("HAProxy runs as its own user in its chroot, and only root reaches its runtime socket", async () => {
    const { output } = await onMachine(
      "balancer",
      `pid=$(pgrep -P "$(systemctl show -p MainPID --value haproxy)" haproxy | tail -1)
       ps -o user= -p "$pid"; readlink "/proc/$pid/root"; stat -c '%a %U' /run/haproxy/wcs-balancer.sock
       runuser -u haproxy -- python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("/run/haproxy/wcs-balancer.sock")' 2>&1 | tail -1`,
    );
    expect(output).toBe(
      "haproxy\n/var/lib/haproxy\n600 root\nPermissionError: [Errno 13] Permission denied\n",
    );
  });

  test("an upgrade of HAProxy's package closes no socket, and forgets no node's state", async () => {
    const client = await connect();
    const before = (await onMachine("balancer", "pgrep -c haproxy")).output;
    const { status, output } = await onMachine(
      "balancer",
      "DEBIAN_FRONTEND=noninteractive apt-get install --reinstall --yes --quiet haproxy",
    );
    expect(output, output).toSatisfy(() => status === 0);
    await eventually(async () =>
      expect(Number((await onMachine("balancer", "pgrep -c haproxy")).output)).toBe(Number(before) + 1),
    );
    expect((await get("/healthz")).status).toBe(200);
    await client.close();
    await eventually(async () =>
      expect((await onMachine("balancer", "pgrep -c haproxy")).output).toBe(before),
    );
  });

  test("security upgrades run once a day, and reload HAProxy with the new libraries", async () => {
    const { output } = await onMachine(
      "balancer",
      "systemctl is-enabled apt-daily-upgrade.timer; apt-config dump | grep -E 'Periodic::Unattended-Upgrade |Automatic-Reboot '; systemctl cat apt-daily-upgrade.service | grep ExecStartPost; unattended-upgrade --dry-run && echo runs",
    );
    expect(output).toContain("enabled\n");
    expect(output).toContain('APT::Periodic::Unattended-Upgrade "1";');
    expect(output).toContain('Unattended-Upgrade::Automatic-Reboot "false";');
    expect(output).toContain("ExecStartPost=-/usr/bin/systemctl reload haproxy.service");
    expect(output).toMatch(/runs\n$/);
  });

  test("statistics, metrics and SSH are closed to everybody", async () => {
    for (const port of [8404, 22]) expect(canConnect(balancerAddress, port)).toBe(false);
  });
});

describe("without the WebSDK bundle", () => {
  test("up ends with the step that failed, the new balancer has a page that says so, and the old one serves", async () => {
    const url = "https://downloads.sandbox.example/none.tar.gz";
    const { status, output } = sandbox(
      "up",
      "--config",
      `webSdkUrl=${url}`,
      "--config",
      `webSdkSha256=${"0".repeat(64)}`,
    );
    expect(status).not.toBe(0);
    expect(output).toContain("the new balancer: its set-up failed at step websdk-download");
    const path = "/wcs/examples/demo/streaming/two_way_streaming/two_way_streaming.html";
    expect((await get(path)).status).toBe(200);
    await (await connect()).close();
    const [, coming = "none"] = await balancerIds();
    const { output: page } = await onMachine(
      coming,
      `curl --silent --insecure --include https://localhost${path}`,
    );
    expect(page).toMatch(/^HTTP\/1.1 503 /);
    expect(page).toMatch(/^retry-after: 30\r$/im);
    expect(page).toContain("The pages are not here yet");
    const status_ = await onMachine(
      coming,
      "wcs-balancer status; ls -A /usr/share/nginx/html; cloud-init status --wait",
    );
    expect(status_.output).toContain(
      "set-up       it failed at step websdk-download; see: cloud-init status --long",
    );
    expect(status_.output).not.toMatch(/^wcs$/m);
    expect(status_.output).toContain("status: error");
  });
});

test("adminCidrs opens statistics, metrics and, with a key, SSH to those networks, for as long as it names them", async () => {
  const key = "/root/key";
  expect(debian.exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).status).toBe(0);
  const publicKey = debian.exec("cat", `${key}.pub`).output.trim();
  up("--config", `adminCidrs=["${ownAddress}/32"]`, "--config", `sshPublicKey=${publicKey}`);
  // And with a bundle that is there the pages are, too.
  expect((await get("/wcs/flashphoner.js")).status).toBe(200);
  expect((await get("/wcs/README.md")).status).toBe(404);
  const metrics = await get("/metrics", {}, 8404);
  expect(metrics.body).toMatch(
    /^haproxy_server_current_sessions\{proxy="wcs_back",server="wcs-1-[0-9a-f]{8}"\} \d+$/m,
  );
  const statistics = await get("/", {}, 8404);
  expect(statistics.body).toMatch(/Statistics Report[\s\S]*wcs-1-[0-9a-f]{8}/);
  expect(statistics.headers["content-security-policy"]).toBe("frame-ancestors 'none'");
  expect(await rawAnswer(8404, http2PriorKnowledge)).toMatch(/^HTTP\/1\.1 400 /);
  const node = (await cloud.call("machines", {})).find(({ name }) => name === "wcs-1");
  for (const address of [balancerAddress, node?.publicAddress ?? ""]) {
    const options = [
      "StrictHostKeyChecking=no",
      "UserKnownHostsFile=/dev/null",
      "BatchMode=yes",
      "LogLevel=ERROR",
    ];
    const { output } = debian.exec(
      "ssh",
      ...["-i", key, ...options.flatMap((option) => ["-o", option])],
      ...[`debian@${address}`, "sudo id -un 2>/dev/null"],
    );
    expect(output).toBe("root\n");
  }
  if (!long) return;
  up("--config", 'adminCidrs=["192.0.2.0/24"]', "--config", `sshPublicKey=${publicKey}`);
  for (const port of [8404, 22]) expect(canConnect(balancerAddress, port)).toBe(false);
});
