"""The loop of wcs-balancer-sync.

One thread asks AWS every five seconds for the desired state. Two others ask it every ten seconds for the load
balancer's targets and for the other balancers. The main thread looks at HAProxy every second, and publishes a snapshot
of what it knows. It is the only one that changes anything on this machine. Another thread orders certificates by ACME.
HTTP threads read the snapshot, ask HAProxy for `show stat` and the other balancers for their statuses, and pass
requests for a hand-over to the main thread. One more tells systemd that all this goes on.
"""

import contextlib
import json
import os
import queue
import threading
import time
from pathlib import Path
from typing import Callable, Mapping

from . import haproxy_runtime as haproxy
from .acme import Orders
from .acme_serving import AcmeServing
from .apply import Applier
from .aws import Aws, next_pause
from .client_paths import ClientPaths
from .cluster import Cluster
from .desired_state import Answer, DesiredState
from .disk import Disk
from .document import OtherDocument, Secret, other_contract
from .errors import RefusedError, in_words
from .hand_over import HandOver, HandOverRequest, ask_loop
from .haproxy_service import HaproxyService
from .instance import Instance
from .peers import Peers
from .places import SETTINGS, STATUS_PORT
from .removed_servers import RemovedServers
from .server import Status, serve
from .status import Seen, Served, Snapshot, warnings
from .status_certificate import StatusCertificate
from .targets import Targets
from .watchdog import Watchdog, note_step

# The time between two questions to AWS.
POLL_SECONDS = 5
# The time between two looks at HAProxy: clients that get a 503 come back within seconds.
LOOK_SECONDS = 1


def may_have_clients(disk: Disk) -> bool:
    """Whether clients may have come to this machine before this start of the service. If the notes of its last run are
    lost, all of them, HAProxy knows it."""
    if disk.record.exists():
        return True
    try:
        return haproxy.serves_nodes()
    except (FileNotFoundError, ConnectionRefusedError):
        return False  # HAProxy does not run.
    except Exception:
        return True


class Service:
    """Runs one round after the other, and keeps the knowledge of the last one."""

    def __init__(
        self,
        disk: Disk,
        report: Callable[[str], None],
        aws: Aws,
        balancer_tags: Mapping[str, str],
        acme_parameter: str = "",
    ):
        self.disk, self.report = disk, report
        self.haproxy_service = HaproxyService(report)
        self.applier = Applier(disk, self.haproxy_service, report)
        self.removed_servers = RemovedServers(disk, report)
        self.status_certificate = StatusCertificate(disk, report)
        self.hand_over = HandOver(report)
        self.instance = Instance()
        self.targets = Targets(aws)
        self.paths = ClientPaths(disk.paths_file, self.targets, report, may_have_clients(disk))
        self.peers = Peers(aws, balancer_tags, self.paths.record.peers)
        self.wanted: str | None = None
        self.refused: str | None = None
        self.state_error: str | None = None
        """Why the wanted state is unknown or not applied."""
        self.status_error: str | None = None
        """Why the status does not use the certificate and token that AWS has for it."""
        self.error: str | None = None
        """All errors."""
        self.warned: list[str] = []
        self.sockets = haproxy.Sockets({}, [])
        self.orders = Orders(aws, acme_parameter, disk.issued, report)
        self.acme = AcmeServing(disk, self.orders, report)
        self.certificate: Served | None = None
        self.snapshot = self.take_snapshot()

    def look(self, news: Answer | HandOverRequest | None = None) -> None:
        """Runs one round, with AWS's answer or a request for a hand-over if there is one. Reports only new errors."""
        note_step()
        problems: list[str] = []
        if isinstance(news, Answer):
            self.take_status(news)
        try:
            self.keep_haproxy()
        except Exception as error:
            problems.append(f"HAProxy does not start: {in_words(error)}")
        if isinstance(news, Answer):
            self.obey(news)
        elif isinstance(news, HandOverRequest):
            news.fulfil(self.hand_over)
        try:
            self.tend()
        except (FileNotFoundError, ConnectionRefusedError):
            if self.disk.applied is not None:
                reason = self.haproxy_service.away_reason
                problems.append(f"HAProxy does not run: it is being started{f': {reason}' if reason else ''}")
        except Exception as error:
            problems.append(f"the check of HAProxy failed, it is tried again: {in_words(error)}")
        try:
            self.tend_paths(news)
        except Exception as error:
            problems.append(in_words(error))
        try:
            self.acme.tend(self.instance.known, self.paths.record.entry)
        except (FileNotFoundError, ConnectionRefusedError):
            pass  # HAProxy does not run.
        except Exception as error:
            problems.append(f"certificates by ACME: {in_words(error)}")
        self.report_warnings()
        # Both questions to AWS often have the same error.
        found = dict.fromkeys([self.state_error, self.status_error, *problems])
        error = "; ".join(filter(None, found)) or None
        if error and error != self.error:
            self.report(f"error: {error}")
        self.error = error
        self.snapshot = self.take_snapshot()
        if isinstance(news, HandOverRequest):
            news.done.set()

    def take_status(self, answer: Answer) -> None:
        """Puts a new secret of the status into force, also when the document is refused: `pulumi up` has to read the
        reason in the status."""
        self.status_error = None
        try:
            if isinstance(answer.status, Exception):
                raise answer.status
            if answer.status is not None:
                self.status_certificate.take(answer.status)
        except Exception as error:
            self.status_error = in_words(error)

    def keep_haproxy(self) -> None:
        """Starts HAProxy when it does not run: with the files on disk, or with only the status before there are any."""
        # Files that were changed by hand may serve, too, until HAProxy fails with them.
        ours = self.disk.record.exists() and not self.haproxy_service.start_failed
        if self.disk.applied is not None or self.disk.load_kept() is not None or ours:
            self.haproxy_service.revive()
        elif self.disk.status_secret() is not None:
            self.haproxy_service.serve_status(self.disk.haproxy_config)

    def obey(self, answer: Answer) -> None:
        """Applies the answer of AWS to this machine."""
        self.wanted = self.refused = self.state_error = None
        self.acme.answer = answer.acme
        try:
            if isinstance(answer.document, Exception):
                raise answer.document
            self.wanted = answer.document.revision
            self.applier.apply(answer.document, answer.secret)
            if isinstance(answer.document, OtherDocument):
                self.state_error = other_contract(answer.document)
            return
        except RefusedError as error:
            self.refused, self.state_error = self.wanted, str(error)
        except Exception as error:
            self.state_error = in_words(error)
        try:
            if isinstance(answer.secret, Secret):
                self.applier.renew(answer.secret)
        except Exception as error:
            self.state_error = f"{self.state_error}; the new certificate: {in_words(error)}"

    def tend_paths(self, news: Answer | HandOverRequest | None) -> None:
        """Keeps the ways of clients to this machine as the document says. It is obeyed in this even if its state is
        refused or not applied yet."""
        note_step()
        if isinstance(news, Answer) and not isinstance(news.document, Exception) and news.document.entry is not None:
            self.paths.obey(news.document.entry)
        self.paths.tend(self.instance.known, self.disk.drain_timeout_seconds())
        entry = self.paths.record.entry
        self.peers.want(entry is not None and bool(entry.target_groups))
        self.paths.remember_peers(self.peers.known)

    def cloud_warnings(self) -> tuple[str, ...]:
        """Errors of AWS that are tried again. They stop nothing."""
        found = [f"the load balancer's targets: {error}" for error in self.targets.seen.errors]
        if self.peers.error:
            found.append(f"the other balancers are not looked for: {self.peers.error}")
        return tuple(found)

    def tend(self) -> None:
        """Reads HAProxy's state. Continues hand-overs and the removal of servers, and notes sockets and certificate."""
        rows = haproxy.statistics(haproxy.ask("show stat"))
        self.hand_over.tend()
        self.removed_servers.release(rows)
        self.removed_servers.call_up_last_resort(rows)
        self.sockets = haproxy.sockets()
        self.removed_servers.drain(self.sockets, rows)
        validity = haproxy.certificate_validity(self.disk.certificate)
        source = self.disk.applied.certificate_source if self.disk.applied else "document"
        self.certificate = Served(*validity, source) if validity else None

    def report_warnings(self) -> None:
        """Reports new warnings. Client addresses are shown only in the status: they would fill the journal."""
        seen = Seen([], {}, self.sockets.silent, self.certificate)
        found = [*warnings(seen, self.disk.changes.last_resort, time.time()), *self.cloud_warnings()]
        for warning in found:
            if warning not in self.warned:
                self.report(f"warning: {warning}")
        self.warned = found

    def take_snapshot(self) -> Snapshot:
        """The service's knowledge at this moment."""
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
            self.certificate,
            self.instance.known,
            self.paths.leaving,
            self.paths.target,
            self.cloud_warnings(),
            self.acme.shown,
            self.paths.named,
        )


