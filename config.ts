import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import * as ipaddr from "ipaddr.js";
import { z } from "zod";
import { hashFile } from "./components/local-file";
import { haproxySettings } from "./settings";
import { checkStateFits, renderPem, renderSecret, TooLargeError } from "./userdata/desired-state";

/** A schema's error text: what is allowed. The key and the bad value are put before it by `parseConfig`. */
function mustBe(allowed: string) {
  return { error: `it must be ${allowed}` };
}

function integer(minimum: number, maximum: number, what: string) {
  const error = mustBe(`${what} from ${minimum} to ${maximum}`);
  return z.int(error).min(minimum, error).max(maximum, error);
}

function text(pattern: RegExp, allowed: string) {
  return z.string(mustBe(allowed)).regex(pattern, mustBe(allowed));
}

function isCidr(value: string): boolean {
  if (!ipaddr.IPv4.isValidCIDR(value)) return false;
  // EC2 refuses a CIDR with host bits set, such as 203.0.113.7/24, and does so half way through an update.
  return ipaddr.IPv4.networkAddressFromCIDR(value).toString() === value.split("/")[0];
}

function holdsPrivateKey(value: unknown): boolean {
  return typeof value === "string" && value.includes("PRIVATE KEY");
}

function hasCredentials(url: string): boolean {
  const { username, password } = URL.canParse(url) ? new URL(url) : { username: "", password: "" };
  return username !== "" || password !== "";
}

function unique(values: string[]): boolean {
  return new Set(values).size === values.length;
}

const cidrRule = mustBe("an IPv4 network such as 203.0.113.0/24, without host bits");
const cidr = z.string(cidrRule).refine(isCidr, cidrRule);
const ipv4Rule = mustBe("an IPv4 address such as 203.0.113.7");
const ipv4 = z.string(ipv4Rule).refine((value) => ipaddr.IPv4.isValidFourPartDecimal(value), ipv4Rule);
const sha256 = text(/^[0-9a-f]{64}$/, "a SHA-256 checksum of 64 lower-case hexadecimal digits");
const httpUrlRule = mustBe("an https:// or http:// address");
const withoutPassword = mustBe(
  "an address without a user's name and password, which every reader of the stack has",
);
const httpUrl = z
  .url({ protocol: /^https?$/, ...httpUrlRule })
  .refine((value) => !hasCredentials(value), withoutPassword);
const origin = text(
  /^https:\/\/(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z][a-z0-9-]{0,61}[a-z0-9](:[1-9][0-9]{0,4})?$/,
  "a site such as https://www.example.com or https://*.example.com, without a path",
);
const instanceType = text(/^[a-z][a-z0-9-]*\.[a-z0-9]+$/, "an EC2 instance type such as c7i.large");
const ami = text(/^ami-[0-9a-f]{8,17}$/, "an AMI id such as ami-0123456789abcdef0");
const pem = (label: string) =>
  text(new RegExp(`-----BEGIN [A-Z ]*${label}-----[^]+-----END [A-Z ]*${label}-----`), `a PEM ${label}`);
/** PEM that is stored in clear text. A combined file, as HAProxy reads it, has the key in it, too. */
const publicPem = pem("CERTIFICATE").refine(
  (value) => !holdsPrivateKey(value),
  mustBe(
    "a PEM CERTIFICATE alone; the key goes into tlsPrivateKey, a secret. Whoever can read the stack's file has this " +
      "key now: have the certificate made anew with another one",
  ),
);

const checksRule = mustBe(
  "an object with one or more of cpu, publishers, subscribers, hls, bandIn and bandOut",
);

/** Thresholds at which a node stops taking clients; only those named are checked. */
const checks = z
  .strictObject(
    {
      cpu: integer(1, 100, "a percentage").optional(),
      publishers: integer(1, 100_000, "a number of streams").optional(),
      subscribers: integer(1, 100_000, "a number of streams").optional(),
      hls: integer(1, 100_000, "a number of streams").optional(),
      bandIn: integer(1, 400_000, "a bandwidth in Mbps").optional(),
      bandOut: integer(1, 400_000, "a bandwidth in Mbps").optional(),
    },
    checksRule,
  )
  .refine((value) => Object.keys(value).length > 0, checksRule);

