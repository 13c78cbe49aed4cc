#!/usr/bin/python3
"""Keeps this balancer in the state that `pulumi up` asked for.

Polls the desired state (an SSM parameter: haproxy.cfg and the hash of the certificate under one revision),
fetches the certificate when its hash is new, checks everything with `haproxy -c` and brings HAProxy there:
servers come and go through the runtime API, a certificate is swapped in place, anything else is a reload that
keeps the servers' states. The same path at boot, at a change and at a renewal. When servers come and others go
in one change, those that go serve on until those that come are proven to be up.

What HAProxy refuses is not applied: the old state serves on and the status says why. The record of what is
applied is written last, so a run that is killed at any step is done again by the next. A server that leaves
gets no new client while any wanted one is up, and is removed when its last socket has ended in every worker, or at
the drain time-out.

One thread asks AWS every five seconds. The main one looks at HAProxy every second, is the only one that changes
anything, and leaves behind a snapshot of what it knows. HTTP threads read that, and ask HAProxy for `show stat`.

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
import queue
import re
import subprocess
import sys
import threading
import time
import traceback
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Collection, Iterator, Mapping, NamedTuple

sys.path[:0] = ["/usr/local/lib/wcs-setup", "/usr/local/lib/wcs-balancer"]
import haproxy_runtime as haproxy
from aws_instance import AwsError
from aws_parameters import get_parameter
from changes import Changes, Leaving
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
from last_resort import all_down, certainly_served, proven
from status_document import NOTHING_SEEN, STALE_SECONDS, Seen, details, is_applied, node_name, warnings

SETTINGS = Path("/etc/wcs-balancer/sync.json")
STATE = Path("/var/lib/wcs-balancer")
HAPROXY_CONFIG = Path("/etc/haproxy/haproxy.cfg")
SETUP_STATE = Path("/var/lib/wcs-setup/state")
# How often AWS is asked.
POLL_SECONDS = 5
# How often HAProxy is looked at: clients that get a 503 come back within seconds.
LOOK_SECONDS = 1
REQUEST_SECONDS = 10
MAX_DOCUMENT_BYTES = 1_000_000
# A start of HAProxy takes a second. One that is away for longer does not come up with the files that it has.
AWAY_SECONDS = 10

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


EXPECTED_ERRORS = (SyncError, AwsError, HaproxyError, PlanError, OSError, subprocess.SubprocessError)


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


class Wanted(NamedTuple):
    """What AWS was asked for and has answered."""

    state: State
    secret: Secret | None
    """None while the certificate on this machine is the wanted one."""


class Snapshot(NamedTuple):
    """What the main thread knows at one moment: made anew each round and never changed, for HTTP threads to read."""

    at: float
    revision: str | None
    wanted: str | None
    error: str | None
    refused: str | None
    leaving: Mapping[str, Leaving]
    last_resort: tuple[str, ...]
    drain_timeout_seconds: int
    sockets: haproxy.Sockets
    """As of the last round in which HAProxy said so: a worker that is silent holds up nobody who asks over HTTP."""
    certificate_end: float | None


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
    except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error, RecursionError) as error:
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
        sockets, limit = int(row["scur"] or 0), int(row["slim"] or 0)
        if state == "up" and sockets >= limit > 0:
            state, reason = "full", f"sockets {sockets} of {limit}"
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


def in_words(error: Exception) -> str:
    """An error for an operator: one that nobody has thought of is retried like any other, and named as what it is."""
    if isinstance(error, EXPECTED_ERRORS):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} in {where.name}, line {where.lineno}: {error}; it is tried again"


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
        self.wanted: str | None = None
        """The revision that AWS named when it was asked last; None where it gave no answer."""
        self.refused: str | None = None
        """The revision that cannot be applied, if it is the wanted one."""
        self.state_error: str | None = None
        """Why what is wanted is not known or not applied."""
        self.error: str | None = None
        """All that is wrong."""
        self.attempted: str | None = None
        self.started_haproxy_at = float("-inf")
        self.start_failed = False
        """Whether HAProxy did not start with the files that are applied."""
        self.away_since: float | None = None
        """Since when HAProxy does not run, by the monotonic clock."""
        self.away_reason = ""
        self.warned: list[str] = []
        self.sockets = haproxy.Sockets({}, [])
        self.certificate_end: float | None = None
        self.last_stat = (float("-inf"), "")
        self.snapshot = self.take_snapshot()

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

    def fetch(self) -> Wanted:
        """Asks AWS. Runs in a thread of its own, since an answer may take half a minute: reads files only."""
        state = decode_document(get_parameter(self.state_parameter))
        try:
            there = sha256(self.certificate.read_bytes()) == state.certificate_hash
        except FileNotFoundError:
            there = False
        return Wanted(state, None if there else self.fetch_secret(state.certificate_hash))

    def fetch_secret(self, certificate_hash: str) -> Secret:
        """The certificate that the document names. Its parameter may be written a little later: the next poll tries
        again."""
        try:
            content = json.loads(get_parameter(self.secret_parameter))
            secret = Secret(content["pem"], content["token"])
            certificate = secret.pem.encode()
            secret.token.encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SyncError(f"{self.secret_parameter} cannot be read") from error
        if sha256(certificate) != certificate_hash:
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

    def apply(self, wanted: State, secret: Secret | None) -> None:
        """Brings this machine to the wanted state, or raises an error and leaves the old one serving."""
        applied = self.load_applied()
        if wanted == applied and not self.changes.joining:
            self.applied = applied
            return
        if wanted.revision != self.attempted:
            self.report(f"revision {wanted.revision}: changes")
            self.attempted = wanted.revision
        pem = secret.pem if secret else self.certificate.read_text(encoding="utf-8")
        if sha256(pem.encode()) != wanted.certificate_hash:
            raise SyncError(f"{self.certificate} has been changed by somebody else: it is fetched again")
        self.check(wanted.haproxy_config, pem)
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
        except (FileNotFoundError, ConnectionRefusedError):
            # (One that hangs, and so has sockets, is another error.)
            if applied is not None and not self.start_failed:
                raise SyncError("HAProxy does not run: it is started before anything changes") from None
            # Nobody has a socket, so nobody drains.
            self.changes = Changes()
            self.changes.save()
            self.write_files(wanted, secret)
            # What was wrong with the old files says nothing of these.
            self.away_reason = ""
            self.start_haproxy()
            return
        reloads = needs_reload(config, before)
        going = self.changes.leaving.items()
        unfinished = {*self.changes.joining, *(name for name, server in going if not server.barred)}
        self.plan_changes(wanted, config, running, unfinished)
        new_request = before is None or before.agent_request != config.agent_request
        for command in plan_joining(config, running, unfinished, new_request):
            haproxy.tell(command)
        if not reloads:
            serving = {*self.changes.held, *self.changes.last_resort}
            self.take_out(self.changes.leaving.keys() - serving, running)
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
        """Notes who comes and who goes. Who goes is held until who comes is proven, where HAProxy can run with both."""
        changes = self.changes
        changes.joining = [name for name in config.servers if joins(name, running, unfinished)]
        changes.unproven = [name for name in config.servers if name in {*changes.unproven, *changes.joining}]
        on_disk = parse_configuration(HAPROXY_CONFIG.read_text(encoding="utf-8")).servers
        since = None if changes.unproven else time.time()
        leaving = {
            # The maintenance of one that has not quite come is the service's own.
            name: Leaving(on_disk.get(name, ""), since, server.maintenance and name not in unfinished)
            for name, server in running.items()
            if name not in config.servers
        }
        leaving |= {name: server for name, server in changes.leaving.items() if name not in config.servers}
        changes.leaving = {
            name: server if server.options else server._replace(since=server.since or time.time())
            for name, server in leaving.items()
        }
        changes.last_resort = [name for name in changes.last_resort if name in changes.leaving]
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
            # The certificate last: while it is not there, the secret is fetched again.
            replace_file(self.token_file, secret.token, 0o600)
            replace_file(self.certificate, secret.pem, 0o600)
        replace_file(HAPROXY_CONFIG, self.file_content(wanted))

    def take_out(self, names: Collection[str], running: Mapping[str, RunningServer]) -> None:
        """Lets servers get no client any more. One in an operator's maintenance gets none as it is: left alone, it is
        what it was if it comes back."""
        barred = {name for name, server in self.changes.leaving.items() if server.barred}
        left_alone = {name for name in barred if name in running and running[name].maintenance}
        for command in plan_leaving([name for name in names if name not in left_alone], running):
            haproxy.tell(command)

    def release(self, rows: list[dict[str, str]]) -> None:
        """Takes out the servers that were held, when those that came in their place are all proven."""
        changes = self.changes
        if self.applied is None or not changes.unproven and not changes.held:
            return
        up = proven(rows)
        missing = [name for name in changes.unproven if name not in up]
        # Whoever was up and is down again has to prove itself anew, while somebody is there to serve in its place.
        if missing != changes.unproven and not (missing and changes.held):
            changes.unproven = missing
            changes.save()
        if changes.unproven or not changes.held:
            return
        running = parse_servers_state(haproxy.ask("show servers state"))
        self.take_out(changes.held, running)
        changes.let_go()
        changes.save()
        replace_file(HAPROXY_CONFIG, self.file_content(self.applied))
        self.write_record(self.applied)

    def call_up_last_resort(self, rows: list[dict[str, str]]) -> None:
        """Lets removed servers take clients while every wanted one is down.

        They pass their checks first, so one that is dead itself takes none. Noted on disk before HAProxy hears: the
        next run knows whom to take out again.
        """
        changes = self.changes
        if self.applied is None or not changes.leaving and not changes.last_resort:
            return
        running = parse_servers_state(haproxy.ask("show servers state"))
        needed = all_down(rows, changes.leaving, [name for name, server in running.items() if server.drain])
        candidates = changes.eligible(self.applied.drain_timeout_seconds) if needed else {}
        if not candidates and not changes.last_resort:
            return
        over = [name for name in changes.last_resort if name not in candidates]
        if over:
            self.take_out(over, running)
            self.report(f"{', '.join(over)}: no new clients any more, drains on")
        called = [name for name in candidates if joins(name, running, candidates)]
        if sorted(candidates) != sorted(changes.last_resort):
            noted, changes.last_resort = changes.last_resort, list(candidates)
            try:
                changes.save()
            except OSError:
                # What is not on disk is not done: the next round would give the commands without the note.
                changes.last_resort = noted
                raise
        if called:
            self.report(f"every wanted node is down: {', '.join(called)} may take clients again")
            config = parse_configuration(self.applied.haproxy_config)
            config = replace(config, servers={name: candidates[name] for name in called})
            for command in plan_joining(config, running, called, True):
                haproxy.tell(command)

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

    def drain(self, sockets: haproxy.Sockets, rows: list[dict[str, str]]) -> None:
        """Removes servers whose last socket has ended; at the time-out ends what is left of them.

        While the last resort may be needed, one that has time left stays. While a worker is silent, all stay: nobody
        knows what sockets it holds.
        """
        if not self.changes.leaving or self.applied is None:
            return
        running = parse_servers_state(haproxy.ask("show servers state"))
        drained = [name for name, server in running.items() if server.drain]
        served = certainly_served(rows, self.changes.leaving, drained)
        kept = {} if served else self.changes.eligible(self.applied.drain_timeout_seconds)
        for name, (_, since, _) in list(self.changes.leaving.items()):
            if since is None or name in running and not running[name].maintenance:
                continue  # Held, last resort, or of a change that did not come about: the next one decides.
            if sockets.by_server.get(name, 0) == 0 and not sockets.silent and name not in kept:
                for command in plan_removal(name) if name in running else []:
                    haproxy.tell(command)
                del self.changes.leaving[name]
                self.changes.save()
                self.report(f"{name} is drained")
            elif time.time() - since > self.applied.drain_timeout_seconds and sockets.by_server.get(name, 0) > 0:
                self.report(f"{name}: drain time-out, closes {haproxy.close_sockets(name)} sockets")

    def start_haproxy(self) -> None:
        """Starts HAProxy, also where systemd has given it up."""
        self.report("starts HAProxy")
        subprocess.run(["systemctl", "reset-failed", "haproxy"], capture_output=True, timeout=30)
        run("systemctl", "restart", "haproxy")

    def revive_haproxy(self) -> None:
        """Starts HAProxy with the files on disk when it does not run: systemd may have given it up.

        One that ends at each start never counts as failed, since systemd starts it again for ever.
        """
        now = time.monotonic()
        if self.applied is None:
            return
        if haproxy.runs():
            self.start_failed, self.away_since, self.away_reason = False, None, ""
            return
        if self.away_since is None:
            self.away_since = now
        if now - self.away_since >= AWAY_SECONDS:
            self.start_failed = True
            self.away_reason = self.away_reason or self.why_away()
        if now - self.started_haproxy_at >= POLL_SECONDS and haproxy.service_state() in ("failed", "inactive"):
            self.started_haproxy_at = now
            self.start_failed = True
            self.start_haproxy()
            self.start_failed = False

    def why_away(self) -> str:
        """Why HAProxy does not come up: what it says of its files, else what it said last."""
        try:
            run("haproxy", "-c", "-f", str(HAPROXY_CONFIG))
        except SyncError as error:
            return str(error)
        return what_matters(haproxy.end_of_journal()) or "nothing in its journal"

    def obey(self, answer: Wanted | Exception) -> None:
        """Brings this machine to what AWS has answered."""
        self.wanted = self.refused = self.state_error = None
        try:
            if isinstance(answer, Exception):
                raise answer
            self.wanted = answer.state.revision
            self.apply(*answer)
        except RefusedError as error:
            self.refused, self.state_error = self.wanted, str(error)
        except Exception as error:
            self.state_error = in_words(error)

    def tend(self) -> None:
        """Looks at HAProxy and does what is due there."""
        rows = haproxy.statistics(haproxy.ask("show stat"))
        self.release(rows)
        self.call_up_last_resort(rows)
        self.sockets = haproxy.sockets()
        self.drain(self.sockets, rows)
        self.certificate_end = haproxy.certificate_end(self.certificate)
        found = warnings(self.sockets.silent, self.certificate_end, self.changes.last_resort, time.time())
        for warning in found:
            if warning not in self.warned:
                self.report(f"warning: {warning}")
        self.warned = found

    def look(self, answer: Wanted | Exception | None = None) -> None:
        """One round, with AWS's answer where there is a new one. An error is reported when it is new."""
        problems: list[str] = []
        try:
            self.revive_haproxy()
        except Exception as error:
            problems.append(f"HAProxy does not start: {in_words(error)}")
        if answer is not None:
            self.obey(answer)
        try:
            self.tend()
        except (FileNotFoundError, ConnectionRefusedError):
            if self.applied is not None:
                why = f": {self.away_reason}" if self.away_reason else ""
                problems.append(f"HAProxy does not run: it is being started{why}")
        except Exception as error:
            problems.append(f"HAProxy cannot be looked after, it is tried again: {in_words(error)}")
        error = "; ".join([*([self.state_error] if self.state_error else []), *problems]) or None
        if error and error != self.error:
            self.report(f"error: {error}")
        self.error = error
        self.snapshot = self.take_snapshot()

    def poll(self) -> None:
        """Asks AWS, then does one round."""
        self.look(self.ask_aws())

    def ask_aws(self) -> Wanted | Exception:
        """AWS's answer; whatever goes wrong is one, too."""
        try:
            return self.fetch()
        except Exception as error:
            return error

    def take_snapshot(self) -> Snapshot:
        """What is known now."""
        return Snapshot(
            time.monotonic(),
            self.applied.revision if self.applied else None,
            self.wanted,
            self.error,
            self.refused,
            dict(self.changes.leaving),
            tuple(self.changes.last_resort),
            self.applied.drain_timeout_seconds if self.applied else 0,
            self.sockets,
            self.certificate_end,
        )

    def status(self, detailed: bool) -> dict[str, Any]:
        """What the status page shows: with `detailed` also errors and nodes. Any thread may ask: it reads one snapshot,
        and asks HAProxy for `show stat`."""
        known = self.snapshot
        age = time.monotonic() - known.at
        hangs = age > STALE_SECONDS
        document: dict[str, Any] = {
            "revision": known.revision,
            "applied": None if hangs else is_applied(known.revision, known.wanted),
        }
        if not detailed:
            return document
        problems = [known.error] if known.error else []
        if hangs:
            problems.append(f"wcs-balancer-sync hangs for {round(age)} s: systemctl restart wcs-balancer-sync")
        seen, away = NOTHING_SEEN, []
        try:
            nodes = ask_node_states()
            away = parts_away(haproxy.ask("show stat"))
            seen = Seen(nodes, known.sockets.by_server, known.sockets.silent, known.certificate_end)
        except Exception as problem:
            problems.append(f"HAProxy's statistics cannot be read: {in_words(problem)}")
        return {
            **document,
            "error": "; ".join(problems) or None,
            "refused": known.refused,
            "setup": setup_state(),
            "away": away,
            **details(seen, known.leaving, known.last_resort, known.drain_timeout_seconds, time.time()),
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
        except Exception:
            # Whatever is wrong with the statistics: nobody can promise a node.
            return False

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization header carries the stack's token."""
        try:
            token = self.token_file.read_text(encoding="utf-8")
        except (OSError, ValueError):
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
    balancer.look()
    serve_status(balancer)
    # One at a time: what was not taken yet is not asked again, so no old answer follows a newer one.
    answers: queue.Queue[Wanted | Exception] = queue.Queue(maxsize=1)

    def keep_asking() -> None:
        while True:
            answers.put(balancer.ask_aws())
            time.sleep(POLL_SECONDS)

    threading.Thread(target=keep_asking, daemon=True).start()
    broken = ""
    while True:
        try:
            answer = answers.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            answer = None
        try:
            balancer.look(answer)
        except Exception as error:
            if broken != (broken := in_words(error)):
                report(f"error: {broken}")


if __name__ == "__main__":
    sys.exit(main())
