import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { briefStatusSchema } from "../../contract/status";
import {
  balancerAddress,
  canConnect,
  connect,
  domain,
  eventually,
  get,
  machine,
  onMachine,
  ownAddress,
  sandbox,
} from "./cluster";

async function wcsLog(node: string): Promise<string> {
  const { output } = await onMachine(
    node,
    "cat /usr/local/FlashphonerWebCallServer/logs/server_logs/flashphoner.log",
  );
  return output;
}

test("two clients land on two nodes, and each session id holds the client's own address and port", async () => {
  // A node that has just come up gets its share of the clients within some seconds (slowstart).
  await eventually(async () => {
    const clients = [await connect(), await connect()];
    const logs = { "wcs-1": await wcsLog("wcs-1"), "wcs-2": await wcsLog("wcs-2") };
    for (const client of clients) await client.close();
    const nodes = clients.map(({ localPort }) =>
      Object.entries(logs)
        .filter(([, log]) => log.includes(`session ESTABLISHED /${ownAddress}:${localPort}/`))
        .map(([node]) => node),
    );
    expect(nodes.flat().sort()).toEqual(["wcs-1", "wcs-2"]);
  });
});

test("a client cannot choose the address that goes into its session id", async () => {
  const client = await connect({ "X-Client-IP": "192.0.2.66:1", X_Client_IP: "192.0.2.67:1" });
  const logs = (await wcsLog("wcs-1")) + (await wcsLog("wcs-2"));
  expect(logs).toContain(`/${ownAddress}:${client.localPort}/`);
  expect(logs).not.toContain("192.0.2.6");
  await client.close();
});

test("a page of the WebSDK loads over https from the balancer", async () => {
  const { status, body } = await get("/wcs/examples/demo/streaming/two_way_streaming/two_way_streaming.html");
  expect(status).toBe(200);
  expect(body).toContain("two_way_streaming.js");
});

test("http is sent to https", () => {
  const { stdout } = spawnSync(
    "curl",
    ["-s", "-i", "-H", `Host: ${domain}`, `http://${balancerAddress}/wcs/`],
    { encoding: "utf8" },
  );
  expect(stdout).toContain(`location: https://${domain}/wcs/`);
});

describe("the open ports", () => {
  test("the internet reaches 443 and 80 of the balancer, and only the ports for clients of a node", async () => {
    const { publicAddress = "" } = await machine("wcs-1");
    const open = (address: string, ports: number[]) => ports.filter((port) => canConnect(address, port));
    // A closed port never looks open; an open one may be late on a busy machine.
    await eventually(() => expect(open(balancerAddress, [22, 80, 443, 8180, 8181, 8404])).toEqual([80, 443]));
    await eventually(() => expect(open(publicAddress, [22, 8080, 8081, 8443, 9707, 50999])).toEqual([8443]));
  });

  test("a client that connects directly to a node, on 8443, speaks to WCS", async () => {
    const { publicAddress = "" } = await machine("wcs-1");
    // WCS's own certificate is one that nobody trusts.
    const socket = new WebSocket(`wss://${publicAddress}:8443/`, { rejectUnauthorized: false });
    await once(socket, "open");
    socket.send(JSON.stringify({ message: "connection", data: [{ appKey: "defaultApp" }] }));
    const [part] = await once(socket, "message");
    expect(JSON.parse(String(part)).message).toBe("getUserData");
    expect(await wcsLog("wcs-1")).toMatch(
      new RegExp(`session ESTABLISHED /${ownAddress}:\\d+/[\\d.]+:8443-`),
    );
    socket.close();
  });

  test("the balancer reaches 8080 and 9707 of a node, the other node does not; 8081 answers no other machine", async () => {
    const { privateAddress } = await machine("wcs-1");
    const probe = (port: number) => `timeout 1 bash -c 'exec 3<>/dev/tcp/${privateAddress}/${port}'`;
    const open = async (from: string) => {
      const results = await Promise.all(
        [8080, 8081, 9707].map(async (port) =>
          (await onMachine(from, probe(port))).status === 0 ? port : 0,
        ),
      );
      return results.filter(Boolean);
    };
    await eventually(async () => expect(await open("balancer")).toEqual([8080, 9707]));
    expect(await open("wcs-2")).toEqual([]);
    await eventually(async () => expect(await open("wcs-1")).toEqual([8080, 8081, 9707]));
  });

  test("nginx answers on the balancer itself and to no other machine", async () => {
    const { privateAddress } = await machine("balancer");
    const local = await onMachine(
      "balancer",
      "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8180/wcs/flashphoner-rest-api.js",
    );
    expect(local.output).toBe("200");
    const listening = await onMachine("balancer", "ss -Htln 'sport = :8180' | awk '{ print $4 }'");
    expect(listening.output.trim()).toBe("127.0.0.1:8180");
    // Curl's own word for no answer in time: a machine without curl would fail as well.
    const noAnswer = 28;
    expect((await onMachine("wcs-1", `curl -s -m 1 http://${privateAddress}:8180/`)).status).toBe(noAnswer);
  });
});

