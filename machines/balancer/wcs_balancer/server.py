"""The status over HTTP on this machine; HAProxy passes it on. Everybody may read the revision, and whether a client
gets a node. The stack's token also gives errors, nodes and the other balancers, and the right to a hand-over."""

import hmac
import http.server
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable
from urllib.parse import parse_qs, urlsplit

from . import haproxy_runtime as haproxy
from .errors import in_words
from .hand_over import HandOverRequest
from .haproxy_plan import taken_out
from .node_states import lacks_words, node_states, parts_away, takes_clients
from .places import CLUSTER_PATH, HAND_OVER_MOST_SECONDS, HAND_OVER_PATH, HEALTH_PATH, SETUP_STATE, STATUS_PORT
from .removed_servers import ask_running
from .set_up import own_setup
from .status import NOTHING_SEEN, Seen, Snapshot, brief, full

REQUEST_SECONDS = 10
# HAProxy is asked again for this long while the text of a running check is missing: an agent may take a second.
WORDS_SECONDS = 1.5


def setup_state() -> dict[str, Any] | None:
    """The current or failed step of this machine's set-up; None when the set-up is complete."""
    try:
        return own_setup(SETUP_STATE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def ask_node_states() -> list[dict[str, Any]]:
    """The servers of the WCS backend. HAProxy is asked again while the text of a check is missing."""
    deadline = time.monotonic() + WORDS_SECONDS
    answers = [haproxy.ask("show stat")]
    missing = {row["svname"] for row in haproxy.statistics(answers[0]) if lacks_words(row)}
    while missing and time.monotonic() < deadline:
        time.sleep(0.05)
        answers.append(haproxy.ask("show stat"))
        missing &= {row["svname"] for row in haproxy.statistics(answers[-1]) if lacks_words(row)}
    return node_states(*answers)


class Status:
    """The status for HTTP threads: the loop's last snapshot, and the current statistics of HAProxy."""

    def __init__(self, snapshot: Callable[[], Snapshot], token: Path):
        self.snapshot, self.token = snapshot, token
        self.last_stat = (float("-inf"), "")

    def shown(self, detailed: bool) -> dict[str, Any]:
        """The status; with `detailed` also errors and nodes."""
        known = self.snapshot()
        if not detailed:
            return brief(known, time.monotonic())
        seen, problems, away = NOTHING_SEEN, [], []
        try:
            nodes = ask_node_states()
            away = parts_away(haproxy.ask("show stat"))
            refused, until = haproxy.refused_addresses(), haproxy.refuses_clients_until()
            out = taken_out(ask_running(), known.changes.unfinished)
            seen = Seen(nodes, known.sockets.by_server, known.sockets.silent, known.certificate, refused, until, out)
        except Exception as problem:
            problems.append(f"HAProxy's statistics cannot be read: {in_words(problem)}")
        return full(known, seen, problems, away, setup_state(), time.monotonic(), time.time())

    def show_stat(self) -> str:
        """HAProxy's statistics, at most a second old: everybody may ask for `healthy`, as often as they like."""
        asked_at, answer = self.last_stat
        if time.monotonic() - asked_at > 1:
            answer = haproxy.ask("show stat")
            self.last_stat = (time.monotonic(), answer)
        return answer

    def healthy(self) -> bool:
        """Whether a client that connects now gets a node."""
        try:
            return takes_clients(self.show_stat())
        except Exception:
            # Without statistics it is not certain that a node takes clients.
            return False

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization header carries the stack's token."""
        try:
            token = self.token.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def hand_over_seconds(query: str) -> int | None:
    """The seconds of a hand-over in a query; None when they are not a whole number from 0 to HAND_OVER_MOST_SECONDS."""
    values = parse_qs(query).get("seconds", [])
    if len(values) != 1 or not re.fullmatch("[0-9]{1,3}", values[0]):
        return None
    return seconds if (seconds := int(values[0])) <= HAND_OVER_MOST_SECONDS else None


def serve(
    status: Status,
    hand_over: Callable[[int], HandOverRequest],
    cluster: Callable[[], dict[str, Any]],
    port: int = STATUS_PORT,
) -> http.server.HTTPServer:
    """Serves the status on localhost, in a separate thread. `hand_over` passes a request to the loop, and waits.
    `cluster` gives the statuses of all balancers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        server_version = "wcs-balancer-sync"
        sys_version = ""

        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            if urlsplit(self.path).path == HAND_OVER_PATH:
                self.answer(405, {"error": "a hand-over needs POST"}, Allow="POST")
            elif self.path == HEALTH_PATH:
                healthy = status.healthy()
                retry = {} if healthy else {"Retry-After": "10"}
                self.answer(200 if healthy else 503, {"takesClients": healthy}, **retry)
            elif authorization and not status.knows(authorization):
                self.answer(403, {"error": "wrong token"})
            elif urlsplit(self.path).path == CLUSTER_PATH:
                if authorization:
                    self.answer(200, cluster())
                else:
                    self.answer(403, {"error": "the status of all balancers needs the stack's token"})
            else:
                self.answer(200, status.shown(detailed=bool(authorization)))

        def do_POST(self) -> None:
            path, query = urlsplit(self.path).path, urlsplit(self.path).query
            if path != HAND_OVER_PATH:
                self.answer(405, {"error": "this path needs GET"}, Allow="GET")
            elif not status.knows(self.headers.get("Authorization", "")):
                self.answer(403, {"error": "a hand-over needs the stack's token"})
            elif (seconds := hand_over_seconds(query)) is None:
                self.answer(400, {"error": f"seconds has to be a whole number from 0 to {HAND_OVER_MOST_SECONDS}"})
            elif (request := hand_over(seconds)).error is not None:
                self.answer(500, {"error": request.error})
            else:
                self.answer(200, {"closed": request.closed, "seconds": request.seconds})

        def answer(self, code: int, content: dict[str, Any], **headers: str) -> None:
            body = json.dumps(content, indent=2).encode() + b"\n"
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """HAProxy logs the requests."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away before its answer is no error of this service: it must not fill the journal."""
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
