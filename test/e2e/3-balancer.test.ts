import { spawnSync } from "node:child_process";
import { connect as connectTls } from "node:tls";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DebianRoot } from "../../sandbox/debian-root";
import {
  authority,
  balancerAddress,
  type Client,
  canConnect,
  cloud,
  connect,
  domain,
  eventually,
  get,
  machine,
  nodeOf,
  onMachine,
  ownAddress,
  sandbox,
  up,
} from "./cluster";

const nodes = ["wcs-1", "wcs-2", "wcs-3"];

/** A client's machine on the internet, with tools of its own. */
let debian: DebianRoot;

beforeAll(async () => {
  debian = new DebianRoot();
  await debian.install(["sslscan"]);
});

afterAll(() => debian?.remove());

const upWithThree = (...args: string[]) => up("--nodes", "3", ...args);

const upgrade = {
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** WebSockets on each node, in the order of the nodes. */
async function socketsPerNode(): Promise<number[]> {
  return Promise.all(
    nodes.map(async (node) => {
      const { output } = await onMachine(node, "ss -Htn state established '( sport = :8080 )' | wc -l");
      return Number(output);
    }),
  );
}

async function closeAll(clients: Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.close()));
  await eventually(async () => expect(await socketsPerNode()).toEqual([0, 0, 0]));
}

/** After a change every node has its full weight again: new servers start slowly. */
async function fullWeight(): Promise<void> {
  await eventually(async () => {
    const { output } = await onMachine("balancer", "curl -s -k 'https://127.0.0.1:8404/;csv'");
    const weights = output.match(/^wcs_back,wcs-.*$/gm)?.map((row) => Number(row.split(",")[18]));
    expect(weights?.filter((weight) => weight > 80)).toHaveLength(3);
  }, 40);
}

describe.each([
  ["roundrobin", [5, 5, 5]],
  ["leastconn", [5, 5, 5]],
  ["first", [10, 5, 0]],
])("%s, with 15 sockets over 3 nodes with a limit of 10", (algorithm, expected) => {
  beforeAll(async () => {
    upWithThree("--config", `algorithm=${algorithm}`, "--config", "maxConnectionsPerNode=10");
    await fullWeight();
  });

  test(`lands ${expected.join("/")}`, async () => {
    const clients: Client[] = [];
    for (let count = 0; count < 15; count++) clients.push(await connect());
    expect(await socketsPerNode()).toEqual(expected);
    await closeAll(clients);
  });
});

describe("who is the client", () => {
  test.each([
    "X-Client-IP",
    "x-client-ip",
    "X_Client_IP",
    "X-CLIENT_IP",
    "X-Forwarded-For",
    "x_forwarded_for",
    "Forwarded",
  ])("%s from a client reaches no node", async (name) => {
    const clients: Client[] = [];
    for (let count = 0; count < 3; count++) clients.push(await connect({ [name]: "192.0.2.66:1" }));
    const logs = await Promise.all(
      nodes.map(
        async (node) =>
          (await onMachine(node, "cat /usr/local/FlashphonerWebCallServer/logs/server_logs/flashphoner.log"))
            .output,
      ),
    );
    expect(logs.join("")).not.toContain("192.0.2.66");
    for (const { localPort } of clients) expect(logs.join("")).toContain(`/${ownAddress}:${localPort}/`);
    await closeAll(clients);
  });
});

