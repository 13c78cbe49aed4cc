"""Asks AWS for the desired state."""

import time
from typing import Callable, NamedTuple, TypeVar

from .certificates import problem, validity
from .disk import Disk
from .document import (
    UNREADABLE,
    Acme,
    Document,
    OtherDocument,
    Secret,
    StatusSecret,
    decode_document,
    decode_secret,
    decode_status_secret,
)
from .errors import SyncError
from .files import sha256
from .renewal import read_ledger, renewal_moment
from .trust import is_trusted

T = TypeVar("T")


class AcmeAnswer(NamedTuple):
    """AWS's answers about certificates by ACME."""

    account: str | Exception
    """The account's private key in PEM."""
    ledger: str | Exception
    """The value of the parameter with the certificate (renewal.py)."""
    asked_at: float = float("inf")
    """When AWS was asked, by the monotonic clock."""


class Answer(NamedTuple):
    """AWS's answers. An error is an answer, too."""

    document: Document | OtherDocument | Exception
    secret: Secret | Exception | None = None
    """None while the certificate on this machine is the wanted one. Always there for a certificate by ACME."""
    status: StatusSecret | Exception | None = None
    """None while the status's certificate and token on this machine are the wanted ones."""
    acme: AcmeAnswer | None = None
    """None when the certificate does not come from an ACME directory."""

    def errors(self) -> list[Exception]:
        """The answers that are errors, those about ACME included."""
        parts = (self.document, self.secret, self.status, *(self.acme or ()))
        return [part for part in parts if isinstance(part, Exception)]


def attempt(fetch: Callable[[], T]) -> T | Exception:
    """The result of a function, or its error."""
    try:
        return fetch()
    except Exception as error:
        return error


def is_calm(answer: AcmeAnswer, acme: Acme, now: float) -> bool:
    """Whether no balancer orders a certificate now or soon."""
    if isinstance(answer.account, Exception) or isinstance(answer.ledger, Exception):
        return False
    try:
        ledger = read_ledger(answer.ledger)
        if ledger.certificate is None or ledger.order or ledger.failures or not ledger.certificate.suits(acme):
            return False
        moment = renewal_moment(validity(ledger.certificate.pem, acme.domain), 0)
    except Exception:
        return False
    return now < moment - 2 * acme.check_seconds


class DesiredState:
    """The parameters of this stack. A separate thread asks for them, since an answer may take half a minute. It
    reads files, and changes nothing."""

    def __init__(
        self,
        state_parameter: str,
        secret_parameter: str,
        status_parameter: str,
        disk: Disk,
        get_parameter: Callable[[str], str],
        account_parameter: str = "",
        acme_parameter: str = "",
    ):
        self.state_parameter, self.secret_parameter = state_parameter, secret_parameter
        self.status_parameter, self.disk, self.get_parameter = status_parameter, disk, get_parameter
        # Empty when the settings of this machine do not name them.
        self.account_parameter, self.acme_parameter = account_parameter, acme_parameter
        self.acme_answer: tuple[AcmeAnswer | None, float] = (None, 0)
        """The last answers, and when they came by the monotonic clock."""

    def ask(self) -> Answer:
        """AWS's answers. It raises no error: the thread that asks would end, and this machine would never hear from AWS
        again."""
        try:
            return self.ask_aws()
        except Exception as error:
            return Answer(error)

    def ask_aws(self) -> Answer:
        """The document, and each secret that the document names and this machine does not have."""
        document = attempt(lambda: decode_document(self.get_parameter(self.state_parameter)))
        status = attempt(self.fetch_status) if self.lacks_status(document) else None
        acme = self.acme_of(document)
        answer = self.ask_acme(acme) if acme else None
        secret = self.acme_certificate(acme, answer) if acme and answer else None
        if secret is None and isinstance(document, Document):
            wanted = document.state.certificate_hash
            secret = None if self.disk.has_certificate(wanted) else attempt(lambda: self.fetch_secret(wanted))
        return Answer(document, secret, status, answer)

    def acme_of(self, document: Document | OtherDocument | Exception) -> Acme | None:
        """The directory of the wanted state. With a document of another contract, or without a readable one, it is that
        of the state that is kept."""
        if isinstance(document, Document):
            return document.state.acme
        kept = self.disk.load_kept()
        return kept.acme if kept else None

    def ask_acme(self, acme: Acme) -> AcmeAnswer:
        """The account's key, and the ledger with the certificate. Each question to AWS costs money, so it is
        asked less often while nothing can change."""
        kept, asked_at = self.acme_answer
        if kept and time.monotonic() - asked_at < acme.check_seconds and is_calm(kept, acme, time.time()):
            return kept

        def ask(parameter: str) -> str:
            if not parameter:
                raise SyncError("the settings of this machine name no parameters for ACME")
            return self.get_parameter(parameter)

        asked_at = time.monotonic()
        account, ledger = (attempt(lambda: ask(name)) for name in (self.account_parameter, self.acme_parameter))
        answer = AcmeAnswer(account, ledger, asked_at)
        self.acme_answer = (answer, time.monotonic())
        return answer

    def acme_certificate(self, acme: Acme, answer: AcmeAnswer) -> Secret | None:
        """The certificate by ACME to serve, even if it has expired. None when there is none: then the document's own
        certificate serves.

        While the parameter has no usable certificate, or cannot be read, the last one stays in use. So does a
        user-supplied one that browsers trust, until the first order: browsers may remember that the domain needs TLS.
        """
        try:
            there = read_ledger(answer.ledger).certificate if isinstance(answer.ledger, str) else None
        except UNREADABLE:
            there = None
        if there and problem(there.pem, acme.domain) is None:
            return Secret(there.pem, "acme")
        kept = self.disk.load_kept()
        if kept is None or problem(self.disk.pem(), acme.domain) is not None:
            return None
        if kept.certificate_source != "document":
            return Secret(self.disk.pem(), kept.certificate_source)
        return Secret(self.disk.pem(), "former") if is_trusted(self.disk.certificate, acme.domain) else None

    def lacks_status(self, document: Document | OtherDocument | Exception) -> bool:
        """Whether the status's secret is to be fetched.

        Without a readable document it is fetched while no state is applied: `pulumi up` waits for this machine, and the
        status has to say why it does not serve.
        """
        if isinstance(document, Document):
            return not self.disk.has_status(document.status_hash)
        return self.disk.status_secret() is None or self.disk.load_kept() is None

    def fetch_status(self) -> StatusSecret:
        try:
            return decode_status_secret(self.get_parameter(self.status_parameter))
        except UNREADABLE as error:
            raise SyncError(f"{self.status_parameter} cannot be read") from error

    def fetch_secret(self, certificate_hash: str) -> Secret:
        """The certificate that the document names. If its parameter is written later, the next poll finds it."""
        try:
            secret = decode_secret(self.get_parameter(self.secret_parameter))
        except UNREADABLE as error:
            raise SyncError(f"{self.secret_parameter} cannot be read") from error
        if sha256(secret.pem.encode()) != certificate_hash:
            raise SyncError(f"the certificate {certificate_hash[:12]} is not in {self.secret_parameter} yet")
        return secret
