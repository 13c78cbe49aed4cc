"""What wcs-balancer-sync tells systemd, which starts it anew when it hears nothing."""

import http.server
import os
import re
import socket
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from filled_machines import MACHINES
from wcs_balancer import haproxy_service, service, watchdog
from wcs_balancer.errors import SyncError
from wcs_balancer.watchdog import FEED_SECONDS, STEP_SECONDS, Watchdog, notify

UNIT = (MACHINES / "balancer/wcs-balancer-sync.service").read_text()


def setting(name):
    return re.search(rf"^{name}=(.*)$", UNIT, re.M).group(1)


class Notify(unittest.TestCase):
    def received(self, address):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address.replace("@", "\0", 1))
            systemd.settimeout(5)
            with mock.patch.dict(os.environ, NOTIFY_SOCKET=address):
                notify("READY=1")
            return systemd.recv(100)

    def test_sends_a_datagram_to_systemd(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.received(f"{folder}/notify"), b"READY=1")
        self.assertEqual(self.received(f"@wcs-test-{os.getpid()}"), b"READY=1")

    def test_does_nothing_without_systemd_and_survives_one_that_is_away(self):
        with mock.patch.dict(os.environ):
            os.environ.pop("NOTIFY_SOCKET", None)
            notify("READY=1")
        with mock.patch.dict(os.environ, NOTIFY_SOCKET="/nowhere/notify"):
            notify("READY=1")


class Feeds(unittest.TestCase):
    def setUp(self):
        self.sent = []
        self.now = 1000.0
        for patch in (
            mock.patch.object(watchdog, "notify", self.sent.append),
            mock.patch.object(watchdog.time, "monotonic", lambda: self.now),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.reports = []
        watchdog.note_step()
        self.watchdog = Watchdog(self.reports.append)

    def turn(self, seconds=0.0):
        self.sent.clear()
        self.now += seconds
        self.watchdog.turn()
        return self.sent == ["WATCHDOG=1"]

    def test_while_the_loop_goes_on(self):
        self.assertTrue(self.turn())
        for _ in range(5):
            self.assertTrue(self.turn(STEP_SECONDS))
            watchdog.note_step()

    def test_no_more_when_a_step_of_the_loop_hangs_and_says_why_once(self):
        self.turn(STEP_SECONDS)
        self.assertEqual(self.reports, [])
        self.assertFalse(self.turn(1))
        self.assertFalse(self.turn(1))
        self.assertEqual(self.reports, [f"error: the loop hangs for {STEP_SECONDS + 1} s, systemd starts this service anew"])
        watchdog.note_step()
        self.assertTrue(self.turn())

    def test_only_while_the_status_answers(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.watchdog.port = server.server_address[1]
            self.assertTrue(self.turn())
            server.shutdown()
        self.assertFalse(self.turn())
        self.assertIn("the status does not answer on port", self.reports[0])

    def test_no_more_when_the_status_takes_requests_and_does_not_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as frozen, mock.patch.object(watchdog, "ANSWER_SECONDS", 0.1):
            self.watchdog.port = frozen.getsockname()[1]
            self.assertFalse(self.turn())


class Console(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.console = f"{folder.name}/console"
        os.mkfifo(self.console)

    def test_gets_messages(self):
        reader = os.open(self.console, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        service.write_to_console("hello\n", self.console)
        self.assertEqual(os.read(reader, 100), b"hello\n")

    def test_that_is_away_or_takes_nothing_ends_nothing(self):
        service.write_to_console("hello\n", "/nowhere/console")
        service.write_to_console("nobody reads\n", self.console)
        reader = os.open(self.console, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        for _ in range(100):
            service.write_to_console("x" * 4000, self.console)


class Steps(unittest.TestCase):
    def test_the_longest_one_is_no_hang(self):
        """A command of the loop is ended after its own time, and is a step for itself."""
        with mock.patch.object(haproxy_service.subprocess, "run") as run, mock.patch.object(haproxy_service, "note_step") as noted:
            run.side_effect = lambda *_, **options: self.assertEqual(noted.call_count, 1) or mock.Mock(returncode=0)
            haproxy_service.run("haproxy", "-c")
            self.assertGreater(STEP_SECONDS, run.call_args.kwargs["timeout"] + 20)
            self.assertEqual(noted.call_count, 2)
            run.side_effect = subprocess.TimeoutExpired("haproxy", 90)
            with self.assertRaises((SyncError, subprocess.TimeoutExpired)):
                haproxy_service.run("haproxy", "-c")
            self.assertEqual(noted.call_count, 4)


class TheUnit(unittest.TestCase):
    def test_starts_a_frozen_service_anew_before_pulumi_up_takes_the_machine_for_dead(self):
        source = Path(__file__).parents[2] / "cluster/contract.ts"
        if source.exists():  # In a Debian root there are only the machines' files.
            self.assertIn("deadSeconds = 60;", source.read_text())
        self.assertLessEqual(int(setting("WatchdogSec")) + 15, 60)
        self.assertGreaterEqual(int(setting("WatchdogSec")), 3 * (FEED_SECONDS + watchdog.ANSWER_SECONDS))

    def test_starts_it_anew_for_ever(self):
        self.assertEqual((setting("Restart"), setting("StartLimitIntervalSec")), ("always", "0"))

    def test_ends_a_stopped_process_at_once(self):
        """Any other signal waits until the process goes on, and systemd for TimeoutStopSec."""
        self.assertEqual((setting("WatchdogSignal"), setting("Type")), ("SIGKILL", "notify"))


if __name__ == "__main__":
    unittest.main()
