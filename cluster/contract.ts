/**
 * Facts that the program, the sandbox and the machines' software have to agree on. Each fact stands only here.
 * TypeScript imports it. Files in `machines/` have a placeholder such as `@AGENT_PORT@`, which `machineFile` fills in.
 * The balancer's Python reads `contract.json`, which is packed with it. This file imports nothing, so every file may
 * import it.
 */

// --- Ports ---

/** Pages and WebSockets of clients, on the balancer. */
export const httpsPort = 443;
/** The redirect to https, on the balancer. */
export const httpPort = 80;
/** The same for the load balancer, which passes on the client's address in PROXY protocol. */
export const loadBalancerHttpsPort = 10443;
export const loadBalancerHttpPort = 10080;
/** The load balancer's health check, on the balancer. */
export const loadBalancerHealthPort = 10404;
/** HAProxy's statistics page and metrics, on the balancer, for operators. */
export const statisticsPort = 8404;
/** nginx with the WebSDK's pages, for HAProxy on the same machine. */
export const pagesPort = 8180;
/** The status of wcs-balancer-sync, for HAProxy on the same machine. */
export const statusPort = 8181;
/** WCS's WebSockets, on a node, for balancers. */
export const nodePort = 8080;
/** WCS's WebSockets with TLS, on a node, for clients that connect directly to it. */
export const nodeTlsPort = 8443;
/** WCS's statistics, on a node, for its agent. */
export const nodeStatisticsPort = 8081;
/** HAProxy's agent, on a node, for balancers. */
export const agentPort = 9707;

// --- The document and the request to agents ---

/**
 * The number of the document's contract. A balancer with a lower one applies only `revision`, `servers`, `balancers`,
 * `address`, `targetGroups` and `leave` (one with contract 1 or 2 only the first two), so these never change their
 * meaning. When any other field changes its meaning, the contract gets a higher number.
 */
export const documentContract = 4;

/**
 * The version of the request that the agent of this version's nodes understands. Version 1 has the six checks of
 * Flashphoner's guide, version 2 also `connections`. A new word is a new version: other stacks' balancers read it in
 * the output `wcsNodes`.
 */
export const agentRequestVersion = 2;

// --- haproxy.cfg ---

/** The backend of the WCS nodes. */
export const nodesBackend = "wcs_back";
/** The backend of nginx. */
export const pagesBackend = "wcs_web_admin";
/** The backend of wcs-balancer-sync. */
export const statusBackend = "wcs_balancer_status";
/** The frontend of clients that come through the Elastic IP. */
export const addressFrontend = "wcs-balancer";
/** The frontend of clients that come through the load balancer. */
export const loadBalancerFrontend = "load-balancer";
/** HAProxy's variable with the moment of the last request for a WebSocket, for each way of clients. */
export const lastClientVariables = {
  address: "proc.last_client_address",
  loadBalancer: "proc.last_client_load_balancer",
} as const;
/** The table of client addresses and their connections. */
export const addressTable = "client_addresses";
/** The comments on the steps of the nodes' health check: from them wcs-balancer-sync learns which port did not answer. */
export const checkComments = { node: `port ${nodePort}`, agent: `port ${agentPort}` } as const;
/** HAProxy's runtime API, for root only. */
export const runtimeSocket = "/run/haproxy/wcs-balancer.sock";
/** The servers' states, which HAProxy reads at a reload. */
export const serverStateFile = "/var/lib/haproxy/server-state";

// --- Files ---

/** The balancer's folder of settings and pages. */
const balancerFolder = "/etc/wcs-balancer";
/** The page for browsers when no node has room for them. */
export const busyPage = `${balancerFolder}/503.html`;
/** The page while the WebSDK's pages are missing. */
const noPagesName = "no-websdk.html";
export const noPagesPage = `${balancerFolder}/${noPagesName}`;
/** haproxy.cfg until a state is applied: HAProxy serves only the status. */
export const bootstrapConfig = `${balancerFolder}/bootstrap.cfg`;
/** Settings of the balancer for its shell scripts: how to unpack the WebSDK's pages. */
export const balancerShellSettingsFile = `${balancerFolder}/settings`;
/** Settings of wcs-balancer-sync: the names of its parameters, the certificate's path, the balancers' tags. */
export const syncSettingsFile = `${balancerFolder}/sync.json`;
/** The name of wcs-balancer-sync's folder, for systemd's StateDirectory. */
const syncStateDirectory = "wcs-balancer";
/** The folder in which wcs-balancer-sync keeps the applied state. */
const syncStateFolder = `/var/lib/${syncStateDirectory}`;
/** The token for the detailed status, on the balancer. */
export const statusTokenFile = `${syncStateFolder}/status-token`;
/**
 * The moment until which the balancer refuses clients, in seconds since the epoch: a HAProxy map. HAProxy itself
 * compares the times, so that it takes clients again even if no other program runs.
 */
export const handOverFile = `${syncStateFolder}/hand-over`;
/**
 * A HAProxy map with the facts about ACME that HAProxy needs, one a line: `thumbprint` is that of the account's key, and
 * `public` is there while the served certificate is one that browsers trust. HAProxy reads the file at each start and
 * reload, so both facts outlive them.
 */
