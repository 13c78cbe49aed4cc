"""The life of removed servers: they are held, then they drain and may be the last resort, and then they are deleted."""

import time
from typing import Callable

from . import files
from . import haproxy_runtime as haproxy
from .disk import Disk
from .haproxy_plan import RunningServer, parse_configuration, parse_servers_state, plan_removal
from .last_resort import Row, all_down, certainly_served, proven
from .reconcile import due_removals, last_resort, prove, take_out


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
        changes = prove(disk.changes, proven(rows))
        if changes != disk.changes:
            disk.note(changes)
        if changes.unproven or not changes.held:
            return
        for command in take_out(changes.held, changes, ask_running()):
            haproxy.tell(command)
        disk.note(changes.let_go(time.time()))
        files.replace_file(disk.haproxy_config, disk.file_content(disk.applied))
        disk.write_record(disk.applied)

    def call_up_last_resort(self, rows: list[Row]) -> None:
        """Lets removed servers take clients while every wanted server is down.

        The disk is written before HAProxy gets the commands, so that the next run knows which servers to take out
        again.
        """
        disk, changes = self.disk, self.disk.changes
        if disk.applied is None or not changes.leaving and not changes.last_resort:
            return
        running = ask_running()
        needed = all_down(rows, changes.leaving, [name for name, server in running.items() if server.drain])
        candidates = changes.eligible(disk.applied.drain_timeout_seconds, time.time()) if needed else {}
        if not candidates and not changes.last_resort:
            return
        actions = last_resort(parse_configuration(disk.applied.haproxy_config), running, changes, candidates)
        if actions.over:
            for command in actions.ending:
                haproxy.tell(command)
            self.report(f"{', '.join(actions.over)}: no new clients any more, draining again")
        if actions.changes != changes:
            disk.note(actions.changes)
        if actions.called:
            self.report(f"every wanted node is down: {', '.join(actions.called)} may take clients again")
            for command in actions.calling:
                haproxy.tell(command)

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
            for command in plan_removal(name) if name in running else []:
                haproxy.tell(command)
            disk.note(disk.changes.without(name))
            self.report(f"{name} is drained")
        for name in due.overdue:
            self.report(f"{name}: drain time-out, closes {haproxy.close_sockets(name)} sockets")