export type AgentChecks = z.infer<typeof checks>;

const nodeName = text(
  /^[a-z][a-z0-9-]{0,30}$/,
  "a name of lower-case letters, digits and hyphens, 31 at most, beginning with a letter",
);

/**
 * The configuration of a stack (namespace `wcs-balancer`): the one source of keys, defaults and rules.
 * An error message proposes the value under `example`, for an object of properties under the name `element`.
 */
export const configSchema = z.strictObject({
  domain: text(
    /^(?=.{1,64}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/,
    "a lower-case DNS name such as wcs.example.com, 64 characters at most",
  ).meta({ description: "The name that clients use", example: "wcs.example.com" }),
  hostedZone: text(/^Z[A-Z0-9]{5,31}$/, "the id of a Route 53 hosted zone such as Z0123456789ABC")
    .optional()
    .meta({
      description:
        "Route 53 zone in which to make the record of `domain`. Default: the output says which to make",
      example: "Z0123456789ABC",
    }),
  nodes: z
    .array(nodeName, mustBe("a list of names"))
    .min(1, mustBe("a list with at least one name"))
    .refine(unique, mustBe("a list without duplicates"))
    .default(["wcs-1", "wcs-2"])
    .meta({
      description: "Names of the WCS nodes; each becomes one instance",
      example: "wcs-1",
    }),
  externalNodes: z
    .array(
      z.strictObject(
        { name: nodeName.meta({ example: "hardware-1" }), address: ipv4.meta({ example: "192.0.2.7" }) },
        mustBe("an object with name and address"),
      ),
      mustBe("a list of objects with name and address"),
    )
    .refine((nodes) => unique(nodes.map(({ name }) => name)), mustBe("a list without a name twice"))
    .default([])
    .meta({
      description:
        "WCS servers that exist already, elsewhere: they run the agent, and let this balancer reach 8080 and 9707",
      example: "192.0.2.7",
    }),
  nodeStack: text(
    /^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/,
    "ORGANIZATION/PROJECT/STACK, such as organization/wcs-balancer/nodes",
  )
    .optional()
    .meta({
      description:
        "Another stack whose nodes (output wcsNodes) this balancer uses too; it names us in balancerCidrs",
      example: "organization/wcs-balancer/nodes",
    }),
  balancerCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description: "Balancers of other stacks that may use this stack's nodes. A change makes new nodes",
      example: "172.31.0.10/32",
    }),
  directAccess: z.boolean(mustBe("true or false")).default(true).meta({
    description: "Whether clients may connect straight to a node, on 8443; the balancer does not see them",
    example: "false",
  }),
  rollout: z.enum(["wait", "skip"], mustBe("wait or skip")).default("wait").meta({
    description:
      "Whether `pulumi up` waits for the balancer; skip where it cannot reach 443: removed nodes go without a drain",
    example: "skip",
  }),
  nodeInstanceType: instanceType
    .default("c7i.large")
    .meta({ description: "Instance type of a node", example: "c7i.large" }),
  balancerInstanceType: instanceType
    .default("t3.small")
    .meta({ description: "Instance type of the balancer", example: "t3.small" }),
  nodeAmi: ami.optional().meta({
    description: "AMI of the nodes, with WCS in it or not. Default: the newest Debian 13 when a node is made",
    example: "ami-0123456789abcdef0",
  }),
  balancerAmi: ami.optional().meta({
    description: "AMI of the balancer: Debian 13, or another apt image with HAProxy 3.0 or newer",
    example: "ami-0123456789abcdef0",
  }),
  wcsPackage: text(
    /^(s3:\/\/[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\/[^\r\n*?$]+|(?!s3:|https?:)[^\r\n]+)$/,
    "the path of a file, or s3://BUCKET/KEY with a bucket of this region that has no dot in its name, without * ? $ " +
      "(a web address goes into wcsPackageUrl)",
  )
    .optional()
    .meta({
      description:
        "The WCS tarball that nodes install: a file, which `pulumi up` uploads, or s3://BUCKET/KEY. " +
        "This or wcsPackageUrl is required unless nodeAmi is set",
      example: "./FlashphonerWebCallServer.tar.gz",
    }),
  wcsPackageUrl: httpUrl.optional().meta({
    description: "Where nodes download the WCS tarball, instead of wcsPackage",
    example: "https://downloads.example.com/FlashphonerWebCallServer.tar.gz",
  }),
  wcsPackageSha256: sha256.optional().meta({
    description: "Checksum of the WCS tarball; required with wcsPackageUrl and s3://, computed for a file",
    example: "<sha256>",
  }),
  javaPackage: text(/^[a-z0-9][a-z0-9.+-]+$/, "the name of a distribution package")
    .default("default-jre-headless")
    .meta({ description: "The Java that WCS runs on", example: "default-jre-headless" }),
  wcsLicenseKey: text(/^[\x21-\x7e]{4,200}$/, "a licence key on one line")
    .optional()
    .meta({ description: "Licence key of WCS, a secret", example: "KEY" }),
  wcsProperties: z
    .record(
      text(/^[A-Za-z0-9_.-]+$/, "the name of a property"),
      z
        .union([z.string(), z.number(), z.boolean()], mustBe("a text, number or boolean"))
        .transform(String)
        .refine((value) => !/[\r\n]/.test(value), mustBe("a value on one line")),
      mustBe("an object of properties"),
    )
    .default({})
    .meta({
      description:
        "Further lines for flashphoner.properties; {privateAddress} and {publicAddress} stand for the node's own",
      example: "31001",
      element: "media_port_from",
    }),
  wcsHeap: text(/^[1-9][0-9]*[mg]$/, "a number of megabytes or gigabytes such as 2048m or 4g")
    .optional()
    .meta({ description: "Java heap of WCS. Default: half of the node's memory", example: "4g" }),
  agentListener: z
    .enum(["xinetd", "systemd"], mustBe("xinetd or systemd"))
    .default("xinetd")
    .meta({ description: "What runs the agent; systemd where there is no xinetd", example: "systemd" }),
  openPorts: z
    .array(z.enum(["hls", "rtmp", "rtsp", "cdn"], mustBe("one of hls, rtmp, rtsp and cdn")), mustBe("a list"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description: "Further services of WCS to open: hls, rtmp and rtsp to clients, cdn between the nodes",
      example: "cdn",
    }),
  checks: checks
    .default({ cpu: 90, publishers: 100, subscribers: 100, hls: 100, bandIn: 100, bandOut: 100 })
    .meta({
      description: "Thresholds at which a node stops taking clients; only those named are checked",
      example: "90",
    }),
  drainTimeoutSeconds: integer(0, 86_400, "a number of seconds").default(600).meta({
    description: "How long a removed node keeps its open sockets; then they are closed",
    example: "600",
  }),
  maxConnectionsPerNode: integer(1, 100_000, "a number of WebSockets")
    .default(100)
    .meta({ description: "WebSockets that one node takes through the balancer", example: "100" }),
  maxConnections: integer(100, 400_000, "a number of connections")
    .default(4000)
    .meta({ description: "Connections that the balancer takes", example: "4000" }),
  maxConnectionsPerAddress: integer(10, 400_000, "a number of connections").default(100).meta({
    description:
      "Connections that one client address may have to the balancer, on 443 and 80 together; the next are closed at once",
    example: "100",
  }),
  trustedCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .max(50, mustBe("a list of 50 networks at most"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description:
        "Networks without that limit, such as a company's whose clients share an address. Default: none",
      example: "203.0.113.0/24",
    }),
  tlsCertificate: publicPem.optional().meta({
    description: "PEM certificate of one's own. Default: a CA of the stack's own signs one",
    example: "< cert.pem",
  }),
  tlsChain: publicPem
    .optional()
    .meta({ description: "PEM certificates between tlsCertificate and its root", example: "< chain.pem" }),
  tlsPrivateKey: pem("PRIVATE KEY")
    .refine((value) => !value.includes(" CERTIFICATE-----"), mustBe("a PEM PRIVATE KEY alone"))
    .optional()
    .meta({ description: "PEM private key of tlsCertificate, a secret", example: "< key.pem" }),
  webSdkUrl: httpUrl.optional().meta({
    description:
      "Another WebSDK bundle for the balancer to serve. Default: the pages of the npm package that this project pins",
    example: "https://downloads.example.com/flashphoner-api.tar.gz",
  }),
  webSdkSha256: sha256
    .optional()
    .meta({ description: "Checksum of that bundle; required with webSdkUrl", example: "<sha256>" }),
  webSdkStripComponents: integer(0, 9, "a number of leading folders")
    .default(2)
    .meta({ description: "Leading folders to strip from that bundle", example: "2" }),
  clientCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .min(1, mustBe("a list with at least one network"))
    .refine(unique, mustBe("a list without duplicates"))
    .default(["0.0.0.0/0"])
    .meta({ description: "Who reaches 443, 80, 8443 and media", example: "203.0.113.0/24" }),
  frameAncestors: z
    .array(origin, mustBe("a list of sites"))
    .max(20, mustBe("a list of 20 sites at most"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description:
        "Sites that may show the pages in a frame of theirs. Default: only the balancer's own pages",
      example: "https://www.example.com",
    }),
  adminCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description:
        "Who reaches the statistics page and metrics on 8404 of the balancer, and SSH. Default: nobody",
      example: "203.0.113.0/24",
    }),
  sshPublicKey: text(
    /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( [^\r\n]*)?$/,
    "one line of a .pub file, such as ssh-ed25519 AAAA... name",
  )
    .optional()
    .meta({
      description:
        "Whoever has its private key may log in by SSH, from adminCidrs. Default: no SSH. A change makes new machines",
      example: '"$(cat ~/.ssh/id_ed25519.pub)"',
    }),
  algorithm: z
    .enum(["roundrobin", "leastconn", "first"], mustBe("roundrobin, leastconn or first"))
    .default("roundrobin")
    .meta({
      description:
        "Which node a new client gets: by turns, the one with the fewest sockets, or the first that is not full",
      example: "leastconn",
    }),
  stickiness: z
    .boolean(mustBe("true or false"))
    .default(false)
    .meta({ description: "Whether a client comes back to its node, by a cookie", example: "true" }),
  protect: z.boolean(mustBe("true or false")).default(false).meta({
    description:
      "Whether the Elastic IP and the key of the stack's own CA are protected: an `up` that would delete them fails",
    example: "true",
  }),
  permissionsBoundary: text(
    /^arn:aws[a-z-]*:iam::(\d{12}|aws):policy\/[\w+=,.@/-]+$/,
    "the ARN of a managed policy such as arn:aws:iam::123456789012:policy/NAME",
  )
    .optional()
    .meta({
      description:
        "The managed policy that says what roles of the machines may do at most (see docs/ci.md). Default: their own policies alone",
      example: "arn:aws:iam::123456789012:policy/wcs-balancer-dev-boundary",
    }),
  vpcId: text(/^vpc-[0-9a-f]{8,17}$/, "a VPC id such as vpc-0123456789abcdef0")
    .optional()
    .meta({ description: "The VPC to use. Default: the default VPC", example: "vpc-0123456789abcdef0" }),
  subnetIds: z
    .array(
      text(/^subnet-[0-9a-f]{8,17}$/, "a subnet id such as subnet-0123456789abcdef0"),
      mustBe("a list of subnet ids"),
    )
    .min(1, mustBe("a list with at least one subnet"))
    .optional()
    .meta({
      description: "Public subnets for the instances; required with vpcId",
      example: "subnet-0123456789abcdef0",
    }),
});

