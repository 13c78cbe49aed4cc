#!/usr/bin/python3
"""Keeps this balancer in the state that `pulumi up` asked for.

Polls the desired state (an SSM parameter: haproxy.cfg and the hash of the certificate under one revision),
fetches the certificate when its hash is new, checks everything with `haproxy -c` and brings HAProxy there:
servers come and go through the runtime API, a certificate is swapped in place, anything else is a reload that
keeps the servers' states. The same path at boot, at a change and at a renewal. When servers come and others go
in one change, those that go serve on until those that come are up.

What HAProxy refuses is not applied: the old state serves on and the status says why. The record of what is
applied is written last, so a run that is killed at any step is done again by the next. A server that leaves
gets no new client, and is removed when its last socket has ended in every worker, or at the drain time-out.

Status on 127.0.0.1:8181, reached through HAProxy: the revision for everybody, errors and nodes with the
stack's token.
"""

import base64
import gzip
import hashlib
import hmac
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, NamedTuple

sys.path[:0] = ["/usr/local/lib/wcs-setup", "/usr/local/lib/wcs-balancer"]
import haproxy_runtime as haproxy
from aws_instance import AwsError
from aws_parameters import get_parameter
from haproxy_plan import (
    Configuration,
    PlanError,
    RunningServer,
    joins,
    needs_reload,
    parse_configuration,
    parse_servers_state,
    plan_joining,
    plan_leaving,
    plan_removal,
    server_lines,
)
from haproxy_runtime import HaproxyError, replace_file

SETTINGS = Path("/etc/wcs-balancer/sync.json")
STATE = Path("/var/lib/wcs-balancer")
CHANGES = STATE / "changes.json"
HAPROXY_CONFIG = Path("/etc/haproxy/haproxy.cfg")
SETUP_STATE = Path("/var/lib/wcs-setup/state")
POLL_SECONDS = 5
REQUEST_SECONDS = 10
MAX_DOCUMENT_BYTES = 1_000_000

# HAProxy's words for `down #why`.
AGENT_REASON = re.compile(r"via agent : \w+ \((.*)\)")
# HAProxy's words for `up N% #tightest check`.
AGENT_LOAD = re.compile(r"via agent : up \((.*)\)")
# What haproxy.cfg says of the step at which the health check has failed: the port that it asks.
CHECKED_PORT = re.compile(r"comment: '(port \d+)'")
# HAProxy's code for an agent that has said `down`, `fail` or `stopped`.
AGENT_SAYS_DOWN = "L7STS"
# For as long HAProxy is asked again for the words of checks that are under way: an agent may take a second.
WORDS_SECONDS = 1.5


class SyncError(Exception):
    """Why the desired state is not applied, in one line for an operator."""


class RefusedError(SyncError):
    """The desired state cannot be applied, however long one waits."""


ERRORS = (SyncError, AwsError, HaproxyError, PlanError, OSError, subprocess.SubprocessError)


@dataclass(frozen=True)
class State:
    """What is to run, or runs: the document's content."""

    revision: str
    haproxy_config: str
    certificate_hash: str
    drain_timeout_seconds: int


class Secret(NamedTuple):
    """The content of the secret parameter."""

    pem: str
    token: str


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- Pure: what the document says, what the statistics mean ---


def decode_document(text: str) -> State:
    """Reads the desired state: base64 of gzip of JSON."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text, validate=True))) as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"more than {MAX_DOCUMENT_BYTES} bytes")
        document = json.loads(raw)
        state = State(
            document["revision"],
            document["haproxyConfig"],
            document["certificateHash"],
            document["drainTimeoutSeconds"],
        )
        if not all(isinstance(value, str) for value in (state.revision, state.haproxy_config, state.certificate_hash)):
            raise ValueError("a value is no text")
        if not isinstance(state.drain_timeout_seconds, int):
            raise ValueError("drainTimeoutSeconds is no number")
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise SyncError(f"the desired state cannot be read: {error or type(error).__name__}") from error
    return state


def what_matters(output: str) -> str:
    """The output of a command on one line: of HAProxy's the alerts and warnings, without process ids."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("[NOTICE]")]
    return "; ".join(re.sub(r"^\[(ALERT|WARNING)\] +\(\d+\) : ", "", line) for line in lines)


