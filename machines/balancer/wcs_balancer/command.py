"""The command `wcs-balancer` for operators."""

import json
import sys
import urllib.error
import urllib.request
from typing import Any

from .files import FileError
from .haproxy_runtime import save_server_states
from .places import CLUSTER_PATH, HAND_OVER_PATH, STATUS_PORT, TOKEN

SERVICE = f"http://127.0.0.1:{STATUS_PORT}"
# The loop may be busy with a change.
TAKE_BACK_SECONDS = 20

USAGE = """Usage: wcs-balancer status | take-back | save-server-states

status              prints the revision, the instance, and each node with its state, sockets and reason (for a node that
                    is up or full: the check that is nearest to its threshold). It also prints the removed nodes that
                    drain, how long the certificate lasts, and for how long clients are refused while another balancer
                    takes over.
                    With more than one balancer it prints each with its revision, its health as a target of the load
                    balancer, and which ways of clients it leaves; the sockets of nodes are those of all balancers.
                    The exit status is 1 while clients are refused, and when something is wrong: an error, a set-up that
                    is not complete, a node that is down, a balancer that does not answer or is no healthy target, no
                    certificate by ACME yet, or no nginx for the pages. A warning also makes it 1, such as that the
                    certificate ends soon.
take-back           ends a hand-over before its time: clients are taken again at once
save-server-states  keeps the servers' states for the next reload; HAProxy's service calls it"""


def removed(row: dict[str, Any]) -> str:
    """The state of a removed server, as text."""
    sockets = f"{'an unknown number of' if row['sockets'] is None else row['sockets']} sockets"
    state = row["state"] + (f" ({row['reason']})" if row["reason"] else "")
    serves = row["state"] in ("up", "full")
    if row["held"]:
        return f"{'serves' if serves else state + ', stays'} until the new nodes are up, {sockets}"
    left = f"{row['secondsLeft']} s at most, {sockets}"
    if row["lastResort"]:
        return f"{'serves' if serves else state + ', stays'} while every wanted node is down, {left}"
    return f"drains   {left}{'  ' + row['reason'] if row['reason'] else ''}"


APPLIED = {True: "applied", False: "another one is wanted"}


def revision(status: dict[str, Any]) -> str:
    """The revision that a balancer runs, as text."""
    applied = APPLIED.get(status["applied"], "AWS does not say which one is wanted")
    return f"{status['revision'] or 'none'} ({applied})"


def target(status: dict[str, Any]) -> str:
    """A balancer's health as a target of the load balancer; empty without one."""
    health = status.get("target")
    return health["state"] + (f": {health['reason']}" if health["reason"] else "") if health else ""


def leaves(row: dict[str, Any]) -> str:
    """A way of clients that a balancer gives up, as text."""
    way = "its own address" if row["path"] == "address" else "the load balancer"
    if row["phase"] == "left":
        return f"has left {way}"
    parts = [f"leaves {way}: {row['phase']}"]
    if row["secondsLeft"] is not None:
        parts.append(f"{row['secondsLeft']} s at {'most' if row['phase'] == 'draining' else 'least'}")
    parts.append(f"{'an unknown number of' if row['sockets'] is None else row['sockets']} sockets")
    return ", ".join(parts) + (f" ({row['reason']})" if row["reason"] else "")


def leaving(status: dict[str, Any]) -> list[str]:
    """The ways of clients that a balancer gives up, as texts."""
    return [leaves(row) for row in status.get("leaving", [])]


def is_well(status: dict[str, Any]) -> bool:
    """Whether nothing is wrong with a balancer that serves."""
    wrong = [status.get(key) for key in ("error", "warnings", "setup", "away")]
    up = all(node["state"] in ("up", "full", "maint") for node in status.get("nodes", []))
    health = status.get("target")
    serves = status.get("handedOver") is None and (health is None or health["state"] == "healthy")
    acme = status.get("acme")
    return bool(status["applied"]) and not any(wrong) and up and serves and (not acme or acme["state"] == "issued")


ACME_STATES = {"issued": "issued", "ordering": "orders the first certificate", "waiting": "no certificate yet"}


def acme_line(acme: dict[str, Any]) -> str:
    """The progress of a certificate by ACME, as text."""
    parts = [f"{ACME_STATES[acme['state']]} by {acme['directory']}"]
    if acme["nextTry"]:
        parts.append(f"{'next order' if acme['state'] == 'issued' else 'next try'} at {acme['nextTry']}")
    return ", ".join(parts) + (f": {acme['reason']}" if acme["reason"] else "")


def certificate_line(certificate: dict[str, Any] | None) -> str:
    """How long the certificate that is served is still valid, as text."""
    if certificate is None:
        return "none is served"
    days = certificate["daysLeft"]
    if days < 0:
        return f"has ended, on {certificate['notAfter'][:10]}"
    return f"{days} days left" if days != 1 else "1 day left"


def set_up(setup: dict[str, Any]) -> str:
    """The progress of a set-up, as text."""
    return f"{'failed' if setup['state'] == 'failed' else 'is'} at step {setup['step']}"


def node_reason(node: dict[str, Any]) -> str:
    """Why a node is in its state, as text; empty for a node that takes clients."""
    if node.get("takenOut") == "drain":
        return "an operator drains it: no new clients"
    return f"its set-up {set_up(setup)}" if (setup := node.get("setup")) else node["reason"]