export type ConfigValues = z.output<typeof configSchema>;
type Key = keyof typeof configSchema.shape;

/** Keys whose values must be stored encrypted (`pulumi config set --secret`). */
export const secretKeys = ["tlsPrivateKey", "wcsLicenseKey"] as const satisfies Key[];
type SecretKey = (typeof secretKeys)[number];

function isSecretKey(key: PropertyKey): key is SecretKey {
  return (secretKeys as readonly PropertyKey[]).includes(key);
}

/** A configuration value that cannot be used; its message names key, value, what is allowed and the fix. */
export class ConfigError extends Error {}

function show(value: unknown): string {
  const json = JSON.stringify(value) ?? "missing";
  return json.length > 80 ? `${json.slice(0, 77)}...` : json;
}

/** A key with its place in a list or object, as `pulumi config set --path` takes it. */
function pathName([key, ...rest]: PropertyKey[]): string {
  const places = rest.map((part) => {
    if (typeof part === "number") return `[${part}]`;
    return /^[A-Za-z0-9_-]+$/.test(String(part)) ? `.${String(part)}` : `[${JSON.stringify(part)}]`;
  });
  return String(key) + places.join("");
}

/** A key or what stands at a place in it. */
function schemaAt(path: PropertyKey[], schema: z.ZodType = configSchema): z.ZodType | undefined {
  const [part, ...rest] = path;
  if (part === undefined) return schema;
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject)
    return String(part) in inner.shape ? schemaAt(rest, inner.shape[String(part)]) : undefined;
  if (inner instanceof z.ZodArray) return schemaAt(rest, inner.element as z.ZodType);
  return inner instanceof z.ZodRecord ? schemaAt(rest, inner.valueType as z.ZodType) : undefined;
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  return schema instanceof z.ZodOptional || schema instanceof z.ZodDefault
    ? unwrap(schema.unwrap() as z.ZodType)
    : schema;
}