def limits_problem(config: str, open_files: int) -> str | None:
    """Why HAProxy cannot hold its connections, if it cannot: each takes two open files, one to either side."""
    found = re.search(r"^ +maxconn (\d+)$", config, re.M)
    if not found or (needed := 2 * int(found.group(1)) + 100) <= open_files:
        return None
    return (
        f"maxConnections needs {needed} open files, and HAProxy may have {open_files} on this machine: "
        "lower maxConnections, or raise LimitNOFILE of haproxy.service"
    )


def node_name(server: str) -> str:
    """The name in the configuration: without the part that makes a server's name unique to its instance."""
    return re.sub(r"-[0-9a-f]{8}$", "", server)


def check_code(row: dict[str, str], check: str) -> str:
    """HAProxy's code for the last result of a check. It stays while the next check is under way, which an asterisk
    marks."""
    return row.get(check, "").removeprefix("* ")


def lacks_words(row: dict[str, str]) -> bool:
    """Whether the words of a server's check are missing: HAProxy forgets those of a result when the next check
    begins, and some checks are under way most of the time."""
    if row["status"].startswith("MAINT"):
        return False
    if row["status"].startswith("DOWN") and check_code(row, "agent_status") != AGENT_SAYS_DOWN:
        return row.get("check_status", "").startswith("* ") and not row["last_chk"]
    return row["agent_status"].startswith("* ") and not row["last_agt"]


def down_reason(row: dict[str, str]) -> str:
    """Why a server is down, in an operator's words: the same from one check to the next."""
    agent, check = check_code(row, "agent_status"), check_code(row, "check_status")
    if agent == AGENT_SAYS_DOWN:
        words = AGENT_REASON.fullmatch(row["last_agt"])
        return words.group(1) if words else "its agent says so"
    if check == "INI":
        return "has not been asked yet"
    if check == "L7OK":
        return "answers again and comes up" if agent == "L7OK" else "does not answer on port 9707"
    port = CHECKED_PORT.search(row["last_chk"])
    if port is None:
        return "does not answer"
    # The health check asks one port after the other. What the second one does, the agent check knows.
    if port.group(1) == "port 8080" and agent != "L7OK":
        return "does not answer on ports 8080 and 9707"
    return f"does not answer on {port.group(1)}"


def node_state(row: dict[str, str]) -> dict[str, Any]:
    """One server of HAProxy's `show stat` as the status shows it."""
    status, weight = row["status"], row["weight"]
    agent_status = check_code(row, "agent_status")
    reason = ""
    load = ""
    if status.startswith("MAINT"):
        state = "maint"
    elif agent_status == "":
        state = "unknown"
        reason = "no agent check has run"
    elif status.startswith("DOWN"):
        state = "down"
        reason = down_reason(row)
    elif agent_status != "L7OK":
        state = "unknown"
        reason = f"no answer from the agent ({agent_status})"
    else:
        tightest = AGENT_LOAD.fullmatch(row.get("last_agt", ""))
        load = tightest.group(1) if tightest else ""
        state, reason = ("full", load) if weight == "0" else ("up", "")
    return {
        "server": row["svname"],
        "node": node_name(row["svname"]),
        "address": row["addr"],
        "state": state,
        "reason": reason,
        "load": load,
        "weight": int(weight or 0),
        "sockets": int(row["scur"] or 0),
        "limit": int(row["slim"] or sys.maxsize),
    }


def node_states(*show_stats: str) -> list[dict[str, Any]]:
    """The servers of the WCS backend out of the CSV of `show stat`, asked once or several times in a row: each as it
    was last with the words of its checks."""
    rows: dict[str, dict[str, str]] = {}
    for row in (row for show_stat in show_stats for row in haproxy.statistics(show_stat)):
        if row["svname"] not in rows or not lacks_words(row):
            rows[row["svname"]] = row
    return [node_state(row) for row in rows.values()]


def ask_node_states() -> list[dict[str, Any]]:
    """The same of the running HAProxy, which is asked again while the words of a check are missing."""
    deadline = time.monotonic() + WORDS_SECONDS
    answers = [haproxy.ask("show stat")]
    missing = {row["svname"] for row in haproxy.statistics(answers[0]) if lacks_words(row)}
    while missing and time.monotonic() < deadline:
        time.sleep(0.05)
        answers.append(haproxy.ask("show stat"))
        missing &= {row["svname"] for row in haproxy.statistics(answers[-1]) if lacks_words(row)}
    return node_states(*answers)


def parts_away(show_stat: str) -> list[str]:
    """What of the balancer itself does not answer, in an operator's words: the nodes serve without it."""
    down = any(row["status"].startswith("DOWN") for row in haproxy.statistics(show_stat, "wcs_web_admin"))
    return ["nginx does not answer on port 8180, so there are no pages"] if down else []


