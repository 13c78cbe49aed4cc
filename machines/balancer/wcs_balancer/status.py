"""Makes the status from the facts of one moment. Pure functions of plain values."""

import time
from dataclasses import dataclass
from typing import Any, Collection, Mapping, NamedTuple

from .changes import Changes, Leaving
from .document import Source
from .hand_over import seconds_left
from .haproxy_runtime import Sockets
from .node_states import node_name
from .places import EXPIRY_WARNING_DAYS

# A round takes a second, and longer when HAProxy restarts. After this time the loop hangs.
STALE_SECONDS = 120
ACME_WARNING_PART = 1 / 5
"""The warning about the end of a certificate by ACME begins when less than this part of its lifetime is left."""


@dataclass(frozen=True)
class Snapshot:
    """The loop's knowledge after a round, for HTTP threads to read. It is immutable, and each round makes a new one."""

    at: float
    """By the monotonic clock."""
    revision: str | None
    wanted: str | None
    """The revision in AWS's last answer; None when AWS did not answer."""
    error: str | None
    refused: str | None
    """The wanted revision, if it cannot be applied."""
    changes: Changes
    drain_timeout_seconds: int
    sockets: Sockets
    """From the last round in which HAProxy answered. So a silent worker does not delay answers over HTTP."""
    certificate: "Served | None"
    instance: str | None = None
    """This machine's id; None until the metadata service has answered."""
    leaving: tuple[Mapping[str, Any], ...] = ()
    """Ways of clients that are given up, as the status shows them."""
    target: Mapping[str, str] | None = None
    """This machine's health as a target of the load balancer; None without one."""
    cloud_warnings: tuple[str, ...] = ()
    """Errors of AWS that are tried again, and do not concern the desired state."""
    acme: Mapping[str, Any] | None = None
    """The progress of the certificate by ACME; None without ACME."""
    named: bool | None = None
    """Whether this machine is a wanted balancer; None while that is not known."""


class Served(NamedTuple):
    """The certificate that is served, with moments in seconds since the epoch."""

    begin: float
    end: float
    source: Source = "document"


class Seen(NamedTuple):
    """HAProxy at one moment."""

    nodes: list[dict[str, Any]]
    """Every server that the current worker knows."""
    sockets: Mapping[str, int]
    """Open sockets of each server, in all workers."""
    silent: list[int]
    """Workers that run and do not answer."""
    certificate: Served | None
    """The certificate that is served."""
    refused_addresses: Collection[str] = ()
    """Client addresses that have tried to open too many connections in the last minute."""
    refuses_until: int = 0
    """After a hand-over HAProxy refuses clients until this moment, in seconds since the epoch."""
    taken_out: Mapping[str, str] = {}
    """The servers that an operator has taken out, `maint` or `drain`."""


NOTHING_SEEN = Seen([], {}, [], None)


def is_applied(running: str | None, wanted: str | None) -> bool | None:
    """Whether the running revision is the wanted one; None when AWS does not answer."""
    return False if running is None else None if wanted is None else running == wanted


