"""Decides which balancer orders a certificate from an ACME directory, and when. Pure functions.

All balancers share a ledger: the certificate, the order under way, and what happened before. It is the value of one SSM
parameter, which has no conditional writes. So balancers take turns: one that is later in the list waits longer.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, Mapping, NamedTuple

from .certificates import Validity
from .document import Acme
from .errors import SyncError, printable

DEAD_SECONDS = 600
"""An order takes seconds. If one is under way for longer, its balancer died."""
PAUSES = (1, 3, 8, 12)
"""The pauses after the first failed order, the second and so on, as multiples of `fail_seconds`. So at most three
orders fail within an hour. Let's Encrypt refuses a domain after five."""
WEEK_SECONDS = 7 * 86400
MOST_A_WEEK = 4
"""Let's Encrypt issues at most five certificates with the same names a week."""
SKEW_SECONDS = 3600
"""The clocks of two balancers are never this far apart: a moment that is further in the future comes from a wrong
clock. (A balancer whose clock differs this much from the directory's orders nothing.)"""
LATER = 0.05
"""The part of the lifetime by which each balancer renews later than the one before it in the list."""
MAX_BYTES = 8192
"""SSM's limit for a parameter of the Advanced tier."""
MAX_FAILURES = 8
MAX_OTHERS = 8
"""The ledger keeps the orders of at most this many other domains or directories, with at most 120 bytes each."""
MAX_MOMENT = 10**12
"""In seconds since the epoch: far more than any clock says."""
MAX_REASON = 200


class Certificate(NamedTuple):
    """A certificate that a balancer got, with the settings and the time of its order."""

    pem: str
    """Certificate, chain and key."""
    domain: str
    directory: str
    profile: str | None
    by: str
    at: int

    def suits(self, acme: Acme) -> bool:
        """Whether it is of the wanted kind. Otherwise a new one is ordered; this one may serve meanwhile."""
        return (self.domain, self.directory, self.profile) == (acme.domain, acme.directory, acme.profile)


class Order(NamedTuple):
    """An order that is under way."""

    by: str
    instance: str
    at: int


class Failure(NamedTuple):
    """An order that failed."""

    at: int
    by: str
    reason: str


@dataclass(frozen=True)
class Ledger:
    """The content of the parameter. Immutable: a change makes a new object."""

    certificate: Certificate | None = None
    order: Order | None = None
    issued: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """When certificates came, also those that nobody serves, by `limited` of their domain and directory."""
    failures: tuple[Failure, ...] = ()
    """Since the last success."""
    not_before: int = 0
    """The directory refuses orders until then."""
    about: str = ""
    """`about` of the settings with which the order was made, and with which orders failed."""


class Me(NamedTuple):
    """This balancer among all."""

    name: str
    instance: str
    place: int
    """0 for the first one in the list."""


class Turn(NamedTuple):
    """When this balancer orders a certificate."""

    at: float
    """In seconds since the epoch."""
    reason: str
    """Why it waits, in an operator's words; empty while all is well."""


def read_ledger(text: str) -> Ledger:
    """Reads the parameter. Raises one of `UNREADABLE`."""
    content = json.loads(text)

    def part(key: str, kind: Any) -> Any:
        return None if content.get(key) is None else checked(kind, content[key])

    def moments(values: Any) -> tuple[int, ...]:
        return tuple(moment_of(moment) for moment in values)

    certificate = part("certificate", Certificate)
    issued = {str(names): moments(values) for names, values in content.get("others", {}).items()}
    # An older version has written moments without a certificate, which say nothing.
    if (latest := moments(content.get("issued", []))) and certificate:
        issued[limited(certificate.domain, certificate.directory)] = latest
    return Ledger(
        certificate,
        part("order", Order),
        issued,
        tuple(checked(Failure, one) for one in content.get("failures", [])),
        moment_of(content.get("notBefore", 0)),
        str(content.get("about", "")),
    )


def moment_of(value: Any) -> int:
    """A moment of the parameter. Raises ValueError or TypeError. (Infinity is a number for Python's JSON, and fits into no
    integer. A longer integer fits into no float.)"""
    if isinstance(value, float) and not math.isfinite(value) or abs(moment := int(value)) > MAX_MOMENT:
        raise ValueError("it is no moment")
    return moment


def checked(kind: Any, values: Mapping[str, Any]) -> Any:
    """A tuple of a kind. Raises one of `UNREADABLE` when a field is missing or has a wrong type."""
    for key in kind._fields:
        if key == "profile" and values[key] is None:
            continue
        if not isinstance(values[key], int if key == "at" else str):
            raise ValueError(f"{key} has a wrong type")
        # Fails if it cannot be written to a file.
        str(values[key]).encode()
    moment_of(values["at"])
    return kind(*(values[key] for key in kind._fields))


