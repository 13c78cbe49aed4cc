#!/usr/bin/python3
"""Keeps this balancer in the state that `pulumi up` asked for.

Polls the desired state (an SSM parameter: haproxy.cfg and the hash of the certificate under one revision),
fetches the certificate when its hash is new, checks everything with `haproxy -c`, writes it and reloads
HAProxy. The same path at boot, at a change and at a renewal. What HAProxy refuses is not applied: the old
state serves on and the status says why. The record of what is applied is written last, so a run that is
killed at any step is done again by the next.

Status on 127.0.0.1:8181, reached through HAProxy: the revision for everybody, errors and nodes with the
stack's token.
"""

import base64
import csv
import gzip
import hashlib
import hmac
import http.server
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple

sys.path.insert(0, "/usr/local/lib/wcs-setup")
from aws_instance import AwsError, get_parameter

SETTINGS = Path("/etc/wcs-balancer/sync.json")
APPLIED = Path("/var/lib/wcs-balancer/applied.json")
HAPROXY_CONFIG = Path("/etc/haproxy/haproxy.cfg")
SERVER_STATE = Path("/var/lib/haproxy/server-state")
ADMIN_SOCKET = "/run/haproxy/admin.sock"
MASTER_SOCKET = "/run/haproxy-master.sock"
BACKEND = "wcs_back"
POLL_SECONDS = 5
REQUEST_SECONDS = 10
MAX_DOCUMENT_BYTES = 1_000_000
CERTIFICATE_DEADLINE_SECONDS = 60


# HAProxy's words for `down #why`.
AGENT_REASON = re.compile(r"via agent : \w+ \((.*)\)")


class SyncError(Exception):
    """Why the desired state is not applied, in one line for an operator."""


@dataclass(frozen=True)
class State:
    """What is to run, or runs: the document's content."""

    revision: str
    haproxy_config: str
    certificate_hash: str


@dataclass(frozen=True)
class Plan:
    """What has to be done to get from one state to another."""

    fetch_certificate: bool
    write_config: bool
    reload: bool

    @property
    def idle(self) -> bool:
        return not (self.fetch_certificate or self.write_config or self.reload)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- Pure: what the document says, what is to be done, what is running ---


def decode_document(text: str) -> State:
    """Reads the desired state: base64 of gzip of JSON."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text, validate=True))) as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"more than {MAX_DOCUMENT_BYTES} bytes")
        document = json.loads(raw)
        state = State(document["revision"], document["haproxyConfig"], document["certificateHash"])
        if not all(isinstance(value, str) for value in (state.revision, state.haproxy_config, state.certificate_hash)):
            raise ValueError("a value is no text")
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise SyncError(f"the desired state cannot be read: {error or type(error).__name__}") from error
    return state


def plan(wanted: State, applied: State | None) -> Plan:
    """Decides what to do. `applied` is what a finished run recorded and the files on disk still hold."""
    if applied is None:
        return Plan(fetch_certificate=True, write_config=True, reload=True)
    new_certificate = wanted.certificate_hash != applied.certificate_hash
    new_config = wanted.haproxy_config != applied.haproxy_config
    return Plan(
        fetch_certificate=new_certificate,
        write_config=new_config or wanted.revision != applied.revision,
        reload=new_certificate or new_config,
    )


def node_state(row: dict[str, str]) -> dict[str, Any]:
    """One server of HAProxy's `show stat` as the status shows it."""
    status, weight = row["status"], row["weight"]
    reason = ""
    if row.get("agent_status", "") == "":
        state = "unknown"
        reason = "no agent check has run"
    elif status.startswith("MAINT"):
        state = "maint"
    elif status.startswith("DOWN"):
        state = "down"
        agent = AGENT_REASON.fullmatch(row.get("last_agt", ""))
        by_agent = "agent" in status
        reason = (agent.group(1) if agent and by_agent else row.get("last_chk", "")) or status
    elif row["agent_status"] != "L7OK":
        state = "unknown"
        reason = f"no answer from the agent ({row['agent_status']})"
    elif weight == "0":
        state = "full"
    else:
        state = "up"
    return {
        "server": row["svname"],
        "address": row["addr"],
        "state": state,
        "reason": reason,
        "weight": int(weight or 0),
        "sockets": int(row["scur"] or 0),
        "limit": int(row["slim"] or sys.maxsize),
    }


