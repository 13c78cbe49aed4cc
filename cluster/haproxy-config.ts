import { createHash } from "node:crypto";
import type { AgentChecks } from "../config/schema";
import {
  acmeFile,
  addressFrontend,
  addressTable,
  agentPort,
  agentRequestVersion,
  busyPage,
  certificatePath,
  checkComments,
  handOverFile,
  handOverMostSeconds,
  healthPath,
  httpPort,
  httpsPort,
  lastClientVariables,
  loadBalancerFrontend,
  loadBalancerHealthPort,
  loadBalancerHttpPort,
  loadBalancerHttpsPort,
  nodePort,
  nodesBackend,
  pagesBackend,
  pagesPort,
  runtimeSocket,
  serverStateFile,
  servicePath,
  statisticsPort,
  statusBackend,
  statusCertificateFile,
  statusPort,
} from "./contract";

export interface HaproxySettings {
  domain: string;
  maxConnections: number;
  maxConnectionsPerNode: number;
  /** Connections that one client address may have, on all ports for clients together. */
  maxConnectionsPerAddress: number;
  /** Networks without this limit. */
  trustedCidrs: string[];
  /** Origins, besides the balancer's own, whose pages may show ours in a frame. */
  frameAncestors: string[];
  checks: AgentChecks;
  algorithm: Algorithm;
  /** Whether a cookie brings a client back to its node. */
  stickiness: boolean;
  /** Whether browsers may remember that the domain needs TLS. Only for certificates that they trust. */
  strictTransportSecurity: boolean;
  /**
   * Whether balancers get the certificate from an ACME directory. Then they answer its challenges, and browsers remember
   * the need of TLS only while a public certificate is served.
   */
  acme: boolean;
}

/** Where the guide's test begins: the Two Way Streaming page of the WebSDK. The address `/` leads there. */
export const examplePage = "/wcs/examples/demo/streaming/two_way_streaming/two_way_streaming.html";

/** By turns; to the node with the fewest sockets; or to the first node until it is full. */
type Algorithm = "roundrobin" | "leastconn" | "first";

/** A WCS node as HAProxy sees it. */
export interface Backend {
  /** Unique to the instance: HAProxy's state file and cookies use this name. */
  serverName: string;
  /** Private address. */
  address: string;
  /** The version of the request that its agent understands. */
  agentRequest: number;
}

/** The settings that decide about a server's own options. */
export type ServerSettings = Pick<HaproxySettings, "checks" | "stickiness">;

/** A server name that is unique to an instance: the node's name and the last 8 digits of the instance id. */
export function serverName(nodeName: string, instanceId: string): string {
  return `${nodeName}-${instanceId.slice(-8)}`;
}

/** A server name for a server that is not an instance: its name and a hash of its address. */
export function externalServerName(name: string, address: string): string {
  return `${name}-${createHash("sha256").update(address).digest("hex").slice(0, 8)}`;
}

/** A node that another stack has in its output `wcsNodes`. */
export interface OutputNode {
  name: string;
  privateAddress: string;
  instanceId: string;
  /** @default 1: versions before this field */
  agentRequest?: number;
}

/** The servers that this stack does not make, sorted by their names. */
export function furtherBackends(external: Backend[], ofStack: OutputNode[]): Backend[] {
  const nodes = ofStack.map(({ name, privateAddress, instanceId, agentRequest = 1 }) => ({
    serverName: serverName(name, instanceId),
    address: privateAddress,
    agentRequest,
  }));
  return [...external, ...nodes].sort((one, other) => (one.serverName < other.serverName ? -1 : 1));
}

const agentWords: Record<keyof AgentChecks, string> = {
  cpu: "cpu",
  publishers: "publishers",
  subscribers: "subscribers",
  hls: "hls",
  bandIn: "band-in",
  bandOut: "band-out",
  connections: "connections",
};

/** The first version of the request that has a check, for those that version 1 does not have. */
const firstVersions: Partial<Record<keyof AgentChecks, number>> = { connections: 2 };

/**
 * The thresholds that HAProxy sends with each agent check, as far as a version of the request has them. They end with
 * `;`, so that the agent need not wait.
 */
export function renderAgentRequest(checks: AgentChecks, version = agentRequestVersion): string {
  const words = (Object.keys(agentWords) as (keyof AgentChecks)[])
    .filter((check) => checks[check] !== undefined && version >= (firstVersions[check] ?? 1))
    .map((check) => `${agentWords[check]} ${checks[check]}`);
  // An agent takes an empty request for a health check and says `down`. It skips a word that it does not know: then
  // nothing is checked.
  return `${words.join(" ") || "none"};`;
}

