"""The requests to an ACME directory, which end at a deadline, whatever they wait for.

A time-out of each step is not enough. An answer that comes byte by byte keeps the time-out of every read, and neither
http.client nor requests looks at the clock while it reads the head of an answer. A name with many dead addresses costs
a time-out for each of them. The search for addresses has no time-out at all.
"""

import contextlib
import socket
import threading
import time
from concurrent.futures import Future, wait
from typing import Any, Callable


class Connections:
    """Runs each request in a thread of its own, and notes each connection that is opened. At the deadline it cuts them:
    then the thread ends, with an error. Nobody waits for that."""

    def __init__(self, seconds: float):
        self.deadline = time.monotonic() + seconds
        self.over = False
        """Whether a request was cut at the deadline."""
        self.noted: list[socket.socket] = []
        self.lock = threading.Lock()

    def in_time(self, request: Callable[[], Any]) -> Any:
        """The result of a request. Raises TimeoutError at the deadline."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(request())
            except BaseException as error:
                future.set_exception(error)

        left = self.deadline - time.monotonic()
        if left > 0:
            threading.Thread(target=run, daemon=True).start()
            wait([future], left)
        if not future.done():
            self.cut()
            raise TimeoutError("the deadline has passed")
        return future.result()

    def open(self, host: str, port: int, seconds: float | None) -> socket.socket:
        """Connects to the first address of a host that takes a connection, as socket.create_connection does. Each try
        ends after some seconds, or at the deadline."""
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            connection = None
            try:
                # Fails for IPv6 on a machine without it.
                connection = socket.socket(family, kind, protocol)
                connection.settimeout(seconds)
                self.note(connection)
                connection.connect(address)
                return connection
            except OSError as error:
                if connection:
                    connection.close()
                problem = error
        raise problem

    def note(self, connection: socket.socket) -> None:
        """Raises TimeoutError when it is too late for another connection."""
        with self.lock:
            if self.over:
                raise TimeoutError("the deadline has passed")
            # A descriptor of its own, since TLS takes over the other one.
            self.noted.append(connection.dup())

    def cut(self) -> None:
        """Ends every connection, whoever connects or reads."""
        with self.lock:
            self.over = True
            for connection in self.noted:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Forgets the connections: there is nothing to read any more."""
        with self.lock:
            while self.noted:
                self.noted.pop().close()
