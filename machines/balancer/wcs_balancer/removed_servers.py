"""The life of removed servers: they are held, then they drain and may be the last resort, and then they are deleted."""

import time
from typing import Callable

from . import haproxy_runtime as haproxy
from . import steps
from .apply import OnThisMachine
from .disk import Disk
from .haproxy_plan import RunningServer, parse_configuration, parse_servers_state
from .last_resort import Row, certainly_served, proven
from .reconcile import due_removals


def ask_running() -> dict[str, RunningServer]:
    return parse_servers_state(haproxy.ask("show servers state"))


class RemovedServers:
    """Moves removed servers to the next part of their life, if it is time to, in each round."""

    def __init__(self, disk: Disk, report: Callable[[str], None]):
        self.disk, self.report = disk, report

    def release(self, rows: list[Row]) -> None:
        """Takes out the held servers when all new servers are proven."""
        disk = self.disk
        if disk.applied is None or not disk.changes.unproven and not disk.changes.held:
            return
        steps.release(proven(rows), ask_running, time.time(), OnThisMachine(disk, disk.applied))

    def call_up_last_resort(self, rows: list[Row]) -> None:
        """Lets removed servers take clients while every wanted server is down."""
        disk, changes = self.disk, self.disk.changes
        if disk.applied is None or not changes.leaving and not changes.last_resort:
            return
        done = steps.call_up_last_resort(
            parse_configuration(disk.applied.haproxy_config),
            rows,
            ask_running(),
            disk.applied.drain_timeout_seconds,
            time.time(),
            OnThisMachine(disk, disk.applied),
        )
        if done and done.over:
            self.report(f"{', '.join(done.over)}: no new clients any more, draining again")
        if done and done.called:
            self.report(f"every wanted node is down: {', '.join(done.called)} may take clients again")

    def drain(self, sockets: haproxy.Sockets, rows: list[Row]) -> None:
        """Deletes servers whose last socket has ended. At the time-out it closes the sockets that are left.

        A server that has time left stays while the last resort may be needed.
        """
        disk, changes = self.disk, self.disk.changes
        if not changes.leaving or disk.applied is None:
            return
        running, now = ask_running(), time.time()
        timeout = disk.applied.drain_timeout_seconds
        drained = [name for name, server in running.items() if server.drain]
        served = certainly_served(rows, changes.leaving, drained)
        kept = {} if served else changes.eligible(timeout, now)
        due = due_removals(changes, running, sockets.by_server, bool(sockets.silent), kept, timeout, now)
        for name in due.drained:
            steps.delete(name, running, OnThisMachine(disk, disk.applied))
            self.report(f"{name} is drained")
        for name in due.overdue:
            self.report(f"{name}: drain time-out, closes {haproxy.close_sockets(name)} sockets")
