"""The connections to an ACME directory, which are cut at a deadline.

A time-out of each read is not enough: an answer that comes byte by byte keeps every one of them, and neither
http.client nor requests looks at the clock while it reads the head of an answer.
"""

import contextlib
import socket
import ssl
import threading
from typing import Any


class Connections:
    """Notes each connection that is opened with watched TLS settings. At the deadline it cuts them from another thread:
    then the thread that reads from one goes on, with an error."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.over = False
        """Whether the deadline has passed."""
        self.noted: list[socket.socket] = []
        self.lock = threading.Lock()
        self.timer = threading.Timer(seconds, self.cut)
        self.timer.daemon = True
        self.timer.start()

    def watched(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """The same TLS settings, whose connections are noted from now on."""
        wrap_socket = context.wrap_socket

        def noting(sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
            # Before the handshake, which may last for ever, too.
            self.note(sock)
            return wrap_socket(sock, *args, **kwargs)

        context.wrap_socket = noting
        return context

    def note(self, connection: socket.socket) -> None:
        """Raises TimeoutError when it is too late for another connection."""
        with self.lock:
            if self.over:
                raise TimeoutError("the deadline has passed")
            # A descriptor of its own, since TLS takes over the other one.
            self.noted.append(connection.dup())

    def cut(self) -> None:
        """Ends every connection, whoever reads from it."""
        with self.lock:
            self.over = True
            for connection in self.noted:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Forgets the connections: there is nothing to read any more."""
        self.timer.cancel()
        with self.lock:
            while self.noted:
                self.noted.pop().close()