describe("when nobody can take a client", () => {
  async function allDown(): Promise<() => Promise<void>> {
    await Promise.all(nodes.map((node) => onMachine(node, "systemctl stop xinetd")));
    return async () => {
      await Promise.all(nodes.map((node) => onMachine(node, "systemctl start xinetd")));
      await eventually(async () => expect((await get("/healthz")).status).toBe(200));
    };
  }

  test("every node down: sockets get 503 with Retry-After at once, machines hear it at /healthz", async () => {
    expect((await get("/healthz")).status).toBe(200);
    const restore = await allDown();
    try {
      // Two answers are needed: the health check's, and the one that HAProxy draws from it.
      await eventually(async () => {
        expect((await get("/healthz")).status).toBe(503);
        expect((await get("/", upgrade)).status).toBe(503);
      }, 10);
      const began = Date.now();
      const { status, headers, body } = await get("/", upgrade);
      expect(Date.now() - began).toBeLessThan(500);
      expect(status).toBe(503);
      expect(headers["retry-after"]).toBe("10");
      expect(body).toContain("All servers are busy");
      expect((await get("/wcs/README.md")).status).toBe(200);
    } finally {
      await restore();
    }
  });

  test("every node full: nothing queues", async () => {
    upWithThree("--config", "maxConnectionsPerNode=1");
    const clients: Client[] = [];
    for (let count = 0; count < 3; count++) clients.push(await connect());
    expect((await get("/healthz")).status).toBe(503);
    const began = Date.now();
    expect((await get("/", upgrade)).status).toBe(503);
    expect(Date.now() - began).toBeLessThan(500);
    await closeAll(clients);
    await eventually(async () => expect((await get("/healthz")).status).toBe(200));
  });
});

describe("pages", () => {
  test("connect to the port that they came from", async () => {
    const { body } = await get("/wcs/examples/demo/dependencies/js/utils.js");
    expect(body).toMatch(
      /^window\.SERVER_PORTS = window\.SERVER_PORTS \|\| \{ wss: Number\(window\.location\.port\) \|\| 443 \};/,
    );
  });

  test("have no listing, and tell nothing of the server's version", async () => {
    const { status, headers } = await get("/wcs/examples/");
    expect(status).toBe(403);
    expect(headers.server).toBe("nginx");
  });

  test("come compressed, are asked for again each time, and pictures are not", async () => {
    const script = "/wcs/flashphoner.js";
    const plain = await get(script);
    const small = await get(script, { "Accept-Encoding": "gzip" });
    expect(small.headers["content-encoding"]).toBe("gzip");
    expect(Number(plain.headers["content-length"])).toBeGreaterThan(3 * small.raw.length);
    expect(gunzipSync(small.raw).toString()).toBe(plain.body);
    expect(plain.headers["cache-control"]).toBe("no-cache");
    const again = await get(script, { "If-None-Match": String(plain.headers.etag) });
    expect(again.status).toBe(304);
    const picture = (
      await onMachine("balancer", "cd /usr/share/nginx/html && find wcs -name '*.png'")
    ).output.split("\n")[0];
    expect((await get(`/${picture}`)).headers["cache-control"]).toBe("max-age=86400");
  });

  test("come with security headers, without HSTS for a certificate of the stack's own CA", async () => {
    const { headers } = await get("/wcs/README.md");
    expect(headers["x-content-type-options"]).toBe("nosniff");
    expect(headers["strict-transport-security"]).toBeUndefined();
  });
});

test("wcs-balancer status says what an operator asks first", async () => {
  const { status, output } = await onMachine("balancer", "wcs-balancer status");
  expect(output).toMatch(/^revision {5}[0-9a-f]{12} \(applied\)\ncertificate {2}36\d days left\n/);
  expect(output.match(/^wcs-([123]) \(wcs-\1-[0-9a-f]{8}\) {2}up .* sockets$/gm)).toHaveLength(3);
  expect(status).toBe(0);
});