def takes_clients(show_stat: str) -> bool:
    """Whether any node takes a client: up, a weight above 0, a free connection."""
    return any(
        node["state"] == "up" and node["sockets"] < node["limit"] for node in node_states(show_stat)
    )


def node_states(show_stat: str) -> list[dict[str, Any]]:
    """The servers of the WCS backend out of the CSV of `show stat`."""
    rows = csv.DictReader(io.StringIO(show_stat.removeprefix("# ")))
    return [
        node_state(row)
        for row in rows
        if row["pxname"] == BACKEND and row["svname"] not in ("FRONTEND", "BACKEND")
    ]


# --- This machine ---


def run(*command: str) -> None:
    """Runs a command; its output becomes the error."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=90)
    if result.returncode != 0:
        output = " ".join((result.stdout + result.stderr).split())
        raise SyncError(f"{command[0]} failed ({result.returncode}): {output}")


def replace_file(path: Path, content: str, mode: int = 0o644) -> None:
    """Writes a file in one step: readers see the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def ask_haproxy(path: str, command: str) -> str:
    """Sends one command to a socket of HAProxy and gives its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(REQUEST_SECONDS)
        client.connect(path)
        client.sendall(command.encode() + b"\n")
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def save_server_state() -> None:
    """Keeps the servers' states over a reload: without, a node that its agent took out counts as up again."""
    try:
        replace_file(SERVER_STATE, ask_haproxy(ADMIN_SOCKET, "show servers state"))
    except OSError:
        return  # HAProxy does not run yet, or still runs the distribution's configuration.


def reload_haproxy() -> None:
    """Puts the files on disk into force; open sockets stay in the old worker."""
    save_server_state()
    if subprocess.run(["systemctl", "is-active", "--quiet", "haproxy"], timeout=30).returncode != 0:
        run("systemctl", "restart", "haproxy")
        return
    # The master's own command, since `systemctl reload` does not wait for the new worker's verdict.
    answer = ask_haproxy(MASTER_SOCKET, "reload")
    if not answer.startswith("Success=1"):
        raise SyncError(f"HAProxy did not reload: {' '.join(answer.split())}")


class Secret(NamedTuple):
    """The content of the secret parameter."""

    pem: str
    token: str


