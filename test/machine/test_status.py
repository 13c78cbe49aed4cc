"""The status, made from what the service has seen."""

import dataclasses
import errno
import io
import json
import queue
import socket
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import filled_machines  # noqa: F401
from wcs_balancer import desired_state, hand_over, haproxy_runtime, haproxy_service, instance, server
from wcs_balancer.changes import Changes, Leaving
from wcs_balancer.disk import Disk
from wcs_balancer.desired_state import Answer
from wcs_balancer.document import Document, Entry, OtherDocument, State
from wcs_balancer.errors import AwsError, HaproxyError, SyncError
from wcs_balancer.files import replace_file, sha256
from wcs_balancer.places import EXPIRY_WARNING_DAYS
from wcs_balancer.server import Status
from wcs_balancer.service import Service as SyncService
from wcs_balancer.status import (
    Seen,
    Served,
    certificate,
    certificate_warning,
    details,
    is_applied,
)

NOW = 1_800_000_000.0
ENTRY = Entry({"balancer-1": "i-1"}, True, (), 300, 60)
DAY = 86400


def node(name, state="up", reason="", sockets=0):
    return {"server": name, "state": state, "reason": reason, "sockets": sockets, "node": name}


class Nodes(unittest.TestCase):
    def shown(self, seen, leaving={}, last_resort=()):
        return details(seen, leaving, last_resort, 600, NOW)

    def test_have_the_sockets_of_every_worker(self):
        answers = {
            1: "# pxname,svname,scur\nwcs_back,a,9\nwcs_back,b,0\n",
            2: "# pxname,svname,scur\nwcs_back,a,25\nwcs_back,gone,3\n",
        }
        sockets = haproxy_runtime.count_sockets(answers)
        self.assertEqual(sockets, {"a": 34, "b": 0, "gone": 3})
        shown = self.shown(Seen([node("a", sockets=9)], sockets, [], None), {"gone": Leaving("x", NOW - 60)})
        self.assertEqual(shown["nodes"][0]["sockets"], 34)
        self.assertEqual((shown["draining"][0]["sockets"], shown["draining"][0]["secondsLeft"]), (3, 540))

    def test_that_are_held_have_the_state_that_they_are_in(self):
        seen = Seen([node("new", "down"), node("old", "down", "WCS does not answer")], {}, [], None)
        shown = self.shown(seen, {"old": Leaving("x", None)})
        self.assertEqual([row["server"] for row in shown["nodes"]], ["new"])
        [old] = shown["draining"]
        self.assertEqual((old["held"], old["state"], old["reason"]), (True, "down", "WCS does not answer"))

    def test_that_are_the_last_resort_are_named_with_a_warning(self):
        seen = Seen([node("new", "down"), node("old")], {}, [], None)
        shown = self.shown(seen, {"old": Leaving("x", NOW - 100)}, ["old"])
        [old] = shown["draining"]
        self.assertEqual((old["lastResort"], old["state"], old["secondsLeft"]), (True, "up", 500))
        self.assertEqual(shown["warnings"], ["every wanted node is down, so removed nodes take clients again: old"])

    def test_wait_for_a_worker_that_does_not_answer_and_say_so(self):
        shown = self.shown(Seen([node("new")], {"new": 1}, [77], None), {"old": Leaving("x", NOW)})
        self.assertEqual(shown["draining"][0]["reason"], "waits for HAProxy's worker 77, which does not answer")
        self.assertIn("HAProxy's worker 77 does not answer: its sockets are not counted", shown["warnings"][0])

    def test_have_a_warning_of_addresses_that_want_too_many_connections(self):
        [warning] = self.shown(Seen([], {}, [], None, ["203.0.113.8"]))["warnings"]
        self.assertRegex(warning, r"^203\.0\.113\.8 is at maxConnectionsPerAddress: ")
        [warning] = self.shown(Seen([], {}, [], None, ["203.0.113.8", "203.0.113.9"]))["warnings"]
        self.assertRegex(warning, r"^203\.0\.113\.8 and others are at maxConnectionsPerAddress: ")

    def test_have_no_count_of_sockets_where_haproxy_says_nothing(self):
        self.assertIsNone(self.shown(Seen([], {}, [], None), {"old": Leaving("x", NOW)})["draining"][0]["sockets"])