/**
 * A node's address and own options. The options of all nodes are in `default-server`. Its request has the words of the
 * newest version, so only older nodes take up more of the 8 KB.
 */
export function renderServerOptions(
  { serverName, address, agentRequest }: Backend,
  { checks, stickiness }: ServerSettings,
): string {
  const request = renderAgentRequest(checks, agentRequest);
  const cookie = stickiness ? ` cookie ${serverName}` : "";
  const agentSend = request === renderAgentRequest(checks) ? "" : ` agent-send "${request}"`;
  return `${address}:${nodePort}${cookie}${agentSend}`;
}

/** The `server` line of a node. */
export function renderServer(backend: Backend, settings: ServerSettings): string {
  return `    server ${backend.serverName} ${renderServerOptions(backend, settings)}`;
}

/** Clients' connections that HAProxy takes beyond maxConnections, so that they get an answer. */
const refusedConnections = 100;

/** Connections that clients cannot take, for operators and health checks. */
const reservedConnections = 100;

/** Connections that operators may have to the statistics page and the metrics. */
const statisticsConnections = 50;

/** SameSite=None, since pages of other sites may connect too. */
const cookieLines = `    # One value for each node. A full node keeps its clients, a node that is down loses them.
    cookie SERVERID insert indirect nocache httponly secure attr "SameSite=None"
`;

/** A way of clients to HAProxy. */
interface ClientPath {
  frontend: string;
  redirect: string;
  httpsPort: number;
  httpPort: number;
  /** HAProxy's variable with the moment of the last client. */
  lastClient: string;
  /** Only connections of the load balancer begin with the client's address. */
  hasProxyProtocol: boolean;
}

/** Every balancer serves both ways, and security groups close the one that is not used. */
const clientPaths: Record<keyof typeof lastClientVariables, ClientPath> = {
  address: {
    frontend: addressFrontend,
    redirect: "redirect-to-https",
    httpsPort,
    httpPort,
    lastClient: lastClientVariables.address,
    hasProxyProtocol: false,
  },
  loadBalancer: {
    frontend: loadBalancerFrontend,
    redirect: "load-balancer-redirect",
    httpsPort: loadBalancerHttpsPort,
    httpPort: loadBalancerHttpPort,
    lastClient: lastClientVariables.loadBalancer,
    hasProxyProtocol: true,
  },
};

/** The end of a `bind` line. */
const acceptProxy = ({ hasProxyProtocol }: ClientPath) => (hasProxyProtocol ? " accept-proxy" : "");

/**
 * The first lines of each frontend for clients. Excess connections are closed before their TLS handshake, which would
 * cost a thousand times as much. With PROXY protocol they are closed after it, since HAProxy does not know the client's
 * address before. Connections from trusted networks are not counted.
 */
function renderClientLimits(settings: HaproxySettings, { hasProxyProtocol }: ClientPath): string {
  const { maxConnections, maxConnectionsPerAddress, trustedCidrs } = settings;
  const rule = `tcp-request ${hasProxyProtocol ? "session" : "connection"}`;
  // One line, since the document has room for 8 KB.
  const trusted = trustedCidrs.length > 0 ? `    acl trusted src ${trustedCidrs.join(" ")}\n` : "";
  return `    # Leave room for health checks.
    tcp-request connection reject if { act_conn gt ${maxConnections + refusedConnections} }
${trusted}${trusted && `    ${rule} accept if trusted\n`}    ${rule} track-sc0 src table ${addressTable}
    acl one_too_many sc0_conn_cur gt ${maxConnectionsPerAddress}
    ${rule} sc-inc-gpc0(0) if one_too_many
    ${rule} reject if one_too_many
    # No page takes a body, and an endless body would keep its connection open.
    acl has_body hdr_reg(Content-Length) [1-9]
    acl has_body hdr(Transfer-Encoding) -m found
    http-request reject if has_body
`;
}

/**
 * A value of the map that wcs-balancer-sync writes. HAProxy 3.0 keeps a map for each use of a file that need not exist, so
 * a change at run time has to be made in each of them.
 */
const acmeValue = (key: string) => `str(${key}),map_str(opt@${acmeFile})`;

/**
 * The answer to an HTTP-01 challenge (RFC 8555, 8.3): the token and the thumbprint of the account's key. It needs no
 * state of the order, so each balancer answers the challenges of every other one.
 */
const challengeLines = `    # For the ACME directory.
    http-request return status 200 content-type text/plain lf-string "%[path,field(-1,/)].%[${acmeValue("thumbprint")}]" if { method GET } { path_reg ^/\\.well-known/acme-challenge/[A-Za-z0-9_-]+$ } { ${acmeValue("thumbprint")} -m found }
`;

