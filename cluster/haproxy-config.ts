import { createHash } from "node:crypto";
import type { AgentChecks } from "../config/schema";
import { busyPage, certificatePath, examplePage } from "../userdata/balancer";

export interface HaproxySettings {
  domain: string;
  maxConnections: number;
  maxConnectionsPerNode: number;
  /** Connections that one client address may have, on 443 and 80 together. */
  maxConnectionsPerAddress: number;
  /** Networks that this limit does not count for. */
  trustedCidrs: string[];
  /** Origins, besides the balancer's own, whose pages may show ours in a frame. */
  frameAncestors: string[];
  checks: AgentChecks;
  algorithm: Algorithm;
  /** Whether a client comes back to its node, by a cookie. */
  stickiness: boolean;
  /** Whether browsers may remember that the domain speaks TLS only: not with a certificate they do not know. */
  strictTransportSecurity: boolean;
}

/** By turns; to the node with the fewest sockets; or to the first node until it is full. */
export type Algorithm = "roundrobin" | "leastconn" | "first";

/** A WCS node as HAProxy sees it. */
export interface Backend {
  /** Unique to the instance: HAProxy's state file and cookies go by this name. */
  serverName: string;
  /** Private address. */
  address: string;
}

/** A server name that no other instance ever has: the node's name and the last 8 digits of the instance id. */
export function serverName(nodeName: string, instanceId: string): string {
  return `${nodeName}-${instanceId.slice(-8)}`;
}

/** The same for a server that is no instance: its name and a hash of its address. */
export function externalServerName(name: string, address: string): string {
  return `${name}-${createHash("sha256").update(address).digest("hex").slice(0, 8)}`;
}

/** A node that another stack has in its output `wcsNodes`. */
export interface OutputNode {
  name: string;
  privateAddress: string;
  instanceId: string;
}

