"""The first steps of a machine: it signs requests, retries downloads and reports failures."""

import ast
import contextlib
import errno
import hashlib
import http.server
import io
import json
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from filled_machines import MACHINES
import aws_instance
import fetch
import step

CREDENTIALS = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret", "Token": "token"}


class Signature(unittest.TestCase):
    """The signatures were computed with aws4 1.13.2 for the same requests."""

    def test_of_a_question_to_systems_manager(self):
        headers = aws_instance.signed_headers(
            CREDENTIALS,
            ["eu-central-1", "ssm"],
            ["POST", "/"],
            {
                "content-type": "application/x-amz-json-1.1",
                "host": "ssm.eu-central-1.amazonaws.com",
                "x-amz-target": "AmazonSSM.GetParameter",
            },
            b'{"Name": "/a"}',
            "20260102T030405Z",
        )
        self.assertEqual(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260102/eu-central-1/ssm/aws4_request, SignedHeaders=content-type;"
            "host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target, "
            "Signature=c47e7e2a3fe72b50b97082e8454fb236e917e8a89e6cb14cec05964cf4e41a75",
        )
        self.assertNotIn("secret", json.dumps(headers))

    def test_of_a_question_to_s3(self):
        host = {"host": "bucket.s3.eu-central-1.amazonaws.com"}
        headers = aws_instance.signed_headers(
            CREDENTIALS, ["eu-central-1", "s3"], ["GET", "/node/a%20b"], host, b"", "20260102T030405Z"
        )
        self.assertTrue(
            headers["authorization"].endswith("417597c5c1aaf50244b1a4ebb0977d920bdcad83fa83d6a2c2ef9e27e6e24c88")
        )


class Patience(unittest.TestCase):
    def attempts(self, *failures: BaseException, patience: float = 60) -> int:
        """How often something is tried that fails so, and then succeeds."""
        left = list(failures)
        count = 0

        def attempt() -> None:
            nonlocal count
            count += 1
            if left:
                raise left.pop(0)

        with mock.patch.object(step.time, "sleep"), contextlib.redirect_stdout(io.StringIO()):
            try:
                step.patiently(attempt, patience)
            except Exception as error:
                self.failure = error
        return count

    def test_a_refusal_and_a_network_that_is_away_are_tried_again(self):
        self.assertEqual(self.attempts(aws_instance.AwsError("refused"), OSError("away"), KeyError("Token")), 4)

    def test_a_full_disk_and_what_cannot_succeed_end_at_once(self):
        for failure in (OSError(errno.ENOSPC, "No space left on device"), step.StepError("never")):
            self.assertEqual(self.attempts(failure), 1)
            self.assertIs(self.failure, failure)

    def test_ends_with_the_last_reason(self):
        self.assertEqual(self.attempts(OSError("away"), OSError("still away"), patience=-1), 1)
        self.assertEqual(str(self.failure), "away")

    def test_counts_from_the_first_failure_since_a_download_may_take_long(self):
        times = iter([1000, 1001, 1100])
        with mock.patch.object(step.time, "monotonic", lambda: next(times)):
            self.assertEqual(self.attempts(OSError("reset"), OSError("reset"), patience=60), 2)


class Refusal(unittest.TestCase):
    def test_names_the_object_and_what_s3_says(self):
        answer = mock.Mock(status=403, read=lambda: b"<Error><Code>AccessDenied</Code></Error>")
        with mock.patch.object(step, "ask", return_value=answer) as ask:
            with self.assertRaisesRegex(aws_instance.AwsError, "^S3 refuses s3://b/node/c: AccessDenied$"):
                step.open_object("s3://b/node/c")
        ask.assert_called_once_with("s3", "GET", "/node/c", {}, bucket="b")


