#!/usr/bin/python3
"""What an operator asks this balancer first: wcs-balancer status

Prints the revision, each node with its state, reason and sockets, and how long the certificate lasts. Ends
with 1 when something is wrong: an error, a node that is down, a certificate that ends within two weeks.
"""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/wcs-balancer/sync.json")
TOKEN = Path("/var/lib/wcs-balancer/status-token")
WARN_DAYS = 14


def report(status: dict[str, Any], days_left: int) -> tuple[list[str], bool]:
    """The lines to print, and whether all is well."""
    nodes = status.get("nodes", [])
    well = status["applied"] and not status.get("error") and days_left > WARN_DAYS
    well = well and all(node["state"] in ("up", "full", "maint") for node in nodes)
    lines = [
        f"revision     {status['revision'] or 'none'} ({'applied' if status['applied'] else 'not what is wanted'})",
        f"certificate  {days_left} days left",
    ]
    if status.get("error"):
        lines.append(f"error        {status['error']}")
    width = max((len(node["server"]) for node in nodes), default=0)
    for node in nodes:
        reason = f"  {node['reason']}" if node["reason"] else ""
        sockets = f"{node['sockets']} of {node['limit']} sockets"
        lines.append(f"{node['server']:{width}}  {node['state']:7}  weight {node['weight']:3}  {sockets}{reason}")
    return lines, bool(well)


def days_left(certificate: Path) -> int:
    """Whole days until the certificate ends."""
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(certificate)]
    line = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    return int((ssl.cert_time_to_seconds(line.strip().removeprefix("notAfter=")) - time.time()) // 86400)


def main(arguments: list[str]) -> int:
    if arguments in (["help"], ["--help"]):
        print(__doc__)
        return 0
    if arguments != ["status"]:
        print(__doc__, file=sys.stderr)
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