class Certificate(unittest.TestCase):
    def warning(self, days):
        end = NOW + days * DAY + 60
        return certificate_warning(Served(end - 90 * DAY, end), NOW)

    def test_is_announced_from_21_days_on(self):
        self.assertEqual(EXPIRY_WARNING_DAYS, 21)
        self.assertIsNone(self.warning(22))
        self.assertIn("the certificate ends in 21 days, on 2027-02-05", self.warning(21))
        self.assertIn("the certificate ends within a day", self.warning(0))
        self.assertIn("the certificate has ended", self.warning(-1))
        self.assertIsNone(certificate_warning(None, NOW))

    def test_by_acme_is_announced_when_a_fifth_of_its_lifetime_is_left(self):
        def warning(days, lifetime):
            end = NOW + days * DAY
            return certificate_warning(Served(end - lifetime * DAY, end, "acme"), NOW)

        self.assertIsNone(warning(18.1, 90))
        self.assertRegex(warning(17.9, 90), "^the certificate ends in 17 days, on .*: it should have been replaced by now")
        self.assertIsNone(warning(1.3, 6))
        self.assertIn("the certificate ends in 1 days", warning(1.1, 6))
        self.assertIn("the certificate has ended", warning(-1, 90))

    def test_is_shown_with_its_end(self):
        shown = {"notAfter": "2027-01-25T08:00:00Z", "daysLeft": 10, "source": "acme"}
        self.assertEqual(certificate(Served(NOW, NOW + 10 * DAY, "acme"), NOW), shown)


class Applied(unittest.TestCase):
    def test_is_not_known_while_aws_does_not_say_what_is_wanted(self):
        self.assertIsNone(is_applied("r1", None))
        self.assertEqual([is_applied("r1", "r1"), is_applied("r1", "r2"), is_applied(None, "r1")], [True, False, False])


class Files(unittest.TestCase):
    def test_that_find_no_room_are_named_with_what_to_do_and_leave_nothing_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "haproxy.cfg"
            path.write_text("old")
            full = OSError(errno.ENOSPC, "No space left on device")
            with mock.patch("os.fsync", side_effect=full), self.assertRaises(OSError) as caught:
                replace_file(path, "new")
            self.assertEqual(
                str(caught.exception),
                f"{path} cannot be written: No space left on device; "
                "make room (df -h; journalctl --vacuum-size=100M), then it goes on automatically",
            )
            self.assertEqual([file.name for file in Path(folder).iterdir()], ["haproxy.cfg"])
            self.assertEqual(path.read_text(), "old")


