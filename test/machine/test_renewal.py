"""Who orders a certificate by ACME, when, and why not now. Also the texts about a directory's answers."""

import base64
import contextlib
import datetime
import http.client
import json
import socket
import ssl
import tempfile
import threading
import time
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import filled_machines  # noqa: F401
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from wcs_balancer import acme, acme_order, acme_serving, certificates, haproxy_runtime, reachable, renewal
from wcs_balancer.acme_connections import Connections
from wcs_balancer.acme_map import read_map
from wcs_balancer.acme_serving import shown
from wcs_balancer.aws import next_pause
from wcs_balancer.certificates import Validity
from wcs_balancer.desired_state import AcmeAnswer, Answer, DesiredState, is_calm
from wcs_balancer.disk import Disk
from wcs_balancer.document import UNREADABLE, Acme, Document, State
from wcs_balancer.errors import AwsError, OrderError, SyncError
from wcs_balancer.files import sha256
from wcs_balancer.renewal import Certificate, Failure, Ledger, Me, Order, begun, failed, next_turn, succeeded

NOW = 1_800_000_000
MINUTE, HOUR, DAY = 60, 3600, 86400
URL = "https://acme.example.net/directory"
ACME = Acme("wcs.example.com", "ops@example.com", URL, None, 180, 60, 300)
FIRST, SECOND = Me("balancer-1", "i-1", 0), Me("balancer-2", "i-2", 1)
ABOUT = renewal.about(ACME)
NAMES = renewal.limited(ACME.domain, ACME.directory)