/** The servers that this stack does not make, in an order that depends on nothing but their names. */
export function furtherBackends(external: Backend[], ofStack: OutputNode[]): Backend[] {
  const nodes = ofStack.map(({ name, privateAddress, instanceId }) => ({
    serverName: serverName(name, instanceId),
    address: privateAddress,
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
};

/** The thresholds as HAProxy sends them with each agent check. The `;` ends them, so that the agent need not wait. */
export function renderAgentRequest(checks: AgentChecks): string {
  const words = (Object.keys(agentWords) as (keyof AgentChecks)[])
    .filter((check) => checks[check] !== undefined)
    .map((check) => `${agentWords[check]} ${checks[check]}`);
  return `${words.join(" ")};`;
}

/** A node's address and own options. Everything that is the same for all nodes stands in `default-server`. */
export function renderServerOptions({ serverName, address }: Backend, stickiness: boolean): string {
  return `${address}:8080${stickiness ? ` cookie ${serverName}` : ""}`;
}

/** The `server` line of a node. */
export function renderServer(backend: Backend, stickiness: boolean): string {
  return `    server ${backend.serverName} ${renderServerOptions(backend, stickiness)}`;
}

/** HAProxy's runtime API, for root only. */
export const runtimeSocket = "/run/haproxy/wcs-balancer.sock";

/** Connections that HAProxy takes beyond maxConnections. */
const reservedConnections = 100;

/** Connections that operators may have to the statistics page and the metrics. */
const statisticsConnections = 50;

const statusPath = "/.well-known/wcs-balancer/status";

/** SameSite=None, since pages of other sites may connect too. */
const cookieLines = `    # One value a node. A node that is full keeps its clients, one that is down loses them.
    cookie SERVERID insert indirect nocache httponly secure attr "SameSite=None"
`;

/**
 * What both frontends for clients begin with: a connection too many is closed before its TLS handshake, which would cost
 * a thousand times as much. Trusted networks are not even counted.
 */
function renderClientLimits({ maxConnectionsPerAddress, trustedCidrs }: HaproxySettings): string {
  const trusted = trustedCidrs.map((cidr) => `    acl trusted src ${cidr}\n`).join("");
  return `${trusted}${trusted && "    tcp-request connection accept if trusted\n"}    tcp-request connection track-sc0 src table client_addresses
    acl one_too_many sc0_conn_cur gt ${maxConnectionsPerAddress}
    tcp-request connection sc-inc-gpc0(0) if one_too_many
    tcp-request connection reject if one_too_many
    # Nothing here takes a body, and one that never ends would hold its connection, and a node's for a WebSocket.
    acl has_body hdr_reg(Content-Length) [1-9]
    acl has_body hdr(Transfer-Encoding) -m found
    http-request reject if has_body
`;
}

/** haproxy.cfg without the servers: they follow at the end, as lines of the last section. */
export function renderHaproxyBase(settings: HaproxySettings): string {
  const { domain, maxConnections, maxConnectionsPerNode, checks, algorithm, stickiness } = settings;
  const frameAncestors = ["'self'", ...settings.frameAncestors].join(" ");
  const allConnections = maxConnections + reservedConnections;
  const strictTransportSecurity = settings.strictTransportSecurity
    ? `    http-response set-header Strict-Transport-Security "max-age=31536000"\n`
    : "";
  return `# Rendered by wcs-balancer. wcs-balancer-sync replaces this file: change the stack's configuration instead.

global
    log /dev/log local0
    chroot /var/lib/haproxy
    user haproxy
    group haproxy
    # Beyond maxConnections: operators and machines still get an answer, and so do clients that are refused.
    maxconn ${allConnections}
    # Not the distribution's admin.sock: a reload inherits that one with its mode, open to HAProxy's group.
    stats socket ${runtimeSocket} user root group root mode 600 level admin
    # How many reloads an old worker with open sockets may live through.
    mworker-max-reloads 100
    # Kept over a reload: without, a node that its agent took out would count as up until the next answer.
    server-state-file /var/lib/haproxy/server-state
    # Mozilla's intermediate profile.
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
    # Finite fields cost the server many times as much, and a client next to nothing.
    ssl-default-bind-curves X25519:P-256:P-384

defaults
    mode http
    log global
    option httplog
    option dontlognull
    # HTTP/2 without asking would be spoken even where it is not offered: one connection would carry any number of
    # WebSockets, around every limit.
    option disable-h2-upgrade
    retries 3
    http-error status 503 content-type "text/html; charset=utf-8" file ${busyPage} hdr Retry-After 10 hdr Cache-Control no-store
    http-error status 504 content-type "text/html; charset=utf-8" file ${busyPage} hdr Retry-After 10 hdr Cache-Control no-store
    load-server-state-from-file global
    timeout http-request 10s
    # A browser has six connections for its pages: idle ones count for its address.
    timeout http-keep-alive 2s
    # A client that no node can take is told so soon, and tries again by itself.
    timeout queue 3s
    timeout connect 5s
    # Until a client has finished its TLS handshake, timeout client-hs counts.
    timeout client-hs 10s
    timeout client 1m
    timeout server 1m
    timeout check 1s
    # WCS pings each WebSocket every five seconds: one that is silent for an hour has a dead end.
    timeout tunnel 1h
    timeout client-fin 30s
    timeout server-fin 30s
    # A peer that is gone without a word does not hold the other one.
    option clitcpka
    clitcpka-idle 30s
    clitcpka-intvl 10s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 30s
    srvtcpka-intvl 10s
    srvtcpka-cnt 3

# Client addresses that have connections, and how many of each were closed in the last minute, for the status. Those in
# use are never thrown out, so there is room for all.
backend client_addresses
    stick-table type ip size ${allConnections} expire 1m store conn_cur,gpc0_rate(1m)

frontend redirect-to-https
    bind :80
${renderClientLimits(settings)}    # Not to the host that the request names.
    http-request redirect prefix https://${domain} code 301

frontend wcs-balancer
    # HTTP/1.1 only: WebSockets over HTTP/2 break in some browsers. Who asks for another name gets this certificate
    # too, and decides.
    bind :443 ssl crt ${certificatePath(domain)} alpn http/1.1 tcp-ut 60s
${renderClientLimits(settings)}    acl is_websocket hdr(Upgrade) -i WebSocket
    acl is_websocket hdr(Sec-WebSocket-Key) -m found
    # WCS puts X-Client-IP into the session id. Only the balancer sets it: whatever a client sends under this name,
    # or under one that a server may take for it, ends here.
    http-request del-header x[-_]client[-_]ip -m reg
    http-request del-header x[-_]forwarded[-_] -m reg
    http-request del-header ^forwarded$ -m reg
    # What no node can take, or would be one connection too many, does not queue.
    http-request return status 503 default-errorfiles if { fe_conn gt ${maxConnections} } !{ path /healthz ${statusPath} }
    acl no_node nbsrv(wcs_back) lt 1
    acl no_node be_conn_free(wcs_back) lt 1
    http-request return status 503 default-errorfiles if is_websocket no_node
    http-request redirect location ${examplePage} code 302 if { path / } !is_websocket
    http-after-response set-header Content-Security-Policy "frame-ancestors ${frameAncestors}"
    http-response set-header X-Content-Type-Options nosniff
    http-response set-header Referrer-Policy strict-origin-when-cross-origin
${strictTransportSecurity}    use_backend wcs_balancer_status if { path /healthz ${statusPath} }
    use_backend wcs_back if is_websocket
    default_backend wcs_web_admin

# For operators: who reaches it, the security group says. They may come from an address that is at its limit, and do
# not use up what clients need.
frontend statistics
    bind :8404 ssl crt ${certificatePath(domain)} alpn http/1.1
    maxconn ${statisticsConnections}
    http-after-response set-header Content-Security-Policy "frame-ancestors 'none'"
    http-request use-service prometheus-exporter if { path /metrics }
    stats enable
    stats uri /
    stats refresh 10s
    stats hide-version

# The pages of the WebSDK
backend wcs_web_admin
    server nginx 127.0.0.1:8180 maxconn 500 check inter 1s

# wcs-balancer-sync
backend wcs_balancer_status
    server sync 127.0.0.1:8181 maxconn 20

# The WCS nodes
backend wcs_back
    balance ${algorithm}
${stickiness ? cookieLines : ""}    http-request set-header X-Client-IP %ci:%cp
    # Until the checks notice that a node is gone or hangs, its clients wait 2 s or 5 s at most: the time-outs leave
    # half a second for one more try, which always goes to another node.
    retries 1
    option redispatch 1
    retry-on conn-failure empty-response response-timeout
    timeout connect 1500ms
    # For the answer to the upgrade. Once a WebSocket is open, timeout tunnel counts.
    timeout server 4500ms
    # An agent that does not answer leaves its last state in force for ever. So the health check asks it too: an
    # empty request, which costs nothing and gets an answer from whatever agent is alive.
    option tcp-check
    # wcs-balancer-sync reads from the comment which port did not answer.
    tcp-check connect comment "port 8080"
    tcp-check connect port 9707 comment "port 9707"
    tcp-check send ; comment "port 9707"
    tcp-check expect comment "port 9707" rstring ^(up|down)
    default-server weight 100 maxconn ${maxConnectionsPerNode} slowstart 5s check inter 1s fastinter 500ms fall 2 rise 2 agent-check agent-inter 1s agent-port 9707 agent-send "${renderAgentRequest(checks)}"
`;
}

/** The whole haproxy.cfg: what `renderHaproxyBase` gives, and then the servers. */
export function renderHaproxyConfig(base: string, backends: Backend[], stickiness: boolean): string {
  return base + backends.map((backend) => `${renderServer(backend, stickiness)}\n`).join("");
}
