"""When removed servers may stop serving, and when they must serve again. Pure functions over HAProxy's statistics.

A removed server drains, and is the last resort meanwhile: when every wanted one is down, a client that comes now gets
a removed one rather than a 503.
"""

from typing import Collection, Iterable, Mapping

# HAProxy notices a dead node within three seconds and one that hangs within five: whoever has been up for longer was
# not just called up because nobody had looked. HAProxy has given it its full share by then, too (slowstart).
PROOF_SECONDS = 6

Row = Mapping[str, str]


def proven(rows: Iterable[Row]) -> set[str]:
    """Servers that have been up without a break for as long as it takes to believe them, by HAProxy's own clock.

    A full one is up, too: HAProxy calls it DRAIN, since its agent has set its weight to 0.
    """
    return {
        row["svname"]
        for row in rows
        if row["status"].startswith(("UP", "DRAIN")) and int(row["lastchg"] or 0) >= PROOF_SECONDS
    }


def to_serve(rows: Iterable[Row], removed: Collection[str], drained: Collection[str]) -> list[Row]:
    """The wanted servers without those that operators have taken out, by maintenance or by a forced drain."""
    wanted = [row for row in rows if row["svname"] not in removed]
    return [row for row in wanted if row["svname"] not in drained and not row["status"].startswith("MAINT")]


def certainly_served(rows: Iterable[Row], removed: Collection[str], drained: Collection[str] = ()) -> bool:
    """Whether a wanted server is proven, or none is to serve. After HAProxy has started all count as up for a while."""
    wanted = to_serve(rows, removed, drained)
    return bool(proven(wanted)) or not wanted


def all_down(rows: Iterable[Row], removed: Collection[str], drained: Collection[str] = ()) -> bool:
    """Whether every wanted server is down. A full one is not down, and one that an operator has taken out is as its
    operator wants."""
    wanted = to_serve(rows, removed, drained)
    return bool(wanted) and all(row["status"].startswith("DOWN") for row in wanted)
