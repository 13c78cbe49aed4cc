"""A machine behind a load balancer: says its name and the client of the PROXY header, and takes orders."""

import http.server
import socketserver
import struct
import sys
import threading

name = sys.argv[1]
status = 200


class Health(http.server.BaseHTTPRequestHandler):
    """The port of the health checks. A header of PROXY protocol precedes each request."""

    def handle(self) -> None:
        read_header(self.rfile)
        super().handle()

    def do_GET(self) -> None:
        self.send_response(status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def read_header(stream) -> str:
    """The client that the header names; of a header without one, LOCAL."""
    signature, command, _, length = struct.unpack(">12sBBH", stream.read(16))
    assert signature == b"\r\n\r\n\0\r\nQUIT\n", signature
    rest = stream.read(length)
    if command != 0x21:
        return "LOCAL"
    source = ".".join(str(octet) for octet in rest[:4])
    return f"{source}:{struct.unpack('>H', rest[8:10])[0]}"


class Service(socketserver.StreamRequestHandler):
    """The port of the connections."""

    def handle(self) -> None:
        global status
        client = read_header(self.rfile)
        self.wfile.write(f"{name} {client} by {self.client_address[0]}\n".encode())
        for line in self.rfile:
            word, *rest = line.decode().split()
            if word == "answer":
                status = int(rest[0])
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    """Serves each connection in a thread of its own."""

    allow_reuse_address = True
    daemon_threads = True


threading.Thread(target=Server(("", 10081), Health).serve_forever).start()
Server(("", 10443), Service).serve_forever()