def made_pem(name="wcs.example.com", begin=NOW, days=90, other_key=False, key=None):
    """Certificate and key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    moment = datetime.datetime.fromtimestamp(begin, datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(names).issuer_name(names).serial_number(7)
    builder = builder.not_valid_before(moment).not_valid_after(moment + datetime.timedelta(days=days))
    if name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = builder.public_key(key.public_key()).sign(key, hashes.SHA256())
    if other_key:
        key = ec.generate_private_key(ec.SECP256R1())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    text = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return made.public_bytes(encoding).decode() + text.decode()


PEM = made_pem()
# Of a PEM.
LINE = "x" * 64 + "\n"


def certificate(**values):
    return Certificate(PEM, "wcs.example.com", URL, None, "balancer-1", NOW)._replace(**values)


def failures(*minutes_ago, by="balancer-1"):
    return tuple(Failure(NOW - minutes * MINUTE, by, "no route") for minutes in minutes_ago)


class FirstOrder(unittest.TestCase):
    def turn(self, me, waited=0.0, ledger=Ledger(), now=NOW):
        return next_turn(ledger, None, ACME, me, waited, now)

    def test_is_made_at_once_by_the_first_balancer_and_later_by_each_further_one(self):
        self.assertEqual(self.turn(FIRST), (NOW, ""))
        turn = self.turn(SECOND)
        self.assertEqual((turn.at, "order first" in turn.reason), (NOW + 180, True))
        self.assertEqual(self.turn(Me("balancer-3", "i-3", 2)).at, NOW + 360)
        self.assertEqual(self.turn(SECOND, 179).at, NOW + 1)
        self.assertEqual(self.turn(SECOND, 180), (NOW, ""))

    def test_waits_while_another_balancer_is_at_work_and_a_little_longer(self):
        ledger = Ledger(order=Order("balancer-2", "i-2", NOW - 10), about=ABOUT)
        self.assertEqual(self.turn(FIRST, 9999, ledger), (NOW + 590, "balancer-2 is ordering a certificate"))

    def test_comes_after_the_order_of_a_balancer_that_died(self):
        ledger = Ledger(order=Order("balancer-1", "i-old", NOW - 601), about=ABOUT)
        self.assertEqual(self.turn(FIRST, 0, ledger).at, NOW)
        third = self.turn(Me("balancer-3", "i-3", 2), 9999, ledger)
        self.assertEqual(third.at, NOW - 601 + 600 + 360)
        self.assertRegex(third.reason, "^the last order, by balancer-1, failed: wcs-balancer-sync ended in the middle")

    def test_comes_after_a_pause_when_this_service_itself_was_restarted_in_the_middle(self):
        ledger = Ledger(order=Order("balancer-1", "i-1", NOW - 10), about=ABOUT)
        self.assertEqual(self.turn(FIRST, 9999, ledger).at, NOW + 290)

    def test_has_pauses_after_failures_so_that_at_most_three_fail_within_an_hour(self):
        moments, ledger, now = [], Ledger(), NOW
        while now < NOW + 6 * HOUR:
            now = max(now, self.turn(FIRST, 9999, ledger, now).at)
            ledger = begun(ledger, ACME, FIRST, now)
            moments.append(now)
            ledger = failed(ledger, ledger.order, "no route", None, now + 20)
        self.assertEqual([(moment - NOW) // MINUTE for moment in moments[:6]], [0, 5, 20, 60, 120, 180])
        for first in moments:
            self.assertLessEqual(len([one for one in moments if first <= one < first + HOUR]), 3)

    def test_of_another_balancer_that_failed_lets_that_one_try_again_first(self):
        ledger = Ledger(failures=failures(1), about=ABOUT)
        self.assertEqual(self.turn(FIRST, 9999, ledger).at, NOW + 4 * MINUTE)
        self.assertEqual(self.turn(SECOND, 9999, ledger).at, NOW + 7 * MINUTE)
        self.assertEqual(self.turn(FIRST, 9999, ledger).reason, "the last order, by balancer-1, failed: no route")

    def test_does_not_wait_for_the_dead_order_with_other_settings(self):
        for order in (Order("balancer-1", "i-old", NOW - 601), Order("balancer-1", "i-1", NOW - 10)):
            ledger = Ledger(order=order, about=ABOUT)
            other = ACME._replace(domain="b.example.com")
            self.assertEqual(next_turn(ledger, None, other, FIRST, 0, NOW), (NOW, ""))
            self.assertEqual(begun(ledger, other, FIRST, NOW).failures, ())
            self.assertEqual(len(begun(ledger, ACME, FIRST, NOW).failures), 1)

    def test_waits_as_long_as_the_directory_asks(self):
        ledger = begun(Ledger(), ACME, FIRST, NOW)
        ledger = failed(ledger, ledger.order, "busy", 5 * HOUR, NOW)
        self.assertEqual(self.turn(FIRST, 9999, ledger).at, NOW + 5 * HOUR)
        forever = failed(begun(Ledger(), ACME, FIRST, NOW), Order("balancer-1", "i-1", NOW), "busy", 1e9, NOW)
        self.assertEqual(self.turn(FIRST, 9999, forever).at, NOW + 7 * DAY)

    def test_forgets_failures_with_other_settings(self):
        ledger = Ledger(failures=failures(1, 2, 3, 4), not_before=NOW + DAY, about=ABOUT)
        for change in ({"domain": "b.example.com"}, {"directory": "https://b/"}, {"profile": "x"}, {"email": "b@b"}):
            other = ACME._replace(**change)
            self.assertEqual(next_turn(ledger, None, other, FIRST, 0, NOW).at, NOW)
            self.assertEqual(begun(ledger, other, FIRST, NOW).failures, ())

    def test_is_not_the_fifth_in_a_week_for_the_same_names(self):
        issued = tuple(NOW - days * DAY for days in (8, 6, 5, 3, 1))
        ledger = Ledger(certificate(pem="broken"), issued={NAMES: issued}, about=ABOUT)
        self.assertEqual(self.turn(FIRST, 0, ledger).at, NOW + DAY)
        self.assertIn("4 certificates came within a week", self.turn(FIRST, 0, ledger).reason)
        for other in (ACME._replace(domain="b.example.com"), ACME._replace(directory="https://b/")):
            self.assertEqual(next_turn(ledger, None, other, FIRST, 0, NOW).at, NOW)
        self.assertEqual(next_turn(ledger, None, ACME._replace(profile="x"), FIRST, 0, NOW).at, NOW + DAY)

    def test_is_not_the_fifth_in_a_week_when_the_settings_go_back_and_forth(self):
        for change in ({"domain": "b.example.com"}, {"directory": "https://b/"}):
            ledger, now, moments = Ledger(), NOW, []
            while now < NOW + 5 * DAY:
                for settings in (ACME, ACME._replace(**change)):
                    if next_turn(ledger, None, settings, FIRST, 0, now).at <= now:
                        made = certificate(domain=settings.domain, directory=settings.directory, at=now)
                        ledger = renewal.read_ledger(renewal.write_ledger(begun(ledger, settings, FIRST, now)))
                        ledger = renewal.read_ledger(renewal.write_ledger(succeeded(ledger, made)))
                        moments.append((settings, now))
                now += 10 * MINUTE
            for settings in (ACME, ACME._replace(**change)):
                self.assertEqual(len([one for one, _ in moments if one == settings]), 4)

    def test_is_not_held_up_by_moments_that_a_wrong_clock_has_written(self):
        future = NOW + 400 * DAY
        wrong = [
            Ledger(order=Order("balancer-2", "i-2", future), about=ABOUT),
            Ledger(failures=(Failure(future, "balancer-2", "x"),), about=ABOUT),
            Ledger(certificate(pem="broken"), issued={NAMES: (future,) * 4}, about=ABOUT),
            Ledger(not_before=future, about=ABOUT),
        ]
        for ledger in wrong:
            self.assertEqual(self.turn(FIRST, 0, ledger), (NOW, ""))
        # Clocks that differ by a few seconds are no reason to forget.
        near = Ledger(order=Order("balancer-2", "i-2", NOW + 5), about=ABOUT)
        self.assertGreater(self.turn(FIRST, 0, near).at, NOW)


class Renewal(unittest.TestCase):
    validity = Validity(NOW, NOW + 90 * DAY)

    def turn(self, me, now, ledger=None):
        ledger = ledger or Ledger(certificate(), about=ABOUT)
        return next_turn(ledger, self.validity, ACME, me, 0 if now < NOW + 60 * DAY else now - NOW - 60 * DAY, now)

    def test_is_due_at_two_thirds_of_the_lifetime_and_a_twentieth_later_for_each_place(self):
        self.assertEqual(self.turn(FIRST, NOW + DAY), (NOW + 60 * DAY, ""))
        self.assertAlmostEqual(self.turn(SECOND, NOW + DAY).at, NOW + 64.5 * DAY)
        self.assertEqual(self.turn(SECOND, NOW + 61 * DAY).reason, "")
        self.assertEqual(self.turn(FIRST, NOW + 60 * DAY).at, NOW + 60 * DAY)
        self.assertLess(renewal.renewal_moment(self.validity, 99), self.validity.end)

    def test_that_failed_is_tried_again_by_the_others_too(self):
        now = NOW + 65 * DAY
        ledger = Ledger(certificate(), failures=(Failure(now - MINUTE, "balancer-1", "x"),), about=ABOUT)
        self.assertEqual(self.turn(FIRST, now, ledger).at, now + 4 * MINUTE)
        self.assertEqual(self.turn(SECOND, now, ledger).at, now + 7 * MINUTE)

    def test_ends_the_failures(self):
        there = Ledger(certificate(), issued={NAMES: (NOW,)}, failures=failures(9), about=ABOUT)
        ledger = begun(there, ACME, SECOND, NOW + DAY)
        new = certificate(by="balancer-2", at=NOW + DAY)
        self.assertEqual(succeeded(ledger, new), Ledger(new, None, {NAMES: (NOW, NOW + DAY)}, (), 0, ABOUT))
        other = new._replace(domain="b.example.com")
        expected = {NAMES: (NOW,), renewal.limited("b.example.com", URL): (NOW + DAY,)}
        self.assertEqual(succeeded(ledger, other).issued, expected)

    def test_does_not_replace_a_later_certificate(self):
        ledger = Ledger(certificate(at=NOW + 9))
        self.assertTrue(renewal.is_overtaken(ledger, certificate()))
        self.assertFalse(renewal.is_overtaken(ledger, certificate(at=NOW + 9)))
        self.assertFalse(renewal.is_overtaken(ledger, certificate(directory="https://b/")))
        self.assertFalse(renewal.is_overtaken(Ledger(), certificate()))


class Place(unittest.TestCase):
    def test_is_that_in_the_list_of_names(self):
        balancers = {"balancer-2": "i-2", "balancer-1": "i-1"}
        self.assertEqual(renewal.me_among(balancers, "i-2"), SECOND)
        self.assertEqual(renewal.me_among(balancers, "i-1"), FIRST)
        self.assertIsNone(renewal.me_among(balancers, "i-leaving"))


class InTheParameter(unittest.TestCase):
    issued = {NAMES: (NOW,), renewal.limited("b.example.com", URL): (NOW - 2, NOW - 1)}
    full = Ledger(certificate(), Order("balancer-1", "i-1", NOW), issued, failures(9, 1), NOW, ABOUT)

    def test_comes_back_as_it_was_written(self):
        for ledger in (Ledger(), self.full, replace(self.full, certificate=None)):
            self.assertEqual(renewal.read_ledger(renewal.write_ledger(ledger)), ledger)
        self.assertEqual(renewal.read_ledger("{}"), Ledger())
        self.assertEqual(renewal.read_ledger('{"later": 1, "failures": []}'), Ledger())

    def test_of_a_version_that_forgot_other_orders_is_read_and_reads_this_one(self):
        older = json.loads(renewal.write_ledger(self.full))
        # That version reads this field, and no other about orders that succeeded.
        self.assertEqual(older["issued"], [NOW])
        del older["others"]
        self.assertEqual(renewal.read_ledger(json.dumps(older)), replace(self.full, issued={NAMES: (NOW,)}))
        self.assertEqual(renewal.read_ledger(json.dumps({**older, "certificate": None})).issued, {})

    def test_that_is_garbage_is_refused(self):
        good = json.loads(renewal.write_ledger(self.full))
        wrong = ["", "garbage", "[]", "7", "null", "[" * 100_000]
        wrong += [json.dumps({**good, "others": value}) for value in ({"b": 7}, {"b": ["x"]}, {"b": None})]
        for key in ("certificate", "order", "issued", "others", "failures", "notBefore"):
            wrong += [json.dumps({**good, key: value}) for value in ("x", [{}], {"at": 1}, [[]])]
        for key in certificate()._asdict():
            odd = [["x"], "\ud800"]
            wrong += [json.dumps({**good, "certificate": {**good["certificate"], key: value}}) for value in odd]
        for endless in (float("inf"), float("nan"), 10**400, -(10**400)):
            wrong += [json.dumps({**good, **part}) for part in ({"notBefore": endless}, {"issued": [endless]})]
            wrong.append(json.dumps({**good, "order": {**good["order"], "at": endless}}))
        for text in wrong:
            with self.subTest(text[-300:]), self.assertRaises(UNREADABLE):
                renewal.read_ledger(text)

    def test_fits_even_with_a_long_chain_and_long_reasons(self):
        long = tuple(Failure(NOW + one, "balancer-1", "x" * 999) for one in range(20))
        ledger = Ledger(certificate(pem=LINE * 90), failures=long, about=ABOUT)
        text = renewal.write_ledger(ledger)
        self.assertLessEqual(len(text), 8192)
        there = renewal.read_ledger(text)
        self.assertEqual((there.certificate, there.failures[-1].at), (ledger.certificate, NOW + 19))
        self.assertEqual(len(there.failures[-1].reason), 200)
        short = renewal.read_ledger(renewal.write_ledger(Ledger(failures=long)))
        self.assertEqual([one.at - NOW for one in short.failures], list(range(12, 20)))
        with self.assertRaisesRegex(SyncError, "bytes with its chain, and SSM takes 8192"):
            renewal.write_ledger(Ledger(certificate(pem=LINE * 130)))

    def test_keeps_the_orders_of_a_few_other_domains_and_fits_even_so(self):
        ledger, near = Ledger(), ACME._replace(domain="near.example.com")
        for number in range(4):
            ledger = succeeded(ledger, certificate(domain=near.domain, at=NOW + number))
        for number in range(30):
            ledger = succeeded(ledger, certificate(domain=f"{number}.example.com", at=NOW + 10 + number))
        # The nearest one to its limit, and the newest ones.
        self.assertEqual(len(ledger.issued), 9)
        self.assertEqual(next_turn(ledger, None, near, FIRST, 0, NOW + 60).at, NOW + 7 * DAY)
        self.assertIn(renewal.limited("23.example.com", URL), ledger.issued)
        longest = replace(ledger, certificate=ledger.certificate._replace(pem=LINE * 119))
        text = renewal.write_ledger(longest)
        self.assertLessEqual(len(text), 8192)
        there = renewal.read_ledger(text)
        self.assertEqual(there.certificate, longest.certificate)
        self.assertIn(renewal.limited("29.example.com", URL), there.issued)
        self.assertLess(len(there.issued), 9)
        # After a week nothing of them is left.
        self.assertEqual(begun(ledger, ACME, FIRST, NOW + 8 * DAY).issued, {})


class Certificates(unittest.TestCase):
    def test_are_used_when_key_and_name_fit_even_if_they_have_expired(self):
        self.assertEqual(certificates.validity(PEM, "WCS.example.com"), (NOW, NOW + 90 * DAY))
        self.assertIsNone(certificates.problem(made_pem(begin=1_000_000_000), "wcs.example.com"))

    def test_that_cannot_be_served_are_named(self):
        wrong = {
            "": "it has no private key",
            "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n": "",
            made_pem(other_key=True): "its private key belongs to another certificate",
            made_pem("b.example.com"): "it does not name wcs.example.com",
            made_pem(None): "it does not name wcs.example.com",
            made_pem(key=rsa.generate_private_key(65537, 1024)): "OpenSSL refuses it: EE_KEY_TOO_SMALL",
        }
        for pem, problem in wrong.items():
            with self.subTest(problem):
                found = certificates.problem(pem, "wcs.example.com")
                self.assertTrue(found and found.startswith(problem), found)


    def test_give_haproxy_no_command_after_an_empty_line(self):
        with mock.patch.object(haproxy_runtime, "tell") as tell:
            haproxy_runtime.set_certificate(Path("/cert.pem"), "a\n\nshutdown frontend x\n \r\nb\n")
        self.assertEqual(tell.call_args_list[0].args, ("set ssl cert /cert.pem <<\na\nshutdown frontend x\nb\n",))


class Served(unittest.TestCase):
    """Which certificate a balancer serves."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name)
        self.disk = Disk(path / "cert.pem", path, path / "haproxy.cfg", path / "status.pem")
        self.parameters = {"account": "key"}
        names = ("state", "secret", "status", self.disk, self.get, "account", "ledger")
        self.desired_state = DesiredState(*names)

    def get(self, name):
        try:
            return self.parameters[name]
        except KeyError:
            raise AwsError(f"{name} is away") from None

    def served(self, ledger, acme=ACME):
        """The certificate by ACME to serve, for a value of the parameter; None = the document's own."""
        self.parameters.pop("ledger", None)
        if ledger is not None:
            self.parameters["ledger"] = ledger if isinstance(ledger, str) else renewal.write_ledger(ledger)
        self.desired_state.acme_answer = (None, 0)
        secret = self.desired_state.acme_certificate(acme, self.desired_state.ask_acme(acme))
        return secret and secret.pem

    def serve(self, pem, source="acme", acme=ACME):
        self.disk.certificate.write_text(pem)
        self.disk.haproxy_config.write_text("config\n")
        self.disk.write_record(State("r1", "config\n", sha256(pem.encode()), 600, acme, source))

    def test_is_the_one_of_the_ledger_even_of_another_directory_or_expired(self):
        for pem in (PEM, made_pem(begin=1_000_000_000)):
            there = certificate(pem=pem, directory="https://b/", profile="x")
            self.assertEqual(self.served(Ledger(there)), pem)

    def test_is_the_documents_own_until_there_is_one(self):
        for ledger in (None, "garbage", Ledger(), Ledger(certificate(pem="x")), Ledger(certificate(pem=made_pem("b.b")))):
            self.assertIsNone(self.served(ledger))

    def test_serves_on_when_the_ledger_has_none_that_can_be_used(self):
        old = made_pem(begin=NOW - 40 * DAY)
        self.serve(old)
        for ledger in (None, "garbage", Ledger(), Ledger(certificate(pem="x"))):
            self.assertEqual(self.served(ledger), old)
        self.assertEqual(self.served(Ledger(certificate())), PEM)

    def test_is_not_one_for_another_domain_or_of_a_user(self):
        self.serve(PEM)
        self.assertIsNone(self.served(Ledger(), ACME._replace(domain="b.example.com")))
        self.serve(PEM, "document")
        self.assertIsNone(self.served(Ledger()))

    def test_is_asked_for_less_often_while_nothing_can_change(self):
        def calm(ledger, now=NOW, acme=ACME, account="key"):
            return is_calm(AcmeAnswer(account, renewal.write_ledger(ledger)), acme, now)

        there = Ledger(certificate())
        self.assertTrue(calm(there))
        self.assertTrue(calm(there, NOW + 59 * DAY))
        self.assertFalse(calm(there, NOW + 60 * DAY - 100))
        self.assertFalse(calm(there, account=AwsError("away")))
        self.assertFalse(calm(there, acme=ACME._replace(profile="x")))
        for ledger in (Ledger(), Ledger(certificate(pem="x")), Ledger(certificate(), Order("b", "i", NOW))):
            self.assertFalse(calm(ledger))
        self.assertFalse(is_calm(AcmeAnswer("key", "garbage"), ACME, NOW))
        asked = mock.Mock(side_effect=lambda name: "key" if name == "account" else renewal.write_ledger(there))
        self.desired_state.get_parameter = asked
        with mock.patch("time.time", return_value=NOW):
            first = self.desired_state.ask_acme(ACME)
            self.assertIs(self.desired_state.ask_acme(ACME), first)
            self.assertIsNot(self.desired_state.ask_acme(ACME._replace(check_seconds=0)), first)

    def test_is_asked_for_less_often_while_aws_throttles_these_questions_alone(self):
        throttled = AwsError("Rate exceeded", "ThrottlingException")
        self.desired_state.get_parameter = mock.Mock(side_effect=throttled)
        document = Document(State("r1", "config\n", "c1", 600, ACME), "s1", mock.Mock())
        answer = Answer(document, acme=self.desired_state.ask_acme(ACME))
        self.assertEqual(answer.errors(), [throttled, throttled])
        self.assertEqual(next_pause(5, 5, answer.errors()), 10)
        self.assertEqual(Answer(throttled, throttled, throttled).errors(), [throttled] * 3)
        self.assertEqual(Answer(document).errors(), [])

    def test_is_asked_for_again_after_an_error_that_nobody_has_foreseen(self):
        self.serve(PEM)
        with mock.patch("wcs_balancer.desired_state.read_ledger", side_effect=ArithmeticError("odd")):
            self.parameters["ledger"] = "{}"
            answer = self.desired_state.ask()
        self.assertIsInstance(answer.document, ArithmeticError)

    def test_is_not_known_to_a_machine_of_an_older_version(self):
        older = DesiredState("state", "secret", "status", self.disk, self.get)
        answer = older.ask_acme(ACME)
        self.assertIsInstance(answer.account, SyncError)
        self.assertIsNone(older.acme_certificate(ACME, answer))