/** The first place in a list or object, for `pulumi config set --path` takes texts only. */
function firstPlace(path: PropertyKey[]): PropertyKey[] {
  const schema = schemaAt(path);
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray) return firstPlace([...path, 0]);
  if (inner instanceof z.ZodObject) return firstPlace([...path, ...Object.keys(inner.shape).slice(0, 1)]);
  return inner instanceof z.ZodRecord ? [...path, String(schema?.meta()?.element)] : path;
}

/** The example of the place itself, or of what it is in. */
function exampleOf(path: PropertyKey[]): string {
  const example = schemaAt(path)?.meta()?.example;
  return example === undefined ? exampleOf(path.slice(0, -1)) : String(example);
}

function inShell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function fixCommand(path: PropertyKey[]): string {
  const place = firstPlace(path);
  const target = place.length === 1 ? String(place[0]) : `--path ${inShell(pathName(place))}`;
  return `pulumi config set ${isSecretKey(place[0] as Key) ? "--secret " : ""}${target} ${exampleOf(place)}`;
}

function valueAt(root: unknown, path: PropertyKey[]): unknown {
  // biome-ignore lint/suspicious/noExplicitAny: walks an unvalidated value of any shape.
  return path.reduce((value: any, part) => value?.[part], root);
}

function explain(issue: z.core.$ZodIssue, values: Record<string, unknown>): string {
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => unknownKey(issue.path, key)).join("\n");
  const name = pathName(issue.path);
  return `${name} is ${shownAt(issue.path, values)}; ${issue.message}. Set it with: ${fixCommand(issue.path)}`;
}

