"""When this machine gives up a way on which clients come to it, and in which phases. Pure functions.

There are two ways, as the status calls them: `address`, this machine's own address, and `loadBalancer`. On each way
that is given up the machine serves as always, until new clients have certainly stopped coming. Then the WebSockets of
that way drain.
"""

from typing import Any, Literal, Mapping, NamedTuple

from .document import Entry

Path = Literal["address", "loadBalancer"]
PATHS: tuple[Path, ...] = ("address", "loadBalancer")

Phase = Literal["waiting", "tail", "draining", "left"]
PHASES: tuple[Phase, ...] = ("waiting", "tail", "draining", "left")

# New clients prolong the tail by at most this many quiet times, so clients cannot keep a machine from leaving.
MOST_QUIET_TIMES = 10
# After the drain time-out sockets are closed for this long. A client that comes back again and again does not keep a
# machine from leaving.
CLOSING_SECONDS = 10


def is_wanted(path: Path, entry: Entry, instance: str) -> bool:
    """Whether clients are to come to an instance on a path. A machine that is not named keeps its address: `pulumi up`
    moves that, with a hand-over."""
    if path == "address":
        return entry.address
    return entry.names(instance) and bool(entry.target_groups)


class Facts(NamedTuple):
    """The facts that decide about the next phase of a path that is not wanted."""

    named: bool
    """Whether this machine is a wanted balancer. Then it keeps serving on the other path."""
    used: bool
    """Whether the path has been wanted since this machine began. Only such a path is left."""
    has_groups: bool
    """Whether there is a load balancer."""
    obstacle: str
    """Why the other balancers do not serve yet; empty when they do."""
    age: float
    """How long the current phase has lasted, in seconds."""
    quiet: float
    """How long there has been no new client on this path, in seconds. It is known in the phase `tail` alone."""
    sockets: int | None
    """WebSockets of this path in all workers; None when a worker does not answer."""
    tail_seconds: float
    quiet_seconds: float
    drain_timeout_seconds: float | None
    """None while it is not known: then only the end of the last socket ends the drain."""


def next_phase(phase: Phase | None, facts: Facts) -> Phase | None:
    """The phase after this one, or the same one. None means that there is nothing to leave."""
    if phase is None:
        if not facts.used:
            return None
        return "waiting" if facts.has_groups and not facts.named else "tail"
    if phase == "waiting":
        waits = facts.has_groups and not facts.named and facts.obstacle
        return "waiting" if waits else "tail"
    if phase == "tail":
        latest = facts.tail_seconds + MOST_QUIET_TIMES * facts.quiet_seconds
        over = facts.age >= facts.tail_seconds and facts.quiet >= facts.quiet_seconds or facts.age >= latest
        return "draining" if over else "tail"
    if phase == "draining":
        over = facts.sockets == 0 or is_over(facts, CLOSING_SECONDS)
        return "left" if over else "draining"
    # A named machine may be wanted on this path again at any time.
    return "left" if facts.used and not facts.named else None


def closes_sockets(phase: Phase | None, facts: Facts) -> bool:
    """Whether the time of the path's WebSockets is over."""
    return phase == "draining" and is_over(facts)


def is_over(facts: Facts, margin_seconds: float = 0) -> bool:
    """Whether a drain has lasted for its time-out and a margin."""
    timeout = facts.drain_timeout_seconds
    return timeout is not None and facts.age >= timeout + margin_seconds


def has_new_client(before: Mapping[int, str], now: Mapping[int, str]) -> bool:
    """Whether the moment of the last client has changed in any worker. The moments themselves do not count: a clock may
    be set back."""
    return any(moment != before.get(pid, "") for pid, moment in now.items())


def seconds_left(phase: Phase, facts: Facts) -> int | None:
    """How long the phase lasts at least (`tail`) or at most (`draining`)."""
    if phase == "tail":
        return max(0, round(max(facts.tail_seconds - facts.age, facts.quiet_seconds - facts.quiet)))
    if phase == "draining" and facts.drain_timeout_seconds is not None:
        return max(0, round(facts.drain_timeout_seconds - facts.age))
    return None


def reason(phase: Phase, facts: Facts) -> str:
    """Why the phase continues, as text for an operator."""
    if phase == "waiting":
        return facts.obstacle
    if phase == "tail" and facts.age >= facts.tail_seconds:
        return "new clients still come"
    if phase == "draining" and facts.sockets is None:
        return "a worker of HAProxy does not answer"
    return ""


def shown(path: Path, phase: Phase, facts: Facts) -> dict[str, Any]:
    """A path that is given up, as the status shows it."""
    return {
        "path": path,
        "phase": phase,
        "reason": reason(phase, facts),
        "sockets": None if phase == "left" else facts.sockets,
        "secondsLeft": seconds_left(phase, facts),
    }
