"""Gets certificates from an ACME directory for all balancers of the stack, in a thread of its own.

The loop gives this thread a task with AWS's last answers, and reads its progress. A new certificate goes into the SSM
parameter that all balancers read (renewal.py). This machine, too, serves it only from there.
"""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable, Mapping, NamedTuple

from . import files
from .acme_order import Directory, one_line, thumbprint
from .aws import Aws
from .certificates import Validity, validity
from .document import UNREADABLE, Acme
from .errors import AwsError, OrderError, SyncError, in_words, printable
from .reachable import obstacle
from .renewal import (
    Certificate,
    Ledger,
    Me,
    Order,
    Turn,
    begun,
    failed,
    fullest,
    is_overtaken,
    me_among,
    next_turn,
    read_certificate,
    read_ledger,
    renewal_moment,
    succeeded,
    thrown_away,
    write_certificate,
    write_ledger,
)

# The time between two turns.
TURN_SECONDS = 1
# The longest wait for a directory that is busy. A wait after an order may be longer (renewal.py).
MAX_WAIT_SECONDS = 3600
# Another balancer that writes at the same moment is seen after this time.
SETTLE_SECONDS = 2


class Task(NamedTuple):
    """The loop's task for this thread, with AWS's last answers."""

    acme: Acme
    balancers: Mapping[str, str]
    """The instance id of each wanted balancer, by its name."""
    instance: str
    account: str | Exception
    """The account's private key in PEM."""
    ledger: str | Exception
    """The value of the parameter."""
    answers_challenges: bool
    """Whether HAProxy has the thumbprint."""
    asked_at: float = float("inf")
    """When AWS was asked for the ledger, by the monotonic clock."""


class Seen(NamedTuple):
    """The progress of the thread. Immutable: each turn makes a new one."""

    ordering: bool = False
    reason: str = ""
    """Why the last order or check failed, or why it waits; empty while all is well."""
    next_try: float | None = None
    """In seconds since the epoch."""


def validity_of(ledger: Ledger, acme: Acme) -> Validity | None:
    """The validity of the ledger's certificate, if it is of the wanted kind."""
    there = ledger.certificate
    if there is None or not there.suits(acme):
        return None
    try:
        return validity(there.pem, acme.domain)
    except Exception:
        # Another certificate is ordered, as if there were none.
        return None


def check(certificate: Certificate) -> None:
    """Raises an error for a certificate that nobody can serve."""
    try:
        validity(certificate.pem, certificate.domain)
    except ValueError as error:
        raise OrderError(f"the directory's certificate cannot be used: {one_line(error)}") from error
    # Fails if it is too long for the parameter, now or when it is to be renewed.
    write_ledger(fullest(certificate))


