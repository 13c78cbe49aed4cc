"""Where things are on this machine, and the names and ports that haproxy.cfg gives them: each stands once in Python.

cluster/haproxy-config.ts, nginx.conf and the unit files name some of them, too; test/unit/places.test.ts compares.
"""

from pathlib import Path

# --- haproxy.cfg ---
BACKEND = "wcs_back"
"""The backend of the WCS nodes."""
PAGES_BACKEND = "wcs_web_admin"
ADDRESSES = "client_addresses"
"""The table of client addresses and their connections."""
NODE_PORT = 8080
"""WCS's WebSockets, on a node."""
AGENT_PORT = 9707
"""HAProxy's agent, on a node."""
PAGES_PORT = 8180
"""nginx, on this machine."""
STATUS_PORT = 8181
"""The status, on this machine."""
RUNTIME_SOCKET = "/run/haproxy/wcs-balancer.sock"
"""HAProxy's current worker."""
MASTER_SOCKET = "/run/haproxy-master.sock"
"""HAProxy's master, which passes on to every worker. Debian's unit names it."""
SERVER_STATE = Path("/var/lib/haproxy/server-state")
"""The servers' states, which HAProxy reads at a reload."""

# --- Files ---
HAPROXY_CONFIG = Path("/etc/haproxy/haproxy.cfg")
SETTINGS = Path("/etc/wcs-balancer/sync.json")
"""User-data writes it: the names of the two parameters, and the certificate's path."""
SETUP_STATE = Path("/var/lib/wcs-setup/state")
STATE = Path("/var/lib/wcs-balancer")
"""The folder of this service."""
TOKEN = STATE / "status-token"