class Service(unittest.TestCase):
    """The service in a folder, with a HAProxy that is asked by a function."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for place in ("hand_over.HAND_OVER", "haproxy_runtime.HAND_OVER"):
            patch = mock.patch(f"wcs_balancer.{place}", self.folder / "hand-over")
            patch.start()
            self.addCleanup(patch.stop)
        self.reports = []
        self.disk = self.new_disk()
        self.get_parameter = mock.Mock()
        self.desired_state = desired_state.DesiredState("s", "x", "y", self.disk, self.get_parameter)
        self.service = SyncService(self.disk, self.reports.append, None, {})
        self.status = Status(lambda: self.service.snapshot, self.disk.token)

    def new_disk(self):
        return Disk(self.folder / "cert.pem", self.folder, self.folder / "haproxy.cfg", self.folder / "status.pem")

    def put_status(self, pem, token):
        """Certificate and token of the status; gives the hash of the parameter's value."""
        text = json.dumps({"pem": pem, "token": token})
        self.disk.status_certificate.write_text(pem)
        self.disk.token.write_text(token)
        self.disk.status_value.write_text(text)
        return sha256(text.encode())

    def poll(self):
        self.service.look(self.desired_state.ask())

    def shown(self):
        return self.status.shown(True)

    def test_goes_on_after_any_exception(self):
        for error in (AwsError("no keys"), IndexError("list"), RecursionError(), AttributeError("x"), ValueError()):
            with self.subTest(repr(error)):
                self.get_parameter.side_effect = error
                self.poll()
                self.assertTrue(self.shown()["error"])
        with mock.patch.object(haproxy_runtime, "ask", side_effect=ZeroDivisionError("why")):
            self.service.look()
        self.assertIn("unexpected ZeroDivisionError", self.shown()["error"])

    def test_reports_an_error_once(self):
        self.get_parameter.side_effect = AwsError("no keys")
        for _ in range(3):
            self.poll()
        self.assertEqual(self.reports, ["error: no keys"])

    def test_the_status_is_a_snapshot_that_no_drain_changes(self):
        self.disk.changes = Changes(leaving={f"wcs-{n}": Leaving("x", NOW) for n in range(60)})
        self.service.snapshot = self.service.take_snapshot()
        stop = threading.Event()
        failures = []

        def read():
            while not stop.is_set():
                try:
                    self.status.shown(True)
                except RuntimeError as error:
                    failures.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        for name in list(self.disk.changes.leaving):
            self.disk.changes = self.disk.changes.without(name)
            self.service.snapshot = self.service.take_snapshot()
        stop.set()
        thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.shown()["draining"], [])

    def test_the_status_asks_no_worker_again(self):
        head = "# pxname,svname,status,weight,scur,slim,addr,agent_status,last_agt,last_chk,lastchg\n"
        asked = []

        def ask(command, path=None, seconds=None):
            asked.append(command)
            if command == "show stat":
                return head + "wcs_back,a,UP,9,1,100,x,L7OK,up,,9\n"
            if command == "show servers state":
                return "1\n# be_name srv_name srv_admin_state\nwcs_back a 8\n"
            if command == "show proc":
                return "7   worker   0\n8   worker   1\n"
            if command.startswith("show ssl cert"):
                return "notBefore: Jan 25 08:00:00 2026 GMT\nnotAfter: Jan 25 08:00:00 2027 GMT\n"
            return head + "wcs_back,a,UP,9,40,100,x,L7OK,up,,9\n" if command.startswith("@!7") else ""

        silent = mock.patch.dict(haproxy_runtime.silent_at, clear=True)
        with mock.patch.object(haproxy_runtime, "ask", ask), silent:
            self.service.look()
            self.assertIn("@!8 show stat", asked)
            asked.clear()
            shown = self.shown()
        refused = f"show map {self.folder / 'hand-over'}"
        table = "show table client_addresses data.gpc0_rate gt 0"
        self.assertEqual(set(asked), {"show stat", "show servers state", table, refused})
        self.assertIsNone(shown["error"])
        self.assertEqual((shown["nodes"][0]["sockets"], shown["nodes"][0]["takenOut"]), (40, "drain"))
        self.assertEqual(shown["certificate"]["notAfter"], "2027-01-25T08:00:00Z")
        self.assertIn("worker 8 does not answer", shown["warnings"][0])

    def test_the_status_says_when_the_service_hangs(self):
        self.service.snapshot = dataclasses.replace(self.service.snapshot, at=self.service.snapshot.at - 1000)
        self.assertIn("wcs-balancer-sync hangs", self.shown()["error"])
        self.assertEqual(self.status.shown(False), {"revision": None, "applied": None})

    def test_starts_a_haproxy_that_systemd_has_given_up(self):
        self.disk.applied = State("r1", "", "c", 600)
        with (
            mock.patch.object(haproxy_runtime, "ask", side_effect=ConnectionRefusedError()),
            mock.patch.object(haproxy_runtime, "runs", return_value=False),
            mock.patch.object(haproxy_service, "service_state", return_value="failed"),
            mock.patch.object(haproxy_service.subprocess, "run") as run,
        ):
            run.return_value.returncode = 0
            self.service.look()
        commands = [call.args[0] for call in run.call_args_list]
        self.assertEqual([list(command)[1] for command in commands], ["reset-failed", "restart"])
        self.assertIn("HAProxy does not run: it is being started", self.shown()["error"])
        self.assertEqual(self.reports[0], "starts HAProxy")

    def test_leaves_a_haproxy_alone_that_systemd_is_starting(self):
        self.disk.applied = State("r1", "", "c", 600)
        with (
            mock.patch.object(haproxy_runtime, "ask", side_effect=ConnectionRefusedError()),
            mock.patch.object(haproxy_runtime, "runs", return_value=False),
            mock.patch.object(haproxy_service, "service_state", return_value="activating"),
            mock.patch.object(haproxy_service, "run") as run,
        ):
            self.service.look()
        run.assert_not_called()

    def test_gives_up_the_files_of_a_haproxy_that_systemd_starts_in_vain(self):
        self.disk.applied = State("r1", "", "c", 600)
        refused = SyncError("haproxy failed (1): unknown keyword")
        with (
            mock.patch.object(haproxy_runtime, "ask", side_effect=ConnectionRefusedError()),
            mock.patch.object(haproxy_runtime, "runs", return_value=False) as runs,
            mock.patch.object(haproxy_service, "service_state", return_value="activating"),
            mock.patch.object(haproxy_service, "end_of_journal", return_value="cannot bind\n\n[NOTICE] bye\n"),
            mock.patch.object(haproxy_service, "run", side_effect=refused) as run,
            mock.patch.object(haproxy_service.time, "monotonic", return_value=1000.0) as now,
        ):

            def look_after(seconds):
                now.return_value += seconds
                self.service.look()
                return self.service.error

            self.assertEqual(look_after(0), "HAProxy does not run: it is being started")
            look_after(haproxy_service.AWAY_SECONDS - 1)
            self.assertFalse(self.service.haproxy_service.start_failed)
            end = "HAProxy does not run: it is being started: haproxy failed (1): unknown keyword"
            self.assertEqual(look_after(1), end)
            self.assertTrue(self.service.haproxy_service.start_failed)
            look_after(5)
            self.assertEqual(run.call_count, 1)
            runs.return_value = True
            look_after(1)
            self.assertFalse(self.service.haproxy_service.start_failed)
            runs.return_value, run.side_effect = False, None
            look_after(1)
            end = "HAProxy does not run: it is being started: cannot bind"
            self.assertEqual(look_after(haproxy_service.AWAY_SECONDS), end)

    def test_gives_up_files_that_somebody_has_changed_for_the_status_alone_only_when_haproxy_fails_with_them(self):
        bootstrap = self.folder / "bootstrap.cfg"
        bootstrap.write_text("status alone")
        self.disk.haproxy_config.write_text("changed")
        self.disk.record.write_text("{}")
        self.put_status("pem", "token")
        with (
            mock.patch.object(haproxy_runtime, "ask", side_effect=ConnectionRefusedError()),
            mock.patch.object(haproxy_runtime, "runs", return_value=False),
            mock.patch.object(haproxy_service, "BOOTSTRAP", bootstrap),
            mock.patch.object(haproxy_service, "service_state", return_value="activating"),
            mock.patch.object(haproxy_service, "judge"),
            mock.patch.object(haproxy_service, "end_of_journal", return_value=""),
            mock.patch.object(haproxy_service.HaproxyService, "start") as start,
            mock.patch.object(haproxy_service.time, "monotonic", return_value=1000.0) as now,
        ):
            self.service.look()
            now.return_value += haproxy_service.AWAY_SECONDS - 1
            self.service.look()
            self.assertEqual((self.disk.haproxy_config.read_text(), start.call_count), ("changed", 0))
            now.return_value += 1
            for _ in range(2):
                self.service.look()
            self.assertEqual((self.disk.haproxy_config.read_text(), start.call_count), ("status alone", 1))

    def test_calls_up_nobody_whom_it_cannot_note(self):
        self.disk.applied = State("r1", "", "c", 600)
        self.disk.changes = Changes(leaving={"old": Leaving("10.0.0.1:8080", time.time())})
        state = "1\n# be_name srv_name srv_admin_state\nwcs_back new 0\nwcs_back old 1\nwcs_back drained 8\n"
        statuses = {"new": "DOWN", "drained": "DRAIN", "old": "MAINT"}
        rows = [{"svname": name, "status": status} for name, status in statuses.items()]
        told = []
        with (
            mock.patch.object(haproxy_runtime, "ask", return_value=state),
            mock.patch.object(haproxy_runtime, "tell", told.append),
        ):
            full = OSError(errno.ENOSPC, "No space left on device")
            with mock.patch("wcs_balancer.files.replace_file", side_effect=full):
                for _ in range(2):
                    with self.assertRaises(OSError):
                        self.service.removed_servers.call_up_last_resort(rows)
            self.assertEqual((self.disk.changes.last_resort, told), ((), []))
            self.service.removed_servers.call_up_last_resort(rows)
        self.assertEqual(self.new_disk().changes.last_resort, ("old",))
        self.assertEqual(told[-1], "set server wcs_back/old state ready")

    def told(self, changed, wanted, *running):
        """The commands of a change to the wanted servers, while those of `running` with a 1 are in maintenance."""
        head = 'backend wcs_back\n    default-server agent-check agent-send "cpu 90;"\n'
        config = head + "".join(f"    server {name} 10.0.0.1:8080\n" for name in wanted)
        applied = head + "".join(f"    server {row.split()[0]} 10.0.0.1:8080\n" for row in running)
        self.disk.haproxy_config.write_text(applied)
        self.disk.changes = changed
        state = "1\n# be_name srv_name srv_admin_state\n" + "".join(f"wcs_back {row}\n" for row in running)
        answers = {"show servers state": state, "show stat": "# pxname,svname\nwcs_back,BACKEND\n"}
        told = []
        with (
            mock.patch.object(haproxy_runtime, "ask", answers.get),
            mock.patch.object(haproxy_runtime, "tell", told.append),
        ):
            states = [State("r", text, "c", 600) for text in (config, applied)]
            self.service.applier.change_haproxy(*states, None)
        return [line.replace("wcs_back/", "") for line in told]

    def test_leaves_an_operators_maintenance_alone_when_a_node_goes_and_comes_back(self):
        told = self.told(Changes(), ["a"], "a 0", "b 1", "c 0")
        self.assertEqual(told, ["set server c state maint", "disable agent c", "disable health c"])
        leaving = self.disk.changes.leaving
        self.assertEqual((leaving["b"].barred, leaving["c"].barred), (True, False))
        told = self.told(Changes(leaving=leaving), ["a", "b", "c"], "a 0", "b 1", "c 1")
        self.assertEqual([line for line in told if " b " in line], [r"set server b agent-send cpu\ 90\;"])
        self.assertEqual(told[-1], "set server c state ready")
        self.assertEqual((self.disk.changes.joining, self.disk.changes.unproven), ((), ("c",)))

    def test_completes_a_change_that_was_broken_off_and_then_taken_back(self):
        self.look_at(["a", "b"], "a 0", "b 0")
        with mock.patch.object(Disk, "write_files", side_effect=OSError("no room")):
            told = self.look_at(["a"], "a 0", "b 0", revision="r2")
        self.assertEqual((told[-1], self.service.error), ("disable health b", "no room"))
        told = self.look_at(["a", "b"], "a 0", "b 1")
        self.assertEqual(told[-1], "set server b state ready")
        self.assertEqual((self.disk.changes.leaving, self.disk.changes.begun), ({}, False))
        self.assertEqual(self.look_at(["a", "b"], "a 0", "b 0"), [])

    def look_at(self, wanted, *running, revision="r1", newer=0):
        """One round with an answer of AWS; gives the commands."""
        head = 'backend wcs_back\n    default-server agent-check agent-send "cpu 90;"\n'
        servers = {name: "10.0.0.1:8080" for name in wanted}
        status_hash = self.put_status("pem", "token")
        pem, lines = "pem", "".join(f"    server {name} {options}\n" for name, options in servers.items())
        self.disk.certificate.write_text(pem)
        if not self.disk.haproxy_config.exists():
            self.disk.haproxy_config.write_text(head + lines)
            self.disk.write_record(State(revision, head + lines, sha256(pem.encode()), 600))
        rows = "".join(f"wcs_back {row}\n" for row in running)
        answers = {
            "show servers state": f"1\n# be_name srv_name srv_admin_state\n{rows}",
            "show stat": "# pxname,svname,status,lastchg,weight,scur,slim\nwcs_back,BACKEND,UP,9,0,0,0\n",
            "show proc": "1   worker   0\n",
        }
        told = []
        with (
            mock.patch.object(haproxy_runtime, "ask", lambda command, *_: answers.get(command, "# pxname\n")),
            mock.patch.object(haproxy_runtime, "tell", told.append),
            mock.patch.object(haproxy_runtime, "runs", return_value=True),
            mock.patch.object(haproxy_service, "run"),
            mock.patch.object(haproxy_service, "open_files_limit", return_value=None),
        ):
            document = Document(State(revision, head + lines, sha256(pem.encode()), 600), status_hash, ENTRY)
            self.service.look(Answer(OtherDocument(newer, revision, servers or None) if newer else document))
        return [line.replace("wcs_back/", "") for line in told]

    def test_obeys_a_document_of_a_newer_contract_in_its_servers_alone(self):
        self.look_at(["a", "b"], "a 0", "b 0")
        told = self.look_at(["a"], "a 0", "b 0", revision="r2", newer=5)
        self.assertEqual(told, ["set server b state maint", "disable agent b", "disable health b"])
        shown = self.shown()
        self.assertEqual((shown["revision"], shown["applied"]), ("r1 with the servers of r2", False))
        self.assertIn("the desired state r2 has contract 5, and this balancer understands 4", shown["error"])
        self.assertIsNone(shown["refused"])
        # A restart comes back the same, and has nothing to do.
        self.disk = self.new_disk()
        self.assertEqual(self.disk.applied.revision, "r1 with the servers of r2")
        self.service = SyncService(self.disk, self.reports.append, None, {})
        self.assertEqual(self.look_at(["a"], "a 0", revision="r2", newer=5), [])
        # Back to the old document.
        told = self.look_at(["a", "b"], "a 0")
        self.assertEqual(told[-1], "set server b state ready")
        self.assertEqual((self.shown()["revision"], self.shown()["applied"], self.service.error), ("r1", True, None))

    def test_completes_a_change_of_a_newer_contract_that_was_broken_off(self):
        self.look_at(["a", "b"], "a 0", "b 0")
        with mock.patch.object(Disk, "write_record", side_effect=OSError("no room")):
            self.look_at(["a"], "a 0", "b 0", revision="r2", newer=5)
        self.assertEqual(self.service.error, "no room")
        self.disk = self.new_disk()
        self.service = SyncService(self.disk, self.reports.append, None, {})
        with mock.patch.object(haproxy_runtime, "reload"):
            self.look_at(["a"], "a 0", "b 1", revision="r2", newer=5)
        self.assertEqual(self.shown()["revision"], "r1 with the servers of r2")
        self.assertIn("has contract 5", self.service.error)

    def test_asks_anew_what_is_wrong_when_new_files_do_not_start_either(self):
        self.service.haproxy_service.start_failed, self.service.haproxy_service.away_reason = True, "of the old files"
        states = [State("r", "backend wcs_back\n", "c", 600)] * 2
        with (
            mock.patch.object(haproxy_runtime, "ask", side_effect=ConnectionRefusedError()),
            mock.patch.object(self.service.haproxy_service, "start", side_effect=SyncError("systemctl failed")),
            self.assertRaises(SyncError),
        ):
            self.service.applier.change_haproxy(*states, None)
        self.assertEqual(self.service.haproxy_service.away_reason, "")

    def test_after_a_change_that_was_broken_off_a_drain_has_the_time_out_that_it_had(self):
        self.look_at(["a"], "a 0")
        with self.disk.haproxy_config.open("a") as file:
            file.write("# half a change\n")
        self.service = SyncService(self.new_disk(), self.reports.append, None, {})
        self.assertIsNone(self.service.disk.applied)
        with mock.patch.object(self.service.paths, "tend") as tend:
            self.service.tend_paths(None)
        tend.assert_called_once_with(mock.ANY, 600)
        self.disk.record.unlink()
        self.assertIsNone(self.new_disk().drain_timeout_seconds())

    def test_takes_no_unfinished_change_for_an_operators_maintenance(self):
        self.told(Changes(joining=("b",)), ["a"], "a 0", "b 1")
        self.assertFalse(self.disk.changes.leaving["b"].barred)