class Step(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = Path(folder.name)
        self.ran: list[list[str]] = []
        for name, value in {"WORK": self.work, "STATE": self.work / "state"}.items():
            patch = mock.patch.object(step, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        patch = mock.patch.object(step.subprocess, "run", lambda command, **_: self.ran.append(command))
        patch.start()
        self.addCleanup(patch.stop)

    def main(self, perform: object) -> tuple[int, str]:
        output = io.StringIO()
        with mock.patch.object(step, "perform", perform), contextlib.redirect_stdout(output):
            return step.main("wcs-install"), output.getvalue()

    def test_that_succeeds_says_that_it_runs(self):
        self.assertEqual(self.main(lambda name: None), (0, "set-up: wcs-install\n"))
        self.assertEqual((self.work / "state").read_text(), "setup running: wcs-install\n")

    def test_that_fails_is_in_the_state_on_the_port_and_last_on_the_console(self):
        status, output = self.main(mock.Mock(side_effect=OSError("no tarball")))
        self.assertEqual(status, 1)
        self.assertTrue(output.endswith("set-up: step wcs-install failed: no tarball\n"))
        self.assertEqual((self.work / "state").read_text(), "setup failed: wcs-install\n")
        self.assertEqual(self.ran[0], ["systemctl", "enable", "--now", "wcs-setup-failed.socket"])
        self.assertEqual(self.ran[1][-2:], ["echo", "set-up: step wcs-install failed: no tarball"])

    def test_that_cannot_write_its_state_speaks_on_port_and_console_all_the_same(self):
        full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
        with mock.patch.object(step, "write", full):
            status, output = self.main(lambda name: None)
        self.assertEqual(status, 1)
        self.assertIn("step wcs-install failed: [Errno 28] No space left on device", output)
        self.assertEqual(len(self.ran), 2)

    def test_after_one_that_failed_does_nothing(self):
        (self.work / "state").write_text("setup failed: wcs-download\n")
        self.assertEqual(self.main(mock.Mock(side_effect=AssertionError)), (0, ""))
        self.assertEqual((self.work / "state").read_text(), "setup failed: wcs-download\n")


class Downloads(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        whole = b"x" * 3_000_000
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole[:1_000_000] if self.path == "/half" else whole)

    def log_message(self, *_):
        pass


class Fetch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Downloads)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.address = f"http://127.0.0.1:{cls.server.server_port}"

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.target = Path(folder.name) / "wcs"

    def test_downloads_and_checks(self):
        fetch.download(f"{self.address}/whole", self.target)
        fetch.check(self.target, hashlib.sha256(b"x" * 3_000_000).hexdigest())
        with self.assertRaisesRegex(step.StepError, "^the SHA-256 of the download is [0-9a-f]{64}, not 00$"):
            fetch.check(self.target, "00")

    def test_what_ends_early_may_pass_and_leaves_nothing(self):
        with self.assertRaisesRegex(OSError, "ends after 1000000 of 3000000 bytes"):
            fetch.download(f"{self.address}/half", self.target)
        self.assertFalse(self.target.exists())

    def test_what_is_not_there_does_not_pass(self):
        with self.assertRaisesRegex(step.StepError, "/none: HTTP 404"):
            fetch.download(f"{self.address}/none", self.target)

    def test_a_full_disk_leaves_nothing(self):
        full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
        with mock.patch.object(fetch, "copy", full), self.assertRaises(OSError):
            fetch.download(f"{self.address}/whole", self.target)
        self.assertFalse(self.target.exists())

    def test_a_source_that_is_too_slow_is_given_up_in_the_middle(self):
        with mock.patch.object(fetch, "DOWNLOAD_SECONDS", -1), self.assertRaisesRegex(step.StepError, "the download is too slow"):
            fetch.download(f"{self.address}/whole", self.target)

    def test_usage(self):
        with contextlib.redirect_stderr(io.StringIO()) as output:
            self.assertEqual(fetch.main(["upload", "wcs"]), 2)
        self.assertIn("fetch.py download|checksum NAME", output.getvalue())


class OldPython(unittest.TestCase):
    """A node's image may have Python 3.9, which evaluates annotations and does not know `str | None`."""

    def test_no_annotation_of_a_node_needs_a_newer_one(self):
        for file in [*MACHINES.glob("setup/*.py"), *MACHINES.glob("node/*.py")]:
            tree = ast.parse(file.read_text(), feature_version=(3, 9))
            annotations = [node.annotation for node in ast.walk(tree) if getattr(node, "annotation", None)]
            annotations += [node.returns for node in ast.walk(tree) if getattr(node, "returns", None)]
            unions = [part for note in annotations for part in ast.walk(note) if isinstance(part, ast.BinOp)]
            self.assertEqual(unions, [], file.name)


if __name__ == "__main__":
    unittest.main()
