"""The certificate and the token of the status. They do not depend on the clients' certificate."""

from typing import Callable

from . import files, haproxy_service
from . import haproxy_runtime as haproxy
from .disk import Disk
from .document import StatusSecret
from .errors import SyncError
from .places import BOOTSTRAP


class StatusCertificate:
    """Puts the content of the status parameter into force."""

    def __init__(self, disk: Disk, report: Callable[[str], None]):
        self.disk, self.report = disk, report

    def take(self, secret: StatusSecret) -> None:
        """Puts certificate and token into force, without a reload. If HAProxy refuses them, nothing changes.

        The whole value is written last: if a run is killed before, the next run does it again.
        """
        disk = self.disk
        if disk.status_secret() == secret:
            return
        self.check(secret)
        files.replace_file(disk.status_certificate, secret.pem, 0o600)
        if haproxy.runs():
            haproxy.set_certificate(disk.status_certificate, secret.pem)
        files.replace_file(disk.token, secret.token, 0o600)
        files.replace_file(disk.status_value, secret.text, 0o600)
        self.report("the status has a new certificate")

    def check(self, secret: StatusSecret) -> None:
        """Lets HAProxy check the certificate."""
        disk = self.disk
        certificate, path = disk.candidate / "status.pem", disk.candidate / "status.cfg"
        bootstrap = BOOTSTRAP.read_text(encoding="utf-8")
        files.replace_file(certificate, secret.pem, 0o600)
        files.replace_file(path, bootstrap.replace(str(disk.status_certificate), str(certificate)))
        try:
            haproxy_service.judge(path)
        except SyncError as error:
            raise SyncError(f"the status's certificate cannot be used: {error}") from error
        finally:
            certificate.unlink()
