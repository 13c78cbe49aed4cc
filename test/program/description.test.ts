import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { renderStack } from "../../scripts/render";
import { type Registered, resolveOutput, runProgram } from "./program";

const wcs = {
  wcsPackageUrl: "https://downloads.example.com/wcs.tar.gz",
  wcsPackageSha256: "a".repeat(64),
};

const everything = {
  ...wcs,
  domain: "wcs.example.com",
  nodes: ["b", "a"],
  externalNodes: [
    { name: "hardware-2", address: "192.0.2.8" },
    { name: "hardware-1", address: "192.0.2.7", agentRequest: 2 },
  ],
  balancerCidrs: ["172.31.0.10/32"],
  clientCidrs: ["203.0.113.0/24", "198.51.100.0/24"],
  adminCidrs: ["192.0.2.0/24"],
  sshPublicKey: "ssh-ed25519 AAAA name",
  directAccess: false,
  openPorts: ["hls", "rtmp", "rtsp", "cdn"],
  wcsLicenseKey: "made-up",
  wcsProperties: { media_port_from: 31001 },
  wcsHeap: "4g",
  agentListener: "systemd",
  stickiness: true,
  checks: { cpu: 90, connections: 50 },
  trustedCidrs: ["203.0.113.0/24"],
  webSdkUrl: "https://downloads.example.com/websdk.tar.gz",
  webSdkSha256: "b".repeat(64),
};

/** What only AWS knows, as `render` makes it up. */
function asRendered(text: string): string {
  return text
    .replaceAll("s3://software-bucket/", "s3://wcs-balancer-dev-00000000000000000000000000/")
    .replaceAll("172.31.0.0/16", "10.0.0.0/16");
}

function userDataOf(resources: Registered[], name: string): string {
  const instance = resources.find((one) => one.type === "aws:ec2/instance:Instance" && one.name === name);
  return asRendered(gunzipSync(Buffer.from(String(instance?.inputs.userDataBase64), "base64")).toString());
}

function firewallOf(resources: Registered[]): string {
  const group = (id: unknown) => String(id).replace(/^wcs-(\w+)-id$/, "$1");
  return resources
    .filter(({ type }) => type === "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    .map(({ inputs }) => {
      const {
        ipProtocol,
        fromPort,
        toPort,
        cidrIpv4,
        referencedSecurityGroupId: other,
        description,
      } = inputs;
      const ports = fromPort === toPort ? fromPort : `${fromPort}-${toPort}`;
      const source = cidrIpv4 ?? `each ${group(other)}`;
      return `${group(inputs.securityGroupId)} ${ipProtocol} ${ports} from ${source} (${description})\n`;
    })
    .sort()
    .join("");
}

describe.each([
  ["a domain alone", { ...wcs, domain: "wcs.example.com" }],
  ["every key that changes a machine or a rule", everything],
])("npm run render shows what the program makes, with %s", (_, config) => {
  const rendered = renderStack("dev", config);
  let program: Awaited<ReturnType<typeof runProgram>>;
  beforeAll(async () => {
    program = await runProgram(config, ["wcsLicenseKey"]);
  });

  test("user-data of the balancer and of every node", () => {
    const { resources } = program;
    expect(userDataOf(resources, "balancer-1")).toBe(rendered["balancer/user-data.yaml"]);
    for (const name of "nodes" in config ? config.nodes : ["wcs-1", "wcs-2"])
      expect(userDataOf(resources, name)).toBe(rendered["node/user-data.yaml"]);
  });

  test("haproxy.cfg, the servers that this stack does not make included", async () => {
    const { outputs } = program;
    const { value } = await resolveOutput<{
      base: string;
      servers: Record<string, string>;
      furtherServers: string[];
    }>(outputs.haproxyConfig);
    const text = rendered["balancer/haproxy.cfg"] ?? "";
    expect(text.startsWith(value.base)).toBe(true);
    const lines = text.slice(value.base.length).trimEnd().split("\n");
    // An instance's id and address are the mock's or made up, its name and options are not.
    const known = (line: string) => line.replace(/-[\w-]{8}(?= |$)/g, "").replace(/ [\d.]+:/, " ");
    const own = Object.values(value.servers);
    expect(lines.slice(0, own.length).map(known)).toEqual(own.map(known));
    expect(lines.slice(own.length)).toEqual(value.furtherServers);
  });

  test("who reaches which port", () => {
    expect(firewallOf(program.resources)).toBe(rendered["firewall.txt"]);
  });
});
