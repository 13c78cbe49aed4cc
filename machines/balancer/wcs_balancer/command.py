"""What an operator asks this balancer."""

import json
import sys
import urllib.request
from typing import Any

from .files import FileError
from .haproxy_runtime import save_server_states
from .places import STATUS_PORT, TOKEN

STATUS = f"http://127.0.0.1:{STATUS_PORT}/"

USAGE = """Usage: wcs-balancer status | save-server-states

status              prints the revision, each node with its state, sockets and reason (of one that is up or full the
                    check that is nearest to its threshold), what drains, and how long the certificate lasts. Ends
                    with 1 when something is wrong: an error, a set-up that failed, a node that is down, no nginx for
                    the pages, or a warning, such as that the certificate ends soon.
save-server-states  keeps the servers' states over the reload that follows; HAProxy's service calls it"""


def removed(row: dict[str, Any]) -> str:
    """What a removed server does."""
    sockets = f"{'an unknown number of' if row['sockets'] is None else row['sockets']} sockets"
    state = row["state"] + (f" ({row['reason']})" if row["reason"] else "")
    serves = row["state"] in ("up", "full")
    if row["held"]:
        return f"{'serves' if serves else state + ', stays'} until the new nodes are up, {sockets}"
    left = f"{row['secondsLeft']} s at most, {sockets}"
    if row["lastResort"]:
        return f"{'serves' if serves else state + ', stays'} while every wanted node is down, {left}"
    return f"drains   {left}{'  ' + row['reason'] if row['reason'] else ''}"


def report(status: dict[str, Any]) -> tuple[list[str], bool]:
    """The lines to print, and whether all is well."""
    nodes = status.get("nodes", [])
    setup = status.get("setup")
    certificate = status.get("certificate")
    warnings = status.get("warnings", [])
    well = status["applied"] and not status.get("error") and not warnings and not setup
    away = status.get("away", [])
    well = well and not away and all(node["state"] in ("up", "full", "maint") for node in nodes)
    applied = {True: "applied", False: "not what is wanted"}.get(
        status["applied"], "AWS does not say whether it is what is wanted"
    )
    lines = [
        f"revision     {status['revision'] or 'none'} ({applied})",
        f"certificate  {certificate['daysLeft']} days left" if certificate else "certificate  none is served",
    ]
    if status.get("error"):
        lines.append(f"error        {status['error']}")
    lines += [f"warning      {warning}" for warning in warnings]
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
    for name, row in zip(names[len(nodes) :], draining):
        lines.append(f"{name:{width}}  {removed(row)}")
    return lines, bool(well)


def main(arguments: list[str]) -> int:
    if arguments in (["help"], ["--help"]):
        print(USAGE)
        return 0
    if arguments == ["save-server-states"]:
        try:
            save_server_states()
        except FileError as error:
            print(f"wcs-balancer: {error}", file=sys.stderr)
            return 1
        return 0
    if arguments != ["status"]:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        token = TOKEN.read_text(encoding="utf-8")
        request = urllib.request.Request(STATUS, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            status = json.load(response)
        lines, well = report(status)
    except PermissionError:
        print("wcs-balancer: only root may read the status", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"wcs-balancer: no status yet ({error}); see: journalctl -u wcs-balancer-sync", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if well else 1