class Workers(unittest.TestCase):
    stat = "# pxname,svname,scur\nwcs_back,a,3\n"

    def setUp(self):
        patch = mock.patch.dict(haproxy_runtime.silent_at, clear=True)
        patch.start()
        self.addCleanup(patch.stop)

    def ask(self, alive, answers):
        """Asks workers of which some do not answer, while `show proc` names those in `alive`, call by call."""
        lists = iter(alive)
        self.asked = []

        def ask(command, path=None, seconds=None):
            if command == "show proc":
                return "1   master   0\n" + "".join(f"{pid}   worker   0\n" for pid in next(lists))
            pid = int(command[2:].split()[0])
            self.asked.append(pid)
            if answers[pid] is None:
                raise TimeoutError("timed out")
            return answers[pid]

        with mock.patch.object(haproxy_runtime, "ask", ask):
            return haproxy_runtime.sockets()

    def test_that_live_and_do_not_answer_are_named(self):
        sockets = self.ask([[1, 2], [1, 2]], {1: self.stat, 2: None})
        self.assertEqual((sockets.by_server, sockets.silent), ({"a": 3}, [2]))

    def test_that_have_ended_meanwhile_have_no_sockets(self):
        for gone in (None, "Can't find the target PID matching the prefix '@!2'.\n"):
            with self.subTest(gone):
                sockets = self.ask([[1, 2], [1], [1]], {1: self.stat, 2: gone})
                self.assertEqual((sockets.by_server, sockets.silent), ({"a": 3}, []))

    def test_that_are_ending_are_asked_again_until_they_are_gone(self):
        sockets = self.ask([[1, 2]] * 3 + [[1]] * 2, {1: self.stat, 2: "Can't connect to the target CLI!\n"})
        self.assertEqual((sockets.by_server, sockets.silent), ({"a": 3}, []))
        self.assertEqual(haproxy_runtime.silent_at, {})

    def test_that_say_something_else_for_too_long_are_silent(self):
        for answer in ("", "\n", "Can't connect to the target CLI!\n", "Unknown command"):
            with self.subTest(answer), mock.patch.object(haproxy_runtime, "WORKER_SECONDS", 0.1):
                haproxy_runtime.silent_at.clear()
                self.assertEqual(self.ask([[1, 2]] * 20, {1: self.stat, 2: answer}).silent, [2])

    def test_that_nobody_names_are_not_none(self):
        for last in ([[]], [[1], []]):
            with self.subTest(last), self.assertRaisesRegex(HaproxyError, "names no worker: 1 master"):
                haproxy_runtime.silent_at.clear()
                self.ask(last, {1: None})

    def test_that_are_silent_are_left_alone_for_a_while(self):
        with mock.patch.object(haproxy_runtime.time, "monotonic", return_value=100.0) as now:
            self.ask([[1, 2]] * 2, {1: self.stat, 2: None})
            now.return_value += haproxy_runtime.SILENT_SECONDS - 1
            self.assertEqual(self.ask([[1, 2]] * 2, {1: self.stat, 2: self.stat}).silent, [2])
            self.assertEqual(self.asked, [1])
            now.return_value += 1
            sockets = self.ask([[1, 2]] * 2, {1: self.stat, 2: self.stat})
            self.assertEqual((sockets.by_server, sockets.silent), ({"a": 6}, []))


