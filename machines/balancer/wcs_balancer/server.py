"""The status over HTTP on this machine, which HAProxy passes on: for everybody the revision and whether a client gets a
node, for the stack's token also errors and nodes."""

import hmac
import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any, Callable

from . import haproxy_runtime as haproxy
from .errors import in_words
from .node_states import lacks_words, node_states, parts_away, takes_clients
from .places import SETUP_STATE, STATUS_PORT
from .status import NOTHING_SEEN, Seen, Snapshot, brief, full

REQUEST_SECONDS = 10
# For as long HAProxy is asked again for the words of checks that are under way: an agent may take a second.
WORDS_SECONDS = 1.5


def setup_state() -> str | None:
    """What the set-up of this machine does or where it has failed; None when it is complete."""
    try:
        return SETUP_STATE.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def ask_node_states() -> list[dict[str, Any]]:
    """The servers of the WCS backend. HAProxy is asked again while the words of a check are missing."""
    deadline = time.monotonic() + WORDS_SECONDS
    answers = [haproxy.ask("show stat")]
    missing = {row["svname"] for row in haproxy.statistics(answers[0]) if lacks_words(row)}
    while missing and time.monotonic() < deadline:
        time.sleep(0.05)
        answers.append(haproxy.ask("show stat"))
        missing &= {row["svname"] for row in haproxy.statistics(answers[-1]) if lacks_words(row)}
    return node_states(*answers)


class Status:
    """What threads of HTTP show: the loop's last snapshot, and what HAProxy's current worker says at once."""

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
            refused = haproxy.refused_addresses()
            seen = Seen(nodes, known.sockets.by_server, known.sockets.silent, known.certificate_end, refused)
        except Exception as problem:
            problems.append(f"HAProxy's statistics cannot be read: {in_words(problem)}")
        return full(known, seen, problems, away, setup_state(), time.monotonic(), time.time())

    def show_stat(self) -> str:
        """HAProxy's statistics, at most a second old: everybody may ask for what follows from them."""
        asked_at, answer = self.last_stat
        if time.monotonic() - asked_at > 1:
            answer = haproxy.ask("show stat")
            self.last_stat = (time.monotonic(), answer)
        return answer

    def healthy(self) -> bool:
        """Whether a client that comes now gets a node."""
        try:
            return takes_clients(self.show_stat())
        except Exception:
            # Whatever is wrong with the statistics: nobody can promise a node.
            return False

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization header carries the stack's token."""
        try:
            token = self.token.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def serve(status: Status) -> None:
    """Serves the status on localhost, in a thread of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        server_version = "wcs-balancer-sync"
        sys_version = ""

        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            if self.path == "/healthz":
                healthy = status.healthy()
                self.send_response(200 if healthy else 503)
                if not healthy:
                    self.send_header("Retry-After", "10")
                body = json.dumps({"takesClients": healthy}).encode() + b"\n"
            elif authorization and not status.knows(authorization):
                self.send_response(403)
                body = b'{"error": "wrong token"}\n'
            else:
                self.send_response(200)
                body = json.dumps(status.shown(detailed=bool(authorization)), indent=2).encode() + b"\n"
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """HAProxy logs the requests."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", STATUS_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