def write_to_console(text: str, path: str = "/dev/console") -> None:
    """Writes to the machine's console, if there is one. A console that hangs up, as it does when its login starts, or
    that takes nothing more, must not end this service or make it wait: so it is opened each time."""
    with contextlib.suppress(OSError):
        console = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(console, text.encode())
        finally:
            os.close(console)


def main() -> None:
    """Runs for ever."""
    def report(message: str) -> None:
        """Writes to the journal and to the console. AWS shows the console even when nothing answers on 443 yet."""
        print(message, flush=True)
        write_to_console(f"wcs-balancer-sync: {message}\n")

    watchdog = Watchdog(report)
    watchdog.start()
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    disk = Disk(Path(settings["certificatePath"]))
    parameters = (settings[f"{name}Parameter"] for name in ("state", "secret", "status"))
    aws = Aws()
    # A machine of an older version has no such parameters.
    account, acme = (settings.get(f"{name}Parameter", "") for name in ("account", "acme"))
    desired_state = DesiredState(*parameters, disk, aws.get_parameter, account, acme)
    service = Service(disk, report, aws, settings["balancerTags"], acme)
    service.instance.ask_until_known()
    service.look()
    # One entry at a time: AWS is asked again only after its last answer was taken, so answers stay in order.
    inbox: queue.Queue[Answer | HandOverRequest] = queue.Queue(maxsize=1)
    status = Status(lambda: service.snapshot, disk.token)
    cluster = Cluster(
        disk,
        service.peers,
        lambda: service.instance.known,
        lambda: service.paths.record.entry,
        lambda: status.shown(detailed=True),
    )
    serve(status, lambda seconds: ask_loop(inbox, seconds), cluster.shown)
    watchdog.port = STATUS_PORT
    service.targets.start()
    service.peers.start()
    service.orders.start()

    def keep_asking() -> None:
        pause: float = POLL_SECONDS
        while True:
            answer = desired_state.ask()
            inbox.put(answer)
            pause = next_pause(pause, POLL_SECONDS, answer.errors())
            time.sleep(pause)

    threading.Thread(target=keep_asking, daemon=True).start()
    broken = ""
    while True:
        try:
            news = inbox.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            news = None
        try:
            service.look(news)
        except Exception as error:
            if broken != (broken := in_words(error)):
                report(f"error: {broken}")
