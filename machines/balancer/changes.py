"""Servers on their way in and out of HAProxy, on this machine's disk before HAProxy hears of them."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from haproxy_runtime import replace_file

CHANGES = Path("/var/lib/wcs-balancer/changes.json")


class Leaving(NamedTuple):
    """A server that is to go."""

    options: str
    """Its address and options in haproxy.cfg."""
    since: float | None
    """When it was taken out, in seconds since the epoch. None while it is held: it serves on until the servers
    that come in its place have come up."""
    barred: bool = False
    """Whether an operator had it in maintenance before: then it is nobody's last resort."""


@dataclass
class Changes:
    """What the next run has to know, whenever this one ends."""

    joining: list[str] = field(default_factory=list)
    """Those whose commands may not all be given yet."""
    unproven: list[str] = field(default_factory=list)
    """Those that have not been up for long enough yet."""
    leaving: dict[str, Leaving] = field(default_factory=dict)
    last_resort: list[str] = field(default_factory=list)
    """Those of `leaving` that take clients again because every wanted server is down."""

    @classmethod
    def load(cls) -> "Changes":
        try:
            saved = json.loads(CHANGES.read_text(encoding="utf-8"))
            leaving = {name: Leaving(*values) for name, values in saved["leaving"].items()}
            return cls(saved["joining"], saved["unproven"], leaving, saved["last_resort"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def save(self) -> None:
        replace_file(CHANGES, json.dumps(vars(self)))

    @property
    def held(self) -> dict[str, str]:
        """The lines' content of servers that serve on though they are not wanted any more."""
        return {name: server.options for name, server in self.leaving.items() if server.since is None}

    def let_go(self) -> None:
        """From now on nobody is held."""
        now = time.time()
        self.leaving = {name: server._replace(since=server.since or now) for name, server in self.leaving.items()}

    def eligible(self, drain_timeout_seconds: float) -> dict[str, str]:
        """The lines' content of servers that drain, may still take clients and have time left."""
        now = time.time()
        return {
            name: server.options
            for name, server in self.leaving.items()
            if server.since is not None
            and not server.barred
            and server.options
            and now - server.since <= drain_timeout_seconds
        }
