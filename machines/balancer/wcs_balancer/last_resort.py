"""When removed servers may stop serving, and when they must serve again. Pure functions of HAProxy's statistics.

While a removed server drains, it is the last resort: when every wanted server is down, a new client gets a removed
server instead of a 503.
"""

from typing import Collection, Iterable, Mapping

# HAProxy notices a dead node within three seconds, and a node that hangs within five. So a server that is up for longer
# has really passed its checks. By then HAProxy also gives it its full share of clients (slowstart).
PROOF_SECONDS = 6

Row = Mapping[str, str]


def proven(rows: Iterable[Row]) -> set[str]:
    """Servers that have been up without a break for PROOF_SECONDS, by HAProxy's own clock.

    A full server is also up: HAProxy calls it DRAIN, since its agent has set its weight to 0.
    """
    return {
        row["svname"]
        for row in rows
        if row["status"].startswith(("UP", "DRAIN")) and int(row["lastchg"] or 0) >= PROOF_SECONDS
    }


def to_serve(rows: Iterable[Row], removed: Collection[str], drained: Collection[str]) -> list[Row]:
    """The wanted servers, without those that an operator has put into maintenance or drain."""
    wanted = [row for row in rows if row["svname"] not in removed]
    return [row for row in wanted if row["svname"] not in drained and not row["status"].startswith("MAINT")]


def certainly_served(rows: Iterable[Row], removed: Collection[str], drained: Collection[str] = ()) -> bool:
    """Whether a wanted server is proven, or no server has to serve. A start of HAProxy proves no server: at first it
    calls all of them up."""
    wanted = to_serve(rows, removed, drained)
    return bool(proven(wanted)) or not wanted


def all_down(rows: Iterable[Row], removed: Collection[str], drained: Collection[str] = ()) -> bool:
    """Whether every wanted server is down. A full server is not down, and a server that an operator has taken out does
    not count."""
    wanted = to_serve(rows, removed, drained)
    return bool(wanted) and all(row["status"].startswith("DOWN") for row in wanted)
