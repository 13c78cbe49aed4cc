"""New and removed servers, as noted on disk before HAProxy gets commands about them."""

from dataclasses import dataclass, field, replace
from typing import Mapping, NamedTuple


class Leaving(NamedTuple):
    """A removed server."""

    options: str
    """Its address and options in haproxy.cfg."""
    since: float | None
    """When it was taken out, in seconds since the epoch. None while it is held: it serves until the new servers are
    proven."""
    barred: bool = False
    """Whether an operator had put it into maintenance before. Then it is never a last resort."""


@dataclass(frozen=True)
class Changes:
    """Notes for the next run, in case this run ends early. Immutable: a change makes a new object."""

    begun: bool = False
    """Whether a change has begun and not ended. HAProxy may not have got all of its commands."""
    joining: tuple[str, ...] = ()
    """New servers of this change. HAProxy may not have got all of their commands."""
    unproven: tuple[str, ...] = ()
    """New servers that have not been up for long enough yet."""
    leaving: Mapping[str, Leaving] = field(default_factory=dict)
    last_resort: tuple[str, ...] = ()
    """Servers of `leaving` that take clients again because every wanted server is down."""

    @property
    def held(self) -> dict[str, str]:
        """Line contents of removed servers that still serve."""
        return {name: server.options for name, server in self.leaving.items() if server.since is None}

    @property
    def unfinished(self) -> set[str]:
        """Servers whose maintenance, if they are in it, comes from this service and not from an operator."""
        return {*self.joining, *(name for name, server in self.leaving.items() if not server.barred)}

    def ended(self) -> "Changes":
        """The changes after HAProxy has got every command."""
        return replace(self, begun=False, joining=())

    def let_go(self, now: float) -> "Changes":
        """The changes without held servers: all removed servers drain from now on."""
        leaving = {name: server._replace(since=server.since or now) for name, server in self.leaving.items()}
        return replace(self, leaving=leaving)

    def without(self, name: str) -> "Changes":
        """The changes without a deleted server."""
        return replace(self, leaving={other: server for other, server in self.leaving.items() if other != name})

    def eligible(self, drain_timeout_seconds: float, now: float) -> dict[str, str]:
        """Line contents of servers that drain, may take clients again and have time left."""
        return {
            name: server.options
            for name, server in self.leaving.items()
            if server.since is not None
            and not server.barred
            and server.options
            and now - server.since <= drain_timeout_seconds
        }