export const acmeFile = `${syncStateFolder}/acme`;
/** The guide's path for the PEM of certificate, chain and key of a server name. */
export const certificatePath = (serverName: string) => `/etc/pki/tls/${serverName}/cert.pem`;
/** Settings of a machine's set-up: the packages to fetch. */
export const setupSettingsFile = "/etc/wcs-setup.json";
/** The folder of a machine's set-up, into which it fetches packages. */
export const setupFolder = "/var/lib/wcs-setup";
/** The progress of a machine's set-up. The file is missing when the set-up is complete. */
const setupStateFile = `${setupFolder}/state`;
/** The folder of the programs and steps of a machine's set-up, and of the Python that machines share. */
export const setupLibrary = "/usr/local/lib/wcs-setup";
/** The nftables rules for the metadata service. */
export const metadataRulesFile = "/etc/wcs-setup/metadata.nft";
/** Settings of a node for its Python: properties of WCS, heap, licence. */
export const nodeSettingsFile = "/etc/wcs-node/node.json";
/** Settings of a node for its shell scripts: the addresses that the agent answers. */
export const nodeShellSettingsFile = "/etc/wcs-node/settings";

// --- The status ---

/** The host name under which `pulumi up` asks for the status. The stack's own CA signs its certificate. */
export const statusServerName = "status.wcs-balancer.internal";
/** The certificate of that name. */
export const statusCertificateFile = certificatePath(statusServerName);
/** The beginning of the paths that wcs-balancer-sync answers, on the balancer's port for clients. */
export const servicePath = "/.well-known/wcs-balancer/";
export const statusPath = `${servicePath}status`;
/** The status of every balancer that this one knows. */
export const clusterPath = `${servicePath}cluster`;
/** Closes clients' WebSockets, and keeps new ones out for a while. */
export const handOverPath = `${servicePath}hand-over`;
/** Whether a client that connects now gets a node, on the balancer's port for clients. */
export const healthPath = "/healthz";
/**
 * How long a hand-over may last, in seconds. wcs-balancer-sync takes no longer one, and HAProxy does not believe in one:
 * clients get in again even if the clock is set back.
 */
export const handOverMostSeconds = 300;
/** `pulumi up` counts a balancer that has not answered for this time as dead: a single answer may get lost. */
export const deadSeconds = 60;
/**
 * A balancer forgets another one that is not wanted and has been silent for this time. Longer than `pulumi up` waits for
 * one, and than systemd needs to start a hanging service anew.
 */
const forgetSeconds = deadSeconds + 30;
/** The warning about a certificate's end begins this many days before: operators may be on holiday. */
export const expiryWarningDays = 21;

// --- The set-up of a machine ---

/**
 * The first words of a set-up's state; the step's name follows. step.py writes them, the agent's port sends them after
 * `down #`, and the balancer reads them there and in its own file.
 */
export const setupWords = { running: "setup running: ", failed: "setup failed: " } as const;

/** The values of the placeholders in machine files. */
export const placeholders: Readonly<Record<string, string>> = {
  ADDRESS_FRONTEND: addressFrontend,
  AGENT_PORT: String(agentPort),
  BALANCER_FOLDER: balancerFolder,
  BALANCER_SHELL_SETTINGS: balancerShellSettingsFile,
  BUSY_PAGE: busyPage,
  HTTPS_PORT: String(httpsPort),
  METADATA_RULES: metadataRulesFile,
  NODE_PORT: String(nodePort),
  NODE_SETTINGS: nodeSettingsFile,
  NODE_SHELL_SETTINGS: nodeShellSettingsFile,
  NODE_STATISTICS_PORT: String(nodeStatisticsPort),
  NODE_TLS_PORT: String(nodeTlsPort),
  NO_PAGES_NAME: noPagesName,
  NO_PAGES_PAGE: noPagesPage,
  PAGES_PORT: String(pagesPort),
  RUNTIME_SOCKET: runtimeSocket,
  SERVER_STATE: serverStateFile,
  SERVICE_PATH: servicePath,
  SETUP_FAILED: setupWords.failed,
  SETUP_FOLDER: setupFolder,
  SETUP_LIBRARY: setupLibrary,
  SETUP_RUNNING: setupWords.running,
  SETUP_SETTINGS: setupSettingsFile,
  SETUP_STATE: setupStateFile,
  STATUS_BACKEND: statusBackend,
  STATUS_CERTIFICATE: statusCertificateFile,
  STATUS_PORT: String(statusPort),
  SYNC_STATE_DIRECTORY: syncStateDirectory,
};

/** Placeholders that a machine fills in itself, during its set-up. */
export const filledOnMachine: readonly string[] = ["ALLOWED_ADDRESSES"];

/** The facts for the balancer's Python; `wcs_balancer/places.py` reads them. */
export const balancerFacts = {
  documentContract,
  httpPort,
  httpsPort,
  agentPort,
  nodePort,
  pagesPort,
  statusPort,
  nodesBackend,
  pagesBackend,
  addressTable,
  addressFrontend,
  loadBalancerFrontend,
  lastClientVariables,
  checkComments,
  runtimeSocket,
  serverStateFile,
  bootstrapConfig,
  syncSettingsFile,
  syncStateFolder,
  statusServerName,
  statusTokenFile,
  statusCertificateFile,
  statusPath,
  clusterPath,
  handOverFile,
  handOverPath,
  handOverMostSeconds,
  healthPath,
  forgetSeconds,
  acmeFile,
  setupStateFile,
  setupWords,
  expiryWarningDays,
};