def takes_clients(show_stat: str) -> bool:
    """Whether HAProxy gives any node a client: up, a weight above 0, a free connection."""
    return any(
        row["status"].startswith("UP") and row["weight"] != "0" and int(row["scur"]) < int(row["slim"] or sys.maxsize)
        for row in haproxy.statistics(show_stat)
    )


# --- This machine ---


def run(*command: str) -> None:
    """Runs a command; its output becomes the error."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=90)
    if result.returncode != 0:
        raise SyncError(f"{command[0]} failed ({result.returncode}): {what_matters(result.stdout + result.stderr)}")


def setup_state() -> str | None:
    """What the set-up of this machine does or where it has failed; None when it is complete."""
    try:
        return SETUP_STATE.read_text(encoding="utf-8").strip()
    except OSError:
        return None


class Leaving(NamedTuple):
    """A server that is to go."""

    options: str
    """Its address and options in haproxy.cfg."""
    since: float | None
    """When it was taken out, in seconds since the epoch. None while it is held: it serves on until the servers
    that come in its place have come up."""


@dataclass
class Changes:
    """Servers on their way in and out. On disk before HAProxy hears of them, so that the next run knows."""

    joining: list[str]
    """Those whose commands may not all be given yet."""
    unproven: list[str]
    """Those that have not been up yet."""
    leaving: dict[str, Leaving]

    @classmethod
    def load(cls) -> "Changes":
        try:
            saved = json.loads(CHANGES.read_text(encoding="utf-8"))
            leaving = {name: Leaving(*values) for name, values in saved["leaving"].items()}
            return cls(saved["joining"], saved["unproven"], leaving)
        except (OSError, ValueError, KeyError, TypeError):
            return cls([], [], {})

    def save(self) -> None:
        replace_file(CHANGES, json.dumps(vars(self)))

    @property
    def held(self) -> dict[str, str]:
        """The lines' content of servers that serve on though they are not wanted any more."""
        return {name: server.options for name, server in self.leaving.items() if server.since is None}

    def let_go(self) -> None:
        """From now on nobody is held."""
        now = time.time()
        self.leaving = {name: server._replace(since=server.since or now) for name, server in self.leaving.items()}


