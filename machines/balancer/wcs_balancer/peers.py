"""The other balancers of this stack: finds them by their tags, and asks them for their statuses.

A separate thread asks AWS. Another balancer is asked for its status when a client wants to see the cluster.
"""

import json
import socket
import ssl
import threading
import time
from http.client import HTTPException, HTTPResponse
from typing import Any, Callable, Iterable, Mapping, NamedTuple

from .aws import Aws, next_pause
from .errors import AwsError, in_words
from .places import FORGET_SECONDS, HTTPS_PORT, STATUS_NAME, STATUS_PATH

# The time between two questions to AWS while there is a load balancer.
LOOK_SECONDS = 10
ANSWER_SECONDS = 3
MAX_ANSWER_BYTES = 1_000_000


class Answer(NamedTuple):
    """The status of another balancer, or why there is none."""

    status: dict[str, Any] | None
    reason: str
    haproxy_answers: bool = False
    """Whether its HAProxy answers, though not with a status: it may have clients while wcs-balancer-sync is away."""
    has_other_certificate: bool = False
    """Whether something answers with a certificate that this machine does not trust: a balancer that has not read the
    new one, any balancer while a clock is wrong, or another machine at the address."""


def parse_instances(answer: Mapping[str, Any]) -> dict[str, str]:
    """Private addresses by instance id, read from DescribeInstances.

    Raises AwsError when there is no list: that does not mean that no balancer runs.
    """
    try:
        return {
            str(instance["InstanceId"]): str(instance["PrivateIpAddress"])
            for reservation in answer["Reservations"]
            for instance in reservation["Instances"]
            if "InstanceId" in instance and "PrivateIpAddress" in instance
        }
    except (KeyError, TypeError) as error:
        raise AwsError("EC2 gives an answer that cannot be read") from error


def parse_status(code: int, body: bytes, instance: str) -> Answer:
    """Reads another balancer's answer."""
    if code != 200:
        return Answer(None, f"it answers HTTP {code}", haproxy_answers=True)
    try:
        status = json.loads(body)
        other = status["instance"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Answer(None, "it gives an answer that cannot be read", haproxy_answers=True)
    if other is None:
        return Answer(None, "it does not know its instance id yet", haproxy_answers=True)
    if other != instance:
        return Answer(None, f"another machine answers at its address: {other}")
    return Answer(status, "")


def ask_status(address: str, instance: str, trusted: str, token: str, port: int = HTTPS_PORT) -> Answer:
    """Asks another balancer. Every balancer has the same certificate for its status, so this one's own is trusted."""
    deadline = time.monotonic() + ANSWER_SECONDS
    haproxy_answers = False
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=trusted)
        with (
            socket.create_connection((address, port), timeout=ANSWER_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=STATUS_NAME) as client,
        ):
            # HAProxy ends TLS. While wcs-balancer-sync is stopped, HAProxy tries to reach it for a while before it says so.
            haproxy_answers = True
            client.settimeout(max(0.01, deadline - time.monotonic()))
            head = f"GET {STATUS_PATH} HTTP/1.1\r\nHost: {STATUS_NAME}\r\nAuthorization: Bearer {token}\r\n"
            client.sendall(f"{head}Connection: close\r\n\r\n".encode())
            with HTTPResponse(client) as response:
                response.begin()
                return parse_status(response.status, response.read(MAX_ANSWER_BYTES), instance)
    except TimeoutError:
        service = f"its wcs-balancer-sync does not answer within {ANSWER_SECONDS} s"
        return Answer(None, service if haproxy_answers else silence(), haproxy_answers)
    except (OSError, HTTPException, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"it answers with another certificate of the status: {why}"
            return Answer(None, reason, haproxy_answers=True, has_other_certificate=True)
        return Answer(None, f"it does not answer: {why}", haproxy_answers)


def silence() -> str:
    return f"it does not answer within {ANSWER_SECONDS} s"


def ask_all(ask: Callable[[str, str], Answer], peers: Mapping[str, str]) -> dict[str, Answer]:
    """Asks every balancer at the same time. One that is slower than the time-out does not delay the others."""
    answers: dict[str, Answer] = {}

    def ask_one(instance: str, address: str) -> None:
        try:
            answers[instance] = ask(address, instance)
        except Exception as error:
            answers[instance] = Answer(None, in_words(error))

    threads = [threading.Thread(target=ask_one, args=peer, daemon=True) for peer in peers.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ANSWER_SECONDS + 0.5
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    # Threads may still write into their dictionary, so the result is a copy.
    done = dict(answers)
    return {instance: done.get(instance, Answer(None, silence())) for instance in peers}


class Peers:
    """The other balancers that run, by AWS's last answer."""

    def __init__(self, aws: Aws, tags: Mapping[str, str], known: Mapping[str, str]):
        self.aws, self.tags = aws, tags
        self.known = dict(known)
        """Private addresses by instance id; also of this machine. Replaced, never changed."""
        self.answered = False
        """Whether AWS has answered the last question."""
        self.error: str | None = None
        self.pause: float = LOOK_SECONDS
        """The time until the next question."""
        self.asks = False
        """Whether AWS is to be asked."""
        self.silent_since: dict[str, float] = {}
        self.changed = threading.Event()

    def want(self, asks: bool) -> None:
        """Called by the loop. Without a load balancer the role may not ask AWS."""
        if asks != self.asks:
            self.asks = asks
            self.answered, self.error = False, None
            self.changed.set()

    def start(self) -> None:
        threading.Thread(target=self.keep_looking, daemon=True).start()

    def keep_looking(self) -> None:
        while True:
            self.look()
            self.changed.wait(self.pause)
            self.changed.clear()

    def look(self) -> None:
        """Asks AWS once, if that is wanted. The last answer stays when there is no new one."""
        if not self.asks:
            return
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in sorted(self.tags.items())]
        filters.append({"Name": "instance-state-name", "Values": ["running"]})
        try:
            found = parse_instances(self.aws.call("ec2", "describe_instances", Filters=filters))
            self.known, self.answered, self.error = found, True, None
            self.pause = LOOK_SECONDS
        except Exception as error:
            self.answered, self.error = False, in_words(error)
            self.pause = next_pause(self.pause, LOOK_SECONDS, [error])

    def note_silence(self, answers: Mapping[str, Answer], named: Iterable[str]) -> None:
        """Forgets balancers that are not wanted and do not answer any more, while AWS is not asked for them. (AWS may
        have given such an address to another machine.)"""
        now = time.monotonic()
        for instance, answer in answers.items():
            lives = answer.status is not None or answer.haproxy_answers and not answer.has_other_certificate
            if lives or instance in named or self.asks:
                self.silent_since.pop(instance, None)
            elif now - self.silent_since.setdefault(instance, now) > FORGET_SECONDS:
                self.known = {other: address for other, address in self.known.items() if other != instance}
