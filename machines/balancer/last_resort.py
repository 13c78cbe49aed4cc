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


def certainly_served(rows: Collection[Row], removed: Collection[str]) -> bool:
    """Whether a wanted server is proven, or none is to serve. After HAProxy has started all count as up for a while."""
    wanted = [row for row in rows if row["svname"] not in removed]
    return bool(proven(wanted)) or all(row["status"].startswith("MAINT") for row in wanted)


def all_down(rows: Iterable[Row], removed: Collection[str]) -> bool:
    """Whether every wanted server is down. A full one is not down, and one in maintenance is as its operator wants."""
    wanted = [row["status"] for row in rows if row["svname"] not in removed]
    down = [status for status in wanted if status.startswith("DOWN")]
    return bool(down) and all(status in down or status.startswith("MAINT") for status in wanted)