class InTheStatus(unittest.TestCase):
    applied = State("r1", "", sha256(PEM.encode()), 600, ACME, "acme")

    def setUp(self):
        orders = mock.Mock(parameter="ledger", seen=acme.Seen())
        disk = mock.Mock(applied=self.applied)
        with mock.patch.object(acme_serving, "AcmeMap"):
            self.serving = acme_serving.AcmeServing(disk, orders, print)
        self.serving.is_public = self.serving.thumbprint_of = mock.Mock()

    def show(self, ledger, seen=acme.Seen(), applied=None):
        """State and reason for a value of the parameter."""
        self.serving.answer = AcmeAnswer("key", renewal.write_ledger(ledger) if isinstance(ledger, Ledger) else ledger)
        self.serving.orders.seen, self.serving.disk.applied = seen, applied or self.applied
        self.serving.tend("i-1", None)
        return self.serving.shown["state"], self.serving.shown["reason"]

    def test_is_issued_only_when_it_comes_from_the_wanted_directory(self):
        there, other = Ledger(certificate()), Ledger(certificate(directory="https://b/"))
        # After a start of this service.
        self.assertEqual(self.show(AwsError("away")), ("issued", ""))
        for ledger, state in ((there, "issued"), (other, "waiting")):
            self.assertEqual(self.show(ledger)[0], state)
            for unknown in ("garbage", "{}", AwsError("away"), Ledger(certificate(pem="x"))):
                self.assertEqual(self.show(unknown)[0], state)
        self.assertEqual(self.show(there, applied=replace(self.applied, certificate_source="document"))[0], "waiting")

    def test_is_that_of_the_disk_when_the_ledger_was_emptied(self):
        self.show(Ledger(certificate()))
        kept = acme_serving.ON_DISK
        self.assertEqual(self.show("{}"), ("issued", kept))
        self.assertEqual(self.show("{}", acme.Seen(reason="no route")), ("issued", f"{kept}; no route"))
        # The directory has changed meanwhile.
        other = replace(self.applied, acme=ACME._replace(directory="https://b/"))
        self.assertEqual(self.show("{}", applied=other), ("waiting", kept))
        for source in ("document", "former"):
            self.assertEqual(self.show("{}", applied=replace(self.applied, certificate_source=source)), ("waiting", ""))
        self.assertEqual(self.show(Ledger(certificate())), ("issued", ""))

    def test_has_the_next_try(self):
        seen = acme.Seen(False, "no route", NOW)
        expected = {"state": "waiting", "reason": "no route", "nextTry": "2027-01-15T08:00:00Z", "directory": URL}
        self.assertEqual(shown(ACME, seen, False), expected)
        self.assertEqual(shown(ACME, seen, True)["state"], "issued")
        self.assertEqual(shown(ACME, acme.Seen(ordering=True), False)["state"], "ordering")
        self.assertEqual(shown(ACME, acme.Seen(ordering=True), True)["state"], "issued")

    def test_map_of_haproxy_is_read_again(self):
        self.assertEqual(read_map("thumbprint abc\npublic 1\n\nhalf"), {"thumbprint": "abc", "public": "1"})