describe("a node, as the guide sets it up", () => {
  test("telnet localhost 9707 shows its state", async () => {
    await eventually(async () => {
      // The telnet client ends when its input does, with or without an answer.
      const { output } = await onMachine("wcs-1", "sleep 3 | telnet localhost 9707");
      expect(output).toMatch(/^up \d+%( #[a-z-]+ \d+ of \d+)?\r?$/m);
    });
  });

  test("the agent's port stands in /etc/services", async () => {
    expect((await onMachine("wcs-1", "grep haproxy-agent-check /etc/services")).output).toContain("9707/tcp");
  });

  test("WCS has the properties that the balancer needs, and this machine's addresses", async () => {
    const { privateAddress, publicAddress } = await machine("wcs-1");
    const { output } = await onMachine(
      "wcs-1",
      "cat /usr/local/FlashphonerWebCallServer/conf/flashphoner.properties",
    );
    const lines = output.split("\n");
    for (const line of [
      "ws.map_custom_headers=true",
      "ws.ip_forward_header=X-Client-IP",
      "global_bandwidth_check_enabled=true",
      "ws.port=8080",
      `ip=${publicAddress}`,
      `ip_local=${privateAddress}`,
    ]) {
      expect(lines.filter((candidate) => candidate === line)).toEqual([line]);
    }
  });

  test("everything starts at boot", async () => {
    expect((await onMachine("wcs-1", "systemctl is-enabled xinetd webcallserver")).output).toBe(
      "enabled\nenabled\n",
    );
    expect((await onMachine("balancer", "systemctl is-enabled haproxy nginx wcs-balancer-sync")).output).toBe(
      "enabled\nenabled\nenabled\n",
    );
  });

  test("systemd has read every unit, so no systemctl of an operator warns", async () => {
    const unread = (...units: string[]) =>
      `systemctl show --property=NeedDaemonReload --value ${units.join(" ")} | sort -u`;
    expect((await onMachine("wcs-1", unread("xinetd", "webcallserver"))).output.trim()).toBe("no");
    expect((await onMachine("balancer", unread("haproxy", "nginx"))).output.trim()).toBe("no");
  });
});

describe("the status", () => {
  test("shows everybody the revision, but not the nodes", async () => {
    const { status, body } = await get("/.well-known/wcs-balancer/status");
    expect(status).toBe(200);
    expect(briefStatusSchema.parse(JSON.parse(body)).applied).toBe(true);
  });

  test("refuses a wrong token", async () => {
    const { status } = await get("/.well-known/wcs-balancer/status", { Authorization: "Bearer wrong" });
    expect(status).toBe(403);
  });
});

describe("files with secrets are readable by root only", () => {
  test.each([`/etc/pki/tls/${domain}/cert.pem`, "/var/lib/wcs-balancer/status-token"])("%s", async (path) => {
    expect((await onMachine("balancer", `stat -c '%U %a' ${path}`)).output).toBe("root 600\n");
  });

  test("the PEM holds certificate, chain and key in this order", async () => {
    const { output } = await onMachine("balancer", `grep BEGIN /etc/pki/tls/${domain}/cert.pem`);
    expect(output).toMatch(
      /^-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n-----BEGIN [A-Z ]*PRIVATE KEY-----\n$/,
    );
  });

  test("user-data that a machine keeps holds no secret", async () => {
    const { output } = await onMachine("balancer", "zcat -f /var/lib/cloud/instance/user-data.txt");
    expect(output).toContain("#cloud-config");
    expect(output).not.toMatch(/PRIVATE KEY|BEGIN CERTIFICATE/);
  });
});

describe("the stand-ins are strict", () => {
  const imds = "http://169.254.169.254/latest";

  test("metadata without a session token (IMDSv1) is refused", async () => {
    const { output } = await onMachine(
      "balancer",
      `curl -s -o /dev/null -w '%{http_code}' ${imds}/meta-data/instance-id`,
    );
    expect(output).toBe("401");
  });

  test("a machine gets the credentials of its own role and of no other", async () => {
    const roles = `${imds}/meta-data/iam/security-credentials/`;
    const ask = (name: string, question: string) =>
      onMachine(
        name,
        `token=$(curl -s -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" ${imds}/api/token); ask() { curl -s -H "X-aws-ec2-metadata-token: $token" "$@"; }; ${question}`,
      );
    const { output: balancer } = await ask("balancer", `ask ${roles}`);
    const { output: node } = await ask("wcs-1", `ask ${roles}`);
    expect([balancer, node]).toEqual([
      expect.stringMatching(/^balancer-1-\w+$/),
      expect.stringMatching(/^node-\w+$/),
    ]);
    const { output } = await ask("wcs-1", `ask -o /dev/null -w '%{http_code}' ${roles}${balancer}`);
    expect(output).toBe("404");
  });

  /** Asks SSM with the code of the machine's set-up, with something changed. */
  const ask = (change: string) =>
    onMachine(
      "balancer",
      `python3 - <<'PYTHON'
import json, sys
sys.path.insert(0, "/usr/local/lib/wcs-setup")
import aws_instance as aws
name = "/wcs-balancer/dev/desired-state"
${change}
headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameter"}
answer = json.load(aws.ask("ssm", "POST", "/", headers, json.dumps({"Name": name, "WithDecryption": True}).encode()))
print("answered", len(answer["Parameter"]["Value"]) if "Parameter" in answer else answer)
PYTHON`,
    );

  test("the balancer's own parameter is answered", async () => {
    expect((await ask("")).output).toMatch(/^answered \d+$/m);
  });

  test("another parameter is refused", async () => {
    expect((await ask('name = "/other/secret"')).output).toContain("AccessDeniedException");
  });

  test("a request signed with a wrong key is refused", async () => {
    const change =
      'real = aws.role_credentials\naws.role_credentials = lambda: ({**real()[0], "SecretAccessKey": "wrong"}, *real()[1:])';
    expect((await ask(change)).output).toContain("InvalidSignatureException");
  });

  test("an unsigned request is refused", async () => {
    const change =
      "real = aws.signed_headers\ndef unsigned(*a):\n    h = real(*a)\n    del h['authorization']\n    return h\naws.signed_headers = unsigned";
    expect((await ask(change)).output).toContain("MissingAuthenticationTokenException");
  });

  test("credentials that were never issued are refused", async () => {
    const change =
      'real = aws.role_credentials\naws.role_credentials = lambda: ({**real()[0], "AccessKeyId": "ASIA0000000000000000"}, *real()[1:])';
    expect((await ask(change)).output).toContain("UnrecognizedClientException");
  });
});

test("a second up changes nothing", () => {
  const { status, output } = sandbox("up");
  expect(status).toBe(0);
  expect(output).toMatch(/Resources:\n\s+\d+ unchanged/);
  expect(output).not.toMatch(/created|updated|replaced|deleted/);
});

test("preview --nodes 3 shows one new node with its server line, and replaces nothing", () => {
  const { status, output } = sandbox("preview", "--nodes", "3");
  expect(status).toBe(0);
  expect(output).toMatch(/aws:ec2\/instance:Instance: \(create\)\s+\[urn=\S+::wcs-3\]/);
  expect(output).toMatch(/\+ wcs-3: \[unknown\]/);
  expect(output).toMatch(/Resources:\n\s+\+ 2 to create\n\s+~ 2 to update\n\s+4 changes\. \d+ unchanged/);
  expect(output).not.toMatch(/\((replace|delete)|to replace|to delete/);
});

test("another instance type makes new nodes, because EC2 would stop the old ones to change it", () => {
  const { status, output } = sandbox("preview", "--config", "nodeInstanceType=c7i.xlarge");
  expect(status).toBe(0);
  const replaced = [
    ...output.matchAll(/aws:ec2\/instance:Instance: \(replace\)\s+\[id=\S+\]\s+\[urn=\S+::(\S+)\]/g),
  ];
  expect(replaced.map(([, name]) => name).sort()).toEqual(["wcs-1", "wcs-2"]);
});

test("after a reboot the balancer serves again by itself", async () => {
  const before = (await machine("balancer")).leader;
  await onMachine("balancer", "systemctl reboot");
  await eventually(async () => {
    const { leader } = await machine("balancer");
    expect(leader).not.toBe(before);
    const { status } = await get("/wcs/flashphoner-rest-api.js");
    expect(status).toBe(200);
    const client = await connect();
    await client.close();
  }, 240);
});