class Balancer:
    """This machine's state and the way to the wanted one."""

    def __init__(self, settings: dict[str, str], report: Callable[[str], None]):
        self.state_parameter = settings["stateParameter"]
        self.secret_parameter = settings["secretParameter"]
        self.certificate = Path(settings["certificatePath"])
        self.token_file = STATE / "status-token"
        self.record = STATE / "applied.json"
        self.report = report
        self.changes = Changes.load()
        self.applied = self.load_applied()
        self.error: str | None = None
        self.refused: str | None = None
        """The revision that cannot be applied, if it is the wanted one."""
        self.attempted: str | None = None
        self.last_stat = (float("-inf"), "")

    def load_applied(self) -> State | None:
        """What the last finished run recorded, unless the files were changed since."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            config = HAPROXY_CONFIG.read_text(encoding="utf-8")
            if sha256(config.encode()) != record["haproxyConfigHash"]:
                return None
            wanted = config.removesuffix(server_lines(self.changes.held))
            state = State(record["revision"], wanted, record["certificateHash"], record["drainTimeoutSeconds"])
            if sha256(self.certificate.read_bytes()) != state.certificate_hash:
                return None
            return state
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def fetch_secret(self, certificate_hash: str) -> Secret:
        """The certificate that the document names. Its parameter may be written a little later: the next poll tries
        again."""
        try:
            content = json.loads(get_parameter(self.secret_parameter))
            secret = Secret(content["pem"], content["token"])
        except (ValueError, KeyError, TypeError) as error:
            raise SyncError(f"{self.secret_parameter} cannot be read") from error
        if sha256(secret.pem.encode()) != certificate_hash:
            raise SyncError(f"the certificate {certificate_hash[:12]} is not in {self.secret_parameter} yet")
        return secret

    def check(self, config: str, pem: str) -> None:
        """Lets HAProxy judge configuration and certificate before anything is replaced."""
        certificate, path = STATE / "candidate/cert.pem", STATE / "candidate/haproxy.cfg"
        replace_file(certificate, pem, 0o600)
        replace_file(path, config.replace(str(self.certificate), str(certificate)))
        try:
            # Errors only: of every server in a saved state that is up again it warns too.
            run("haproxy", "-c", "-f", str(path))
        except SyncError as error:
            raise RefusedError(str(error)) from error
        finally:
            certificate.unlink()
        open_files = haproxy.open_files_limit()
        if open_files and (problem := limits_problem(config, open_files)):
            raise RefusedError(problem)

    def apply(self, wanted: State) -> None:
        """Brings this machine to the wanted state, or raises an error and leaves the old one serving."""
        applied = self.load_applied()
        if wanted == applied and not self.changes.joining:
            self.applied = applied
            return
        if wanted.revision != self.attempted:
            self.report(f"revision {wanted.revision}: changes")
            self.attempted = wanted.revision
        secret = None
        if applied is None or wanted.certificate_hash != applied.certificate_hash:
            secret = self.fetch_secret(wanted.certificate_hash)
        self.check(wanted.haproxy_config, secret.pem if secret else self.certificate.read_text(encoding="utf-8"))
        self.change_haproxy(wanted, applied, secret)
        self.write_record(wanted)
        self.changes.joining = []
        self.changes.save()
        self.applied = wanted
        self.report(f"revision {wanted.revision}: applied")

    def write_record(self, state: State) -> None:
        """What is applied, for the next run: the last step of each change."""
        record = {
            "revision": state.revision,
            "certificateHash": state.certificate_hash,
            "haproxyConfigHash": sha256(self.file_content(state).encode()),
            "drainTimeoutSeconds": state.drain_timeout_seconds,
        }
        replace_file(self.record, json.dumps(record))

    def file_content(self, state: State) -> str:
        """haproxy.cfg as it stands on disk: what is wanted, and the servers that are held."""
        return state.haproxy_config + server_lines(self.changes.held)

    def change_haproxy(self, wanted: State, applied: State | None, secret: Secret | None) -> None:
        """Brings files and running HAProxy to the wanted state, with a reload only where nothing else does."""
        config = parse_configuration(wanted.haproxy_config)
        before = parse_configuration(applied.haproxy_config) if applied else None
        try:
            running = parse_servers_state(haproxy.ask("show servers state"))
        except OSError:
            # Nobody has a socket, so nobody drains.
            self.changes = Changes([], [], {})
            self.changes.save()
            self.write_files(wanted, secret)
            self.report("starts HAProxy")
            run("systemctl", "restart", "haproxy")
            return
        reloads = needs_reload(config, before)
        unfinished = {*self.changes.joining, *self.changes.leaving}
        self.plan_changes(wanted, config, running, unfinished)
        new_request = before is None or before.agent_request != config.agent_request
        for command in plan_joining(config, running, unfinished, new_request):
            haproxy.tell(command)
        if not reloads:
            for command in plan_leaving(self.changes.leaving.keys() - self.changes.held.keys(), running):
                haproxy.tell(command)
            self.write_files(wanted, secret)
            if secret:
                haproxy.set_certificate(self.certificate, secret.pem)
        else:
            # The servers that leave are none of the new worker's; a state that does not start changes nothing.
            with self.files_restored_on_error():
                self.write_files(wanted, secret)
                haproxy.reload()

    def plan_changes(
        self, wanted: State, config: Configuration, running: Mapping[str, RunningServer], unfinished: set[str]
    ) -> None:
        """Notes who comes and who goes. Who goes is held until who comes is up, where HAProxy can run with both."""
        changes = self.changes
        changes.joining = [name for name in config.servers if joins(name, running, unfinished)]
        changes.unproven = [name for name in config.servers if name in {*changes.unproven, *changes.joining}]
        on_disk = parse_configuration(HAPROXY_CONFIG.read_text(encoding="utf-8")).servers
        since = None if changes.unproven else time.time()
        leaving = {name: Leaving(on_disk.get(name, ""), since) for name in running if name not in config.servers}
        leaving |= {name: server for name, server in changes.leaving.items() if name not in config.servers}
        changes.leaving = {
            name: server if server.options else server._replace(since=server.since or time.time())
            for name, server in leaving.items()
        }
        if changes.held:
            try:
                pem = self.certificate.read_text(encoding="utf-8")
                self.check(self.file_content(wanted), pem)
            except RefusedError as error:
                self.report(f"does not wait for new nodes before old ones leave: {error}")
                changes.let_go()
        changes.save()

    def write_files(self, wanted: State, secret: Secret | None) -> None:
        if secret:
            replace_file(self.certificate, secret.pem, 0o600)
            replace_file(self.token_file, secret.token, 0o600)
        replace_file(HAPROXY_CONFIG, self.file_content(wanted))

    def release(self) -> None:
        """Takes out the servers that were held, when those that came in their place are up."""
        changes = self.changes
        if self.applied is None or not changes.unproven and not changes.held:
            return
        up = {row["svname"] for row in haproxy.statistics(haproxy.ask("show stat")) if row["status"].startswith("UP")}
        if proven := up & set(changes.unproven):
            changes.unproven = [name for name in changes.unproven if name not in proven]
            changes.save()
        if changes.unproven or not changes.held:
            return
        for command in plan_leaving(changes.held, parse_servers_state(haproxy.ask("show servers state"))):
            haproxy.tell(command)
        changes.let_go()
        changes.save()
        replace_file(HAPROXY_CONFIG, self.file_content(self.applied))
        self.write_record(self.applied)

    @contextmanager
    def files_restored_on_error(self) -> Iterator[None]:
        """What HAProxy could not start with does not stay on disk, where a reboot would find it."""
        kept = {path: path.read_text(encoding="utf-8") for path in (HAPROXY_CONFIG, self.certificate) if path.exists()}
        try:
            yield
        except HaproxyError as error:
            for path, content in kept.items():
                replace_file(path, content, 0o600 if path == self.certificate else 0o644)
            raise RefusedError(str(error)) from error

    def drain(self) -> None:
        """Removes servers whose last socket has ended; at the time-out ends what is left of them."""
        if not self.changes.leaving or self.applied is None:
            return
        running = parse_servers_state(haproxy.ask("show servers state"))
        sockets = haproxy.sockets_of(self.changes.leaving)
        for name, (_, since) in list(self.changes.leaving.items()):
            if since is None or name in running and not running[name].maintenance:
                continue  # Held, or of a change that did not come about: the next one decides.
            if sockets[name] == 0:
                for command in plan_removal(name) if name in running else []:
                    haproxy.tell(command)
                del self.changes.leaving[name]
                self.changes.save()
                self.report(f"{name} is drained")
            elif time.time() - since > self.applied.drain_timeout_seconds:
                self.report(f"{name}: drain time-out, closes {haproxy.close_sockets(name)} sockets")

    def poll(self) -> None:
        """One round. An error is reported when it is new, not every five seconds."""
        problems: list[str] = []
        refused: str | None = None
        try:
            wanted = decode_document(get_parameter(self.state_parameter))
            try:
                self.apply(wanted)
            except RefusedError:
                refused = wanted.revision
                raise
        except ERRORS as error:
            problems.append(str(error))
        try:
            self.release()
            self.drain()
        except ERRORS as error:
            problems.append(f"the drain goes on at the next poll: {error}")
        error = "; ".join(problems) or None
        if error and error != self.error:
            self.report(f"error: {error}")
        self.error, self.refused = error, refused

    def status(self, detailed: bool) -> dict[str, Any]:
        """What the status page shows: with `detailed` also errors and nodes."""
        document: dict[str, Any] = {
            "revision": self.applied.revision if self.applied else None,
            "applied": self.applied is not None and self.error is None,
        }
        if not detailed:
            return document
        problems = [self.error] if self.error else []
        nodes: list[dict[str, Any]] = []
        away: list[str] = []
        leaving: dict[str, int] = {}
        try:
            nodes = ask_node_states()
            away = parts_away(haproxy.ask("show stat"))
            leaving = haproxy.sockets_of(self.changes.leaving) if self.changes.leaving else {}
        except (OSError, KeyError, ValueError) as problem:
            problems.append(f"HAProxy's statistics cannot be read: {problem}")
        timeout = self.applied.drain_timeout_seconds if self.applied else 0
        return {
            **document,
            "error": "; ".join(problems) or None,
            "refused": self.refused,
            "setup": setup_state(),
            "away": away,
            "nodes": [node for node in nodes if node["server"] not in self.changes.leaving],
            "draining": [
                {
                    "server": name,
                    "node": node_name(name),
                    "sockets": leaving.get(name),
                    "held": since is None,
                    "secondsLeft": max(0, round((since or time.time()) + timeout - time.time())),
                }
                for name, (_, since) in self.changes.leaving.items()
            ],
        }

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

    balancer = Balancer(json.loads(SETTINGS.read_text(encoding="utf-8")), report)
    serve_status(balancer)
    while True:
        balancer.poll()
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