describe("TLS", () => {
  let report = "";

  beforeAll(() => {
    report = debian.exec(
      "sslscan",
      "--no-colour",
      "--show-certificate",
      `--sni-name=${domain}`,
      balancerAddress,
    ).output;
  });
  test("sslscan finds TLS 1.2 and 1.3 and nothing older", () => {
    for (const protocol of ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"])
      expect(report).toMatch(new RegExp(`^${protocol} +disabled$`, "m"));
    for (const protocol of ["TLSv1.2", "TLSv1.3"])
      expect(report).toMatch(new RegExp(`^${protocol} +enabled$`, "m"));
  });

  test("sslscan finds only ciphers with forward secrecy and authenticated encryption", () => {
    const ciphers = [...report.matchAll(/^(?:Preferred|Accepted) +TLSv1\.\d +(\d+) bits +(\S+)/gm)];
    expect(ciphers.length).toBeGreaterThan(5);
    for (const [, bits, name = ""] of ciphers) {
      expect(Number(bits)).toBeGreaterThanOrEqual(128);
      expect(name).toMatch(/^(TLS_(AES|CHACHA20)|ECDHE-ECDSA-(AES|CHACHA20)).*(GCM|POLY1305)/);
    }
  });

  test("sslscan finds an ECDSA certificate, no compression, no renegotiation by clients, no Heartbleed", () => {
    expect(report).toMatch(/ECC Curve Name: +prime256v1/);
    expect(report).toContain("Compression disabled");
    expect(report).toMatch(/(Secure session renegotiation supported|Session renegotiation not supported)/);
    expect(report).toContain("Server supports TLS Fallback SCSV");
    expect(report.match(/not vulnerable to heartbleed/g)).toHaveLength(2);
    expect(report).not.toMatch(/(?<!not )vulnerable/);
  });

  function handshake(...args: string[]): string {
    const command = `openssl s_client -connect ${balancerAddress}:443 -servername ${domain} ${args.join(" ")}`;
    return debian.exec("sh", "-c", `${command} </dev/null`).output;
  }

  test("gives no session ticket", () => {
    const session = handshake("-tls1_2");
    expect(session).toContain("Verify return code");
    expect(session).not.toContain("TLS session ticket");
  });

  test("the chain comes in the order in which it is signed, and ends with the stack's CA", () => {
    const chain = handshake("-showcerts").matchAll(/^ *(?:\d+ s|i):(.*)$/gm);
    const [subject, issuer, ...others] = [...chain].map(([, name = ""]) => name.replaceAll(" ", ""));
    expect(subject).toBe(`CN=${domain}`);
    expect(others).toEqual([issuer, issuer]);
  });

  test("another name, or none, gets this certificate and is told apart by whoever asks", async () => {
    for (const servername of ["other.example.com", ""]) {
      const error = await new Promise<string>((resolve) => {
        const socket = connectTls({
          host: balancerAddress,
          port: 443,
          servername,
          ca: authority(),
          ALPNProtocols: ["http/1.1"],
        });
        socket.on("secureConnect", () => {
          socket.destroy();
          resolve("");
        });
        socket.on("error", (problem: NodeJS.ErrnoException) => resolve(problem.code ?? ""));
      });
      expect(error).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    }
  });
});

/** A connection that says what one wants, in plain text over TLS. */
function rawConnection(localAddress = ownAddress) {
  return connectTls({
    host: balancerAddress,
    port: 443,
    servername: domain,
    ca: authority(),
    ALPNProtocols: ["http/1.1"],
    // Node passes it on to the socket; its types do not say so.
    ...{ localAddress },
  });
}

/** Client connections that HAProxy still holds. */
async function connectionsFrom(address: string): Promise<number> {
  const { output } = await onMachine("balancer", `ss -Htn '( sport = :443 )' dst ${address} | wc -l`);
  return Number(output);
}

describe("time, with the time-outs shortened", () => {
  const shortened: [string, string][] = [
    ["timeout http-request 10s", "timeout http-request 2s"],
    ["timeout http-keep-alive 10s", "timeout http-keep-alive 2s"],
    ["timeout client 1m", "timeout client 2s"],
    ["timeout server 1m", "timeout server 2s"],
    ["timeout tunnel 1h", "timeout tunnel 8s"],
    ["clitcpka-idle 30s", "clitcpka-idle 2s"],
    ["clitcpka-intvl 10s", "clitcpka-intvl 1s"],
    ["srvtcpka-idle 30s", "srvtcpka-idle 2s"],
    ["srvtcpka-intvl 10s", "srvtcpka-intvl 1s"],
    ["tcp-ut 60s", "tcp-ut 4s"],
  ];

  beforeAll(async () => {
    upWithThree();
    const changes = shortened.map(([from, to]) => `-e 's/${from}/${to}/'`).join(" ");
    const file = "/etc/haproxy/haproxy.cfg";
    const { output } = await onMachine(
      "balancer",
      `systemctl stop wcs-balancer-sync && cp ${file} /root/before.cfg && sed -i ${changes} ${file} &&
       systemctl reload haproxy && diff /root/before.cfg ${file} | grep -c '^>'`,
    );
    expect(Number(output)).toBe(shortened.length);
  });

  // The sync service sees that the file is not what it wrote, and puts it right.
  afterAll(async () => {
    await onMachine("balancer", "systemctl start wcs-balancer-sync");
    await eventually(async () => {
      const { status } = await onMachine(
        "balancer",
        "cmp /root/before.cfg /etc/haproxy/haproxy.cfg && wcs-balancer status",
      );
      expect(status).toBe(0);
    });
  });

  test("a WebSocket lives past every short time-out, though nothing is said for longer than they last", async () => {
    const client = await connect();
    let closed = false;
    client.socket.on("close", () => {
      closed = true;
    });
    // WCS asks every 5 s whether the client lives, which is the only traffic.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    expect(closed).toBe(false);
    await client.close();
  });

  test("request headers that come too slowly are cut off with 408", async () => {
    const socket = rawConnection();
    const began = Date.now();
    let answer = "";
    socket.setEncoding("utf8").on("data", (part: string) => {
      answer += part;
    });
    socket.write(`GET / HTTP/1.1\r\nHost: ${domain}\r\n`);
    const drip = setInterval(() => socket.writable && socket.write("X-Slow: 1\r\n"), 300);
    await new Promise((resolve) => socket.on("close", resolve).on("error", resolve));
    clearInterval(drip);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(Date.now() - began).toBeLessThan(5000);
  });

  test("a client that is gone without a word is cleared", async () => {
    const address = "198.51.100.77";
    const interfaceName = "client";
    const device =
      spawnSync("ip", ["-o", "-4", "address", "show", "to", ownAddress], { encoding: "utf8" }).stdout.split(
        " ",
      )[1] ?? interfaceName;
    expect(spawnSync("ip", ["address", "add", `${address}/32`, "dev", device]).status).toBe(0);
    const socket = rawConnection(address);
    socket.on("error", () => {});
    socket.write(
      `GET / HTTP/1.1\r\nHost: ${domain}\r\n${Object.entries(upgrade)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join("")}\r\n`,
    );
    await new Promise((resolve) => socket.once("data", resolve));
    expect(await connectionsFrom(address)).toBe(1);
    // What comes for the address is dropped, and not refused.
    expect(spawnSync("ip", ["address", "del", `${address}/32`, "dev", device]).status).toBe(0);
    await eventually(async () => expect(await connectionsFrom(address)).toBe(0), 20);
    socket.destroy();
  });

  test("a half-open tunnel, whose client has closed and whose node does not answer, is cleared", async () => {
    const client = await connect();
    const node = await nodeOf(client);
    await onMachine(node, "systemctl kill --signal=STOP webcallserver");
    try {
      client.socket.terminate();
      await eventually(async () => {
        const { output } = await onMachine(
          "balancer",
          `ss -Htn sport = :443 dst ${ownAddress}:${client.localPort}`,
        );
        expect(output).toBe("");
      }, 12);
    } finally {
      await onMachine(node, "systemctl kill --signal=CONT webcallserver");
    }
  });

  test("a node that is gone without a word lets its clients go, so that they look for another", async () => {
    const client = await connect();
    const node = await nodeOf(client);
    const closed = new Promise((resolve) => client.socket.on("close", resolve));
    const began = Date.now();
    const { leader } = await machine(node);
    const inNetworkOf = (rules: string) =>
      spawnSync("nsenter", ["--target", String(leader), "--net", "nft", "--file", "-"], { input: rules });
    const drop = (hook: string) => `chain on_${hook} { type filter hook ${hook} priority 0; policy drop; };`;
    expect(inNetworkOf(`table ip lost { ${drop("input")} ${drop("output")} }`).status).toBe(0);
    try {
      await closed;
      expect(Date.now() - began).toBeLessThan(15_000);
    } finally {
      inNetworkOf("delete table ip lost");
    }
  });
});

describe("limits", () => {
  test("connections beyond maxConnections are refused at once with Retry-After, and machines still get an answer", async () => {
    upWithThree("--config", "maxConnections=100", "--config", "maxConnectionsPerNode=100");
    await fullWeight();
    const clients = await Promise.all(Array.from({ length: 100 }, () => connect()));
    const { status, headers } = await get("/", upgrade);
    expect(status).toBe(503);
    expect(headers["retry-after"]).toBe("10");
    expect((await get("/healthz")).status).toBe(200);
    await closeAll(clients);
    await eventually(async () => expect((await get("/wcs/README.md")).status).toBe(200));
  });

  test("more nodes than the balancer has connections for: preview says so", () => {
    const { output } = sandbox("preview", "--nodes", "3", "--config", "maxConnections=100");
    expect(output).toContain(
      "maxConnections is 100, less than the 300 WebSockets that 3 nodes with maxConnectionsPerNode 100 take",
    );
    expect(output).toContain("pulumi config set maxConnections 300");
  });

  test("more connections than the machine can open files: not applied, up ends at once with the reason", async () => {
    const began = Date.now();
    const { status, output } = sandbox("up", "--nodes", "3", "--config", "maxConnections=50000");
    expect(status).not.toBe(0);
    expect(output).toMatch(
      /maxConnections needs 100300 open files, and HAProxy may have \d+ on this machine/,
    );
    expect(Date.now() - began).toBeLessThan(60_000);
    expect((await get("/healthz")).status).toBe(200);
    upWithThree();
  });
});

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

  test("security upgrades run once a day, and reload what they leave behind", async () => {
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

  test("statistics and metrics are closed to everybody, and SSH is", async () => {
    for (const port of [8404, 22]) expect(canConnect(balancerAddress, port)).toBe(false);
  });

  test("adminCidrs opens statistics, metrics and, with a key, SSH to those networks", async () => {
    const key = "/root/key";
    expect(debian.exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).status).toBe(0);
    const publicKey = debian.exec("cat", `${key}.pub`).output.trim();
    upWithThree("--config", `adminCidrs=["${ownAddress}/32"]`, "--config", `sshPublicKey=${publicKey}`);
    const metrics = await get("/metrics", {}, 8404);
    expect(metrics.body).toMatch(
      /^haproxy_server_current_sessions\{proxy="wcs_back",server="wcs-1-[0-9a-f]{8}"\} \d+$/m,
    );
    expect((await get("/", {}, 8404)).body).toMatch(/Statistics Report[\s\S]*wcs-1-[0-9a-f]{8}/);
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
    upWithThree();
    expect(canConnect(balancerAddress, 22)).toBe(false);
  });
});

describe("without the WebSDK bundle", () => {
  test("up ends with the step that failed, browsers get a page that says so, and sockets are served", async () => {
    const { status, output } = sandbox(
      "up",
      "--nodes",
      "3",
      "--config",
      "webSdkUrl=https://downloads.sandbox.example/none.tar.gz",
    );
    expect(status).not.toBe(0);
    expect(output).toContain("the balancer's setup failed: websdk-download");
    const page = await get("/wcs/examples/demo/streaming/two_way_streaming/two_way_streaming.html");
    expect(page.status).toBe(503);
    expect(page.headers["retry-after"]).toBe("30");
    expect(page.body).toContain("The pages are not here yet");
    await (await connect()).close();
    const status_ = await onMachine(
      "balancer",
      "wcs-balancer status; ls -A /usr/share/nginx/html; cloud-init status",
    );
    expect(status_.output).toContain("set-up       failed: websdk-download; see: cloud-init status --long");
    expect(status_.output).not.toMatch(/^wcs$/m);
    expect(status_.output).toContain("status: error");
  });

  test("the next good up heals it", async () => {
    upWithThree();
    expect((await get("/wcs/README.md")).status).toBe(200);
  });
});