class Balancer:
    """This machine's state and the way to the wanted one."""

    def __init__(self, settings: dict[str, str]):
        self.state_parameter = settings["stateParameter"]
        self.secret_parameter = settings["secretParameter"]
        self.certificate = Path(settings["certificatePath"])
        self.token_file = Path("/var/lib/wcs-balancer/status-token")
        self.applied: State | None = None
        self.error: str | None = None

    def load_applied(self) -> State | None:
        """What the last finished run recorded, unless the files were changed since."""
        try:
            record = json.loads(APPLIED.read_text(encoding="utf-8"))
            state = State(record["revision"], HAPROXY_CONFIG.read_text(encoding="utf-8"), record["certificateHash"])
            if sha256(state.haproxy_config.encode()) != record["haproxyConfigHash"]:
                return None
            if sha256(self.certificate.read_bytes()) != state.certificate_hash:
                return None
            return state
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def fetch_secret(self, certificate_hash: str) -> Secret:
        """The certificate that the document names; its parameter may be written a little later."""
        deadline = time.monotonic() + CERTIFICATE_DEADLINE_SECONDS
        while True:
            try:
                content = json.loads(get_parameter(self.secret_parameter))
                secret = Secret(content["pem"], content["token"])
                problem = "holds another certificate"
                if sha256(secret.pem.encode()) == certificate_hash:
                    return secret
            except AwsError as error:
                problem = str(error)
            except (ValueError, KeyError, TypeError):
                problem = "cannot be read"
            if time.monotonic() > deadline:
                raise SyncError(f"the certificate {certificate_hash[:12]} is not in {self.secret_parameter}: {problem}")
            time.sleep(2)

    def check(self, config: str, pem: str) -> None:
        """Lets HAProxy judge configuration and certificate before anything is replaced."""
        directory = Path("/var/lib/wcs-balancer/candidate")
        certificate, path = directory / "cert.pem", directory / "haproxy.cfg"
        replace_file(certificate, pem, 0o600)
        replace_file(path, config.replace(str(self.certificate), str(certificate)))
        try:
            run("haproxy", "-c", "-dW", "-f", str(path))
        finally:
            certificate.unlink()

    def apply(self, wanted: State, report: Callable[[str], None]) -> None:
        """Brings this machine to the wanted state, or raises SyncError and leaves the old one serving."""
        applied = self.load_applied()
        todo = plan(wanted, applied)
        if todo.idle:
            self.applied = applied
            return
        report(f"revision {wanted.revision}: {todo}")
        secret = self.fetch_secret(wanted.certificate_hash) if todo.fetch_certificate else None
        pem = secret.pem if secret else self.certificate.read_text(encoding="utf-8")
        self.check(wanted.haproxy_config, pem)
        if secret:
            replace_file(self.certificate, secret.pem, 0o600)
            replace_file(self.token_file, secret.token, 0o600)
        if todo.write_config:
            replace_file(HAPROXY_CONFIG, wanted.haproxy_config)
        if todo.reload:
            reload_haproxy()
        record = {
            "revision": wanted.revision,
            "certificateHash": wanted.certificate_hash,
            "haproxyConfigHash": sha256(wanted.haproxy_config.encode()),
        }
        replace_file(APPLIED, json.dumps(record))
        self.applied = wanted
        report(f"revision {wanted.revision}: applied")

    def poll(self, report: Callable[[str], None]) -> None:
        """One round. An error is reported when it is new, not every five seconds."""
        try:
            self.apply(decode_document(get_parameter(self.state_parameter)), report)
            error = None
        except (SyncError, AwsError, OSError, subprocess.SubprocessError) as problem:
            error = str(problem)
        if error and error != self.error:
            report(f"error: {error}")
        self.error = error

    def status(self, detailed: bool) -> dict[str, Any]:
        """What the status page shows: with `detailed` also errors and nodes."""
        document: dict[str, Any] = {
            "revision": self.applied.revision if self.applied else None,
            "applied": self.applied is not None and self.error is None,
        }
        if detailed:
            document["error"] = self.error
            try:
                document["nodes"] = node_states(ask_haproxy(ADMIN_SOCKET, "show stat"))
            except (OSError, KeyError, ValueError) as problem:
                document["nodes"] = []
                document["error"] = self.error or f"HAProxy's statistics cannot be read: {problem}"
        return document

    def healthy(self) -> bool:
        """Whether a client that comes now gets a node."""
        try:
            return takes_clients(ask_haproxy(ADMIN_SOCKET, "show stat"))
        except (OSError, KeyError, ValueError):
            return False

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization header carries the stack's token."""
        try:
            token = self.token_file.read_text(encoding="utf-8")
        except OSError:
            return False
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def serve_status(balancer: Balancer) -> None:
    """Serves the status on localhost, in a thread of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        server_version = "wcs-balancer-sync"
        sys_version = ""

        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            if self.path == "/healthz":
                healthy = balancer.healthy()
                self.send_response(200 if healthy else 503)
                if not healthy:
                    self.send_header("Retry-After", "10")
                body = json.dumps({"takesClients": healthy}).encode() + b"\n"
            elif authorization and not balancer.knows(authorization):
                self.send_response(403)
                body = b'{"error": "wrong token"}\n'
            else:
                self.send_response(200)
                body = json.dumps(balancer.status(detailed=bool(authorization)), indent=2).encode() + b"\n"
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """HAProxy logs the requests."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8181), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    console = open("/dev/console", "w", encoding="utf-8") if os.access("/dev/console", os.W_OK) else None

    def report(message: str) -> None:
        """To the journal, and to the console, which AWS shows when nothing answers on 443 yet."""
        print(message, flush=True)
        if console:
            print(f"wcs-balancer-sync: {message}", file=console, flush=True)

    balancer = Balancer(json.loads(SETTINGS.read_text(encoding="utf-8")))
    balancer.applied = balancer.load_applied()
    serve_status(balancer)
    while True:
        balancer.poll(report)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