/** The redirect to https of one way of clients. */
function renderRedirect(settings: HaproxySettings, path: ClientPath): string {
  return `frontend ${path.redirect}
    bind :${path.httpPort}${acceptProxy(path)}
${renderClientLimits(settings, path)}${settings.acme ? challengeLines : ""}    # Not to the host that the request names.
    http-request redirect prefix https://${settings.domain} code 301

`;
}

/**
 * A hand-over moves the Elastic IP, so it does not concern clients of the load balancer. It lasts a few
 * minutes at most, whatever the clock does.
 */
const handOverLines = `    # While another balancer takes over the address.
    http-request set-var(txn.now) date
    acl handed_over str(until),map_str_int(opt@${handOverFile},0),sub(txn.now) 1:${handOverMostSeconds}
    http-request return status 503 content-type "text/html; charset=utf-8" file ${busyPage} hdr Retry-After 1 hdr Cache-Control no-store hdr Connection close if handed_over !is_status
`;

/** Pages and WebSockets of one way of clients. */
function renderFrontend(settings: HaproxySettings, path: ClientPath): string {
  const { domain, maxConnections } = settings;
  const frameAncestors = ["'self'", ...settings.frameAncestors].join(" ");
  const isPublic = settings.acme ? ` if { ${acmeValue("public")} -m found }` : "";
  const strictTransportSecurity =
    settings.strictTransportSecurity || settings.acme
      ? `    http-response set-header Strict-Transport-Security "max-age=31536000"${isPublic}\n`
      : "";
  return `frontend ${path.frontend}
    # HTTP/1.1 only: WebSockets over HTTP/2 break in some browsers. Clients that ask for an unknown name get the first
    # certificate.
    bind :${path.httpsPort}${acceptProxy(path)} ssl crt ${certificatePath(domain)} crt ${statusCertificateFile} alpn http/1.1 tcp-ut 60s
${renderClientLimits(settings, path)}    acl is_websocket hdr(Upgrade) -i WebSocket
    acl is_websocket hdr(Sec-WebSocket-Key) -m found
    # WCS puts X-Client-IP into the session id. So delete it, and similar headers, from clients.
    http-request del-header x[-_]client[-_]ip -m reg
    http-request del-header x[-_]forwarded[-_] -m reg
    http-request del-header ^forwarded$ -m reg
    acl is_status path_beg ${servicePath}
    # A balancer that leaves serves until no new clients come, refused ones included.
    http-request set-var(${path.lastClient}) date if is_websocket { http_first_req } !is_status !{ path ${healthPath} }
${path === clientPaths.address ? handOverLines : ""}    # Refuse clients at once when no node has room, instead of queueing them.
    http-request set-var(txn.others) fe_conn(${loadBalancerFrontend})
    http-request return status 503 default-errorfiles if { fe_conn(${addressFrontend}),add(txn.others) gt ${maxConnections} } !{ path ${healthPath} } !is_status
    acl no_node nbsrv(${nodesBackend}) lt 1
    acl no_node be_conn_free(${nodesBackend}) lt 1
    http-request return status 503 default-errorfiles if is_websocket no_node
    http-request redirect location ${examplePage} code 302 if { path / } !is_websocket
    http-after-response set-header Content-Security-Policy "frame-ancestors ${frameAncestors}"
    http-response set-header X-Content-Type-Options nosniff
    http-response set-header Referrer-Policy strict-origin-when-cross-origin
${strictTransportSecurity}    use_backend ${statusBackend} if is_status or { path ${healthPath} }
    use_backend ${nodesBackend} if is_websocket
    default_backend ${pagesBackend}

`;
}

/**
 * haproxy.cfg without the servers. Their lines follow at the end, in the last section. Comments in the text take up
 * room of the 8 KB, so some reasons stand here:
 * - `stats socket`: not the distribution's admin.sock, whose mode, open to HAProxy's group, would outlive a reload;
 * - `mworker-max-reloads`: how many reloads an old worker with open sockets may live through;
 * - `server-state-file`: otherwise a node that its agent took out would count as up after a reload;
 * - `ssl-default-bind-curves`: finite fields cost the server much more than the client;
 * - `timeout http-keep-alive`: a browser has six connections for its pages;
 * - `timeout queue`: without a free node a client soon gets a 503, and tries again automatically;
 * - `timeout client-hs`: counts before the end of the TLS handshake, `timeout client` after it;
 * - `stick-table`: there is room for all addresses;
 * - load-balancer-health: the load balancer resets every socket of an unhealthy balancer, and a full cluster must not
 *   cut its sockets;
 * - `retries` and timeouts of the nodes: until the checks notice a dead node (2 s) or a node that hangs (5 s), clients
 *   wait: half a second is left for one more try, on another node;
 * - `tcp-check` of the agent's port: when an agent does not answer, HAProxy keeps its last state for ever. The request
 *   is a cheap empty one.
 */
