"""Wrong answers of the metadata service and of SSM. Each of them must become an AwsError."""

import json
import random
import unittest
from unittest import mock

import filled_machines  # noqa: F401
import aws_parameters
from aws_instance import AwsError

KEYS = {"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": "secret", "Token": "token=="}
PARAMETER = json.dumps({"Parameter": {"Value": "text"}}).encode()


class Response:
    def __init__(self, status, body):
        self.status, self.body = status, body

    def read(self, limit=None):
        return self.body[:limit]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Connection:
    """Answers by the longest end of the path asked."""

    answers = {}

    def __init__(self, host, timeout):
        self.host = host

    def request(self, method, path, body=None, headers={}):
        for value in headers.values():
            # As http.client does.
            if "\n" in value:
                raise ValueError(f"Invalid header value {value!r}")
        self.path = path

    def getresponse(self):
        return Response(*self.answers[max(filter(self.path.endswith, self.answers), key=len)])

    def close(self):
        pass


class FromMetadataToSsm(unittest.TestCase):
    good = {
        "/api/token": (200, b"session"),
        "/region": (200, b"eu-central-1"),
        "/domain": (404, b""),
        "/security-credentials/": (200, b"balancer"),
        "/security-credentials/balancer": (200, json.dumps(KEYS).encode()),
        "/": (200, PARAMETER),
    }

    def ask(self, **changed):
        Connection.answers = {**self.good, **changed}
        with mock.patch("http.client.HTTPConnection", Connection), mock.patch("http.client.HTTPSConnection", Connection):
            return aws_parameters.get_parameter("/p")

    def refused(self, path, status, body):
        with self.assertRaises(AwsError) as caught:
            self.ask(**{path: (status, body)})
        return str(caught.exception)

    def test_gives_the_value(self):
        self.assertEqual(self.ask(), "text")

    def test_credentials_that_ec2_does_not_have(self):
        self.assertEqual(
            self.refused("/security-credentials/balancer", 200, b'{"Code": "Failed", "LastUpdated": "now"}'),
            "instance metadata has no credentials for this machine's role",
        )

    def test_credentials_that_are_garbage(self):
        for body in (b"", b"<html>", b"[]", b"7", b"null", b"[" * 100_000, json.dumps({**KEYS, "Token": None}).encode()):
            with self.subTest(body[:20]):
                message = self.refused("/security-credentials/balancer", 200, body)
                self.assertRegex(message, "^instance metadata (has no credentials for this|gives an answer that cannot be read)")

    def test_a_key_that_would_break_the_request(self):
        bad = json.dumps({**KEYS, "Token": "two\nlines"}).encode()
        self.assertIn("gives an answer that cannot be read", self.refused("/security-credentials/balancer", 200, bad))

    def test_an_empty_list_of_roles(self):
        message = self.refused("/security-credentials/", 200, b"")
        self.assertEqual(message, "instance metadata names no role of this machine")

    def test_answers_that_are_no_text(self):
        for path in ("/region", "/api/token", "/security-credentials/"):
            with self.subTest(path):
                self.assertIn("instance metadata gives an answer that cannot be read", self.refused(path, 200, b"\xff\xfe"))

    def test_what_ssm_refuses(self):
        body = b'{"__type": "com.amazonaws.ssm#AccessDeniedException", "message": "not you"}'
        self.assertEqual(self.refused("/", 400, body), "SSM refuses /p: AccessDeniedException not you")

    def test_answers_of_ssm_that_are_garbage(self):
        wrong = [b"", b"<html>busy</html>", b"\xff\xfe", b"[]", b"null", b"{}", b'{"Parameter": 7}']
        wrong += [b'{"Parameter": {"Value": 7}}', b"[" * 100_000]
        for status in (200, 503):
            for body in wrong:
                with self.subTest(status=status, body=body[:20]):
                    self.assertRegex(self.refused("/", status, body), "^SSM (gives an answer for|refuses)")

    def test_any_bytes_anywhere_are_an_aws_error(self):
        chance = random.Random(1)
        for _ in range(300):
            path = chance.choice(list(self.good))
            body = chance.choice([chance.randbytes(chance.randrange(40)), b'{"Parameter": ', b'{"Code": "Failed"}'])
            try:
                self.ask(**{path: (chance.choice([200, 200, 404, 500]), body)})
            except AwsError:
                pass


if __name__ == "__main__":
    unittest.main()