def read_certificate(text: str) -> Certificate:
    """Reads a certificate outside of the ledger. Raises one of `UNREADABLE`."""
    return checked(Certificate, json.loads(text))


def write_certificate(certificate: Certificate) -> str:
    return json.dumps(certificate._asdict())


def write_ledger(ledger: Ledger) -> str:
    """The value of the parameter. If it is too long, the oldest failures go, and then the orders of other domains and
    directories. Raises SyncError if that is not enough."""
    there = ledger.certificate
    names = limited(there.domain, there.directory) if there else ""
    others = {key: moments for key, moments in ledger.issued.items() if key != names}
    content = {
        "certificate": there and there._asdict(),
        "order": ledger.order and ledger.order._asdict(),
        # An older version knows only these, and skips the others.
        "issued": ledger.issued.get(names, ()),
        "others": others,
        "failures": [one._replace(reason=one.reason[:MAX_REASON])._asdict() for one in ledger.failures[-MAX_FAILURES:]],
        "notBefore": ledger.not_before,
        "about": ledger.about,
    }
    text = json.dumps(content)
    if len(text) <= MAX_BYTES:
        return text
    if ledger.failures:
        return write_ledger(replace(ledger, failures=ledger.failures[1:]))
    if others:
        return write_ledger(replace(ledger, issued=without(ledger.issued, least_needed(others))))
    raise SyncError(f"the certificate needs {len(text)} bytes with its chain, and SSM takes {MAX_BYTES}")


def fullest(certificate: Certificate) -> Ledger:
    """The ledger with a certificate and all that never gives way to it: its renewal under way, and the most moments."""
    moments = (certificate.at,) * 2 * MOST_A_WEEK
    names = limited(certificate.domain, certificate.directory)
    order = Order(certificate.by, "i-" + 17 * "0", certificate.at)
    return Ledger(certificate, order, {names: moments}, (), certificate.at, short_hash())


def about(acme: Acme) -> str:
    """A hash of the settings of orders. Failures under other settings do not count."""
    return short_hash(acme.domain, acme.directory, acme.profile or "", acme.email)


def limited(domain: str, directory: str) -> str:
    """A hash of what a directory's limit of certificates is about."""
    return short_hash(domain, directory)