export function renderHaproxyBase(settings: HaproxySettings): string {
  const { domain, maxConnections, maxConnectionsPerNode, checks, algorithm, stickiness } = settings;
  const allConnections = maxConnections + refusedConnections + reservedConnections;
  const paths = Object.values(clientPaths);
  return `# Rendered by wcs-balancer. wcs-balancer-sync replaces this file: change the stack's configuration instead.

global
    log /dev/log local0
    chroot /var/lib/haproxy
    user haproxy
    group haproxy
    # maxConnections, refused clients, operators and health checks.
    maxconn ${allConnections}
    stats socket ${runtimeSocket} user root group root mode 600 level admin
    mworker-max-reloads 100
    # Keeps the nodes' states over a reload.
    server-state-file ${serverStateFile}
    # Mozilla's intermediate profile.
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
    ssl-default-bind-curves X25519:P-256:P-384

defaults
    mode http
    log global
    option httplog
    option dontlognull
    # HTTP/2 would carry any number of WebSockets on one connection.
    option disable-h2-upgrade
    retries 3
    http-error status 503 content-type "text/html; charset=utf-8" file ${busyPage} hdr Retry-After 10 hdr Cache-Control no-store
    http-error status 504 content-type "text/html; charset=utf-8" file ${busyPage} hdr Retry-After 10 hdr Cache-Control no-store
    load-server-state-from-file global
    timeout http-request 10s
    # Idle connections count for their address.
    timeout http-keep-alive 2s
    timeout queue 3s
    timeout connect 5s
    timeout client-hs 10s
    timeout client 1m
    timeout server 1m
    timeout check 1s
    # WCS pings each WebSocket every five seconds.
    timeout tunnel 1h
    timeout client-fin 30s
    timeout server-fin 30s
    # When a peer disappears, close the connection to the other one.
    option clitcpka
    clitcpka-idle 30s
    clitcpka-intvl 10s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 30s
    srvtcpka-intvl 10s
    srvtcpka-cnt 3

# Connections of each client address, and how many were refused in the last minute.
backend ${addressTable}
    stick-table type ip size ${allConnections} expire 1m store conn_cur,gpc0_rate(1m)

${paths.map((path) => renderRedirect(settings, path)).join("")}${paths.map((path) => renderFrontend(settings, path)).join("")}# Whether a state is applied. Must not depend on nodes.
frontend load-balancer-health
    bind :${loadBalancerHealthPort} accept-proxy
    http-request set-log-level silent
    http-request return status 200

# For operators, without the limit for each address.
frontend statistics
    bind :${statisticsPort} ssl crt ${certificatePath(domain)} alpn http/1.1
    maxconn ${statisticsConnections}
    http-after-response set-header Content-Security-Policy "frame-ancestors 'none'"
    http-request use-service prometheus-exporter if { path /metrics }
    stats enable
    stats uri /
    stats refresh 10s
    stats hide-version

# The pages of the WebSDK
backend ${pagesBackend}
    server nginx 127.0.0.1:${pagesPort} maxconn 500 check inter 1s

# wcs-balancer-sync
backend ${statusBackend}
    server sync 127.0.0.1:${statusPort} maxconn 20

# The WCS nodes
backend ${nodesBackend}
    balance ${algorithm}
${stickiness ? cookieLines : ""}    http-request set-header X-Client-IP %ci:%cp
    retries 1
    option redispatch 1
    retry-on conn-failure empty-response response-timeout
    timeout connect 1500ms
    # For the answer to the upgrade. Once a WebSocket is open, timeout tunnel counts.
    timeout server 4500ms
    option tcp-check
    tcp-check connect comment "${checkComments.node}"
    tcp-check connect port ${agentPort} comment "${checkComments.agent}"
    tcp-check send ; comment "${checkComments.agent}"
    tcp-check expect comment "${checkComments.agent}" rstring ^(up|down)
    default-server weight 100 maxconn ${maxConnectionsPerNode} slowstart 5s check inter 1s fastinter 500ms fall 2 rise 2 agent-check agent-inter 1s agent-port ${agentPort} agent-send "${renderAgentRequest(checks)}"
`;
}

/** The whole haproxy.cfg: the text of `renderHaproxyBase`, and then the servers. */
export function renderHaproxyConfig(base: string, backends: Backend[], settings: ServerSettings): string {
  return base + backends.map((backend) => `${renderServer(backend, settings)}\n`).join("");
}