function unknownKey(path: PropertyKey[], key: string): string {
  const name = pathName([...path, key]);
  const inner = unwrap(schemaAt(path));
  const allowed = inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
  return (
    `${name} is not a configuration key; the keys are ${allowed.join(", ")}. ` +
    `Remove it with: pulumi config rm ${path.length > 0 ? `--path ${inShell(name)}` : name}`
  );
}

/** A value as an error shows it. Of what may be a key or hold one, nothing is shown. */
function shownAt(path: PropertyKey[], values: Record<string, unknown>): string {
  const value = valueAt(values, path);
  const [key] = path;
  if (holdsPrivateKey(value)) return "not shown, since it holds a private key";
  if (typeof value === "string" && hasCredentials(value)) return "not shown, since it holds a password";
  const isPem = key === "tlsCertificate" || key === "tlsChain";
  return value !== undefined && (isPem || (key !== undefined && isSecretKey(key)))
    ? "not valid (not shown)"
    : show(value);
}

/** What zod cannot say of one key alone. Each rule gives a message or nothing. */
function contradictions(config: ConfigValues, now: Date): string[] {
  const problems: string[] = [];
  problems.push(...packageProblems(config));
  if (Boolean(config.vpcId) !== Boolean(config.subnetIds)) {
    const missing = config.vpcId ? "subnetIds" : "vpcId";
    problems.push(
      `${missing} is missing; vpcId and subnetIds go together. Set it with: ${fixCommand([missing])}`,
    );
  }
  if (config.sshPublicKey && config.adminCidrs.length === 0) {
    problems.push(
      "adminCidrs is empty; with sshPublicKey it must name the networks that SSH is open to. " +
        `Set it with: ${fixCommand(["adminCidrs"])}`,
    );
  }
  const twice = config.externalNodes.find(({ name }) => config.nodes.includes(name));
  if (twice) {
    problems.push(
      `externalNodes has ${show(twice.name)}, which is in nodes too; its names must be others. ` +
        `Set it with: ${fixCommand(["externalNodes"])}`,
    );
  }
  const ofCertificate = certificateProblems(config, now);
  // Sizes are those of what the machines get, which has to be readable first.
  return [...problems, ...(ofCertificate.length > 0 ? ofCertificate : sizeProblems(config))];
}

