"""The hand-over to another balancer, which takes over the address: closes clients' WebSockets, and refuses new ones for
a while.

HAProxy itself looks at the end of this time (a map in haproxy.cfg), so it takes clients again even if this service is
dead by then.
"""

import math
import queue
import threading
import time
from pathlib import Path
from typing import Callable

from . import files
from . import haproxy_runtime as haproxy
from .errors import HaproxyError, in_words
from .places import ADDRESS_FRONTEND, HAND_OVER, HAND_OVER_MOST_SECONDS

# The time for closing sockets. The client that asked for the hand-over waits meanwhile.
CLOSE_SECONDS = 10
# More time for the loop, in case it begins at the last moment.
ANSWER_SECONDS = 5
PAUSE_SECONDS = 0.05


def seconds_left(until: float, now: float) -> int | None:
    """For how many seconds clients are still refused; None when they are not. Moments are in seconds since the epoch."""
    left = until - now
    return math.ceil(left) if 0 < left <= HAND_OVER_MOST_SECONDS else None


def what_is_left(clients: haproxy.Clients) -> str:
    """The sessions that have not ended, as text."""
    parts = [f"{len(pointers)} sessions of HAProxy's worker {pid} are left" for pid, pointers in clients.by_pid.items()]
    parts += [f"HAProxy's worker {pid} does not answer" for pid in clients.silent]
    return "; ".join(parts)


class HandOver:
    """Closes clients' WebSockets and refuses new ones. Only the loop uses it."""

    def __init__(self, report: Callable[[str], None], path: Path = HAND_OVER):
        self.report, self.path = report, path
        self.until = self.load()

    def load(self) -> int:
        """The moment that an earlier run of this service has noted."""
        try:
            return int(self.path.read_text(encoding="utf-8").split()[1])
        except (OSError, ValueError, IndexError):
            return 0

    @property
    def seconds_left(self) -> int | None:
        return seconds_left(self.until, time.time())

    @property
    def active(self) -> bool:
        return self.seconds_left is not None

    def begin(self, seconds: int, deadline: float) -> int:
        """Refuses clients from now on, and closes the existing WebSockets; gives their number.

        Raises HaproxyError when some are left at the deadline, which is by the monotonic clock.
        """
        self.until = max(self.until if self.active else 0, int(time.time()) + seconds)
        self.report(f"hand-over: refuses clients for {self.seconds_left} s")
        try:
            # For a HAProxy that starts or reloads meanwhile.
            files.replace_file(self.path, f"until {self.until}\n", 0o644)
        except OSError as error:
            self.report(f"warning: a reload of HAProxy during the hand-over lets clients in for a moment: {error}")
        self.refuse()
        closed = self.close(deadline)
        self.report(f"hand-over: has closed {closed} sessions")
        return closed

    def take_back(self) -> None:
        """Takes clients again at once."""
        self.until = 0
        self.path.unlink(missing_ok=True)
        self.refuse()
        self.report("hand-over: taken back, takes clients again")

    def refuse(self) -> None:
        # A HAProxy that serves only the status refuses clients anyway.
        if haproxy.serves_nodes():
            haproxy.refuse_clients_until(self.until)

    def close(self, deadline: float) -> int:
        """Closes the sessions of all clients that came by the address, in every worker, until none is left."""
        closed: set[tuple[int, str]] = set()
        while (clients := haproxy.clients(ADDRESS_FRONTEND, again=True)) != haproxy.Clients({}, []):
            for pid, pointers in clients.by_pid.items():
                haproxy.close_sessions(pid, pointers)
                closed.update((pid, pointer) for pointer in pointers)
            if time.monotonic() > deadline:
                raise HaproxyError(f"{what_is_left(clients)}, and {len(closed)} sessions were told to end")
            time.sleep(PAUSE_SECONDS)
        return len(closed)

    def tend(self) -> None:
        """Each round makes a reloaded HAProxy refuse clients, too, and closes the sessions that it let in before."""
        if not self.active:
            return
        self.refuse()
        for pid, pointers in haproxy.clients(ADDRESS_FRONTEND, again=True).by_pid.items():
            haproxy.close_sessions(pid, pointers)


class HandOverRequest:
    """A request over HTTP for a hand-over, and its result. 0 seconds take an earlier one back."""

    def __init__(self, seconds: int):
        self.seconds = seconds
        """For how long to refuse clients. After the hand-over, for how long they are refused: an earlier one may last longer."""
        self.deadline = time.monotonic() + CLOSE_SECONDS
        self.done = threading.Event()
        """Set when the status also shows the result."""
        self.closed = 0
        self.error: str | None = "wcs-balancer-sync is busy, ask again"

    def fulfil(self, hand_over: HandOver) -> None:
        """Runs in the loop. Does nothing after the deadline: the client has given up, and may have changed its mind."""
        if time.monotonic() > self.deadline:
            return
        try:
            if self.seconds == 0:
                hand_over.take_back()
            else:
                self.closed = hand_over.begin(self.seconds, self.deadline)
            self.seconds = hand_over.seconds_left or 0
            self.error = None
        except Exception as error:
            self.error = in_words(error)


def ask_loop(inbox: "queue.Queue[object]", seconds: int) -> HandOverRequest:
    """Runs in an HTTP thread: passes a request to the loop, and waits for the result."""
    request = HandOverRequest(seconds)
    try:
        inbox.put(request, timeout=CLOSE_SECONDS)
        request.done.wait(max(0, request.deadline - time.monotonic()) + ANSWER_SECONDS)
    except queue.Full:
        pass
    return request
