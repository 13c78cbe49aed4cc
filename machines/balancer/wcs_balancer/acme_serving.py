"""The loop's part of certificates by ACME: it makes HAProxy answer challenges, tells the thread that orders what is
wanted, and makes the status. Only the loop uses it."""

import time
from typing import Any, Callable, NamedTuple

from . import renewal
from .acme import Orders, Seen, Task
from .acme_map import AcmeMap
from .acme_order import thumbprint
from .desired_state import AcmeAnswer
from .disk import Disk
from .document import UNREADABLE, Acme, Entry, State
from .errors import in_words
from .files import sha256
from .status import moment
from .trust import is_trusted

# The authorities of the distribution change, and a certificate ends.
TRUST_SECONDS = 3600


ON_DISK = "the ledger has no certificate, so this balancer serves the last one from its disk until a new one is ordered"


class Origin(NamedTuple):
    """Where a certificate came from."""

    certificate_hash: str
    domain: str
    directory: str


def shown(acme: Acme, seen: Seen, in_force: bool, remark: str = "") -> dict[str, Any]:
    """The progress of the certificate, as the status shows it."""
    next_try = moment(seen.next_try) if seen.next_try else None
    state = "issued" if in_force else "ordering" if seen.ordering else "waiting"
    reason = "; ".join(filter(None, (remark, seen.reason)))
    return {"state": state, "reason": reason, "nextTry": next_try, "directory": acme.directory}


def ledger_of(answer: AcmeAnswer | None) -> renewal.Ledger | None:
    """The ledger of AWS's last answer; None when there is none that can be read."""
    try:
        return renewal.read_ledger(answer.ledger) if answer and isinstance(answer.ledger, str) else None
    except UNREADABLE:
        return None


def is_in_force(applied: State, origin: Origin | None) -> bool:
    """Whether the served certificate comes from the wanted directory. One of an unknown origin does: it serves since an
    earlier run of this service, and nobody has said that it comes from another directory."""
    if applied.acme is None or applied.certificate_source != "acme":
        return False
    if origin is None or origin.certificate_hash != applied.certificate_hash:
        return True
    return (origin.domain, origin.directory) == (applied.acme.domain, applied.acme.directory)


class AcmeServing:
    """What HAProxy and the status show of certificates by ACME."""

    def __init__(self, disk: Disk, orders: Orders, report: Callable[[str], None]):
        self.disk, self.orders, self.report = disk, orders, report
        self.map = AcmeMap(disk.acme_map)
        self.answer: AcmeAnswer | None = None
        """AWS's last answers."""
        self.thumbprint: tuple[str, str] = ("", "")
        """An account's key, and its thumbprint."""
        self.trusted: tuple[str, float, bool] = ("", 0, False)
        """A certificate's hash, when it was looked at by the monotonic clock, and whether browsers trust it."""
        self.origin: Origin | None = None
        """That of a served certificate, by the ledger. The ledger may be away now, or have none any more."""
        self.shown: dict[str, Any] | None = None
        """As the status shows it; None without ACME."""

    def tend(self, instance: str | None, entry: Entry | None) -> None:
        """Brings HAProxy's map, the task of the ordering thread and the status into line with the applied state."""
        applied, answer = self.disk.applied, self.answer
        if applied is None or applied.acme is None:
            self.orders.want(None)
            self.shown = None
            if applied is not None:
                # Without ACME HAProxy has no such map, and no balancer waits for a new certificate.
                for file in (self.map.file, self.disk.issued):
                    file.unlink(missing_ok=True)
            return
        problem = self.problem(answer, instance)
        answers_challenges = self.map.put(self.thumbprint_of(answer), self.is_public(applied, applied.acme))
        if problem or answer is None or instance is None:
            self.orders.want(None)
            seen = Seen(reason=problem)
        else:
            named = entry.balancers if entry else {}
            known = (answer.account, answer.ledger, answers_challenges, answer.asked_at)
            self.orders.want(Task(applied.acme, named, instance, *known))
            seen = self.orders.seen
        ledger = ledger_of(answer)
        if ledger and (there := ledger.certificate) and sha256(there.pem.encode()) == applied.certificate_hash:
            self.origin = Origin(applied.certificate_hash, there.domain, there.directory)
        on_disk = ledger is not None and ledger.certificate is None and applied.certificate_source == "acme"
        self.shown = shown(applied.acme, seen, is_in_force(applied, self.origin), ON_DISK if on_disk else "")

    def problem(self, answer: AcmeAnswer | None, instance: str | None) -> str:
        """Why nothing can be ordered on this machine at all."""
        if answer is None:
            return "AWS has not answered yet"
        if not self.orders.parameter:
            return "the settings of this machine name no parameter for it: pulumi up makes a machine that has them"
        return "" if instance else "the instance id of this machine is not known yet"

    def thumbprint_of(self, answer: AcmeAnswer | None) -> str | None:
        """The thumbprint of the account's key; None while it is unknown."""
        if answer is None or isinstance(answer.account, Exception):
            return None
        if self.thumbprint[0] != answer.account:
            try:
                self.thumbprint = (answer.account, thumbprint(answer.account))
            except Exception as error:
                self.thumbprint = (answer.account, "")
                self.report(f"error: {in_words(error)}")
        return self.thumbprint[1] or None

    def is_public(self, applied: State, acme: Acme) -> bool:
        """Whether browsers trust the served certificate: then they may be told to use https only."""
        certificate, at, trusted = self.trusted
        now = time.monotonic()
        if certificate != applied.certificate_hash or now - at > TRUST_SECONDS:
            trusted = applied.certificate_source != "document" and is_trusted(self.disk.certificate, acme.domain)
            self.trusted = (applied.certificate_hash, now, trusted)
        return trusted