class Orders:
    """Orders certificates when this balancer has its turn."""

    def __init__(self, aws: Aws, parameter: str, issued: Path, report: Callable[[str], None]):
        self.aws, self.report = aws, report
        self.parameter = parameter
        """The name of the ledger's SSM parameter; empty when this machine's settings do not name it."""
        self.issued = issued
        """A new certificate that SSM does not have yet."""
        self.task: Task | None = None
        self.seen = Seen()
        self.settings: Acme | None = None
        """The settings that the values below are about."""
        self.due_since: float | None = None
        """Since when this balancer knows that the first one in the list may order, by the monotonic clock."""
        self.problem = ""
        """Why no order could begin in time, or why its result cannot be written."""
        self.again_at = 0.0
        """When that is tried again, by the monotonic clock."""
        self.unsent: Order | None = None
        """An order that AWS may have noted without an answer. The directory has not got it."""
        self.own, self.own_at = "", float("-inf")
        """The ledger as this thread has last read or written it, and when, by the monotonic clock. The loop's
        copy may be older."""

    def want(self, task: Task | None) -> None:
        """Called by the loop, as often as it likes."""
        self.task = task

    def start(self) -> None:
        threading.Thread(target=self.keep_turning, daemon=True).start()

    def keep_turning(self) -> None:
        while True:
            self.turn()
            time.sleep(TURN_SECONDS)

    def turn(self) -> None:
        """Orders or delivers a certificate if it is time to. No error ends the thread."""
        task = self.task
        try:
            seen = self.tend(task) if task else Seen()
        except Exception as error:
            seen = self.postpone(in_words(error), task.acme.check_seconds if task else 0)
        # The reason may be a text of the directory or of another balancer.
        seen = seen._replace(reason=printable(seen.reason))
        if seen.reason and seen.reason != self.seen.reason:
            self.report(f"certificate by ACME: {seen.reason}")
        self.seen = seen

    def tend(self, task: Task) -> Seen:
        """Orders or delivers a certificate if it is time to, and returns the progress."""
        if self.settings != task.acme:
            self.settings, self.due_since, self.problem, self.again_at = task.acme, None, "", 0.0
        for answer in (task.account, task.ledger):
            if isinstance(answer, Exception):
                return Seen(reason=in_words(answer))
        ledger = self.read(str(task.ledger) if task.asked_at >= self.own_at else self.own)
        me = me_among(task.balancers, task.instance)
        turn = self.next_turn(ledger, task.acme, me) if me else None
        kept = self.kept()
        if time.monotonic() < self.again_at and (kept or turn and turn.at <= time.time()):
            return Seen(reason=self.problem, next_try=self.look_at())
        if kept:
            return self.deliver(task, kept)
        if me is None or turn is None:
            return Seen(reason="this machine is not one of the wanted balancers, so it orders nothing")
        if turn.at > time.time():
            return Seen(reason=turn.reason, next_try=turn.at)
        return self.order(task, me)

    def look_at(self) -> float:
        """The moment of the next try, in seconds since the epoch."""
        return time.time() + max(0.0, self.again_at - time.monotonic())

    def postpone(self, problem: str, seconds: float) -> Seen:
        """Tries nothing for a while."""
        self.problem, self.again_at = problem, time.monotonic() + seconds
        return Seen(reason=problem, next_try=self.look_at())

    def next_turn(self, ledger: Ledger, acme: Acme, me: Me) -> Turn:
        """When this balancer orders."""
        there, now = validity_of(ledger, acme), time.time()
        if there is not None and now < renewal_moment(there, 0):
            self.due_since = None
            return next_turn(ledger, there, acme, me, 0, now)
        if self.due_since is None:
            self.due_since = time.monotonic()
        return next_turn(ledger, there, acme, me, time.monotonic() - self.due_since, now)

    def order(self, task: Task, me: Me) -> Seen:
        """Checks all that can be checked without an order, and orders."""
        acme, account = task.acme, str(task.account)
        try:
            if not task.answers_challenges:
                raise OrderError("HAProxy cannot answer challenges yet")
            if problem := obstacle(acme.domain, thumbprint(account)):
                raise OrderError(problem)
            directory = Directory(acme, account)
        except OrderError as error:
            wait = min(error.retry_after or 0, MAX_WAIT_SECONDS)
            return self.postpone(str(error), max(acme.check_seconds, wait))
        try:
            order = self.begin(task, me)
        except AwsError as error:
            return self.postpone(f"no order begins while the ledger is out of reach: {error}", acme.check_seconds)
        if order is None:
            return Seen(reason="another balancer is ordering a certificate")
        self.report(f"orders a certificate for {acme.domain} from {acme.directory}")
        self.seen = Seen(ordering=True)
        certificate = None
        try:
            pem = directory.order()
            certificate = Certificate(pem, acme.domain, acme.directory, acme.profile, me.name, int(time.time()))
            check(certificate)
        except (OrderError, SyncError) as error:
            return self.note_failure(task, me, order, error, certificate)
        try:
            files.replace_file(self.issued, write_certificate(certificate), 0o600)
        except files.FileError as error:
            self.report(f"warning: the new certificate would be lost with this process: {error}")
        return self.deliver(task, certificate)

    def begin(self, task: Task, me: Me) -> Order | None:
        """Notes in the ledger that an order is under way; None when another balancer was quicker."""
        ledger = self.fetch()
        if self.next_turn(ledger, task.acme, me).at > time.time():
            return None
        noted = begun(ledger, task.acme, me, time.time())
        self.unsent = None
        try:
            self.write(noted)
            time.sleep(SETTLE_SECONDS)
            return noted.order if self.fetch().order == noted.order else None
        except AwsError:
            self.unsent = noted.order
            raise

    def note_failure(
        self, task: Task, me: Me, order: Order, error: Exception, useless: Certificate | None
    ) -> Seen:
        """Notes in the ledger that an order has failed. If that fails, too, the ledger has an order that never ends,
        which counts as failed later."""
        seen = self.postpone(str(error), task.acme.check_seconds)
        try:
            ledger = self.fetch()
            if ledger.order == order:
                wait = error.retry_after if isinstance(error, OrderError) else None
                ledger = failed(ledger, order, str(error), wait, time.time(), useless)
                self.write(ledger)
        except AwsError:
            return seen
        turn = self.next_turn(ledger, task.acme, me)
        return Seen(reason=turn.reason, next_try=turn.at)

    def kept(self) -> Certificate | None:
        """A new certificate that SSM does not have yet."""
        try:
            return read_certificate(self.issued.read_text(encoding="utf-8"))
        except (OSError, *UNREADABLE):
            return None

    def deliver(self, task: Task, certificate: Certificate) -> Seen:
        """Gives a new certificate to all balancers. If it is not wanted any more, only the order is noted."""
        what = f"a new certificate for {certificate.domain} from {certificate.directory}"
        try:
            ledger = self.fetch()
            # An earlier try may have succeeded without an answer.
            if certificate != ledger.certificate:
                if certificate.suits(task.acme) and not is_overtaken(ledger, certificate):
                    self.write(succeeded(ledger, certificate))
                    self.report(f"has {what}")
                else:
                    self.write(thrown_away(ledger, certificate, task.instance))
                    self.report(f"throws away {what}: the settings have changed, or the ledger has a later one")
        except (AwsError, SyncError) as error:
            reason = f"the new certificate waits on this machine until the ledger can be written: {error}"
            return self.postpone(reason, task.acme.check_seconds)
        self.issued.unlink(missing_ok=True)
        self.problem, self.again_at = "", 0.0
        return Seen()

    def fetch(self) -> Ledger:
        """The ledger as it is now."""
        self.own_at = time.monotonic()
        self.own = self.aws.get_parameter(self.parameter)
        return self.read(self.own)

    def write(self, ledger: Ledger) -> None:
        text = write_ledger(ledger)
        self.aws.put_parameter(self.parameter, text)
        self.own, self.own_at = text, time.monotonic()

    def read(self, text: str) -> Ledger:
        """Raises SyncError: an order without the ledger may be one too many. Its text has nothing of the content, which
        has a private key."""
        try:
            ledger = read_ledger(text)
            return replace(ledger, order=None) if ledger.order and ledger.order == self.unsent else ledger
        except UNREADABLE as error:
            name = self.parameter
            raise SyncError(
                f"{name} cannot be read, so no certificate is ordered ({type(error).__name__}). To begin anew: "
                f"aws ssm put-parameter --overwrite --type SecureString --tier Advanced --name {name} --value '{{}}'"
            ) from error
