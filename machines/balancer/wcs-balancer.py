#!/usr/bin/python3
"""What an operator asks this balancer."""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, "/usr/local/lib/wcs-balancer")
from haproxy_runtime import save_server_states

SETTINGS = Path("/etc/wcs-balancer/sync.json")
TOKEN = Path("/var/lib/wcs-balancer/status-token")
WARN_DAYS = 14

USAGE = """Usage: wcs-balancer status | save-server-states

status              prints the revision, each node with its state, sockets and reason (of one that is up or full the
                    check that is nearest to its threshold), what drains, and how long the certificate lasts. Ends
                    with 1 when something is wrong: an error, a set-up that failed, a node that is down, no nginx for
                    the pages, a certificate that ends within two weeks.
save-server-states  keeps the servers' states over the reload that follows; HAProxy's service calls it"""


def report(status: dict[str, Any], days_left: int) -> tuple[list[str], bool]:
    """The lines to print, and whether all is well."""
    nodes = status.get("nodes", [])
    setup = status.get("setup")
    well = status["applied"] and not status.get("error") and days_left > WARN_DAYS and not setup
    away = status.get("away", [])
    well = well and not away and all(node["state"] in ("up", "full", "maint") for node in nodes)
    lines = [
        f"revision     {status['revision'] or 'none'} ({'applied' if status['applied'] else 'not what is wanted'})",
        f"certificate  {days_left} days left",
    ]
    if status.get("error"):
        lines.append(f"error        {status['error']}")
    if setup:
        lines.append(f"set-up       {setup.removeprefix('setup ')}; see: cloud-init status --long")
    lines += [f"away         {part}" for part in away]
    draining = status.get("draining", [])
    names = [f"{row['node']} ({row['server']})" for row in nodes + draining]
    width = max(map(len, names), default=0)
    for name, node in zip(names, nodes):
        reason = f"  {why}" if (why := node["reason"] or node.get("load")) else ""
        sockets = f"{node['sockets']} of {node['limit']} sockets"
        lines.append(f"{name:{width}}  {node['state']:7}  weight {node['weight']:3}  {sockets}{reason}")
    for name, node in zip(names[len(nodes) :], draining):
        what = "serves until the new nodes are up" if node["held"] else f"drains   {node['secondsLeft']} s at most"
        lines.append(f"{name:{width}}  {what}, {node['sockets']} sockets")
    return lines, bool(well)


def days_left(certificate: Path) -> int:
    """Whole days until the certificate ends."""
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(certificate)]
    line = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    return int((ssl.cert_time_to_seconds(line.strip().removeprefix("notAfter=")) - time.time()) // 86400)


def main(arguments: list[str]) -> int:
    if arguments in (["help"], ["--help"]):
        print(USAGE)
        return 0
    if arguments == ["save-server-states"]:
        save_server_states()
        return 0
    if arguments != ["status"]:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        token = TOKEN.read_text(encoding="utf-8")
        request = urllib.request.Request("http://127.0.0.1:8181/", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            status = json.load(response)
        certificate = Path(json.loads(SETTINGS.read_text(encoding="utf-8"))["certificatePath"])
        lines, well = report(status, days_left(certificate))
    except PermissionError:
        print("wcs-balancer: only root may read the status", file=sys.stderr)
        return 1
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"wcs-balancer: no status yet ({error}); see: journalctl -u wcs-balancer-sync", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
