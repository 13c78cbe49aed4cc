"""Applies a wanted state to this machine: checks it, writes it, records it, and rolls back when HAProxy refuses it."""

import time
from dataclasses import replace
from typing import Callable

from . import files, haproxy_service
from . import haproxy_runtime as haproxy
from .certificates import problem
from .changes import Changes
from .disk import Disk
from .document import Document, OtherDocument, Secret, State, obeyed
from .errors import RefusedError, SyncError
from .files import sha256
from .haproxy_plan import parse_configuration, parse_servers_state, server_lines
from .haproxy_service import HaproxyService
from .reconcile import Actions, reconcile
from .steps import carry_out


class OnThisMachine:
    """The effects of a change's steps (steps.py) on this machine. `secret` is a new certificate, if there is one."""

    def __init__(self, disk: Disk, wanted: State, secret: Secret | None = None):
        self.disk, self.wanted, self.secret = disk, wanted, secret

    @property
    def changes(self) -> Changes:
        return self.disk.changes

    def note(self, changes: Changes) -> None:
        self.disk.note(changes)

    def tell(self, command: str) -> None:
        haproxy.tell(command)

    def write(self) -> None:
        self.disk.write_files(self.wanted, self.secret)
        if self.secret:
            haproxy.set_certificate(self.disk.certificate, self.secret.pem)

    def reload(self) -> None:
        # If HAProxy cannot start a new worker, the old worker stays.
        with self.disk.restored_on_error():
            self.disk.write_files(self.wanted, self.secret)
            haproxy.reload()

    def record(self) -> None:
        self.disk.write_record(self.wanted)


class WithoutHaproxy(OnThisMachine):
    """The same while HAProxy does not run."""

    def __init__(self, disk: Disk, wanted: State, secret: Secret | None, service: HaproxyService):
        super().__init__(disk, wanted, secret)
        self.service = service

    def reload(self) -> None:
        self.disk.write_files(self.wanted, self.secret)
        self.service.start_with_new_files()


ANEW = Actions(Changes(), (), reloads=True)
"""The change of a HAProxy without servers: there are no states to keep, and no server drains."""


def with_certificate(state: State, secret: Secret) -> State:
    """A state with a certificate by ACME."""
    return replace(state, certificate_hash=sha256(secret.pem.encode()), certificate_source=secret.source)


class Applier:
    """Applies wanted states."""

    def __init__(self, disk: Disk, service: HaproxyService, report: Callable[[str], None]):
        self.disk, self.service, self.report = disk, service, report
        self.attempted: str | None = None

    def apply(self, document: Document | OtherDocument, secret: Secret | Exception | None) -> None:
        """Applies the wanted state, or raises an error and leaves the old state in force."""
        disk = self.disk
        applied = disk.load_applied()
        wanted = document.state if isinstance(document, Document) else obeyed(document, disk.load_kept())
        if isinstance(secret, Exception):
            raise secret
        if secret and secret.source != "document":
            wanted = with_certificate(wanted, secret)
        if isinstance(document, Document) and not disk.has_status(document.status_hash):
            raise SyncError("the status's certificate and token that the desired state names are not in use yet")
        if wanted == applied and not disk.changes.begun:
            disk.applied = applied
            return
        if wanted.revision != self.attempted:
            self.report(f"revision {wanted.revision}: changes")
            self.attempted = wanted.revision
        self.bring_about(wanted, applied, secret)

    def renew(self, secret: Secret) -> None:
        """Puts a new certificate by ACME into force while the wanted state cannot be applied."""
        applied = self.disk.load_applied()
        if applied is None or applied.acme is None or secret.source == "document" or self.disk.changes.begun:
            return
        wanted = with_certificate(applied, secret)
        if wanted != applied and problem(secret.pem, applied.acme.domain) is None:
            self.bring_about(wanted, applied, secret)

    def bring_about(self, wanted: State, applied: State | None, secret: Secret | None) -> None:
        """Brings this machine to a state."""
        disk = self.disk
        if secret and disk.has_certificate(wanted.certificate_hash):
            secret = None
        pem = secret.pem if secret else disk.pem()
        if sha256(pem.encode()) != wanted.certificate_hash:
            raise SyncError(f"{disk.certificate} was changed by another program or by hand: it is fetched again")
        self.check(wanted.haproxy_config, pem)
        self.change_haproxy(wanted, applied, secret)
        disk.applied = wanted
        renewed = applied is not None and applied.revision == wanted.revision
        self.report(f"revision {wanted.revision}: {'has a new certificate' if renewed else 'applied'}")

    def check(self, config: str, pem: str) -> None:
        """Lets HAProxy check configuration and certificate before anything is replaced."""
        disk = self.disk
        certificate, path = disk.candidate / "cert.pem", disk.candidate / "haproxy.cfg"
        files.replace_file(certificate, pem, 0o600)
        files.replace_file(path, config.replace(str(disk.certificate), str(certificate)))
        try:
            haproxy_service.judge(path)
        except SyncError as error:
            raise RefusedError(str(error)) from error
        finally:
            certificate.unlink()
        open_files = haproxy_service.open_files_limit()
        if open_files and (problem := haproxy_service.limits_problem(config, open_files)):
            raise RefusedError(problem)

    def change_haproxy(self, wanted: State, applied: State | None, secret: Secret | None) -> None:
        """Brings the files and the running HAProxy to the wanted state. It reloads HAProxy only when it has to."""
        disk = self.disk
        here = OnThisMachine(disk, wanted, secret)
        try:
            answer = haproxy.ask("show servers state")
        except (FileNotFoundError, ConnectionRefusedError):
            # (A HAProxy that hangs still has sockets, and raises another error.)
            if applied is not None and not self.service.start_failed:
                raise SyncError("HAProxy does not run: it is started before anything changes") from None
            carry_out(ANEW, WithoutHaproxy(disk, wanted, secret, self.service))
            return
        # Otherwise HAProxy serves only the status.
        carry_out(self.decide(wanted, applied, answer) if haproxy.serves_nodes() else ANEW, here)

    def decide(self, wanted: State, applied: State | None, servers_state: str) -> Actions:
        """Decides what to do. Removed servers are held if HAProxy can run with them and the new ones together."""
        disk = self.disk
        told = (
            parse_configuration(wanted.haproxy_config),
            parse_configuration(applied.haproxy_config) if applied else None,
            parse_servers_state(servers_state),
            disk.changes,
            disk.servers(),
            time.time(),
        )
        actions = reconcile(*told)
        if actions.changes.held:
            try:
                self.check(wanted.haproxy_config + server_lines(actions.changes.held), disk.pem())
            except RefusedError as error:
                self.report(f"removed nodes do not serve until the new nodes are up: {error}")
                actions = reconcile(*told, hold=False)
        return actions