class AtTheDirectory(unittest.TestCase):
    def test_a_wrong_clock_is_named(self):
        date = "Fri, 15 Jan 2027 08:00:00 GMT"
        for difference in (-HOUR, 0, HOUR):
            self.assertIsNone(acme_order.clock_problem(date, NOW + difference))
        for difference in (-2 * HOUR, 400 * DAY):
            self.assertIn("the directory's 2027-01-15 08:00 UTC: set the clock", acme_order.clock_problem(date, NOW + difference))
        for unknown in (None, "", "yesterday"):
            self.assertIsNone(acme_order.clock_problem(unknown, 0))

    def test_retry_after_is_a_number_or_a_date(self):
        self.assertEqual(acme_order.seconds_to_wait("120", NOW), 120)
        self.assertEqual(acme_order.seconds_to_wait("Fri, 15 Jan 2027 08:01:00 GMT", NOW), 60)
        self.assertEqual(acme_order.seconds_to_wait("Fri, 15 Jan 2027 07:00:00 GMT", NOW), 0)
        for unknown in (None, "", "-5", "soon", "9" * 30):
            self.assertIsNone(acme_order.seconds_to_wait(unknown, NOW))

    def test_the_profile_is_always_named_where_there_are_profiles(self):
        self.assertEqual(acme_order.choose_profile({"classic": "", "tlsserver": ""}, None), "tlsserver")
        self.assertEqual(acme_order.choose_profile({"default": "", "shortlived": ""}, None), "default")
        self.assertIsNone(acme_order.choose_profile({}, None))
        self.assertEqual(acme_order.choose_profile({"shortlived": ""}, "shortlived"), "shortlived")
        with self.assertRaisesRegex(OrderError, "no profile x: it has a, b; change acme.profile"):
            acme_order.choose_profile({"b": "", "a": ""}, "x")

    def test_a_private_key_is_new_each_time_and_the_request_names_the_domain(self):
        (key, request), (other, _) = (acme_order.new_key_and_request("wcs.example.com") for _ in range(2))
        self.assertNotEqual(key, other)
        read = x509.load_pem_x509_csr(request)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["wcs.example.com"])


