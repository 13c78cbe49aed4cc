"""When a balancer gives up a way of clients, and in which phases, without a machine."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import filled_machines  # noqa: F401
from wcs_balancer import client_paths, haproxy_runtime
from wcs_balancer.client_paths import ClientPaths, Record, read_record, write_record
from wcs_balancer.disk import Disk
from wcs_balancer.document import Entry, TargetGroup
from wcs_balancer.errors import HaproxyError
from wcs_balancer.leaving import Facts, closes_sockets, has_new_client, is_wanted, next_phase, shown
from wcs_balancer.service import may_have_clients
from wcs_balancer.targets import Health, Seen, Targets, Task

GROUPS = (TargetGroup("arn:https", 10443), TargetGroup("arn:http", 10080))
ENTRY = Entry({"balancer-1": "i-1", "balancer-2": "i-2"}, True, GROUPS, 300, 60)
NOBODY = Facts(
    named=False,
    used=True,
    has_groups=True,
    obstacle="",
    age=0,
    quiet=0,
    sockets=0,
    tail_seconds=300,
    quiet_seconds=60,
    drain_timeout_seconds=600,
)


def after(phase, **facts):
    return next_phase(phase, NOBODY._replace(**facts))


class Wanted(unittest.TestCase):
    def test_through_the_load_balancer_come_clients_to_the_named_ones(self):
        self.assertTrue(is_wanted("loadBalancer", ENTRY, "i-1"))
        self.assertFalse(is_wanted("loadBalancer", ENTRY, "i-old"))
        alone = Entry(ENTRY.balancers, True, (), 300, 60)
        self.assertFalse(is_wanted("loadBalancer", alone, "i-1"))

    def test_the_address_is_kept_also_by_one_that_is_not_named(self):
        self.assertTrue(is_wanted("address", ENTRY, "i-old"))
        self.assertFalse(is_wanted("address", Entry(ENTRY.balancers, False, GROUPS, 300, 60), "i-1"))


class NextPhase(unittest.TestCase):
    def test_begins_with_waiting_for_the_others_where_there_are_some(self):
        self.assertEqual(after(None), "waiting")
        self.assertEqual(after(None, named=True), "tail")
        self.assertEqual(after(None, has_groups=False), "tail")

    def test_a_way_that_was_never_used_is_nothing_to_leave(self):
        for phase in (None, "left"):
            self.assertIsNone(after(phase, used=False, named=True))
            self.assertIsNone(after(phase, used=False))

    def test_waits_until_others_serve_or_there_are_none_to_wait_for(self):
        self.assertEqual(after("waiting", obstacle="balancer-2 is initial", age=1e9), "waiting")
        self.assertEqual(after("waiting"), "tail")
        self.assertEqual(after("waiting", obstacle="x", named=True), "tail")
        self.assertEqual(after("waiting", obstacle="x", has_groups=False), "tail")

    def test_the_tail_ends_when_its_time_is_over_and_nobody_new_comes(self):
        self.assertEqual(after("tail", age=299, quiet=299), "tail")
        self.assertEqual(after("tail", age=899, quiet=59), "tail")
        self.assertEqual(after("tail", age=900, quiet=1), "draining")
        self.assertEqual(after("tail", age=300, quiet=60, obstacle="x"), "draining")

    def test_the_drain_ends_with_the_last_socket_or_after_its_time_out(self):
        self.assertEqual(after("draining", sockets=1, age=609), "draining")
        self.assertEqual(after("draining", sockets=None, age=609), "draining")
        self.assertEqual(after("draining", sockets=0), "left")
        # Sockets were closed from the time-out on. Who has come back since then does not count.
        self.assertEqual(after("draining", sockets=1, age=610), "left")
        self.assertEqual(after("draining", sockets=None, age=610), "left")

    def test_sockets_are_closed_at_the_time_out_of_the_drain_alone(self):
        for phase, age, closes in (("draining", 599, False), ("draining", 600, True), ("tail", 9999, False)):
            self.assertEqual(closes_sockets(phase, NOBODY._replace(age=age)), closes)

    def test_a_time_out_that_is_not_known_closes_nothing(self):
        unknown = NOBODY._replace(age=1e9, sockets=1, drain_timeout_seconds=None)
        self.assertEqual(next_phase("draining", unknown), "draining")
        self.assertFalse(closes_sockets("draining", unknown))
        self.assertIsNone(shown("loadBalancer", "draining", unknown)["secondsLeft"])
        self.assertEqual(next_phase("draining", unknown._replace(sockets=0)), "left")

    def test_one_that_is_not_named_has_left_for_good_and_a_named_one_forgets(self):
        self.assertEqual(after("left"), "left")
        self.assertIsNone(after("left", named=True))


class NewClients(unittest.TestCase):
    def test_are_noticed_in_any_worker(self):
        self.assertFalse(has_new_client({7: "100"}, {7: "100"}))
        self.assertTrue(has_new_client({7: "100"}, {7: "101"}))
        self.assertTrue(has_new_client({7: "100"}, {7: "100", 8: "90"}))

    def test_are_noticed_also_when_the_clock_was_set_back(self):
        self.assertTrue(has_new_client({7: "5000"}, {7: "100"}))

    def test_are_no_reload_and_no_worker_that_ends_or_is_silent(self):
        self.assertFalse(has_new_client({7: "100"}, {7: "100", 8: ""}))
        self.assertFalse(has_new_client({7: "100", 8: "90"}, {8: "90"}))
        self.assertFalse(has_new_client({7: "100"}, {}))


class Shown(unittest.TestCase):
    def row(self, phase, **facts):
        row = shown("loadBalancer", phase, NOBODY._replace(**facts))
        return row["reason"], row["sockets"], row["secondsLeft"]

    def test_has_the_time_that_is_left_and_why(self):
        self.assertEqual(self.row("waiting", obstacle="why", sockets=3), ("why", 3, None))
        self.assertEqual(self.row("tail", age=100, quiet=100, sockets=3), ("", 3, 200))
        self.assertEqual(self.row("tail", age=290, quiet=5, sockets=3), ("", 3, 55))
        self.assertEqual(self.row("tail", age=400, quiet=5, sockets=3), ("new clients still come", 3, 55))
        self.assertEqual(self.row("draining", age=100, sockets=3), ("", 3, 500))
        reason = "a worker of HAProxy does not answer"
        self.assertEqual(self.row("draining", age=700, sockets=None), (reason, None, 0))
        self.assertEqual(self.row("left", age=700, sockets=0), ("", None, None))


class Notes(unittest.TestCase):
    record = Record(ENTRY, ("address",), {"loadBalancer": ("tail", 5.5)}, {"i-2": "10.0.0.2"})

    def test_come_back_the_same(self):
        self.assertEqual(read_record(write_record(self.record)), self.record)
        self.assertEqual(read_record(write_record(Record())), Record())

    def test_that_are_garbage_are_none(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "paths.json"
            text = write_record(self.record)
            for wrong in (
                "",
                "{}",
                "[]",
                "7",
                text[:-9],
                text.replace("tail", "no phase"),
                text.replace('"address"', '"elsewhere"', 1),
                text.replace("5.5", '"soon"'),
                text.replace("300", "null"),
            ):
                file.write_text(wrong)
                record = ClientPaths(file, Targets(None), print, has_served=False).record
                self.assertIn(record, (Record(), self.record), wrong)
                self.assertNotEqual(text, wrong)


class AMachineWithoutNotes(unittest.TestCase):
    def test_may_have_clients_if_its_haproxy_serves_nodes_or_does_not_say(self):
        with tempfile.TemporaryDirectory() as folder:
            disk = Disk(Path(folder) / "cert.pem", Path(folder))
            for answer, expected in (
                (["# pxname,svname\nwcs_back,BACKEND\n"], True),
                (["# pxname,svname\nstatus,BACKEND\n"], False),
                (TimeoutError(), True),
                (FileNotFoundError(), False),
                (ConnectionRefusedError(), False),
            ):
                with mock.patch.object(haproxy_runtime, "ask", side_effect=answer):
                    self.assertEqual(may_have_clients(disk), expected, answer)
            disk.record.touch()
            self.assertTrue(may_have_clients(disk))


class OnAMachine(unittest.TestCase):
    """The acting part, with a clock, a HAProxy and target groups of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "paths.json"
        self.monotonic, self.clock = 1000.0, 1_800_000_000.0
        self.sockets, self.moments, self.closed = {7: ["0x1"]}, {7: ""}, []
        self.silent = []
        self.health = {}
        patches = [
            mock.patch.object(client_paths.time, "monotonic", lambda: self.monotonic),
            mock.patch.object(client_paths.time, "time", lambda: self.clock),
            mock.patch.object(haproxy_runtime, "clients", self.clients),
            mock.patch.object(haproxy_runtime, "last_clients", lambda _: dict(self.moments)),
            mock.patch.object(haproxy_runtime, "close_sessions", lambda pid, found: self.closed.extend(found)),
        ]
        for patch in patches:
            patch.start()
            self.addCleanup(patch.stop)
        self.start(has_served=False)

    def clients(self, frontend):
        self.counts += 1
        return haproxy_runtime.Clients(self.sockets, self.silent)

    def start(self, has_served=True):
        """A start of the service."""
        self.counts = 0
        self.targets = Targets(None)
        self.reports = []
        self.paths = ClientPaths(self.file, self.targets, self.reports.append, has_served)

    def reboot(self):
        self.monotonic = 5.0
        self.start()

    def round(self, seconds=1.0, aws=True, instance="i-1"):
        self.monotonic += seconds
        self.clock += seconds
        self.paths.tend(instance, 600)
        task = self.targets.task
        if task and aws:
            if task.action == "register":
                self.health[task.instance] = "healthy"
            elif task.action == "deregister":
                self.health.pop(task.instance, None)
            seen = {group: {one: Health(state, "") for one, state in self.health.items()} for group in task.groups}
            self.targets.seen = Seen(task, seen)
            self.paths.tend(instance, 600)
        return [row["phase"] for row in self.paths.leaving]

    def serve_then_leave(self):
        self.paths.obey(ENTRY)
        self.assertEqual(self.round(), [])
        self.assertEqual(self.targets.task, Task("i-1", GROUPS, "register"))
        self.paths.obey(Entry({"balancer-2": "i-2"}, True, GROUPS, 300, 60))

    def to(self, phase):
        self.serve_then_leave()
        self.assertEqual(self.round(), ["waiting"])
        if phase == "waiting":
            return
        self.health["i-2"] = "healthy"
        for _ in range(3):
            self.round(0)
        self.assertEqual(self.round(), ["tail"])
        if phase == "tail":
            return
        self.round(1)
        self.assertEqual(self.round(300), ["draining"])
        if phase == "draining":
            return
        self.sockets = {}
        self.assertEqual(self.round(), ["left"])

    def test_does_nothing_before_it_knows_its_instance_or_a_document(self):
        self.round(instance="i-1")
        self.paths.obey(ENTRY)
        self.round(instance=None)
        self.assertIsNone(self.targets.task)
        self.assertIsNone(self.paths.target)
        self.assertIsNone(self.paths.named)
        self.round()
        self.assertIs(self.paths.named, True)

    def test_named_again_it_registers_again_in_every_phase(self):
        for phase in ("waiting", "tail", "draining", "left"):
            with self.subTest(phase):
                self.setUp()
                self.to(phase)
                self.paths.obey(ENTRY)
                self.assertEqual(self.round(), [])
                self.assertEqual(self.targets.task.action, "register")
                self.assertEqual((self.paths.record.phases, self.closed), ({}, []))

    def test_a_restart_goes_on_in_every_phase(self):
        for phase in ("waiting", "tail", "draining", "left"):
            with self.subTest(phase):
                self.setUp()
                self.to(phase)
                self.start()
                # Without AWS there is no document either.
                self.assertEqual(self.round(aws=False), [phase])

    def test_a_reboot_does_not_begin_a_phase_anew(self):
        self.to("draining")
        self.round(400)
        self.reboot()
        self.round(0)
        self.assertEqual(self.paths.leaving[0]["secondsLeft"], 200)

    def test_a_clock_that_is_set_while_it_runs_changes_nothing(self):
        for jump in (-1e6, 1e6):
            with self.subTest(jump):
                self.setUp()
                self.to("draining")
                self.clock += jump
                self.assertEqual(self.round(100), ["draining"])
                self.assertAlmostEqual(self.paths.leaving[0]["secondsLeft"], 500, delta=2)

    def test_a_clock_that_was_set_back_over_a_restart_begins_the_phase_anew_at_most(self):
        self.to("draining")
        self.round(400)
        self.clock -= 1e6
        self.start()
        self.round(0)
        self.assertEqual(self.paths.leaving[0]["secondsLeft"], 600)

    def test_waits_while_aws_is_away_and_never_takes_old_news_for_new(self):
        self.serve_then_leave()
        for _ in range(5):
            self.assertEqual(self.round(1000, aws=False), ["waiting"])
        self.targets.seen = Seen(self.targets.task, {}, ("EC2 is away",))
        self.round(aws=False)
        self.assertEqual(self.paths.leaving[0]["reason"], "EC2 is away")
        self.assertEqual(self.paths.target, {"state": "unknown", "reason": "EC2 is away"})

    def test_the_tail_lasts_as_long_as_new_clients_come(self):
        self.to("tail")
        for second in range(40):
            self.moments = {7: str(second)}
            self.assertEqual(self.round(10), ["tail"])
        self.assertEqual(self.round(59), ["tail"])
        self.assertEqual(self.round(1), ["draining"])

    def test_a_haproxy_that_is_away_ends_no_phase_before_its_time(self):
        self.to("draining")
        for error in (FileNotFoundError(), HaproxyError("no worker")):
            with mock.patch.object(haproxy_runtime, "clients", side_effect=error):
                self.assertEqual(self.round(), ["draining"])
                self.assertIsNone(self.paths.leaving[0]["sockets"])

    def test_a_silent_worker_holds_the_drain_up_to_its_time_out(self):
        self.to("draining")
        self.sockets, self.silent = {}, [8]
        self.assertEqual(self.round(500), ["draining"])
        self.assertEqual(self.round(120), ["left"])

    def test_shows_the_sockets_from_its_first_moment_on(self):
        self.serve_then_leave()
        self.round(aws=False)
        self.assertEqual((self.paths.leaving[0]["phase"], self.paths.leaving[0]["sockets"]), ("waiting", 1))

    def test_counts_many_sockets_every_five_seconds_and_few_ones_each_second_while_they_drain(self):
        """HAProxy lists every session for it."""
        self.to("waiting")
        for phase in ("waiting", "tail"):
            self.assertEqual(self.round(), [phase])
            self.counts = 0
            for _ in range(20):
                self.assertEqual(self.round(), [phase])
            self.assertIn(self.counts, (4, 5), phase)
            self.health["i-2"] = "healthy"
            for _ in range(3):
                self.round(0)
        self.sockets = {7: [f"0x{number}" for number in range(5000)]}
        self.round(300)
        self.assertEqual(self.round(), ["draining"])
        self.counts = 0
        for _ in range(20):
            self.round()
        self.assertIn(self.counts, (4, 5))
        self.sockets = {7: ["0x1"]}
        self.round(5)
        self.counts = 0
        self.assertEqual((self.round(), self.counts), (["draining"], 2))
        self.sockets = {}
        self.assertEqual(self.round(), ["left"])
        self.counts = 0
        self.round()
        self.assertEqual(self.counts, 0)

    def test_never_takes_an_old_count_for_the_end_of_the_drain(self):
        self.to("tail")
        self.sockets = {}
        self.round(6)
        self.sockets = {7: ["0x1"]}
        self.round(300)
        self.assertEqual(self.round(), ["draining"])

    def test_closes_sockets_at_the_time_out(self):
        self.to("draining")
        self.round(598)
        self.assertEqual(self.closed, [])
        self.round(3)
        self.assertEqual(self.closed[0], "0x1")

    def test_on_a_full_disk_it_still_registers_and_leaves_nothing(self):
        self.paths.obey(ENTRY)
        with mock.patch.object(client_paths.files, "replace_file", side_effect=OSError("no room")):
            with self.assertRaises(OSError):
                self.round()
        self.assertEqual(self.targets.task.action, "register")

    def test_on_a_full_disk_it_stays_in_its_phase_and_goes_on_when_there_is_room(self):
        self.to("tail")
        self.reports.clear()
        with mock.patch.object(client_paths.files, "replace_file", side_effect=OSError("no room")):
            for _ in range(5):
                with self.assertRaises(OSError):
                    self.round(400)
        self.assertEqual((self.reports, self.closed), ([], []))
        self.assertEqual(self.round(), ["draining"])
        self.assertEqual(self.paths.leaving[0]["secondsLeft"], 600)
        self.assertEqual(self.reports, ["leaves the path loadBalancer: draining"])
        self.paths.obey(ENTRY)
        self.round()
        self.assertEqual(self.reports[1:], ["the path loadBalancer is wanted again"])

    def test_without_a_load_balancer_a_named_one_leaves_it_and_forgets(self):
        self.paths.obey(ENTRY)
        self.round()
        self.paths.obey(Entry(ENTRY.balancers, True, (), 300, 60))
        self.assertEqual(self.round(), ["tail"])
        self.assertIsNone(self.paths.target)
        self.round()
        self.assertEqual(self.round(300), ["draining"])
        self.sockets = {}
        self.assertEqual((self.round(), self.round()), (["left"], []))
        self.assertEqual(self.paths.record.used, ("address",))

    def test_one_that_was_never_named_has_nothing_to_leave_and_is_taken_out(self):
        self.health["i-9"] = "healthy"
        self.paths.obey(ENTRY)
        self.assertEqual([self.round(instance="i-9") for _ in range(2)], [[]] * 2)
        self.assertIs(self.paths.named, False)
        self.assertEqual((self.targets.task.action, self.health), ("deregister", {}))

    def shown(self):
        return [(row["path"], row["phase"]) for row in self.paths.leaving]

    def test_a_way_that_it_never_had_is_none_that_it_leaves(self):
        for address, groups, left in (
            # The old balancer behind a load balancer alone, and the one of an Elastic IP alone.
            (False, GROUPS, ["loadBalancer"]),
            (True, (), []),
        ):
            with self.subTest(address=address):
                self.setUp()
                self.paths.obey(Entry({"balancer-1": "i-1"}, address, groups, 300, 60))
                self.round()
                self.sockets, self.health["i-2"] = {}, "healthy"
                self.paths.obey(Entry({"balancer-1": "i-2"}, address, groups, 300, 60))
                for _ in range(5):
                    self.round(400)
                self.assertEqual(self.shown(), [(path, "left") for path in left])
                self.assertIs(self.paths.named, False)

    def test_one_that_had_both_ways_leaves_one_after_the_other(self):
        self.paths.obey(ENTRY)
        self.round()
        self.paths.obey(Entry(ENTRY.balancers, False, GROUPS, 300, 60))
        self.assertEqual((self.round(), self.shown()), (["tail"], [("address", "tail")]))
        # Now it is not named any more, in the midst of that.
        self.paths.obey(Entry({"balancer-2": "i-2"}, False, GROUPS, 300, 60))
        self.start()
        self.round()
        self.assertEqual(self.shown(), [("address", "tail"), ("loadBalancer", "waiting")])
        self.health["i-2"] = "healthy"
        for _ in range(3):
            self.round(0)
        self.round(299.5)
        self.assertEqual(self.shown(), [("address", "draining"), ("loadBalancer", "tail")])
        self.sockets = {}
        self.round(0.2)
        self.assertEqual(self.shown(), [("address", "left"), ("loadBalancer", "tail")])
        self.round(1)
        self.assertEqual(self.shown(), [("address", "left"), ("loadBalancer", "left")])

    def test_one_that_has_left_a_way_while_it_was_named_names_only_the_other_one_later(self):
        self.paths.obey(ENTRY)
        self.round()
        self.sockets = {}
        self.paths.obey(Entry(ENTRY.balancers, False, GROUPS, 300, 60))
        for _ in range(4):
            self.round(400)
        self.assertEqual(self.shown(), [])
        self.paths.obey(Entry({"balancer-2": "i-2"}, False, GROUPS, 300, 60))
        self.round()
        self.assertEqual(self.shown(), [("loadBalancer", "waiting")])

    def test_notes_that_are_lost_let_it_wait_for_clients_of_every_way(self):
        for text in (None, "garbage", '{"used": ["loadBalancer"]}'):
            with self.subTest(text):
                self.setUp()
                self.paths.obey(ENTRY)
                self.round()
                self.file.unlink()
                if text is not None:
                    self.file.write_text(text)
                self.start()
                self.paths.obey(Entry({"balancer-2": "i-2"}, False, GROUPS, 300, 60))
                self.round()
                self.assertEqual(self.shown(), [("address", "waiting"), ("loadBalancer", "waiting")])
                self.assertEqual(self.targets.task.action, "watch")
                self.health["i-2"] = "healthy"
                for _ in range(3):
                    self.round(0)
                self.assertEqual(self.shown(), [("address", "tail"), ("loadBalancer", "tail")])

    def test_a_new_machine_has_no_notes_and_nothing_to_leave(self):
        self.paths.obey(Entry({"balancer-2": "i-2"}, False, GROUPS, 300, 60))
        self.assertEqual(self.round(), [])

    def test_notes_of_a_version_that_noted_a_way_as_left_that_it_never_had_still_count(self):
        entry = Entry({"balancer-2": "i-2"}, False, GROUPS, 300, 60)
        phases = {"address": ("left", 1.0), "loadBalancer": ("draining", self.clock - 100)}
        self.file.write_text(write_record(Record(entry, ("loadBalancer",), phases)))
        self.start()
        self.round()
        self.assertEqual(self.shown(), [("loadBalancer", "draining")])


if __name__ == "__main__":
    unittest.main()