function packageProblems(config: ConfigValues): string[] {
  const { nodeAmi, wcsPackage, wcsPackageUrl, wcsPackageSha256, webSdkUrl, webSdkSha256 } = config;
  const problems: string[] = [];
  if (!nodeAmi && !wcsPackage && !wcsPackageUrl) {
    problems.push(
      "wcsPackage is missing; it must be the WCS tarball, a file or s3://BUCKET/KEY, unless nodeAmi names an image " +
        `with WCS in it. Set it with: ${fixCommand(["wcsPackage"])}`,
    );
  }
  if (wcsPackage && wcsPackageUrl) {
    problems.push(
      `wcsPackage is ${show(wcsPackage)} and wcsPackageUrl is ${show(wcsPackageUrl)}; only one of them can be the ` +
        "tarball. Remove the other with: pulumi config rm wcsPackageUrl",
    );
  }
  if ((wcsPackageUrl || wcsPackage?.startsWith("s3://")) && !wcsPackageSha256) {
    problems.push(
      "wcsPackageSha256 is missing; a node installs only a tarball whose checksum it knows. " +
        `Set it with: ${fixCommand(["wcsPackageSha256"])}`,
    );
  }
  if (webSdkUrl && !webSdkSha256) {
    problems.push(
      "webSdkSha256 is missing; the balancer serves only a bundle whose checksum it knows. " +
        `Set it with: ${fixCommand(["webSdkSha256"])}`,
    );
  }
  if (webSdkSha256 && !webSdkUrl) {
    problems.push(
      "webSdkUrl is missing; webSdkSha256 is the checksum of the bundle there, and the default needs none. " +
        `Set it with: ${fixCommand(["webSdkUrl"])}`,
    );
  }
  return problems;
}

function sizeProblems(config: ConfigValues): string[] {
  const { tlsCertificate, tlsChain, tlsPrivateKey } = config;
  try {
    const names = [...config.nodes, ...config.externalNodes.map(({ name }) => name)];
    checkStateFits(haproxySettings(config), names);
    if (tlsCertificate && tlsPrivateKey) {
      renderSecret(renderPem(tlsCertificate, tlsChain, tlsPrivateKey), "0".repeat(64));
    }
    return [];
  } catch (error) {
    if (error instanceof TooLargeError) return [error.message];
    throw error;
  }
}

/**
 * The certificates of a PEM text, in their order.
 * @throws Error when one of them cannot be read
 */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

type CertificateKey = "tlsCertificate" | "tlsChain" | "tlsPrivateKey";

