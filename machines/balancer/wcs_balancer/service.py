"""The loop of wcs-balancer-sync.

One thread asks AWS every five seconds. The main one looks at HAProxy every second, is the only one that changes
anything, and publishes a snapshot of what it knows. HTTP threads read that, and ask HAProxy for `show stat`.
"""

import json
import os
import queue
import threading
import time
from pathlib import Path
from typing import Callable

from . import haproxy_runtime as haproxy
from .apply import Applier
from .desired_state import DesiredState
from .disk import Disk
from .document import NewerDocument, Wanted, newer_contract
from .errors import RefusedError, in_words
from .haproxy_service import HaproxyService
from .places import SETTINGS
from .removed_servers import RemovedServers
from .server import Status, serve
from .status import Seen, Snapshot, warnings

# How often AWS is asked.
POLL_SECONDS = 5
# How often HAProxy is looked at: clients that get a 503 come back within seconds.
LOOK_SECONDS = 1


class Service:
    """One round after the other, and what is known after the last one."""

    def __init__(self, disk: Disk, report: Callable[[str], None]):
        self.disk, self.report = disk, report
        self.haproxy_service = HaproxyService(report)
        self.applier = Applier(disk, self.haproxy_service, report)
        self.removed_servers = RemovedServers(disk, report)
        self.wanted: str | None = None
        self.refused: str | None = None
        self.state_error: str | None = None
        """Why what is wanted is not known or not applied."""
        self.error: str | None = None
        """All that is wrong."""
        self.warned: list[str] = []
        self.sockets = haproxy.Sockets({}, [])
        self.certificate_end: float | None = None
        self.snapshot = self.take_snapshot()

    def look(self, answer: Wanted | Exception | None = None) -> None:
        """One round, with AWS's answer where there is a new one. An error is reported when it is new."""
        problems: list[str] = []
        try:
            if self.disk.applied is not None:
                self.haproxy_service.revive()
        except Exception as error:
            problems.append(f"HAProxy does not start: {in_words(error)}")
        if answer is not None:
            self.obey(answer)
        try:
            self.tend()
        except (FileNotFoundError, ConnectionRefusedError):
            if self.disk.applied is not None:
                reason = self.haproxy_service.away_reason
                problems.append(f"HAProxy does not run: it is being started{f': {reason}' if reason else ''}")
        except Exception as error:
            problems.append(f"HAProxy cannot be looked after, it is tried again: {in_words(error)}")
        error = "; ".join([*([self.state_error] if self.state_error else []), *problems]) or None
        if error and error != self.error:
            self.report(f"error: {error}")
        self.error = error
        self.snapshot = self.take_snapshot()

    def obey(self, answer: Wanted | Exception) -> None:
        """Brings this machine to what AWS has answered."""
        self.wanted = self.refused = self.state_error = None
        try:
            if isinstance(answer, Exception):
                raise answer
            self.wanted = answer.document.revision
            self.applier.apply(answer)
            if isinstance(answer.document, NewerDocument):
                self.state_error = newer_contract(answer.document)
        except RefusedError as error:
            self.refused, self.state_error = self.wanted, str(error)
        except Exception as error:
            self.state_error = in_words(error)

    def tend(self) -> None:
        """Looks at HAProxy and does what is due there."""
        rows = haproxy.statistics(haproxy.ask("show stat"))
        self.removed_servers.release(rows)
        self.removed_servers.call_up_last_resort(rows)
        self.sockets = haproxy.sockets()
        self.removed_servers.drain(self.sockets, rows)
        self.certificate_end = haproxy.certificate_end(self.disk.certificate)
        # Client addresses are for the status alone: they would fill the journal.
        seen = Seen([], {}, self.sockets.silent, self.certificate_end)
        found = warnings(seen, self.disk.changes.last_resort, time.time())
        for warning in found:
            if warning not in self.warned:
                self.report(f"warning: {warning}")
        self.warned = found

    def take_snapshot(self) -> Snapshot:
        """What is known now."""
        applied = self.disk.applied
        return Snapshot(
            time.monotonic(),
            applied.revision if applied else None,
            self.wanted,
            self.error,
            self.refused,
            self.disk.changes,
            applied.drain_timeout_seconds if applied else 0,
            self.sockets,
            self.certificate_end,
        )


def main() -> None:
    """Runs for ever."""
    console = open("/dev/console", "w", encoding="utf-8") if os.access("/dev/console", os.W_OK) else None

    def report(message: str) -> None:
        """To the journal, and to the console, which AWS shows when nothing answers on 443 yet."""
        print(message, flush=True)
        if console:
            print(f"wcs-balancer-sync: {message}", file=console, flush=True)

    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    disk = Disk(Path(settings["certificatePath"]))
    desired_state = DesiredState(settings["stateParameter"], settings["secretParameter"], disk)
    service = Service(disk, report)
    service.look()
    serve(Status(lambda: service.snapshot, disk.token))
    # One at a time: what was not taken yet is not asked again, so no old answer follows a newer one.
    answers: queue.Queue[Wanted | Exception] = queue.Queue(maxsize=1)

    def keep_asking() -> None:
        while True:
            answers.put(desired_state.ask())
            time.sleep(POLL_SECONDS)

    threading.Thread(target=keep_asking, daemon=True).start()
    broken = ""
    while True:
        try:
            answer = answers.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            answer = None
        try:
            service.look(answer)
        except Exception as error:
            if broken != (broken := in_words(error)):
                report(f"error: {broken}")