class TheConnections(unittest.TestCase):
    """Those to a directory, whatever it does."""

    def setUp(self):
        self.threads = threading.active_count()

    def serve(self, backlog=None):
        server = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.addCleanup(server.close)
        return server

    def connect(self, connections, port):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
        client._create_connection = lambda address, timeout, _: connections.open(*address, timeout)
        self.addCleanup(client.close)
        return client

    def is_cut(self, request):
        """The connections after a request that does not end by itself."""
        connections = Connections(0.5)
        self.addCleanup(connections.close)
        began = time.monotonic()
        with self.assertRaisesRegex(TimeoutError, "the deadline has passed"):
            connections.in_time(lambda: request(connections))
        self.assertLess(time.monotonic() - began, 4)
        self.assertTrue(connections.over)
        with self.assertRaisesRegex(TimeoutError, "the deadline has passed"):
            connections.in_time(lambda: self.fail("it has another request"))

    def every_thread_ends(self):
        deadline = time.monotonic() + 4
        while threading.active_count() > self.threads:
            self.assertLess(time.monotonic(), deadline, threading.enumerate())
            time.sleep(0.01)

    def test_are_cut_while_an_answer_comes_byte_by_byte(self):
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "server.pem"
            pem.write_text(made_pem())
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
        server = context.wrap_socket(self.serve(), server_side=True)
        self.addCleanup(server.close)

        def drip():
            with contextlib.suppress(OSError), server.accept()[0] as client:
                client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while True:
                    client.sendall(b"x")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()

        def request(connections):
            client = self.connect(connections, server.getsockname()[1])
            client.request("GET", "/dir")
            client.getresponse()

        self.is_cut(request)
        self.every_thread_ends()

    def test_are_cut_in_the_middle_of_a_handshake(self):
        server = self.serve()
        self.is_cut(lambda connections: self.connect(connections, server.getsockname()[1]).connect())
        self.every_thread_ends()

    def test_are_cut_at_addresses_that_are_dead(self):
        server = self.serve(0)
        address = server.getsockname()
        # A full queue is as silent as an address where nobody is.
        full = [socket.socket() for _ in range(4)]
        for one in full:
            self.addCleanup(one.close)
            one.setblocking(False)
            one.connect_ex(address)
        time.sleep(0.1)
        dead = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address)] * 9
        with mock.patch("socket.getaddrinfo", return_value=dead):
            self.is_cut(lambda connections: connections.open("acme.example.net", 443, 10))
            self.every_thread_ends()

    def test_are_given_up_while_dns_is_silent(self):
        answered = threading.Event()
        with mock.patch("socket.getaddrinfo", side_effect=lambda *_, **__: answered.wait(10) and []):
            self.is_cut(lambda connections: connections.open("acme.example.net", 443, 10))
        answered.set()

    def test_try_one_address_after_the_other(self):
        server, gone = self.serve(), self.serve()
        rows = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", one.getsockname()) for one in (gone, server)]
        gone.close()
        connections = Connections(60)
        self.addCleanup(connections.close)
        with mock.patch("socket.getaddrinfo", return_value=rows):
            with connections.in_time(lambda: connections.open("acme.example.net", 443, 5)) as client:
                self.assertEqual(client.getpeername(), server.getsockname())
        with mock.patch("socket.getaddrinfo", return_value=rows[:1]), self.assertRaises(ConnectionRefusedError):
            connections.in_time(lambda: connections.open("acme.example.net", 443, 5))

    def test_pass_over_addresses_of_a_kind_that_this_machine_does_not_have(self):
        server = self.serve()
        unknown = (99, socket.SOCK_STREAM, 0, "", ("2001:db8::1", 443, 0, 0))
        rows = [unknown, (socket.AF_INET, socket.SOCK_STREAM, 0, "", server.getsockname())]
        connections = Connections(60)
        self.addCleanup(connections.close)
        with mock.patch("socket.getaddrinfo", return_value=rows):
            connections.open("acme.example.net", 443, 5).close()
        with mock.patch("socket.getaddrinfo", return_value=rows[:1]), self.assertRaisesRegex(OSError, "not supported"):
            connections.open("acme.example.net", 443, 5)

    def test_leave_nothing_behind_when_all_is_read_in_time(self):
        connections = Connections(60)
        self.assertEqual(connections.in_time(lambda: "answer"), "answer")
        with connections.open(*self.serve().getsockname(), 5):
            connections.close()
        self.assertEqual((connections.over, connections.noted), (False, []))
        self.every_thread_ends()


