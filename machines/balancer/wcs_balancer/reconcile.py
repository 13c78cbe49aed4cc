"""Decides what to do so that the running servers become the wanted ones. Pure functions: steps.py carries out the
results."""

from dataclasses import dataclass, replace
from typing import Collection, Mapping

from .changes import Changes, Leaving
from .haproxy_plan import Configuration, RunningServer, joins, needs_reload, plan_joining, plan_leaving


@dataclass(frozen=True)
class Actions:
    """The changes for the disk, the commands, and whether HAProxy reloads."""

    changes: Changes
    """Written to disk before HAProxy gets a command, so that the next run can complete an interrupted one."""
    commands: tuple[str, ...]
    reloads: bool


def reconcile(
    wanted: Configuration,
    applied: Configuration | None,
    running: Mapping[str, RunningServer],
    changes: Changes,
    on_disk: Mapping[str, str],
    now: float,
    hold: bool = True,
) -> Actions:
    """The actions that turn the running servers into the wanted ones.

    `applied` is the configuration that the last finished run has left, if there is one. `changes` are the notes of the
    last run, finished or not. `on_disk` are the servers of haproxy.cfg. `now` is in seconds since the epoch. With
    `hold`, removed servers serve until the new servers are proven.
    """
    noted = note_changes(wanted, running, changes, on_disk, now)
    if not hold:
        noted = noted.let_go(now)
    reloads = needs_reload(wanted, applied)
    # Removed servers got no new thresholds while they drained. If they are wanted again, they need the current ones.
    told = {*changed_requests(wanted, None if changes.begun else applied), *changes.leaving}
    commands = plan_joining(wanted, running, changes.unfinished, told)
    # After a reload the new worker does not have the removed servers.
    if not reloads:
        serving = {*noted.held, *noted.last_resort}
        commands += take_out([name for name in noted.leaving if name not in serving], noted, running)
    return Actions(noted, tuple(commands), reloads)


def changed_requests(wanted: Configuration, applied: Configuration | None) -> list[str]:
    """The wanted servers whose agents get another request than before, as far as that is known."""
    return [
        name
        for name in wanted.servers
        if applied is None or name not in applied.servers or applied.request_of(name) != wanted.request_of(name)
    ]


def note_changes(
    wanted: Configuration,
    running: Mapping[str, RunningServer],
    changes: Changes,
    on_disk: Mapping[str, str],
    now: float,
) -> Changes:
    """Notes which servers are new and which are removed. A removed server whose line is known is held until the new
    servers are proven."""
    unfinished = changes.unfinished
    joining = tuple(name for name in wanted.servers if joins(name, running, unfinished))
    unproven = tuple(name for name in wanted.servers if name in {*changes.unproven, *joining})
    since = None if unproven else now
    leaving = {
        # This service itself has put unfinished new servers into maintenance.
        name: Leaving(on_disk.get(name, ""), since, server.maintenance and name not in unfinished)
        for name, server in running.items()
        if name not in wanted.servers
    }
    leaving |= {name: server for name, server in changes.leaving.items() if name not in wanted.servers}
    leaving = {
        name: server if server.options else server._replace(since=server.since or now)
        for name, server in leaving.items()
    }
    return Changes(True, joining, unproven, leaving, tuple(name for name in changes.last_resort if name in leaving))


def take_out(names: Collection[str], changes: Changes, running: Mapping[str, RunningServer]) -> list[str]:
    """Commands after which servers get no new clients. A server in an operator's maintenance gets no command: it has no
    clients, and is still in maintenance if it is wanted again."""
    barred = {name for name, server in changes.leaving.items() if server.barred}
    left_alone = {name for name in barred if name in running and running[name].maintenance}
    return plan_leaving([name for name in names if name not in left_alone], running)


def prove(changes: Changes, up: Collection[str]) -> Changes:
    """The changes, without unproven servers that have been up for long enough."""
    missing = tuple(name for name in changes.unproven if name not in up)
    # While removed servers are held, a new server that was up and is down again has to prove itself again.
    return changes if missing and changes.held else replace(changes, unproven=missing)


@dataclass(frozen=True)
class LastResort:
    """The servers whose time is over and the commands that take them out, the changes for the disk, and the servers that
    are called up with the commands for that."""

    over: tuple[str, ...]
    ending: tuple[str, ...]
    changes: Changes
    called: tuple[str, ...]
    calling: tuple[str, ...]


def last_resort(
    applied: Configuration,
    running: Mapping[str, RunningServer],
    changes: Changes,
    candidates: Mapping[str, str],
) -> LastResort:
    """The actions after which exactly these `candidates` (name and line's content) are the last resort.

    Candidates have to pass their checks first, so a dead one gets no clients.
    """
    over = tuple(name for name in changes.last_resort if name not in candidates)
    called = tuple(name for name in candidates if joins(name, running, candidates))
    config = replace(applied, servers={name: candidates[name] for name in called})
    # Another order is not a change.
    same = sorted(candidates) == sorted(changes.last_resort)
    return LastResort(
        over,
        tuple(take_out(over, changes, running)),
        changes if same else replace(changes, last_resort=tuple(candidates)),
        called,
        tuple(plan_joining(config, running, called, called)),
    )


@dataclass(frozen=True)
class DueRemovals:
    """Servers to delete now, and servers whose sockets to close now."""

    drained: tuple[str, ...]
    overdue: tuple[str, ...]


def due_removals(
    changes: Changes,
    running: Mapping[str, RunningServer],
    sockets: Mapping[str, int],
    silent_workers: bool,
    kept: Collection[str],
    drain_timeout_seconds: float,
    now: float,
) -> DueRemovals:
    """Removed servers that have no sockets left, and those that still have some after their time-out.

    While a worker is silent no server is deleted, because that worker may hold sockets of it. `kept` servers may be
    needed as the last resort.
    """
    drained: list[str] = []
    overdue: list[str] = []
    for name, server in changes.leaving.items():
        if server.since is None or name in running and not running[name].maintenance:
            continue  # Held, a last resort, or left by a change that failed: the next change decides.
        if sockets.get(name, 0) == 0:
            if not silent_workers and name not in kept:
                drained.append(name)
        elif now - server.since > drain_timeout_seconds:
            overdue.append(name)
    return DueRemovals(tuple(drained), tuple(overdue))
