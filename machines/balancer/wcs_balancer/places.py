"""Paths on this machine, and names and ports in haproxy.cfg. In Python each stands only here.

Values that other parts of the project also use come from contract.json, which is packed beside this file. Their source
is cluster/contract.ts.
"""

import json
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = json.loads(Path(__file__).with_name("contract.json").read_text(encoding="utf-8"))

# --- The document ---
CONTRACT: int = FACTS["documentContract"]
"""The contract that this version understands."""

# --- haproxy.cfg ---
BACKEND: str = FACTS["nodesBackend"]
"""The backend of the WCS nodes."""
PAGES_BACKEND: str = FACTS["pagesBackend"]
ADDRESSES: str = FACTS["addressTable"]
"""The table of client addresses and their connections."""
ADDRESS_FRONTEND: str = FACTS["addressFrontend"]
"""Clients that come by this machine's own address."""
LOAD_BALANCER_FRONTEND: str = FACTS["loadBalancerFrontend"]
"""Clients that come through the load balancer."""
LAST_CLIENTS: dict[str, str] = FACTS["lastClientVariables"]
"""HAProxy's variables with the moment of the last client on each of these ways."""
HTTP_PORT: int = FACTS["httpPort"]
"""The challenges of an ACME directory."""
HTTPS_PORT: int = FACTS["httpsPort"]
"""Clients that come by the address, and other balancers, which ask for the status."""
NODE_PORT: int = FACTS["nodePort"]
"""WCS's WebSockets on a node."""
AGENT_PORT: int = FACTS["agentPort"]
"""HAProxy's agent on a node."""
PAGES_PORT: int = FACTS["pagesPort"]
"""nginx on this machine."""
STATUS_PORT: int = FACTS["statusPort"]
"""The status on this machine."""
CHECK_COMMENTS: dict[str, str] = FACTS["checkComments"]
"""The comments on the steps of the nodes' health check, by the part of the node that is asked."""
RUNTIME_SOCKET: str = FACTS["runtimeSocket"]
"""HAProxy's current worker."""
MASTER_SOCKET = "/run/haproxy-master.sock"
"""The socket of HAProxy's master, which passes commands to every worker. Debian's unit has this path."""
SERVER_STATE = Path(FACTS["serverStateFile"])
"""The servers' states, which HAProxy reads at a reload."""

# --- Files ---
HAPROXY_CONFIG = Path("/etc/haproxy/haproxy.cfg")
"""Debian's unit has this path."""
SETTINGS = Path(FACTS["syncSettingsFile"])
"""The names of the parameters, the certificate's path, and the tags of balancers. User-data writes it."""
SETUP_STATE = Path(FACTS["setupStateFile"])
STATE = Path(FACTS["syncStateFolder"])
"""The folder of this service."""
TOKEN = Path(FACTS["statusTokenFile"])
STATUS_NAME: str = FACTS["statusServerName"]
"""The host name under which the status is asked for."""
STATUS_CERTIFICATE = Path(FACTS["statusCertificateFile"])
"""The certificate of the status, which has its own name."""
STATUS_SECRET = STATE / "status.json"
"""The value of the status parameter that is in force."""
STATUS_PATH: str = FACTS["statusPath"]
CLUSTER_PATH: str = FACTS["clusterPath"]
HAND_OVER_PATH: str = FACTS["handOverPath"]
HEALTH_PATH: str = FACTS["healthPath"]
"""Whether a client that connects now gets a node."""
HAND_OVER = Path(FACTS["handOverFile"])
"""The moment until which HAProxy refuses clients: a HAProxy map, which is read at a start and at a reload."""
ACME_MAP = Path(FACTS["acmeFile"])
"""The thumbprint of the ACME account, and whether a public certificate is served: a HAProxy map."""
BOOTSTRAP = Path(FACTS["bootstrapConfig"])
"""haproxy.cfg until a state is applied: HAProxy serves only the status."""

# --- Words and limits of the status ---
HAND_OVER_MOST_SECONDS: int = FACTS["handOverMostSeconds"]
"""haproxy.cfg has the same limit: even if the clock is set back, clients are not refused for longer."""
FORGET_SECONDS: int = FACTS["forgetSeconds"]
"""A balancer that is not wanted and has been silent for this long is taken for deleted. It is longer than `pulumi up`
waits for one, and than systemd needs to start a hanging service anew."""
SETUP_WORDS: dict[str, str] = FACTS["setupWords"]
"""The first words of a set-up's state, by their meaning."""
EXPIRY_WARNING_DAYS: int = FACTS["expiryWarningDays"]
"""The warning about the certificate's end begins this many days before."""
