"""Tells systemd that this service works. Without this message for WatchdogSec, systemd kills the service and starts it
again: after a minute without a status `pulumi up` takes a balancer for dead, and deletes it with its sockets.

A separate thread sends the message. So systemd notices a frozen process soon, and a long step of the loop is no hang.
"""

import http.client
import os
import socket
import threading
import time
from typing import Callable

# The unit has WatchdogSec=30.
FEED_SECONDS = 5
ANSWER_SECONDS = 5
# The longest step of the loop is a command of haproxy_service.py, which is ended after 90 s.
STEP_SECONDS = 120

# When the loop has begun its current step, by the monotonic clock.
stepped_at = time.monotonic()


def note_step() -> None:
    """Called by the loop before and after each step that may take long."""
    global stepped_at
    stepped_at = time.monotonic()


def notify(message: str) -> None:
    """Sends a message to systemd, as sd_notify(3) does. Without systemd it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            systemd.send(message.encode())
    except OSError:
        # The next message may arrive. If none does, systemd acts.
        pass


class Watchdog:
    """Tells systemd that the loop runs, and that the status answers."""

    def __init__(self, report: Callable[[str], None]):
        self.report = report
        self.port: int | None = None
        """The port of the status on this machine; None until it is served."""
        self.problem = False

    def start(self) -> None:
        """Begins to tell systemd, in a separate thread."""
        note_step()
        notify("READY=1")
        threading.Thread(target=self.keep_turning, daemon=True).start()

    def keep_turning(self) -> None:
        while True:
            self.turn()
            time.sleep(FEED_SECONDS)

    def turn(self) -> None:
        """Tells systemd that all is well, or reports what hangs."""
        problem = self.what_hangs()
        if problem is None:
            notify("WATCHDOG=1")
        elif not self.problem:
            self.report(f"error: {problem}, systemd starts this service anew")
        self.problem = problem is not None

    def what_hangs(self) -> str | None:
        age = time.monotonic() - stepped_at
        if age > STEP_SECONDS:
            return f"the loop hangs for {round(age)} s"
        if self.port is not None and not self.answers(self.port):
            return f"the status does not answer on port {self.port}"
        return None

    def answers(self, port: int) -> bool:
        """Whether the status for everybody answers, which needs neither HAProxy nor the loop."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        try:
            client.request("GET", "/")
            return client.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()
