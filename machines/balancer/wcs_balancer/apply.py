"""Brings this machine to a wanted state: checks it, writes it, records it, and rolls back what HAProxy refuses."""

import time
from typing import Callable

from . import files, haproxy_service
from . import haproxy_runtime as haproxy
from .changes import Changes
from .disk import Disk
from .document import Secret, State, Wanted, obeyed
from .errors import RefusedError, SyncError
from .files import sha256
from .haproxy_plan import parse_configuration, parse_servers_state, server_lines
from .haproxy_service import HaproxyService
from .reconcile import Actions, reconcile


class Applier:
    """The way to the wanted state."""

    def __init__(self, disk: Disk, service: HaproxyService, report: Callable[[str], None]):
        self.disk, self.service, self.report = disk, service, report
        self.attempted: str | None = None

    def apply(self, asked: Wanted) -> None:
        """Brings this machine to what was asked for, or raises an error and leaves the old state serving."""
        disk = self.disk
        applied = disk.load_applied()
        document, secret = asked
        wanted = document if isinstance(document, State) else obeyed(document, disk.load_kept())
        if wanted == applied and not disk.changes.begun:
            disk.applied = applied
            return
        if wanted.revision != self.attempted:
            self.report(f"revision {wanted.revision}: changes")
            self.attempted = wanted.revision
        pem = secret.pem if secret else disk.pem()
        if sha256(pem.encode()) != wanted.certificate_hash:
            raise SyncError(f"{disk.certificate} has been changed by somebody else: it is fetched again")
        self.check(wanted.haproxy_config, pem)
        self.change_haproxy(wanted, applied, secret)
        disk.write_record(wanted)
        disk.note(disk.changes.ended())
        disk.applied = wanted
        self.report(f"revision {wanted.revision}: applied")

    def check(self, config: str, pem: str) -> None:
        """Lets HAProxy judge configuration and certificate before anything is replaced."""
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
        """Brings files and running HAProxy to the wanted state, with a reload only where nothing else does."""
        disk = self.disk
        try:
            answer = haproxy.ask("show servers state")
        except (FileNotFoundError, ConnectionRefusedError):
            # (One that hangs, and so has sockets, is another error.)
            if applied is not None and not self.service.start_failed:
                raise SyncError("HAProxy does not run: it is started before anything changes") from None
            # Nobody has a socket, so nobody drains.
            disk.note(Changes())
            disk.write_files(wanted, secret)
            self.service.start_with_new_files()
            return
        actions = self.decide(wanted, applied, answer)
        for command in actions.commands:
            haproxy.tell(command)
        if actions.reloads:
            # The servers that leave are none of the new worker's; a state that does not start changes nothing.
            with disk.restored_on_error():
                disk.write_files(wanted, secret)
                haproxy.reload()
        else:
            disk.write_files(wanted, secret)
            if secret:
                haproxy.set_certificate(disk.certificate, secret.pem)

    def decide(self, wanted: State, applied: State | None, servers_state: str) -> Actions:
        """What to do, noted on disk. Old servers are held where HAProxy can run with old and new ones."""
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
                self.report(f"does not wait for new nodes before old ones leave: {error}")
                actions = reconcile(*told, hold=False)
        disk.note(actions.changes)
        return actions
