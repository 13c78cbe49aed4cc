"""Servers on their way in and out of HAProxy: what is on disk before HAProxy hears of them."""

from dataclasses import dataclass, field, replace
from typing import Mapping, NamedTuple


class Leaving(NamedTuple):
    """A server that is to go."""

    options: str
    """Its address and options in haproxy.cfg."""
    since: float | None
    """When it was taken out, in seconds since the epoch. None while it is held: it serves on until the servers
    that come in its place have come up."""
    barred: bool = False
    """Whether an operator had it in maintenance before: then it is nobody's last resort."""


@dataclass(frozen=True)
class Changes:
    """What the next run has to know, whenever this one ends. Never changed: a new one takes its place."""

    begun: bool = False
    """Whether a change has begun and not ended: its commands may not all be given."""
    joining: tuple[str, ...] = ()
    """Those that the change brings in: their commands may not all be given."""
    unproven: tuple[str, ...] = ()
    """Those that have not been up for long enough yet."""
    leaving: Mapping[str, Leaving] = field(default_factory=dict)
    last_resort: tuple[str, ...] = ()
    """Those of `leaving` that take clients again because every wanted server is down."""

    @property
    def held(self) -> dict[str, str]:
        """The lines' content of servers that serve on though they are not wanted any more."""
        return {name: server.options for name, server in self.leaving.items() if server.since is None}

    @property
    def unfinished(self) -> set[str]:
        """Servers that are in maintenance by this service, where they are, and not by an operator."""
        return {*self.joining, *(name for name, server in self.leaving.items() if not server.barred)}

    def ended(self) -> "Changes":
        """From now on every command has been given."""
        return replace(self, begun=False, joining=())

    def let_go(self, now: float) -> "Changes":
        """From now on nobody is held."""
        leaving = {name: server._replace(since=server.since or now) for name, server in self.leaving.items()}
        return replace(self, leaving=leaving)

    def without(self, name: str) -> "Changes":
        """With a server that is gone."""
        return replace(self, leaving={other: server for other, server in self.leaving.items() if other != name})

    def eligible(self, drain_timeout_seconds: float, now: float) -> dict[str, str]:
        """The lines' content of servers that drain, may still take clients and have time left."""
        return {
            name: server.options
            for name, server in self.leaving.items()
            if server.since is not None
            and not server.barred
            and server.options
            and now - server.since <= drain_timeout_seconds
        }
