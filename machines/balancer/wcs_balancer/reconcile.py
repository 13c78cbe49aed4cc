"""What has to be done so that the running servers become the wanted ones. Pure functions: what they are told is all
that they know, and what they give is done elsewhere (apply.py, removed_servers.py)."""

from dataclasses import dataclass, replace
from typing import Collection, Mapping

from .changes import Changes, Leaving
from .haproxy_plan import Configuration, RunningServer, joins, needs_reload, plan_joining, plan_leaving


@dataclass(frozen=True)
class Actions:
    """In this order: the changes are noted on disk, the commands given, the files written, HAProxy reloaded."""

    changes: Changes
    """On disk before HAProxy hears a command, the next run completes what this one has begun."""
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
    """The way from what runs to what is wanted.

    `applied` is what the last finished run has left, if anything; `changes` what the last run has noted, finished or
    not; `on_disk` the servers of haproxy.cfg; `now` in seconds since the epoch. With `hold`, servers that go serve on
    until those that come are proven.
    """
    noted = note_changes(wanted, running, changes, on_disk, now)
    if not hold:
        noted = noted.let_go(now)
    reloads = needs_reload(wanted, applied)
    anew = applied is None or applied.agent_request != wanted.agent_request or changes.begun
    # Servers that come back were told nothing while they were on their way out.
    told = wanted.servers if anew else changes.leaving
    commands = plan_joining(wanted, running, changes.unfinished, told)
    # After a reload the new worker does not have them.
    if not reloads:
        serving = {*noted.held, *noted.last_resort}
        commands += take_out([name for name in noted.leaving if name not in serving], noted, running)
    return Actions(noted, tuple(commands), reloads)


def note_changes(
    wanted: Configuration,
    running: Mapping[str, RunningServer],
    changes: Changes,
    on_disk: Mapping[str, str],
    now: float,
) -> Changes:
    """Which servers come and which go. Those that go are held until those that come are proven, where their lines
    are known."""
    unfinished = changes.unfinished
    joining = tuple(name for name in wanted.servers if joins(name, running, unfinished))
    unproven = tuple(name for name in wanted.servers if name in {*changes.unproven, *joining})
    since = None if unproven else now
    leaving = {
        # The maintenance of one that has not quite come is the service's own.
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
    """Commands after which servers get no client any more. One in an operator's maintenance gets none as it is: left
    alone, it is what it was if it comes back."""
    barred = {name for name, server in changes.leaving.items() if server.barred}
    left_alone = {name for name in barred if name in running and running[name].maintenance}
    return plan_leaving([name for name in names if name not in left_alone], running)


def prove(changes: Changes, up: Collection[str]) -> Changes:
    """The changes after a look at which servers have been up for long enough."""
    missing = tuple(name for name in changes.unproven if name not in up)
    # A new server that was up and is down again has to prove itself anew, while old ones serve in its place.
    return changes if missing and changes.held else replace(changes, unproven=missing)


@dataclass(frozen=True)
class LastResort:
    """In this order: those whose time is over are taken out, the changes noted on disk, the others called up."""

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
    """How the removed servers that take clients become `candidates` (name and line's content).

    They pass their checks first, so one that is dead itself takes none.
    """
    over = tuple(name for name in changes.last_resort if name not in candidates)
    called = tuple(name for name in candidates if joins(name, running, candidates))
    config = replace(applied, servers={name: candidates[name] for name in called})
    # In another order they are the same: nothing to be noted.
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
    """Servers that are to go now, and those whose sockets are to be closed."""

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
    """Which removed servers have no socket left, and which have some after their time-out.

    While a worker is silent, all stay: nobody knows what sockets it holds. `kept` may be needed as the last resort.
    """
    drained: list[str] = []
    overdue: list[str] = []
    for name, server in changes.leaving.items():
        if server.since is None or name in running and not running[name].maintenance:
            continue  # Held, last resort, or of a change that did not come about: the next one decides.
        if sockets.get(name, 0) == 0:
            if not silent_workers and name not in kept:
                drained.append(name)
        elif now - server.since > drain_timeout_seconds:
            overdue.append(name)
    return DueRemovals(tuple(drained), tuple(overdue))
