import { z } from "zod";
import {
  agentPort,
  agentRequestVersion,
  httpPort,
  httpsPort,
  nodePort,
  nodeTlsPort,
  statisticsPort,
} from "../contract/facts";
import {
  ami,
  cidr,
  email,
  heap,
  holdsPrivateKey,
  httpsUrl,
  httpUrl,
  instanceType,
  integer,
  ipv4,
  mustBe,
  origin,
  pem,
  publicPem,
  sha256,
  text,
  unique,
} from "./value-types";

const checksRule = mustBe(
  "an object with one or more of cpu, publishers, subscribers, hls, bandIn, bandOut and connections",
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
      connections: integer(1, 100_000, "a number of connections").optional(),
    },
    checksRule,
  )
  .refine((value) => Object.keys(value).length > 0, checksRule);

export type AgentChecks = z.infer<typeof checks>;

const nodeName = text(
  /^[a-z][a-z0-9-]{0,30}$/,
  "a name of lower-case letters, digits and hyphens, 31 at most, beginning with a letter",
);

/** Let's Encrypt (its documentation, "ACME Protocol Compatibility"). */
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory";

const acme = z.strictObject(
  {
    email: email.meta({ example: "operations@example.com" }),
    directory: httpsUrl.default(letsEncrypt).meta({ example: letsEncrypt }),
    profile: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "the name of a profile that the directory offers")
      .optional()
      .meta({ example: "classic" }),
  },
  mustBe("an object with email, and optionally directory and profile"),
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
        "Route 53 zone for the DNS record of `domain`. Default: make the record in the output `dnsRecord` yourself",
      example: "Z0123456789ABC",
    }),
  balancers: integer(1, 3, "a number of balancers").default(1).meta({
    description: "How many balancers there are. Several are behind a load balancer (see entry)",
    example: "2",
  }),
  entry: z
    .enum(["address", "loadBalancer", "both"], mustBe("address, loadBalancer or both"))
    .optional()
    .meta({
      description:
        "How clients reach the balancers: by the Elastic IP of the only balancer (address), by a Network Load Balancer " +
        "with an Elastic IP in each zone (loadBalancer), or by both, to move from one to the other. Default: address " +
        "for one balancer, loadBalancer for more",
      example: "loadBalancer",
    }),
  nodes: z
    .array(nodeName, mustBe("a list of names"))
    .min(1, mustBe("a list with at least one name"))
    .refine(unique, mustBe("a list without duplicates"))
    .default(["wcs-1", "wcs-2"])
    .meta({
      description: "Names of the WCS nodes, one instance each",
      example: "wcs-1",
    }),
  externalNodes: z
    .array(
      z.strictObject(
        {
          name: nodeName.meta({ example: "hardware-1" }),
          address: ipv4.meta({ example: "192.0.2.7" }),
          // The guide's own script may run there.
          agentRequest: integer(1, agentRequestVersion, "a version of the request to agents")
            .default(1)
            .meta({ example: String(agentRequestVersion) }),
        },
        mustBe("an object with name and address"),
      ),
      mustBe("a list of objects with name and address"),
    )
    .refine((nodes) => unique(nodes.map(({ name }) => name)), mustBe("a list without a name twice"))
    .default([])
    .meta({
      description:
        `WCS servers that exist already. They must run the agent and let this balancer reach ${nodePort} and ${agentPort}. ` +
        "With agentRequest 2 a server, which must run this version's agent, also gets checks.connections",
      example: "192.0.2.7",
    }),
  nodeStack: text(
    /^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/,
    "ORGANIZATION/PROJECT/STACK, such as organization/wcs-balancer/nodes",
  )
    .optional()
    .meta({
      description:
        "Another stack whose nodes (output wcsNodes) this balancer uses too; its balancerCidrs must name the network of this balancer",
      example: "organization/wcs-balancer/nodes",
    }),
  balancerCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description:
        "Networks with other stacks' balancers, which may use this stack's nodes: the subnet's, since a new balancer has " +
        "another address. A change makes new nodes",
      example: "172.31.0.0/20",
    }),
  directAccess: z
    .boolean(mustBe("true or false"))
    .default(true)
    .meta({
      description: `Whether clients may connect straight to a node, on ${nodeTlsPort}, past the balancer`,
      example: "false",
    }),
  rollout: z
    .enum(["wait", "skip"], mustBe("wait or skip"))
    .default("wait")
    .meta({
      description: `Whether \`pulumi up\` waits for the balancers. With skip, for computers that cannot reach ${httpsPort}, machines are removed without a drain`,
      example: "skip",
    }),
  nodeInstanceType: instanceType
    .default("c7i.large")
    .meta({ description: "Instance type of a node", example: "c7i.large" }),
  balancerInstanceType: instanceType
    .default("t3.small")
    .meta({ description: "Instance type of a balancer", example: "t3.small" }),
  nodeAmi: ami.optional().meta({
    description: "AMI of the nodes, with or without WCS. Default: the newest Debian 13 when a node is made",
    example: "ami-0123456789abcdef0",
  }),
  balancerAmi: ami.optional().meta({
    description: "AMI of the balancers: Debian 13, or another apt image with HAProxy 3.0 or newer",
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
    description: "Web address of the WCS tarball, instead of wcsPackage",
    example: "https://downloads.example.com/FlashphonerWebCallServer.tar.gz",
  }),
  wcsPackageSha256: sha256.optional().meta({
    description:
      "Checksum of the WCS tarball. Required with wcsPackageUrl and s3://; for a file `pulumi up` computes it",
    example: "<sha256>",
  }),
  javaPackage: text(/^[a-z0-9][a-z0-9.+-]+$/, "the name of a distribution package")
    .default("default-jre-headless")
    .meta({ description: "The package with the Java for WCS", example: "default-jre-headless" }),
  wcsLicenseKey: text(/^[\x21-\x7e]{4,200}$/, "a licence key on one line")
    .optional()
    .meta({ description: "Licence key of WCS, a secret", example: "KEY" }),
  wcsProperties: z
    .record(
      text(/^[A-Za-z0-9_.-]+$/, "the name of a property"),
      z
        .union([z.string(), z.number(), z.boolean()], mustBe("a text, number or boolean"))
        .transform(String)
        .refine((value) => !/[\r\n\0]/.test(value), mustBe("a value on one line"))
        .refine(
          (value) => !holdsPrivateKey(value),
          mustBe("a value that is no secret: machines get it in user-data"),
        ),
      mustBe("an object of properties"),
    )
    .default({})
    .meta({
      description:
        "More lines for flashphoner.properties; {privateAddress} and {publicAddress} stand for the node's own",
      example: "31001",
      element: "media_port_from",
    }),
  wcsHeap: heap
    .optional()
    .meta({ description: "Java heap of WCS. Default: half of the node's memory", example: "4g" }),
  agentListener: z.enum(["xinetd", "systemd"], mustBe("xinetd or systemd")).default("xinetd").meta({
    description: "The service that starts the agent; use systemd on images without xinetd",
    example: "systemd",
  }),
  openPorts: z
    .array(z.enum(["hls", "rtmp", "rtsp", "cdn"], mustBe("one of hls, rtmp, rtsp and cdn")), mustBe("a list"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description: "More ports of WCS to open: hls, rtmp and rtsp to clients, cdn between the nodes",
      example: "cdn",
    }),
  checks: checks
    .default({ cpu: 90, publishers: 100, subscribers: 100, hls: 100, bandIn: 100, bandOut: 100 })
    .meta({
      description:
        "Thresholds at which a node stops taking new clients. Once set, only the named ones are checked. The default " +
        "is the guide's six; connections counts all clients of WCS: those of other balancers and direct ones, too",
      example: "90",
    }),
  drainTimeoutSeconds: integer(0, 86_400, "a number of seconds").default(600).meta({
    description:
      "How long a removed node, or a balancer that leaves a load balancer, keeps its open sockets before they are closed",
    example: "600",
  }),
  maxConnectionsPerNode: integer(1, 100_000, "a number of WebSockets")
    .default(100)
    .meta({ description: "Limit of WebSockets to one node through each balancer", example: "100" }),
  maxConnections: integer(100, 400_000, "a number of connections")
    .default(4000)
    .meta({ description: "Limit of connections to each balancer", example: "4000" }),
  maxConnectionsPerAddress: integer(10, 400_000, "a number of connections")
    .default(100)
    .meta({
      description: `Limit of connections from one client address to each balancer, on ${httpsPort} and ${httpPort} together; the next are closed at once`,
      example: "100",
    }),
  trustedCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .max(50, mustBe("a list of 50 networks at most"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description:
        "Networks without this limit, such as a company whose clients share an address. Default: none",
      example: "203.0.113.0/24",
    }),
  tlsCertificate: publicPem.optional().meta({
    description: "A user-supplied certificate, as PEM. Default: acme, or else the stack's own CA signs one",
    example: "< cert.pem",
  }),
  tlsChain: publicPem
    .optional()
    .meta({ description: "PEM certificates between tlsCertificate and its root", example: "< chain.pem" }),
  tlsPrivateKey: pem("PRIVATE KEY")
    .refine((value) => !value.includes(" CERTIFICATE-----"), mustBe("a PEM PRIVATE KEY alone"))
    .optional()
    .meta({ description: "PEM private key of tlsCertificate, a secret", example: "< key.pem" }),
  expiredCertificate: text(/^\d{4}-\d\d-\d\d$/, "the day of its end, such as 2026-11-30")
    .optional()
    .meta({
      description:
        "The day on which tlsCertificate has ended, to run `pulumi up` although no client can connect. It counts for a " +
        "certificate that ended on this day alone. Default: an expired certificate is refused",
      example: "2026-11-30",
    }),
  acme: acme.optional().meta({
    description:
      "Public certificates: the balancers order and renew them automatically at an ACME directory, by default Let's " +
      `Encrypt's. They prove on port ${httpPort} that the domain leads to them. email is the account's contact; profile is the ` +
      "directory's name for a kind of certificate, by default the first of tlsserver, classic and default that it has. " +
      "Default: no ACME",
    example: "operations@example.com",
  }),
  webSdkUrl: httpUrl.optional().meta({
    description:
      "Another WebSDK bundle for balancers to serve. Default: the pages of the npm package that this project pins",
    example: "https://downloads.example.com/flashphoner-api.tar.gz",
  }),
  webSdkSha256: sha256
    .optional()
    .meta({ description: "Checksum of the bundle in webSdkUrl; required with it", example: "<sha256>" }),
  webSdkStripComponents: integer(0, 9, "a number of leading folders")
    .default(2)
    .meta({ description: "Leading folders to strip from the bundle in webSdkUrl", example: "2" }),
  clientCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .min(1, mustBe("a list with at least one network"))
    .refine(unique, mustBe("a list without duplicates"))
    .default(["0.0.0.0/0"])
    .meta({
      description: `Networks that reach ${httpsPort}, ${httpPort}, ${nodeTlsPort} and media`,
      example: "203.0.113.0/24",
    }),
  frameAncestors: z
    .array(origin, mustBe("a list of sites"))
    .max(20, mustBe("a list of 20 sites at most"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description: "Sites that may show the pages in a frame. Default: only the balancer itself",
      example: "https://www.example.com",
    }),
  adminCidrs: z
    .array(cidr, mustBe("a list of networks"))
    .refine(unique, mustBe("a list without duplicates"))
    .default([])
    .meta({
      description: `Networks that reach a balancer's statistics page and metrics on ${statisticsPort}, and SSH. Default: nobody`,
      example: "203.0.113.0/24",
    }),
  sshPublicKey: text(
    /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( [^\r\n]*)?$/,
    "one line of a .pub file, such as ssh-ed25519 AAAA... name",
  )
    .optional()
    .meta({
      description: "Public key for SSH, from adminCidrs. Default: no SSH. A change makes new machines",
      example: '"$(cat ~/.ssh/id_ed25519.pub)"',
    }),
  algorithm: z
    .enum(["roundrobin", "leastconn", "first"], mustBe("roundrobin, leastconn or first"))
    .default("roundrobin")
    .meta({
      description:
        "The node for a new client: in turn (roundrobin), with the fewest sockets (leastconn), or the first that is not full (first)",
      example: "leastconn",
    }),
  stickiness: z
    .boolean(mustBe("true or false"))
    .default(false)
    .meta({ description: "Whether a cookie brings a client back to its node", example: "true" }),
  protect: z.boolean(mustBe("true or false")).default(false).meta({
    description:
      "Whether the Elastic IPs, the CA's key and the bucket of machine software are protected: an `up` that would delete one fails",
    example: "true",
  }),
  permissionsBoundary: text(
    /^arn:aws[a-z-]*:iam::(\d{12}|aws):policy\/[\w+=,.@/-]+$/,
    "the ARN of a managed policy such as arn:aws:iam::123456789012:policy/NAME",
  )
    .optional()
    .meta({
      description:
        "The managed policy that limits the machines' roles (see docs/ci.md). Default: only their own policies",
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
      description:
        "Public subnets for the instances; required with vpcId. With a load balancer in three zones at most",
      example: "subnet-0123456789abcdef0",
    }),
});

export type ConfigValues = z.output<typeof configSchema>;
export type Key = keyof typeof configSchema.shape;

/** Keys whose values must be stored encrypted (`pulumi config set --secret`). */
export const secretKeys = ["tlsPrivateKey", "wcsLicenseKey"] as const satisfies Key[];
export type SecretKey = (typeof secretKeys)[number];

/** PEM certificates: no secrets, but a private key may have been pasted along. */
export const certificateKeys: readonly PropertyKey[] = ["tlsCertificate", "tlsChain"] satisfies Key[];

/** Whether a key's value has to be stored encrypted. */
export function isSecretKey(key: PropertyKey): key is SecretKey {
  return (secretKeys as readonly PropertyKey[]).includes(key);
}

/** How clients reach the balancers. */
export type Entry = NonNullable<ConfigValues["entry"]>;

/** A further service of WCS. */
export type OpenPort = ConfigValues["openPorts"][number];

/** The configuration without secrets. */
export type PublicConfig = Omit<ConfigValues, SecretKey>;