def short_hash(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def least_needed(issued: Mapping[str, tuple[int, ...]]) -> str:
    """The domain and directory that is the furthest from its limit; among equal ones the one with the oldest order."""
    return min(issued, key=lambda names: (len(issued[names]), max(issued[names], default=0)))


def without(issued: Mapping[str, tuple[int, ...]], names: str) -> dict[str, tuple[int, ...]]:
    return {key: moments for key, moments in issued.items() if key != names}


def noted(ledger: Ledger, certificate: Certificate) -> dict[str, tuple[int, ...]]:
    """The ledger's `issued` with another certificate."""
    names = limited(certificate.domain, certificate.directory)
    others = without(ledger.issued, names)
    while len(others) > MAX_OTHERS:
        others = without(others, least_needed(others))
    # An earlier try to write it may have succeeded without an answer.
    before = [at for at in ledger.issued.get(names, ()) if at != certificate.at]
    return {**others, names: (*before, certificate.at)[-2 * MOST_A_WEEK :]}


def me_among(balancers: Mapping[str, str], instance: str) -> Me | None:
    """This machine in the list of wanted balancers; None when it is not wanted: then it orders nothing."""
    for place, (name, one) in enumerate(sorted(balancers.items())):
        if one == instance:
            return Me(name, instance, place)
    return None


def renewal_moment(validity: Validity, place: int) -> float:
    """When a balancer renews a certificate: at two thirds of the lifetime, or later."""
    return validity.begin + validity.lifetime * min(2 / 3 + place * LATER, 0.95)


def what_counts(ledger: Ledger, acme: Acme, now: float) -> Ledger:
    """The ledger without moments that a wrong clock has written, and without events under other settings."""
    latest = now + SKEW_SECONDS
    order, same = ledger.order, ledger.about == about(acme)
    weeks = {
        names: tuple(at for at in moments if now - WEEK_SECONDS < at <= latest)
        for names, moments in ledger.issued.items()
    }
    return replace(
        ledger,
        order=order if order and order.at <= latest else None,
        issued={names: moments for names, moments in weeks.items() if moments},
        failures=tuple(one for one in ledger.failures if one.at <= latest) if same else (),
        not_before=ledger.not_before if same and ledger.not_before <= now + WEEK_SECONDS else 0,
    )


def failures_of(ledger: Ledger, acme: Acme, me: Me, now: float) -> list[Failure]:
    """All failures of what counts. The order of a balancer that died counts as one; so does this balancer's own order
    from before a restart. An order with other settings does not."""
    order = ledger.order
    if order is None or ledger.about != about(acme) or not is_dead(order, me, now):
        return list(ledger.failures)
    return [*ledger.failures, Failure(order.at, order.by, "wcs-balancer-sync ended in the middle of the order")]


def is_dead(order: Order, me: Me, now: float) -> bool:
    """Whether the balancer that began an order has died. `me` itself works on no order."""
    return order.instance == me.instance or now - order.at > DEAD_SECONDS


def next_turn(ledger: Ledger, validity: Validity | None, acme: Acme, me: Me, waited: float, now: float) -> Turn:
    """When this balancer orders next, while it works on no order.

    `validity` is that of the ledger's certificate, if that certificate suits. For `waited` seconds this balancer has
    known that the first one in the list may order.
    """
    known = what_counts(ledger, acme, now)
    turn = me.place * acme.turn_seconds
    steps = [Turn(now + max(0, turn - waited), "the balancers before this one in the list order first" if turn else "")]
    if validity is not None:
        steps.append(Turn(renewal_moment(validity, me.place), ""))
    if known.order and not is_dead(known.order, me, now):
        steps.append(Turn(known.order.at + DEAD_SECONDS + turn, f"{known.order.by} is ordering a certificate"))
    if known.not_before:
        steps.append(Turn(known.not_before, "the directory has asked to wait (Retry-After)"))
    issued = known.issued.get(limited(acme.domain, acme.directory), ())
    if len(issued) >= MOST_A_WEEK:
        moment = sorted(issued)[-MOST_A_WEEK] + WEEK_SECONDS
        steps.append(Turn(moment, f"{MOST_A_WEEK} certificates came within a week, and directories allow few"))
    if failures := failures_of(known, acme, me, now):
        last = failures[-1]
        moment = last.at + PAUSES[min(len(failures), len(PAUSES)) - 1] * acme.fail_seconds
        if known.order and known.order.instance != me.instance:
            # All balancers notice a dead order at the same moment.
            moment = max(moment, known.order.at + DEAD_SECONDS)
        moment += turn if last.by != me.name else 0
        return Turn(max(moment, *(step.at for step in steps)), f"the last order, by {last.by}, failed: {last.reason}")
    return max(steps, key=lambda step: step.at) if any(step.at > now for step in steps) else Turn(now, "")


def begun(ledger: Ledger, acme: Acme, me: Me, now: float) -> Ledger:
    """The ledger with an order of this balancer under way."""
    known = what_counts(ledger, acme, now)
    failures = tuple(failures_of(known, acme, me, now))
    return replace(
        known, order=Order(me.name, me.instance, int(now)), failures=failures, not_before=0, about=about(acme)
    )


def failed(
    ledger: Ledger,
    order: Order,
    reason: str,
    retry_after: float | None,
    now: float,
    useless: Certificate | None = None,
) -> Ledger:
    """The ledger after an order failed, perhaps because its certificate is useless."""
    failures = (*ledger.failures, Failure(order.at, order.by, printable(reason)[:MAX_REASON]))
    not_before = int(now + min(retry_after, WEEK_SECONDS)) if retry_after else 0
    issued = noted(ledger, useless) if useless else ledger.issued
    return replace(ledger, order=None, issued=issued, failures=failures[-MAX_FAILURES:], not_before=not_before)


def succeeded(ledger: Ledger, certificate: Certificate) -> Ledger:
    """The ledger with a new certificate."""
    return Ledger(certificate, None, noted(ledger, certificate), (), 0, ledger.about)


def thrown_away(ledger: Ledger, certificate: Certificate, instance: str) -> Ledger:
    """The ledger after a balancer got a certificate that is not wanted any more. Its order has not failed, and counts
    for the directory's limits."""
    own = ledger.order is not None and ledger.order.instance == instance
    return replace(ledger, order=None if own else ledger.order, issued=noted(ledger, certificate))


def is_overtaken(ledger: Ledger, certificate: Certificate) -> bool:
    """Whether the ledger has a later certificate of the same kind."""
    there = ledger.certificate
    return (
        there is not None
        and (there.domain, there.directory, there.profile)
        == (certificate.domain, certificate.directory, certificate.profile)
        and there.at > certificate.at
    )