/** What cannot be used, for the first key that has something of it. */
function certificateProblems(config: ConfigValues, now: Date): string[] {
  const { tlsCertificate, tlsChain, tlsPrivateKey } = config;
  if (!tlsCertificate && !tlsChain && !tlsPrivateKey) return [];
  if (!tlsCertificate || !tlsPrivateKey) {
    const missing = tlsCertificate ? "tlsPrivateKey" : "tlsCertificate";
    return [
      `${missing} is missing; tlsCertificate and tlsPrivateKey go together. Set it with: ${fixCommand([missing])}`,
    ];
  }
  try {
    const [certificate, ...others] = readable("tlsCertificate", () => certificatesIn(tlsCertificate));
    const chain = tlsChain === undefined ? [] : readable("tlsChain", () => certificatesIn(tlsChain));
    const key = readable("tlsPrivateKey", () => createPrivateKey(tlsPrivateKey));
    if (others.length > 0) {
      throw new ConfigError(
        `tlsCertificate holds ${others.length + 1} certificates; it must be the domain's alone, ` +
          `and the others go into tlsChain. Set it with: ${fixCommand(["tlsCertificate"])}`,
      );
    }
    checkChain([certificate as X509Certificate, ...chain]);
    checkCertificate(certificate as X509Certificate, key, config.domain);
    checkValidity("tlsCertificate", certificate as X509Certificate, now);
    // Only what has signed it: chains end with old roots on purpose, for the sake of old clients.
    if (chain[0]) checkValidity("tlsChain", chain[0], now);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return [error.message];
    throw error;
  }
}

/** @throws ConfigError when the PEM under a key has nothing in it that can be read */
function readable<T>(key: CertificateKey, read: () => T): T {
  try {
    const found = read();
    if (Array.isArray(found) && found.length === 0) throw new Error("no BEGIN CERTIFICATE");
    return found;
  } catch (error) {
    const label = key === "tlsPrivateKey" ? "PRIVATE KEY without a passphrase" : "CERTIFICATE";
    throw new ConfigError(
      `${key} cannot be read (${(error as Error).message}); it must be a PEM ${label}. ` +
        `Set it with: ${fixCommand([key])}`,
    );
  }
}

function checkChain(certificates: X509Certificate[]): void {
  for (const [index, issuer] of certificates.slice(1).entries()) {
    const issued = certificates[index];
    if (!issued || issued.checkIssued(issuer)) continue;
    throw new ConfigError(
      `tlsChain has ${show(issuer.subject)} after ${show(issued.subject)}, which ${show(issued.issuer)} has ` +
        "signed; it must be in the order in which each certificate signs the one before it, tlsCertificate " +
        `first of all. Set it with: ${fixCommand(["tlsChain"])}`,
    );
  }
}

function checkCertificate(certificate: X509Certificate, key: KeyObject, domain: string): void {
  if (!certificate.checkPrivateKey(key)) {
    throw new ConfigError(
      `tlsPrivateKey does not fit tlsCertificate (subject ${show(certificate.subject)}); it must be the key ` +
        `that the certificate was made for. Set it with: ${fixCommand(["tlsPrivateKey"])}`,
    );
  }
  if (!certificate.checkHost(domain)) {
    throw new ConfigError(
      `tlsCertificate is for ${show(certificate.subjectAltName)}; it must name the domain ${show(domain)}. ` +
        `Set it with: ${fixCommand(["tlsCertificate"])}`,
    );
  }
}

/** Browsers refuse a certificate outside of its time, so that nobody could connect. */
function checkValidity(key: CertificateKey, certificate: X509Certificate, now: Date): void {
  const [begin, end] = [new Date(certificate.validFrom), new Date(certificate.validTo)];
  if (begin <= now && now < end) return;
  const when = begin > now ? `is valid only from ${begin.toISOString()} on` : `ended at ${end.toISOString()}`;
  throw new ConfigError(
    `${key} (${show(certificate.subject)}) ${when}, and now it is ${now.toISOString()}; it must be valid now, or no ` +
      `client can connect. Set it with: ${fixCommand([key])}, or remove tlsCertificate, tlsChain and tlsPrivateKey ` +
      "with pulumi config rm: a CA of the stack's own signs one then",
  );
}

