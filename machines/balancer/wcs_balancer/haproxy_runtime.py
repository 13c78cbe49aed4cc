"""Talks to the HAProxy of this machine through its sockets: its workers, its statistics, its certificate."""

import contextlib
import csv
import io
import re
import socket
import ssl
import time
from pathlib import Path
from typing import Mapping, NamedTuple

from . import files
from .errors import HaproxyError
from .places import ADDRESSES, BACKEND, MASTER_SOCKET, RUNTIME_SOCKET, SERVER_STATE

ANSWER_SECONDS = 10
# An old worker has little to do; one that hangs may not hold up what the others need.
WORKER_SECONDS = 2
# How often a silent one is asked again: each time may cost the time above.
SILENT_SECONDS = 30
# When each silent worker was asked last, by the monotonic clock.
silent_at: dict[int, float] = {}

# What HAProxy says when it has done a thing; most commands say nothing then.
DONE = re.compile(
    r"(New server registered\.|Server deleted\.|Done\.|Transaction (created|updated) .*|Committing .*Success!)?", re.S
)


def ask(command: str, path: str = RUNTIME_SOCKET, seconds: float = ANSWER_SECONDS) -> str:
    """Sends one command to a socket of HAProxy and gives its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        client.connect(path)
        client.sendall(command.encode() + b"\n")
        if path == MASTER_SOCKET:
            # The master closes when it has nothing more to read; a worker might give up waiting.
            client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


def runs() -> bool:
    """Whether there is a HAProxy with this project's configuration; one that hangs is there, too."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(ANSWER_SECONDS)
            client.connect(RUNTIME_SOCKET)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        pass
    return True


def tell(command: str) -> None:
    """Sends a command that changes something, and checks that it did."""
    answer = ask(command).strip()
    if not DONE.fullmatch(answer):
        raise HaproxyError(f"HAProxy refuses `{command.splitlines()[0]}`: {' '.join(answer.split())[:300]}")


def save_server_states() -> None:
    """Keeps the servers' states over a reload: without, a node that its agent took out counts as up again."""
    try:
        states = ask("show servers state")
    except OSError:
        return  # HAProxy does not run yet, or still runs the distribution's configuration.
    try:
        files.replace_file(SERVER_STATE, states)
    except files.FileError:
        # HAProxy would take those of an earlier reload for today's.
        with contextlib.suppress(OSError):
            SERVER_STATE.unlink(missing_ok=True)
        raise


def reload() -> None:
    """Puts the files on disk into force; open sockets stay in the old worker."""
    save_server_states()
    # The master's own command, since `systemctl reload` does not wait for the new worker's verdict.
    answer = ask("reload", MASTER_SOCKET)
    if not answer.startswith("Success=1"):
        raise HaproxyError(f"HAProxy did not reload: {' '.join(answer.split())[:500]}")


def set_certificate(path: Path, pem: str) -> None:
    """Puts a certificate into force for the next handshakes, without a reload."""
    tell(f"set ssl cert {path} <<\n{pem}")
    tell(f"commit ssl cert {path}")


def workers() -> list[int]:
    """Process ids of every worker, those included that live on after a reload for their sockets."""
    answer = ask("show proc", MASTER_SOCKET)
    found = [int(pid) for pid in re.findall(r"^(\d+)\s+worker\s", answer, re.M)]
    if not found:
        # Not "no worker, so no socket": the master always has one, so this was no answer.
        raise HaproxyError(f"HAProxy's master names no worker: {' '.join(answer.split())[:300] or 'an empty answer'}")
    return found


class Answers(NamedTuple):
    """What the workers said to one command."""

    by_pid: dict[int, str]
    silent: list[int]
    """Those that live and do not answer: nobody knows what sockets they hold."""


def ask_workers(command: str, beginning: str = "") -> Answers:
    """Asks every worker. One that has ended meanwhile has nothing to say; one that lives and is silent is named.

    What does not start with `beginning` is no answer: the master may speak for a worker, or end half-way.
    """
    by_pid: dict[int, str] = {}
    silent: list[int] = []
    for pid in workers():
        if time.monotonic() - silent_at.get(pid, float("-inf")) < SILENT_SECONDS:
            silent.append(pid)
            continue
        try:
            answer = ask(f"@!{pid} {command}", MASTER_SOCKET, WORKER_SECONDS)
        except OSError:
            answer = None
        if answer is not None and answer.startswith(beginning):
            by_pid[pid] = answer
            silent_at.pop(pid, None)
        else:
            silent.append(pid)
            silent_at[pid] = time.monotonic()
    # A master that is asked again only then cannot name one that has ended since.
    alive = workers() if silent else []
    for pid in set(silent).difference(alive):
        silent_at.pop(pid, None)
    return Answers(by_pid, [pid for pid in silent if pid in alive])


def statistics(show_stat: str, backend: str = BACKEND) -> list[dict[str, str]]:
    """A backend's servers out of the CSV of `show stat`."""
    rows = csv.DictReader(io.StringIO(show_stat.removeprefix("# ")))
    return [row for row in rows if row.get("pxname") == backend and row["svname"] not in ("FRONTEND", "BACKEND")]


class Sockets(NamedTuple):
    """Open sockets over all workers: after a reload the new one does not know the old one's."""

    by_server: dict[str, int]
    silent: list[int]
    """Workers that live and do not answer: their sockets are not counted."""


def count_sockets(answers: Mapping[int, str]) -> dict[str, int]:
    """Open sockets of each server out of every worker's `show stat`."""
    counts: dict[str, int] = {}
    for answer in answers.values():
        for row in statistics(answer):
            counts[row["svname"]] = counts.get(row["svname"], 0) + int(row["scur"] or 0)
    return counts


def sockets() -> Sockets:
    """Asks every worker for its open sockets."""
    answers = ask_workers("show stat", "# pxname")
    return Sockets(count_sockets(answers.by_pid), answers.silent)


def refused_addresses() -> list[str]:
    """Client addresses that had more connections in the last minute than one may have."""
    return sorted(re.findall(r" key=(\S+) ", ask(f"show table {ADDRESSES} data.gpc0_rate gt 0")))


def close_sockets(name: str) -> int:
    """Ends every session of a server, in all workers that answer, so that its clients connect again at once."""
    session = re.compile(rf"^(0x[0-9a-f]+): .*\bbe={BACKEND} srv={re.escape(name)} ", re.M)
    closed = 0
    for pid, answer in ask_workers("show sess").by_pid.items():
        for pointer in session.findall(answer):
            ask(f"@!{pid} shutdown session {pointer}", MASTER_SOCKET)
            closed += 1
    return closed


def certificate_end(path: Path) -> float | None:
    """When the certificate ends that HAProxy serves, in seconds since the epoch; None where it serves none."""
    found = re.search(r"^notAfter: (.+)$", ask(f"show ssl cert {path}"), re.M)
    return ssl.cert_time_to_seconds(found.group(1).strip()) if found else None
