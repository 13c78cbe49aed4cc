"""An ACME directory for tests in a network of their own: Pebble behind a front that can have faults, and a DNS server."""

import http.client
import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

HOST = "acme.example.net"
PORT = 14443
URL = f"https://{HOST}:{PORT}/dir"
PEBBLE_PORT, MANAGEMENT_PORT = 14000, 15000
# An address of this machine that balancers take for one that the directory reaches.
HERE = "203.0.113.7"
FOLDER = Path("/directory")
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PEBBLE = "/usr/local/bin/pebble"

DAY = 86400
SETTINGS = {
    "pebble": {
        "listenAddress": f"127.0.0.1:{PEBBLE_PORT}",
        "managementListenAddress": f"127.0.0.1:{MANAGEMENT_PORT}",
        "certificate": str(FOLDER / "server.pem"),
        "privateKey": str(FOLDER / "server.key"),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": {
            "classic": {"description": "as Let's Encrypt has it", "validityPeriod": 90 * DAY},
            "tlsserver": {"description": "as Let's Encrypt has it", "validityPeriod": 45 * DAY},
        },
    }
}


class Dns:
    """Answers on port 53 of this machine, which is HERE, with the addresses of `records`. An unknown name does not
    exist."""

    def __init__(self):
        self.records = {HOST: ["127.0.0.1"]}
        subprocess.run(["ip", "address", "add", HERE, "dev", "lo"], check=True)
        Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            server = socket.socket(socket.AF_INET, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", 53))
            serve = self.serve if kind == socket.SOCK_DGRAM else self.serve_stream
            threading.Thread(target=serve, args=[server], daemon=True).start()

    def serve_stream(self, server):
        """Pebble asks this way."""
        server.listen()
        while True:
            client, _ = server.accept()
            with client, client.makefile("rwb") as stream:
                length = stream.read(2)
                answer = self.answer(stream.read(int.from_bytes(length, "big")))
                stream.write(len(answer).to_bytes(2, "big") + answer)

    def serve(self, server):
        while True:
            question, client = server.recvfrom(2000)
            server.sendto(self.answer(question), client)

    def answer(self, question):
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        [kind] = struct.unpack(">H", question[at + 1 : at + 3])
        addresses = self.records.get(".".join(labels))
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        found = [one for one in addresses or [] if family and (":" in one) == (family == socket.AF_INET6)]
        head = question[:2] + struct.pack(">HHHHH", 0x8580 | (3 if addresses is None else 0), 1, len(found), 0, 0)
        rows = [socket.inet_pton(family, one) for one in found]
        return head + question[12 : at + 5] + b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 1, len(row)) + row for row in rows
        )


def openssl(*words, **options):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, **options).stdout


def make_certificates():
    """The directory's own certificate, and the authority of it that balancers trust."""
    FOLDER.mkdir()
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split()
    authority = [FOLDER / "authority.key", FOLDER / "authority.pem"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    openssl("req", "-x509", *new, "-subj", "/CN=authority", "-keyout", *authority[:1], "-out", *authority[1:], *usage)
    names = ["-addext", f"subjectAltName=DNS:{HOST}", "-addext", "basicConstraints=critical,CA:FALSE"]
    signing = ["-CA", authority[1], "-CAkey", authority[0], "-days", "2"]
    files = ["-keyout", FOLDER / "server.key", "-out", FOLDER / "server.pem"]
    openssl("req", "-x509", *new, "-subj", f"/CN={HOST}", *names, *signing, *files)
    # As update-ca-certificates does it: balancers trust the distribution's authorities.
    with SYSTEM_AUTHORITIES.open("a") as bundle:
        bundle.write(authority[1].read_text())


class Directory:
    """Pebble, and the front before it. `fault` is called with the path of each request: a true value is the whole
    answer (status, headers, body), a function writes it to the connection, and an exception resets the connection."""

    def __init__(self):
        make_certificates()
        (FOLDER / "pebble.json").write_text(json.dumps(SETTINGS))
        environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "30", "PEBBLE_AUTHZREUSE": "0"}
        command = [PEBBLE, "-config", str(FOLDER / "pebble.json"), "-dnsserver", "127.0.0.1:53"]
        with (FOLDER / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        self.fault = lambda path: None
        self.orders = 0
        """How many orders were made."""
        self.trust = ssl.create_default_context(cafile=FOLDER / "authority.pem")
        self.trust.check_hostname = False
        self.serve()
        self.wait()

    def wait(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.ask("GET", "/dir", {"Host": HOST}, b"")
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, (FOLDER / "log").read_text()
                time.sleep(0.1)

    def ask(self, method, path, headers, body, port=PEBBLE_PORT):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=self.trust, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def root(self):
        """The root of the certificates, in PEM. Pebble makes a new one at each start."""
        return self.ask("GET", "/roots/0", {}, b"", MANAGEMENT_PORT)[2].decode()

    def serve(self):
        directory = self

        class Front(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    answer = directory.fault(self.path)
                except OSError:
                    return self.connection.close()
                if callable(answer):
                    return answer(self.connection)
                if answer is None:
                    headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                    answer = directory.ask(self.command, self.path, headers, body)
                    # Not the ones with a refused nonce.
                    if self.path == "/order-plz" and answer[0] == 201:
                        directory.orders += 1
                status, headers, body = answer
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                """A client that has given up."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(FOLDER / "server.pem", FOLDER / "server.key")
        server = Server(("127.0.0.1", PORT), Front)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def end(self):
        self.process.terminate()
        self.process.wait()


def problem(kind, detail, status=403, **headers):
    """A refusal as an answer of the directory."""
    body = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}).encode()
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return status, [("Content-Type", "application/problem+json"), *pairs], body
