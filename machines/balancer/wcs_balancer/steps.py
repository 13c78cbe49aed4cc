"""The steps of each change to HAProxy's servers, and their order.

The effects of a step are an argument: those on this machine (apply.py), or those on a model, in tests. Commands to
HAProxy are noted on disk first, and the record is written last. So if a run ends at any step, the next run completes
the change.
"""

from typing import Callable, Collection, Mapping, Protocol, Sequence

from .changes import Changes
from .haproxy_plan import Configuration, RunningServer, plan_removal
from .last_resort import Row, all_down
from .reconcile import Actions, LastResort, last_resort, prove, take_out


class Effects(Protocol):
    """The effects of a step."""

    @property
    def changes(self) -> Changes:
        """The notes on disk."""

    def note(self, changes: Changes) -> None:
        """Replaces the notes on disk."""

    def tell(self, command: str) -> None:
        """Gives HAProxy a command."""

    def write(self) -> None:
        """Writes the files, and puts into force what needs neither a command nor a reload."""

    def reload(self) -> None:
        """Writes the files, and HAProxy starts with them."""

    def record(self) -> None:
        """Records what is applied."""


def tell_all(commands: Collection[str], effects: Effects) -> None:
    for command in commands:
        effects.tell(command)


def carry_out(actions: Actions, effects: Effects) -> None:
    """Brings about a wanted state."""
    effects.note(actions.changes)
    tell_all(actions.commands, effects)
    if actions.reloads:
        effects.reload()
    else:
        effects.write()
    effects.record()
    effects.note(actions.changes.ended())


def release(
    proven: Collection[str], running: Callable[[], Mapping[str, RunningServer]], now: float, effects: Effects
) -> None:
    """Takes out the held servers when all new servers are proven."""
    before = effects.changes
    changes = prove(before, proven)
    if changes != before:
        effects.note(changes)
    if changes.unproven or not changes.held:
        return
    tell_all(take_out(changes.held, changes, running()), effects)
    effects.note(changes.let_go(now))
    effects.write()
    effects.record()


def call_up_last_resort(
    applied: Configuration,
    rows: Sequence[Row],
    running: Mapping[str, RunningServer],
    drain_timeout_seconds: float,
    now: float,
    effects: Effects,
) -> LastResort | None:
    """Lets removed servers take clients while every wanted server is down. Gives what it has done, if there was anything
    to do. `rows` are HAProxy's statistics."""
    changes = effects.changes
    needed = all_down(rows, changes.leaving, [name for name, server in running.items() if server.drain])
    candidates = changes.eligible(drain_timeout_seconds, now) if needed else {}
    if not candidates and not changes.last_resort:
        return None
    actions = last_resort(applied, running, changes, candidates)
    tell_all(actions.ending, effects)
    if actions.changes != changes:
        effects.note(actions.changes)
    tell_all(actions.calling, effects)
    return actions


def delete(name: str, running: Collection[str], effects: Effects) -> None:
    """Deletes a removed server that is drained."""
    tell_all(plan_removal(name) if name in running else [], effects)
    effects.note(effects.changes.without(name))