class Orders(unittest.TestCase):
    """The thread that orders, with a directory that gives certificates at once."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.issued = Path(folder.name) / "issued.json"
        self.ledger = "{}"
        self.aws = mock.Mock()
        self.aws.get_parameter.side_effect = lambda name: self.ledger
        self.aws.put_parameter.side_effect = self.put
        self.answers = [made_pem(begin=int(time.time()))]
        directory = mock.Mock()
        directory.return_value.order.side_effect = self.answers
        values = {"obstacle": lambda *_: None, "thumbprint": str, "Directory": directory, "SETTLE_SECONDS": 0}
        for name, value in values.items():
            patch = mock.patch.object(acme, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.reports = []
        self.orders = acme.Orders(self.aws, "ledger", self.issued, self.reports.append)

    def put(self, name, value):
        self.ledger = value

    def turn(self, settings=ACME):
        settings = settings._replace(check_seconds=0)
        self.orders.want(acme.Task(settings, {"balancer-1": "i-1"}, "i-1", "key", self.ledger, True))
        self.orders.turn()
        return renewal.read_ledger(self.ledger)

    def test_give_the_certificate_to_all(self):
        ledger = self.turn()
        self.assertEqual((ledger.certificate.pem, ledger.order), (self.answers[0], None))
        self.assertEqual(self.orders.seen, acme.Seen())
        self.assertFalse(self.issued.exists())

    def test_go_by_what_they_have_written_last(self):
        self.turn()
        during = renewal.write_ledger(renewal.begun(renewal.Ledger(), ACME, renewal.Me("balancer-1", "i-1", 0), time.time()))
        self.orders.want(self.orders.task._replace(ledger=during, asked_at=time.monotonic() - 60))
        self.orders.turn()
        self.assertEqual((self.orders.seen.ordering, self.orders.seen.reason), (False, ""))

    def test_do_so_on_a_full_disk(self):
        full = acme.files.FileError(self.issued, OSError(28, "No space left on device"))
        with mock.patch.object(acme.files, "replace_file", side_effect=full):
            self.assertEqual(self.turn().certificate.pem, self.answers[0])
        self.assertIn("would be lost with this process", self.reports[1])

    def test_count_once_what_was_written_without_an_answer(self):
        def put(name, value):
            self.ledger = value
            if renewal.read_ledger(value).certificate:
                self.aws.put_parameter.side_effect = self.put
                raise AwsError("timed out")

        self.aws.put_parameter.side_effect = put
        self.turn()
        self.assertIn("the new certificate waits on this machine", self.orders.seen.reason)
        ledger = self.turn()
        self.assertEqual((len(ledger.issued[NAMES]), self.issued.exists(), self.orders.seen.reason), (1, False, ""))

    def while_ssm_is_read_only(self):
        """An order whose certificate waits on this machine."""
        def put(name, value):
            if renewal.read_ledger(value).certificate:
                raise AwsError("read-only")
            self.ledger = value

        self.aws.put_parameter.side_effect = put
        self.turn()
        self.assertTrue(self.issued.exists())
        self.assertEqual(renewal.read_ledger(self.ledger).order.by, "balancer-1")
        self.aws.put_parameter.side_effect = self.put

    def test_whose_certificate_is_not_wanted_any_more_have_not_failed_and_count_for_the_limits(self):
        other = ACME._replace(domain="b.example.com")
        for settings in (other, other._replace(domain=ACME.domain, directory="https://b/")):
            self.ledger = "{}"
            self.answers[:] = [made_pem(), made_pem(settings.domain)]
            acme.Directory.return_value.order.side_effect = list(self.answers)
            self.while_ssm_is_read_only()
            self.turn(settings)
            ledger = renewal.read_ledger(self.ledger)
            self.assertEqual((ledger.order, ledger.failures, self.issued.exists()), (None, (), False))
            self.assertEqual(len(ledger.issued[NAMES]), 1)
            self.assertIn("throws away a new certificate for wcs.example.com", self.reports[-1])
            # The next one comes at once.
            ledger = self.turn(settings)
            self.assertEqual((ledger.certificate.domain, self.orders.seen.reason), (settings.domain, ""))
            self.assertEqual(len(ledger.issued), 2)

    def test_whose_certificate_is_overtaken_have_not_failed_and_count_for_the_limits(self):
        self.while_ssm_is_read_only()
        later = certificate(pem=made_pem(begin=int(time.time())), by="balancer-2", at=int(time.time()) + 9)
        before = renewal.read_ledger(self.ledger)
        self.ledger = renewal.write_ledger(replace(before, certificate=later, issued={NAMES: (later.at,)}))
        ledger = self.turn()
        self.assertEqual((ledger.certificate, ledger.order, ledger.failures), (later, None, ()))
        self.assertEqual(len(ledger.issued[NAMES]), 2)
        self.assertEqual((self.orders.seen.reason, self.issued.exists()), ("", False))

    def test_whose_certificate_nobody_can_serve_have_failed_and_count_for_the_limits(self):
        wrong = {"cannot be used": made_pem("b.example.com"), "SSM takes 8192": made_pem() + LINE * 130}
        for reason, pem in wrong.items():
            self.ledger = "{}"
            acme.Directory.return_value.order.side_effect = [pem]
            ledger = self.turn()
            self.assertIn(reason, self.orders.seen.reason)
            self.assertEqual((len(ledger.failures), len(ledger.issued[NAMES]), ledger.certificate), (1, 1, None))

    def test_whose_certificate_fits_leave_room_for_its_renewal(self):
        for letters in range(7600, 8000, 20):
            self.ledger = "{}"
            # Text outside of the certificate does not count for OpenSSL.
            pem = "x" * (letters - len(self.answers[0])) + "\n" + self.answers[0]
            acme.Directory.return_value.order.side_effect = [pem]
            if (ledger := self.turn()).certificate is None:
                break
            self.assertFalse(self.orders.issued.exists())
            moments = tuple(ledger.certificate.at - one for one in range(8))
            me = SECOND._replace(instance="i-" + 17 * "f")
            full = begun(replace(ledger, issued={NAMES: moments}), ACME, me, time.time())
            self.assertEqual(renewal.read_ledger(renewal.write_ledger(full)), full)
        self.assertIn("SSM takes 8192", self.orders.seen.reason)
        self.assertEqual((len(ledger.failures), self.orders.issued.exists()), (1, False))

    def test_that_were_noted_without_an_answer_are_no_orders_that_failed(self):
        def put(name, value):
            self.ledger = value
            raise AwsError("timed out")

        self.aws.put_parameter.side_effect = put
        for _ in range(3):
            self.turn()
            self.assertEqual(self.orders.seen.reason, "no order begins while the ledger is out of reach: timed out")
        self.aws.put_parameter.side_effect = self.put
        ledger = self.turn()
        self.assertEqual((ledger.certificate.pem, self.orders.seen.reason), (self.answers[0], ""))

    def test_that_fail_keep_their_reason_while_the_ledger_is_away(self):
        self.answers.insert(0, OrderError("no route"))
        acme.Directory.return_value.order.side_effect = self.answers
        before = self.put

        def put(name, value):
            before(name, value)
            self.aws.put_parameter.side_effect = AwsError("away")

        self.aws.put_parameter.side_effect = put
        ledger = self.turn()
        self.assertEqual(self.orders.seen.reason, "no route")
        self.assertEqual(ledger.order.by, "balancer-1")

    def test_show_a_reason_of_others_as_text_that_every_terminal_takes(self):
        self.orders.report = lambda text: text.encode()
        self.answers[0] = OrderError("\ud800\x1b[2J\n\u00e4")
        acme.Directory.return_value.order.side_effect = self.answers
        self.turn()
        self.assertTrue(self.orders.seen.reason.endswith("\\ud800\\x1b[2J\\n\u00e4"), self.orders.seen.reason)

    def test_say_nothing_of_a_private_key_that_lies_in_a_broken_ledger(self):
        self.ledger = json.dumps({"certificate": {"pem": ["SECRET"]}, "issued": ["SECRET"], "failures": "SECRET"})
        with self.assertRaises(SyncError) as caught:
            self.orders.read(self.ledger)
        self.assertNotIn("SECRET", str(caught.exception))


def connected(server, timeout, connect=socket.create_connection):
    return connect(server.getsockname(), timeout=timeout)


class Reachable(unittest.TestCase):
    """The check before an order, against servers on this machine."""

    def serve(self, answer):
        """A server that sends an answer to each request, with TOKEN for the token that was asked for."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def run():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    token = client.recv(1000).split()[1].rsplit(b"/")[-1]
                    client.sendall(answer.replace(b"TOKEN", token))

        threading.Thread(target=run, daemon=True).start()
        self.lead_to(server)

    def lead_to(self, server):
        """From now on each address is that of a server."""
        patch = mock.patch("socket.create_connection", lambda _, **values: connected(server, **values))
        patch.start()
        self.addCleanup(patch.stop)

    def obstacle(self, answer, address="203.0.113.7"):
        self.serve(answer)
        with mock.patch.object(reachable, "addresses_of", return_value=[address]):
            return reachable.obstacle("wcs.example.com", "print")

    def test_is_passed_by_a_balancer(self):
        # Private addresses are those of a directory in the same network, or of a DNS that this network has for itself.
        for address in ("203.0.113.7", "10.0.0.7", "172.16.0.7", "192.168.0.7", "2001:db8::7", "fd00::7"):
            self.assertIsNone(self.obstacle(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nTOKEN.print", address))

    def test_names_an_address_where_only_this_machine_reaches_itself(self):
        for address, kind in {
            "127.0.0.1": "loopback", "127.9.9.9": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
            "0.0.0.0": "unspecified", "::": "unspecified", "169.254.1.1": "link-local", "fe80::1": "link-local",
            "224.0.0.1": "multicast", "ff02::1": "multicast",
        }.items():
            found = self.obstacle(b"HTTP/1.1 200 OK\r\n\r\nTOKEN.print", address)
            text = f"{address}, which DNS gives for wcs.example.com, is {kind}, so no directory can reach it"
            self.assertEqual(found, text)

    def test_names_the_address_and_the_answer(self):
        where = "of 203.0.113.7, which DNS gives for wcs.example.com, is no balancer of this stack: it answers a challenge with "
        for answer, text in {
            b"HTTP/1.1 200 OK\r\n\r\nTOKEN.other": "200 '",
            b"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n": "301 ''",
            b"HTTP/1.1 404 Not Found\r\n\r\n<html>\n Welcome": "404 '<html> Welcome'",
        }.items():
            self.assertIn(where + text, self.obstacle(answer))

    def test_names_what_is_no_web_server(self):
        status = [f"HTTP/1.1 {word} OK\r\n\r\n".encode() for word in ("\u00b2\u00b2\u00b2", "9" * 3000)]
        for answer in (b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1\r\n\r\n", b"\xff\xfe\r\n\r\n", *status):
            self.assertIn("does not answer: it does not speak HTTP", self.obstacle(answer))

    def test_names_a_few_of_many_wrong_addresses(self):
        self.serve(b"HTTP/1.1 404 Not Found\r\n\r\n")
        with mock.patch.object(reachable, "addresses_of", return_value=[f"203.0.113.{one}" for one in range(1, 10)]):
            found = reachable.obstacle("wcs.example.com", "print")
        self.assertRegex(found, "203.0.113.1,.*203.0.113.3,.*; 6 more addresses are wrong$")
        self.assertNotIn("203.0.113.4", found)

    def test_ends_with_an_endless_answer(self):
        self.assertIn("it answers a challenge with 200", self.obstacle(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000))

    def test_gives_up_a_server_that_is_silent(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        self.lead_to(server)
        with (
            mock.patch.object(reachable, "CHECK_SECONDS", 0.2),
            mock.patch.object(reachable, "addresses_of", return_value=["203.0.113.7"]),
        ):
            self.assertIn("does not answer: timed out", reachable.obstacle("wcs.example.com", "print"))

    def test_names_a_domain_without_an_address(self):
        for error in (socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")):
            with mock.patch("socket.getaddrinfo", side_effect=error):
                self.assertRegex(reachable.obstacle("wcs.example.com", "print"), "^wcs.example.com has no address in DNS: [Nl]")


class Thumbprint(unittest.TestCase):
    def test_is_that_of_rfc_7638(self):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ).decode()
        numbers = key.public_key().public_numbers()
        x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).decode().rstrip("=") for n in (numbers.x, numbers.y))
        text = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
        expected = base64.urlsafe_b64encode(bytes.fromhex(sha256(text.encode()))).decode().rstrip("=")
        self.assertEqual(acme_order.thumbprint(pem), expected)

    def test_of_what_is_no_key_is_an_error(self):
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        others = [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())]
        kinds = [key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain).decode() for key in others]
        for text in ("", "garbage", "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n", "\ud800", *kinds):
            with self.assertRaisesRegex(OrderError, "the account's key cannot be read.*pulumi refresh, then pulumi up"):
                acme_order.thumbprint(text)


if __name__ == "__main__":
    unittest.main()
