"""Keeps the ways on which clients come to this machine as the document says: registers it with the load balancer, and
leaves a way that the document gives up (leaving.py). After a restart of this service each way is in the same phase."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path as File
from typing import Any, Callable, Mapping

from . import files
from . import haproxy_runtime as haproxy
from .document import UNREADABLE, Entry, entry_content, entry_of
from .errors import HaproxyError
from .leaving import PATHS, PHASES, Facts, Path, Phase, closes_sockets, has_new_client, is_wanted, next_phase, shown
from .places import ADDRESS_FRONTEND, LAST_CLIENTS, LOAD_BALANCER_FRONTEND
from .targets import Targets, Task, is_deregistered, not_healthy, own_health

# The time between two counts of sockets: HAProxy lists every session of every worker for it.
COUNT_SECONDS = 5
# Up to this many sockets are counted each second while they drain, since the drain ends with the last one.
FEW_SOCKETS = 100

FRONTENDS: dict[Path, str] = {"address": ADDRESS_FRONTEND, "loadBalancer": LOAD_BALANCER_FRONTEND}


@dataclass(frozen=True)
class Record:
    """The notes on disk. Immutable: a change makes a new object."""

    entry: Entry | None = None
    """From the last document that had one. A document of contract 1 or 2 has none."""
    used: tuple[Path, ...] = ()
    """Paths that have been wanted since this machine began, and have not been left."""
    phases: Mapping[Path, tuple[Phase, float]] = field(default_factory=dict)
    """The phase of each path that is given up, and since when, in seconds since the epoch."""
    peers: Mapping[str, str] = field(default_factory=dict)
    """The private addresses of the other balancers, by their instance ids."""


def write_record(record: Record) -> str:
    """The notes as a text for the disk."""
    return json.dumps({**vars(record), "entry": record.entry and entry_content(record.entry)})


def read_record(text: str) -> Record:
    """Reads the notes of the last run. Raises one of `UNREADABLE`."""
    saved = json.loads(text)
    phases = {path: (phase, float(since)) for path, (phase, since) in saved["phases"].items()}
    if not {*phases, *saved["used"]} <= {*PATHS} or not {phase for phase, _ in phases.values()} <= {*PHASES}:
        raise ValueError("unknown path or phase")
    entry = saved["entry"] and entry_of(saved["entry"])
    return Record(entry, tuple(saved["used"]), phases, {str(key): str(value) for key, value in saved["peers"].items()})


class ClientPaths:
    """The ways of clients to this machine. Only the loop uses it."""

    def __init__(self, file: File, targets: Targets, report: Callable[[str], None], has_served: bool):
        self.file, self.targets, self.report = file, targets, report
        self.record = self.load(has_served)
        now = time.monotonic()
        # The clock may be set while this service runs, so ages are counted by the monotonic clock.
        self.began = {path: now - max(0, time.time() - since) for path, (_, since) in self.record.phases.items()}
        self.last_client_at: dict[Path, float] = {}
        """When this service noticed the last new client, by the monotonic clock."""
        self.moments: dict[Path, Mapping[int, str]] = {}
        self.counts: dict[Path, tuple[float, int | None]] = {}
        """The last count of each path's WebSockets, with its moment by the monotonic clock."""
        self.leaving: tuple[dict[str, Any], ...] = ()
        """The paths that are given up, as the status shows them. A path that this machine never had is none of them."""
        self.named: bool | None = None
        """Whether this machine is a wanted balancer; None while that is not known."""
        self.target: dict[str, str] | None = None
        """This machine's health in the target groups, as the status shows it; None without a load balancer."""

    def load(self, has_served: bool) -> Record:
        """The notes of the last run. If a machine that has served has lost them, each path may have clients."""
        try:
            return read_record(self.file.read_text(encoding="utf-8"))
        except (OSError, *UNREADABLE):
            return Record(used=PATHS if has_served else ())

    def note(self, record: Record) -> None:
        """Replaces the notes, first on disk. If they cannot be written, the old ones stay."""
        if record != self.record:
            files.replace_file(self.file, write_record(record))
            self.record = record

    def obey(self, entry: Entry) -> None:
        """Notes what the document says about the ways of clients."""
        self.note(replace(self.record, entry=entry))

    def remember_peers(self, known: Mapping[str, str]) -> None:
        """Notes them for the next start of this service: without a load balancer AWS is not asked for them."""
        self.note(replace(self.record, peers=known))

    def tend(self, instance: str | None, drain_timeout_seconds: float | None) -> None:
        """Moves each path to its next phase if it is time to, and makes the paths' part of the status."""
        entry = self.record.entry
        if entry is None or instance is None:
            return
        groups, seen = entry.target_groups, self.targets.seen
        others = not_healthy(entry.balancers, groups, seen) if groups else []
        task = self.task(entry, instance, not others)
        self.targets.want(task)
        self.target = own_health(task, seen)._asdict() if task else None
        phases: dict[Path, tuple[Phase, float]] = {}
        rows = []
        for path in PATHS:
            obstacle = "; ".join(others)
            if path == "loadBalancer" and not others and not is_deregistered(instance, groups, seen):
                obstacle = "the load balancer has not let this machine go yet"
            kept = self.tend_path(path, entry, instance, obstacle, drain_timeout_seconds)
            if kept is not None:
                phases[path], row = kept
                rows.append(row)
        self.leaving, self.named = tuple(rows), entry.names(instance)
        wanted = {path for path in PATHS if is_wanted(path, entry, instance)}
        # A wanted balancer forgets a path that it has left.
        used = tuple(path for path in PATHS if path in wanted or path in self.record.used and path in phases)
        before = self.record
        self.note(replace(before, used=used, phases=phases))
        self.begin(before)

    def begin(self, before: Record) -> None:
        """Begins the phases that the notes `before` do not have. The new notes are on disk by then: while the disk is
        full, this machine stays in its phase, and reports that once."""
        for path, (phase, _) in self.record.phases.items():
            if path in before.phases and before.phases[path][0] == phase:
                continue
            self.began[path] = time.monotonic()
            if path in before.used:
                self.report(f"leaves the path {path}: {phase}")
        for path in before.phases:
            if path not in self.record.phases and path in self.record.used:
                self.report(f"the path {path} is wanted again")

    def task(self, entry: Entry, instance: str, others_serve: bool) -> Task | None:
        """The task for the target groups; None without a load balancer."""
        if not entry.target_groups:
            return None
        if is_wanted("loadBalancer", entry, instance):
            return Task(instance, entry.target_groups, "register")
        phase, _ = self.record.phases.get("loadBalancer", ("waiting", 0.0))
        leaves = others_serve or phase != "waiting" or "loadBalancer" not in self.record.used
        return Task(instance, entry.target_groups, "deregister" if leaves else "watch")

    def tend_path(
        self, path: Path, entry: Entry, instance: str, obstacle: str, drain_timeout_seconds: float | None
    ) -> tuple[tuple[Phase, float], dict[str, Any]] | None:
        """Moves one path to its next phase if it is time to. Returns the phase, with its beginning, and the path's row
        in the status; None for a path that is in use, or was never used."""
        if is_wanted(path, entry, instance):
            self.forget(path)
            return None
        phase, since = self.record.phases.get(path, (None, time.time()))
        now = time.monotonic()
        facts = Facts(
            named=entry.names(instance),
            used=path in self.record.used,
            has_groups=bool(entry.target_groups),
            obstacle=obstacle,
            age=now - self.began.setdefault(path, now),
            quiet=self.quiet(path) if phase == "tail" else 0,
            sockets=None,
            tail_seconds=entry.tail_seconds,
            quiet_seconds=entry.quiet_seconds,
            drain_timeout_seconds=drain_timeout_seconds,
        )
        if phase != "left" and (phase or facts.used):
            facts = facts._replace(sockets=self.sockets(path, phase, facts))
        following = next_phase(phase, facts)
        if following is None:
            self.forget(path)
            return None
        if following != phase:
            since, facts = time.time(), facts._replace(age=0, quiet=0)
        return (following, since), shown(path, following, facts)

    def forget(self, path: Path) -> None:
        for notes in (self.began, self.last_client_at, self.moments, self.counts):
            notes.pop(path, None)

    def quiet(self, path: Path) -> float:
        """The seconds without a new client. A start of this service counts as a client, so the time is never too long."""
        now = time.monotonic()
        try:
            moments = haproxy.last_clients(LAST_CLIENTS[path])
        except (OSError, HaproxyError):
            moments = {}
        before = self.moments.get(path, {})
        if path not in self.last_client_at or has_new_client(before, moments):
            self.last_client_at[path] = now
        self.moments[path] = {**before, **moments}
        return now - self.last_client_at[path]

    def sockets(self, path: Path, phase: Phase | None, facts: Facts) -> int | None:
        """The number of the path's WebSockets by the last count, or by a new one if it is time for it. Only a new count
        ends the drain."""
        counted_at, count = self.counts.get(path, (float("-inf"), None))
        ends = phase == "draining" and count is not None and count <= FEW_SOCKETS
        now = time.monotonic()
        if now - counted_at >= COUNT_SECONDS or ends or closes_sockets(phase, facts):
            count = self.count_sockets(path, phase, facts)
            self.counts[path] = (now, count)
        return count

    def count_sockets(self, path: Path, phase: Phase | None, facts: Facts) -> int | None:
        """Counts the path's WebSockets, and closes them when their time is over."""
        try:
            clients = haproxy.clients(FRONTENDS[path])
            if closes_sockets(phase, facts):
                for pid, pointers in clients.by_pid.items():
                    self.report(f"the path {path}: drain time-out, closes {len(pointers)} sockets")
                    haproxy.close_sessions(pid, pointers)
        except (OSError, HaproxyError):
            return None
        return None if clients.silent else sum(map(len, clients.by_pid.values()))