/**
 * Validates the configuration of a stack. Pure: no engine, no environment.
 *
 * @param values plain values by key, without the namespace
 * @param isSecret whether a key is stored encrypted
 * @param now when a certificate of one's own has to be valid
 * @throws ConfigError with one line for each problem
 */
export function parseConfig(
  values: Record<string, unknown>,
  isSecret: (key: string) => boolean,
  now: Date,
): ConfigValues {
  const exposed = secretKeys.filter((key) => values[key] !== undefined && !isSecret(key));
  if (exposed.length > 0) {
    throw new ConfigError(
      exposed
        .map(
          (key) => `${key} is stored in clear text; it must be a secret. Set it with: ${fixCommand([key])}`,
        )
        .join("\n"),
    );
  }
  const result = configSchema.safeParse(values);
  if (!result.success) {
    throw new ConfigError(result.error.issues.map((issue) => explain(issue, values)).join("\n"));
  }
  const problems = contradictions(result.data, now);
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return result.data;
}

/** Pulumi hands every value over as text; what is no text by the schema is JSON. */
export function fromEngine(key: string, value: string): unknown {
  const schema = configSchema.shape[key as Key];
  if (!schema || schema.safeParse(value).success) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** The path of the tarball that `pulumi up` uploads, if wcsPackage is a file; relative ones begin at the project's folder. */
export function localWcsPackage({ wcsPackage }: Pick<ConfigValues, "wcsPackage">): string | undefined {
  return wcsPackage === undefined || wcsPackage.startsWith("s3://")
    ? undefined
    : resolve(__dirname, wcsPackage);
}

/**
 * Looks at the file that wcsPackage names.
 * @throws ConfigError when it cannot be read or has another checksum than the configuration says
 */
export function checkLocalPackage(config: ConfigValues): void {
  const path = localWcsPackage(config);
  if (path === undefined) return;
  let sha256: string;
  try {
    ({ sha256 } = hashFile(path));
  } catch (error) {
    throw new ConfigError(
      `wcsPackage is ${show(config.wcsPackage)}; it must be a file that can be read ` +
        `(${(error as NodeJS.ErrnoException).code} for ${path}), or s3://BUCKET/KEY where there is none, as in CI. ` +
        `Set it with: ${fixCommand(["wcsPackage"])}`,
    );
  }
  if (config.wcsPackageSha256 && config.wcsPackageSha256 !== sha256) {
    throw new ConfigError(
      `wcsPackageSha256 is ${config.wcsPackageSha256}; the file ${show(config.wcsPackage)} has ${sha256}. ` +
        "For a file it is computed; remove it with: pulumi config rm wcsPackageSha256",
    );
  }
}

/** The SDK has this function, but marks it internal and leaves it out of its types. */
const { isConfigSecret } = pulumi.runtime as unknown as { isConfigSecret(key: string): boolean };

export type PublicConfig = Omit<ConfigValues, SecretKey>;
export type StackConfig = PublicConfig & { [key in SecretKey]?: pulumi.Output<string> };

/**
 * The validated configuration of the current stack, secrets as secret outputs.
 * @param now when a certificate of one's own has to be valid
 * @throws pulumi.RunError, which the engine prints without a stack trace
 */
export function loadConfig(now: Date): StackConfig {
  const namespace = `${pulumi.getProject()}:`;
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(pulumi.runtime.allConfig())) {
    if (!name.startsWith(namespace)) continue;
    const key = name.slice(namespace.length);
    values[key] = fromEngine(key, value);
  }
  try {
    const config = parseConfig(values, (key) => isConfigSecret(namespace + key), now);
    checkLocalPackage(config);
    const secret = (value: string | undefined) => (value === undefined ? undefined : pulumi.secret(value));
    return {
      ...config,
      tlsPrivateKey: secret(config.tlsPrivateKey),
      wcsLicenseKey: secret(config.wcsLicenseKey),
    };
  } catch (error) {
    if (error instanceof ConfigError) throw new pulumi.RunError(error.message);
    throw error;
  }
}