def notes(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Notes about a balancer itself: a word for each, and a text."""
    found = []
    certificate, setup = status.get("certificate"), status.get("setup")
    found.append(("certificate", certificate_line(certificate)))
    if acme := status.get("acme"):
        found.append(("acme", acme_line(acme)))
    if status.get("error"):
        found.append(("error", status["error"]))
    if (seconds := status.get("handedOver")) is not None:
        found.append(("handed over", f"clients are refused for {seconds} s more: another balancer takes over"))
    found += [("warning", warning) for warning in status.get("warnings", [])]
    if setup:
        found.append(("set-up", f"it {set_up(setup)}; see: cloud-init status --long"))
    found += [("away", part) for part in status.get("away", [])]
    return found


def node_lines(nodes: list[dict[str, Any]], draining: list[dict[str, Any]]) -> list[str]:
    """A line for each node, and for each removed node."""
    names = [f"{row['node']} ({row['server']})" for row in nodes + draining]
    width = max(map(len, names), default=0)
    lines = []
    for name, node in zip(names, nodes):
        reason = f"  {why}" if (why := node_reason(node) or node.get("load")) else ""
        sockets = f"{node['sockets']} of {node['limit']} sockets"
        lines.append(f"{name:{width}}  {node['state']:7}  weight {node['weight']:3}  {sockets}{reason}")
    for name, row in zip(names[len(nodes) :], draining):
        lines.append(f"{name:{width}}  {removed(row)}")
    return lines


def report(status: dict[str, Any]) -> tuple[list[str], bool]:
    """The lines to print about one balancer, and whether all is well."""
    rows = [("revision", revision(status)), ("instance", status.get("instance") or "not known yet")]
    if health := target(status):
        rows.append(("target", health))
    rows += [("leaving", f"it {text}") for text in leaving(status)] + notes(status)
    lines = [f"{word:11}  {text}" for word, text in rows]
    return lines + node_lines(status.get("nodes", []), status.get("draining", [])), is_well(status)


def summed(statuses: dict[str, dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The servers of all balancers with the sockets of all. A balancer that sees another state than the first one is
    named."""
    servers: dict[str, dict[str, Any]] = {}
    for balancer, status in statuses.items():
        for row in status.get(key, []):
            if (first := servers.get(row["server"])) is None:
                servers[row["server"]] = {**row, "reason": node_reason(row), "setup": None}
                continue
            known = first["sockets"] is not None and row["sockets"] is not None
            first["sockets"] = first["sockets"] + row["sockets"] if known else None
            if "limit" in row:
                first["limit"] += row["limit"]
            if row["state"] != first["state"]:
                other = f"{balancer}: {row['state']}" + (f": {why}" if (why := node_reason(row)) else "")
                first["reason"] = "; ".join(filter(None, [first["reason"], other]))
    return list(servers.values())


def report_cluster(cluster: dict[str, Any]) -> tuple[list[str], bool]:
    """The lines to print about all balancers, and whether all is well. A balancer that is not wanted does not count."""
    rows = cluster["balancers"]
    if len(rows) == 1 and rows[0]["status"]:
        return report(rows[0]["status"])
    names = [f"{row['name'] or 'not wanted'} ({row['instance'] or 'not known yet'})" for row in rows]
    width = max(map(len, names), default=0)
    lines, further = [], []
    for name, row in zip(names, rows):
        status = row["status"]
        if status is None:
            lines.append(f"{name:{width}}  {row['reason']}")
            continue
        health = f"  target {text}" if (text := target(status)) else ""
        gives_up = "".join(f"  {text}" for text in leaving(status))
        lines.append(f"{name:{width}}  revision {revision(status)}{health}{gives_up}")
        further += [f"{name:{width}}  {word}: {text}" for word, text in notes(status)]
    # This balancer's own view comes first.
    ordered = sorted(zip(names, rows), key=lambda one: one[1]["instance"] != cluster["instance"])
    statuses = {row["name"] or name: row["status"] for name, row in ordered if row["status"]}
    nodes = node_lines(summed(statuses, "nodes"), summed(statuses, "draining"))
    well = all(row["status"] is not None and is_well(row["status"]) for row in rows if row["name"])
    return [*lines, *further, *nodes], well


def ask_service(path: str = "/", method: str = "GET", seconds: float = 10) -> Any:
    """An answer of wcs-balancer-sync on this machine."""
    token = TOKEN.read_text(encoding="utf-8")
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(SERVICE + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode(errors="replace").strip()) from error


def take_back() -> list[str]:
    """Ends a hand-over; the lines to print."""
    ask_service(f"{HAND_OVER_PATH}?seconds=0", "POST", TAKE_BACK_SECONDS)
    return ["clients are taken again. If another balancer has the Elastic IP, they do not come here"]


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
    if arguments not in (["status"], ["take-back"]):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        lines, well = report_cluster(ask_service(CLUSTER_PATH)) if arguments == ["status"] else (take_back(), True)
    except PermissionError:
        print("wcs-balancer: only root may ask wcs-balancer-sync", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        see = "see: journalctl -u wcs-balancer-sync"
        print(f"wcs-balancer: no answer of wcs-balancer-sync ({error}); {see}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if well else 1