class HandOver(unittest.TestCase):
    """What is decided of a hand-over; what HAProxy does of it is tried in sync_hand_over.py."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "hand-over"
        self.reports, self.sessions = [], [haproxy_runtime.Clients({}, [])]
        patches = {
            "serves_nodes": lambda: True,
            "refuse_clients_until": mock.Mock(),
            "close_sessions": mock.Mock(),
            "clients": lambda frontend, again=False: self.sessions.pop(0) if len(self.sessions) > 1 else self.sessions[0],
        }
        for name, function in patches.items():
            patch = mock.patch.object(haproxy_runtime, name, function)
            patch.start()
            self.addCleanup(patch.stop)

    def hand_over(self):
        return hand_over.HandOver(self.reports.append, self.path)

    def request(self, seconds=60):
        request = hand_over.HandOverRequest(seconds)
        request.fulfil(self.hand_over())
        return request

    def test_lasts_five_minutes_at_most_whatever_the_clock_does(self):
        left = [hand_over.seconds_left(NOW + seconds, NOW) for seconds in (-1, 0, 0.5, 60, 300, 301, 86400)]
        self.assertEqual(left, [None, None, 1, 60, 300, None, None])

    def test_is_known_to_the_next_service(self):
        self.request()
        self.assertTrue(self.hand_over().active)
        for content in ("", "until", "until soon", "\0"):
            self.path.write_text(content)
            self.assertFalse(self.hand_over().active)

    def test_goes_on_without_a_disk(self):
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch("wcs_balancer.files.os.fsync", side_effect=full):
            self.assertIsNone(self.request().error)
        haproxy_runtime.refuse_clients_until.assert_called_once()
        self.assertIn("No space left on device", self.reports[1])

    def test_notes_and_refuses_before_it_closes(self):
        self.sessions.insert(0, haproxy_runtime.Clients({7: ["0x1", "0x2"]}, []))
        haproxy_runtime.refuse_clients_until.side_effect = lambda _: self.assertTrue(self.path.exists())
        haproxy_runtime.close_sessions.side_effect = lambda *_: haproxy_runtime.refuse_clients_until.assert_called_once()
        self.assertEqual(self.request().closed, 2)

    def test_claims_no_success_while_a_session_or_a_silent_worker_is_left(self):
        for left, words in (({7: ["0x1"]}, []), "1 sessions of HAProxy's worker 7 are left"), (
            ({}, [8]),
            "HAProxy's worker 8 does not answer",
        ):
            self.sessions = [haproxy_runtime.Clients(*left)]
            with mock.patch.object(hand_over, "CLOSE_SECONDS", 0.1):
                self.assertIn(words, self.request().error)

    def test_of_which_nobody_waits_for_the_outcome_any_more_does_not_begin(self):
        with mock.patch.object(hand_over, "CLOSE_SECONDS", -1):
            self.assertIn("busy", self.request().error)
        haproxy_runtime.refuse_clients_until.assert_not_called()
        self.assertFalse(self.path.exists())

    def test_that_the_loop_does_not_take_over_ends_with_an_error(self):
        with mock.patch.object(hand_over, "CLOSE_SECONDS", 0.05), mock.patch.object(hand_over, "ANSWER_SECONDS", 0.05):
            for size in (0, 1):
                inbox = queue.Queue(maxsize=1)
                for _ in range(size):
                    inbox.put(None)
                self.assertIn("busy", hand_over.ask_loop(inbox, 60).error)

    def test_closes_each_round_what_has_slipped_through_and_nothing_without_one(self):
        over = self.hand_over()
        self.sessions = [haproxy_runtime.Clients({7: ["0x1"]}, [])]
        over.tend()
        haproxy_runtime.close_sessions.assert_not_called()
        over.until = int(time.time()) + 60
        over.tend()
        haproxy_runtime.close_sessions.assert_called_once_with(7, ["0x1"])
        haproxy_runtime.refuse_clients_until.assert_called_once_with(over.until)

    def test_lasts_as_long_as_the_longest_request_says_and_answers_that(self):
        with mock.patch.object(hand_over.time, "time", return_value=NOW):
            self.assertEqual([self.request(seconds).seconds for seconds in (60, 5, 90)], [60, 60, 90])

    def test_is_taken_back_by_a_request_for_no_seconds(self):
        self.request()
        haproxy_runtime.close_sessions.reset_mock()
        self.sessions = [haproxy_runtime.Clients({7: ["0x1"]}, [])]
        over = self.hand_over()
        request = hand_over.HandOverRequest(0)
        request.fulfil(over)
        self.assertEqual((request.error, request.seconds, over.active, self.hand_over().active), (None, 0, False, False))
        haproxy_runtime.refuse_clients_until.assert_called_with(0)
        haproxy_runtime.close_sessions.assert_not_called()

    def test_takes_a_whole_number_of_seconds(self):
        seconds = {"seconds=0": 0, "seconds=1": 1, "seconds=300": 300, "a=b&seconds=60": 60}
        wrong = ["", "seconds", "seconds=", "seconds=301", "seconds=1e2", "seconds=-5", "seconds=60&seconds=60"]
        wrong += ["seconds=%d9%a3", "Seconds=60", "seconds=60.0", "seconds=+60", "seconds= 60"]
        self.assertEqual({query: server.hand_over_seconds(query) for query in seconds}, seconds)
        self.assertEqual([query for query in wrong if server.hand_over_seconds(query) is not None], [])


class OverHttp(unittest.TestCase):
    def test_a_client_that_goes_away_leaves_nothing_in_the_journal(self):
        status = mock.Mock()
        ended = threading.Event()
        served = server.serve(status, mock.Mock(), mock.Mock(), port=0)
        self.addCleanup(served.server_close)
        self.addCleanup(served.shutdown)
        shut_down = served.shutdown_request
        served.shutdown_request = lambda request: (shut_down(request), ended.set())
        for error, written in [(ConnectionResetError(errno.ECONNRESET, "reset"), False), (KeyError("a bug"), True)]:
            status.healthy.side_effect = error
            ended.clear()
            with mock.patch("sys.stderr", new=io.StringIO()) as journal:
                with socket.create_connection(served.server_address, timeout=10) as client:
                    client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                    self.assertEqual(client.recv(100), b"")
                self.assertTrue(ended.wait(10))
            self.assertEqual(type(error).__name__ in journal.getvalue(), written)


class KnownInstance(unittest.TestCase):
    def test_is_asked_for_until_it_is_known(self):
        answers = [AwsError("away"), "token", AwsError("away"), "token", "", ValueError("odd"), "token", "i-0a1b2c3d\n"]
        with mock.patch.object(instance, "metadata", side_effect=answers), mock.patch.object(instance, "AGAIN_SECONDS", 0):
            known = instance.Instance()
            self.assertIsNone(known.known)
            known.keep_asking()
        self.assertEqual(known.known, "i-0a1b2c3d")


if __name__ == "__main__":
    unittest.main()