def moment(seconds: float) -> str:
    """A moment, in seconds since the epoch, as the status shows it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def certificate(served: Served | None, now: float) -> dict[str, Any] | None:
    """The certificate that is served, as the status shows it."""
    if served is None:
        return None
    return {
        "notAfter": moment(served.end),
        "daysLeft": int((served.end - now) // 86400),
        "source": served.source,
    }


def ends_soon(served: Served, now: float) -> bool:
    """Whether an operator has to know that a certificate ends. One by ACME renews itself much earlier than this."""
    if served.source == "acme":
        return served.end - now < (served.end - served.begin) * ACME_WARNING_PART
    return (served.end - now) // 86400 <= EXPIRY_WARNING_DAYS


def certificate_warning(served: Served | None, now: float) -> str | None:
    """The warning about a certificate that ends soon."""
    shown = certificate(served, now)
    if served is None or shown is None or not ends_soon(served, now):
        return None
    days = shown["daysLeft"]
    when = f"the certificate ends in {days} days"
    if days < 1:
        when = "the certificate ends within a day" if days == 0 else "the certificate has ended"
    when = f"{when}, on {shown['notAfter'][:10]}"
    if served.source != "document":
        return f"{when}: it should have been replaced by now; the line acme of wcs-balancer status says why it was not"
    return (
        f"{when}: renew it "
        "(pulumi up renews a certificate of the stack's CA; for a user-supplied certificate set tlsCertificate)"
    )


def silent_worker(pid: int) -> str:
    """The warning about a worker of HAProxy that runs and does not answer."""
    return (
        f"HAProxy's worker {pid} does not answer: its sockets are not counted, and no removed node is deleted "
        f"meanwhile. To end the worker and its sockets: kill -KILL {pid} on the balancer"
    )


def refused(addresses: Collection[str]) -> str:
    """The warning about client addresses with too many connections. Numbers would make it a new warning each time."""
    first, *others = addresses
    more = " and others are" if others else " is"
    return (
        f"{first}{more} at maxConnectionsPerAddress: further connections are closed. If many clients share an address, "
        "add it to trustedCidrs"
    )


def draining_row(
    name: str, server: Leaving, seen: Seen, is_last_resort: bool, timeout: float, now: float
) -> dict[str, Any]:
    """A removed server: held until the new servers are proven, a last resort, or without new clients."""
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
    """Problems that may come, or that this service already deals with."""
    found = [silent_worker(pid) for pid in seen.silent]
    if seen.refused_addresses:
        found.append(refused(seen.refused_addresses))
    if last_resort:
        names = ", ".join(sorted(last_resort))
        found.append(f"every wanted node is down, so removed nodes take clients again: {names}")
    if warning := certificate_warning(seen.certificate, now):
        found.append(warning)
    return found


def details(
    seen: Seen, leaving: Mapping[str, Leaving], last_resort: Collection[str], timeout: float, now: float
) -> dict[str, Any]:
    """The part of the status about nodes and certificate."""
    return {
        "nodes": [
            {
                **node,
                "takenOut": seen.taken_out.get(node["server"]),
                "sockets": seen.sockets.get(node["server"], node["sockets"]),
            }
            for node in seen.nodes
            if node["server"] not in leaving
        ],
        "draining": [
            draining_row(name, server, seen, name in last_resort, timeout, now) for name, server in leaving.items()
        ],
        "certificate": certificate(seen.certificate, now),
        "warnings": warnings(seen, last_resort, now),
    }


def brief(known: Snapshot, monotonic: float) -> dict[str, Any]:
    """The status for everybody. The moment is by the monotonic clock."""
    applied = None if hangs(known, monotonic) else is_applied(known.revision, known.wanted)
    return {"revision": known.revision, "applied": applied}


def hangs(known: Snapshot, monotonic: float) -> str | None:
    """The error when the loop has made no snapshot for too long."""
    age = monotonic - known.at
    if age <= STALE_SECONDS:
        return None
    return f"wcs-balancer-sync hangs for {round(age)} s: systemctl restart wcs-balancer-sync"


def full(
    known: Snapshot,
    seen: Seen,
    problems: Collection[str],
    away: Collection[str],
    setup: Mapping[str, Any] | None,
    monotonic: float,
    now: float,
) -> dict[str, Any]:
    """The status for the stack's token. `problems` are errors while reading HAProxy's statistics, `away` are parts of
    the balancer that do not answer."""
    errors = [error for error in (known.error, hangs(known, monotonic)) if error]
    changes = known.changes
    shown = details(seen, changes.leaving, changes.last_resort, known.drain_timeout_seconds, now)
    return {
        **brief(known, monotonic),
        "instance": known.instance,
        "named": known.named,
        "handedOver": seconds_left(seen.refuses_until, now),
        "error": "; ".join([*errors, *problems]) or None,
        "refused": known.refused,
        "setup": setup,
        "away": list(away),
        "leaving": list(known.leaving),
        "target": known.target,
        "acme": known.acme,
        **shown,
        "warnings": [*shown["warnings"], *known.cloud_warnings],
    }
