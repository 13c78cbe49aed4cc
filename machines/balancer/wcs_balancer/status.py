"""What the status shows, made of what was seen at one moment. Pure functions of plain values."""

import time
from dataclasses import dataclass
from typing import Any, Collection, Mapping, NamedTuple

from .changes import Changes, Leaving
from .haproxy_runtime import Sockets
from .node_states import node_name

# Time enough to get a new one from somebody who is on holiday.
EXPIRY_WARNING_DAYS = 21
# A round takes a second. A restart of HAProxy may hold it up for a while; longer than this, it hangs.
STALE_SECONDS = 120


@dataclass(frozen=True)
class Snapshot:
    """What the loop knows at one moment: made anew each round and never changed, for HTTP threads to read."""

    at: float
    """By the monotonic clock."""
    revision: str | None
    wanted: str | None
    """The revision that AWS named when it was asked last; None where it gave no answer."""
    error: str | None
    refused: str | None
    """The revision that cannot be applied, if it is the wanted one."""
    changes: Changes
    drain_timeout_seconds: int
    sockets: Sockets
    """As of the last round in which HAProxy said so: a worker that is silent holds up nobody who asks over HTTP."""
    certificate_end: float | None


class Seen(NamedTuple):
    """HAProxy at one moment."""

    nodes: list[dict[str, Any]]
    """Every server that the current worker knows."""
    sockets: Mapping[str, int]
    """Open sockets of each server, over all workers."""
    silent: list[int]
    """Workers that live and do not answer."""
    certificate_end: float | None
    """When the certificate ends that is served, in seconds since the epoch."""
    refused_addresses: Collection[str] = ()
    """Client addresses that had more connections in the last minute than one may have."""


NOTHING_SEEN = Seen([], {}, [], None)


def is_applied(running: str | None, wanted: str | None) -> bool | None:
    """Whether what runs is what is wanted; None where that is not known, since AWS cannot be asked."""
    return False if running is None else None if wanted is None else running == wanted


def certificate(end: float | None, now: float) -> dict[str, Any] | None:
    """The certificate that is served, as the status shows it."""
    if end is None:
        return None
    return {"notAfter": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)), "daysLeft": int((end - now) // 86400)}


def certificate_warning(shown: dict[str, Any] | None) -> str | None:
    """What to say of a certificate that ends soon."""
    if shown is None or shown["daysLeft"] > EXPIRY_WARNING_DAYS:
        return None
    days = shown["daysLeft"]
    when = f"the certificate ends in {days} days"
    if days < 1:
        when = "the certificate ends within a day" if days == 0 else "the certificate has ended"
    return (
        f"{when}, on {shown['notAfter'][:10]}: renew it "
        "(a certificate of the stack's own is renewed by pulumi up, for another one set tlsCertificate)"
    )


def silent_worker(pid: int) -> str:
    """What to say of a worker of HAProxy that lives and does not answer."""
    return (
        f"HAProxy's worker {pid} does not answer: its sockets are not counted, and no removed node goes meanwhile "
        f"(kill -KILL {pid} on the balancer ends it, with its sockets)"
    )


def refused(addresses: Collection[str]) -> str:
    """What to say of client addresses that want more connections than one may have. Without numbers, which would make
    a new warning each time."""
    first, *others = addresses
    more = " and others are" if others else " is"
    return (
        f"{first}{more} at maxConnectionsPerAddress, and what is more is closed. trustedCidrs lifts the limit for many "
        "clients who share an address"
    )


def draining_row(
    name: str, server: Leaving, seen: Seen, is_last_resort: bool, timeout: float, now: float
) -> dict[str, Any]:
    """A removed server: held until its successors are proven, a last resort, or without new clients."""
    node = next((node for node in seen.nodes if node["server"] == name), None)
    serves = server.since is None or is_last_resort
    state, reason = "draining", ""
    if serves:
        state, reason = (node["state"], node["reason"]) if node else ("unknown", "not in HAProxy")
    elif seen.silent:
        reason = f"waits for HAProxy's worker {seen.silent[0]}, which does not answer"
    return {
        "server": name,
        "node": node_name(name),
        "state": state,
        "reason": reason,
        "sockets": seen.sockets.get(name, 0) if seen.nodes or seen.sockets else None,
        "held": server.since is None,
        "lastResort": is_last_resort,
        "secondsLeft": max(0, round((server.since or now) + timeout - now)),
    }


def warnings(
    seen: Seen, last_resort: Collection[str], now: float
) -> list[str]:
    """What is not wrong yet, or is already being dealt with."""
    found = [silent_worker(pid) for pid in seen.silent]
    if seen.refused_addresses:
        found.append(refused(seen.refused_addresses))
    if last_resort:
        found.append(f"every wanted node is down, so removed nodes take clients again: {', '.join(sorted(last_resort))}")
    if warning := certificate_warning(certificate(seen.certificate_end, now)):
        found.append(warning)
    return found


def details(
    seen: Seen, leaving: Mapping[str, Leaving], last_resort: Collection[str], timeout: float, now: float
) -> dict[str, Any]:
    """The part of the status that speaks of nodes and certificate."""
    return {
        "nodes": [
            {**node, "sockets": seen.sockets.get(node["server"], node["sockets"])}
            for node in seen.nodes
            if node["server"] not in leaving
        ],
        "draining": [
            draining_row(name, server, seen, name in last_resort, timeout, now) for name, server in leaving.items()
        ],
        "certificate": certificate(seen.certificate_end, now),
        "warnings": warnings(seen, last_resort, now),
    }


def brief(known: Snapshot, monotonic: float) -> dict[str, Any]:
    """The status for everybody, at a moment by the monotonic clock."""
    applied = None if hangs(known, monotonic) else is_applied(known.revision, known.wanted)
    return {"revision": known.revision, "applied": applied}


def hangs(known: Snapshot, monotonic: float) -> str | None:
    """What to say of a loop that has made no snapshot for too long."""
    age = monotonic - known.at
    if age <= STALE_SECONDS:
        return None
    return f"wcs-balancer-sync hangs for {round(age)} s: systemctl restart wcs-balancer-sync"


def full(
    known: Snapshot,
    seen: Seen,
    problems: Collection[str],
    away: Collection[str],
    setup: str | None,
    monotonic: float,
    now: float,
) -> dict[str, Any]:
    """The status for the stack's token. `problems` are those of looking, `away` names what of the balancer does not
    answer."""
    errors = [error for error in (known.error, hangs(known, monotonic)) if error]
    changes = known.changes
    return {
        **brief(known, monotonic),
        "error": "; ".join([*errors, *problems]) or None,
        "refused": known.refused,
        "setup": setup,
        "away": list(away),
        **details(seen, changes.leaving, changes.last_resort, known.drain_timeout_seconds, now),
    }
