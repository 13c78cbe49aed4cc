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
from .places import ADDRESSES, BACKEND, HAND_OVER, MASTER_SOCKET, RUNTIME_SOCKET, SERVER_STATE

ANSWER_SECONDS = 10
# An old worker has little to do. If it hangs, it must not delay the other workers.
WORKER_SECONDS = 2
# The pause before a worker that is ending is asked again.
AGAIN_SECONDS = 0.02
# A silent worker is asked again only after this time: each question may take the time above.
SILENT_SECONDS = 30
# The last time each silent worker was asked, by the monotonic clock.
silent_at: dict[int, float] = {}

# HAProxy's answers to a command that has succeeded. Most commands answer nothing then.
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
            # The master closes the connection when it has nothing more to read. A worker might give up waiting.
            client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


def runs() -> bool:
    """Whether a HAProxy runs with this project's configuration. A HAProxy that hangs also runs."""
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
    """Sends a command that changes something, and checks that it has succeeded."""
    answer = ask(command).strip()
    if not DONE.fullmatch(answer):
        raise HaproxyError(f"HAProxy refuses `{command.splitlines()[0]}`: {' '.join(answer.split())[:300]}")


def save_server_states() -> None:
    """Keeps the servers' states over a reload. Otherwise a node that its agent took out counts as up again."""
    try:
        states = ask("show servers state")
    except OSError:
        return  # HAProxy does not run yet, or still runs the distribution's configuration.
    try:
        files.replace_file(SERVER_STATE, states)
    except files.FileError:
        # HAProxy would use the states of an earlier reload.
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
    # An empty line would end HAProxy's input, and the rest would be further commands.
    lines = "".join(line for line in pem.splitlines(keepends=True) if line.strip())
    tell(f"set ssl cert {path} <<\n{lines}")
    tell(f"commit ssl cert {path}")


def workers() -> list[int]:
    """Process ids of all workers, including old workers that still have sockets after a reload."""
    answer = ask("show proc", MASTER_SOCKET)
    found = [int(pid) for pid in re.findall(r"^(\d+)\s+worker\s", answer, re.M)]
    if not found:
        # The master always has a worker, so this is not an answer that means "no sockets".
        raise HaproxyError(f"HAProxy's master names no worker: {' '.join(answer.split())[:300] or 'an empty answer'}")
    return found


class Answers(NamedTuple):
    """The workers' answers to one command."""

    by_pid: dict[int, str]
    silent: list[int]
    """Workers that run and do not answer: their sockets are unknown."""


def ask_worker(pid: int, command: str, beginning: str) -> str | None:
    """A worker's answer; None when it has ended, or gives none.

    The master still names a worker that is ending, and answers in its place that it cannot be reached. So the worker
    is asked again until the master no longer names it.
    """
    deadline = time.monotonic() + WORKER_SECONDS
    while True:
        try:
            answer = ask(f"@!{pid} {command}", MASTER_SOCKET, WORKER_SECONDS)
        except OSError:
            return None
        if answer.startswith(beginning):
            return answer
        if time.monotonic() > deadline or pid not in workers():
            return None
        time.sleep(AGAIN_SECONDS)


def ask_workers(command: str, beginning: str = "", again: bool = False) -> Answers:
    """Asks every worker; with `again` also a worker that was silent a moment ago. A worker that has ended meanwhile is
    left out; a worker that runs and does not answer is named as silent.

    Text that does not start with `beginning` is not an answer: the master may speak for a worker, or stop half-way.
    """
    by_pid: dict[int, str] = {}
    silent: list[int] = []
    for pid in workers():
        if not again and time.monotonic() - silent_at.get(pid, float("-inf")) < SILENT_SECONDS:
            silent.append(pid)
            continue
        answer = ask_worker(pid, command, beginning)
        if answer is None:
            silent.append(pid)
            silent_at[pid] = time.monotonic()
        else:
            by_pid[pid] = answer
            silent_at.pop(pid, None)
    # The second question to the master leaves out workers that have ended meanwhile.
    alive = workers() if silent else []
    for pid in set(silent).difference(alive):
        silent_at.pop(pid, None)
    return Answers(by_pid, [pid for pid in silent if pid in alive])


def statistics(show_stat: str, backend: str = BACKEND) -> list[dict[str, str]]:
    """A backend's servers, read from the CSV of `show stat`."""
    rows = csv.DictReader(io.StringIO(show_stat.removeprefix("# ")))
    return [row for row in rows if row.get("pxname") == backend and row["svname"] not in ("FRONTEND", "BACKEND")]


class Sockets(NamedTuple):
    """Open sockets of all workers: after a reload the new worker does not know the old worker's sockets."""

    by_server: dict[str, int]
    silent: list[int]
    """Workers that run and do not answer: their sockets are not counted."""


def serves_nodes() -> bool:
    """Whether HAProxy has a backend of nodes. It has none while it serves only the status."""
    rows = csv.DictReader(io.StringIO(ask("show stat").removeprefix("# ")))
    return any(row.get("pxname") == BACKEND for row in rows)


def count_sockets(answers: Mapping[int, str]) -> dict[str, int]:
    """Open sockets of each server, added up from every worker's `show stat`."""
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
    """Client addresses that have tried to open too many connections in the last minute."""
    return sorted(re.findall(r" key=(\S+) ", ask(f"show table {ADDRESSES} data.gpc0_rate gt 0")))


def close_sockets(name: str) -> int:
    """Ends every session of a server in all workers that answer, so that its clients connect again at once."""
    session = re.compile(rf"^(0x[0-9a-f]+): .*\bbe={BACKEND} srv={re.escape(name)} ", re.M)
    closed = 0
    for pid, answer in ask_workers("show sess").by_pid.items():
        for pointer in session.findall(answer):
            ask(f"@!{pid} shutdown session {pointer}", MASTER_SOCKET)
            closed += 1
    return closed


class Clients(NamedTuple):
    """The clients' sessions with nodes on one of their ways, in all workers."""

    by_pid: dict[int, list[str]]
    """Pointers of the sessions of each worker."""
    silent: list[int]
    """Workers that run and do not answer: their sessions are unknown."""


def clients(frontend: str, again: bool = False) -> Clients:
    """Asks every worker for the clients of a frontend."""
    session = re.compile(rf"^(0x[0-9a-f]+): .*\bfe={frontend} be={BACKEND} ", re.M)
    # A worker's answer always has at least one session: the one of this question.
    answers = ask_workers("show sess", "0x", again)
    found = {pid: session.findall(answer) for pid, answer in answers.by_pid.items()}
    return Clients({pid: pointers for pid, pointers in found.items() if pointers}, answers.silent)


def last_clients(variable: str) -> dict[int, str]:
    """The moment of each worker's last client, in HAProxy's form; empty for a worker without clients so far."""
    answers = ask_workers(f"get var {variable}").by_pid
    found = {pid: re.search(r"value=<(\d+)>", answer) for pid, answer in answers.items()}
    return {pid: moment.group(1) if moment else "" for pid, moment in found.items()}


def close_sessions(pid: int, pointers: list[str]) -> None:
    """Ends sessions of a worker at any moment of their life. It ignores sessions that have ended meanwhile."""
    # 100 commands fit into one of HAProxy's buffers.
    for start in range(0, len(pointers), 100):
        commands = [f"@!{pid} shutdown session {pointer}" for pointer in pointers[start : start + 100]]
        ask("; ".join(commands), MASTER_SOCKET)


def refuse_clients_until(moment: int) -> None:
    """Makes the current worker refuse clients until a moment, in seconds since the epoch. With 0 it takes them."""
    put_into_map(str(HAND_OVER), "until", str(moment))


def refuses_clients_until() -> int:
    """The moment until which the current worker refuses clients, by its own map; 0 when it has none."""
    moment = map_entries(str(HAND_OVER)).get("until", "")
    return int(moment) if moment.isdigit() else 0


def put_into_map(name: str, key: str, value: str) -> None:
    """Changes an entry of a map of the current worker. The worker does not change the file."""
    answer = ask(f"set map {name} {key} {value}").strip()
    if "entry not found" in answer:
        answer = ask(f"add map {name} {key} {value}").strip()
    if answer:
        raise HaproxyError(f"HAProxy refuses {key} in the map {name}: {' '.join(answer.split())[:300]}")


def map_entries(name: str) -> dict[str, str]:
    """The entries of a map of the current worker."""
    return dict(re.findall(r"^0x[0-9a-f]+ (\S+) (.*)$", ask(f"show map {name}"), re.M))


def maps_of(path: Path) -> list[str]:
    """The names of the current worker's maps from a file. HAProxy 3.0 has one for each place in haproxy.cfg that names
    the file with `opt@`, and the file's own name means the first one only."""
    return [f"#{number}" for number in re.findall(rf"^(\d+) \({re.escape(str(path))}\)", ask("show map"), re.M)]


def certificate_validity(path: Path) -> tuple[float, float] | None:
    """Begin and end of the certificate that HAProxy serves, in seconds since the epoch; None when it serves none."""
    answer = ask(f"show ssl cert {path}")
    found = [re.search(rf"^{word}: (.+)$", answer, re.M) for word in ("notBefore", "notAfter")]
    begin, end = (ssl.cert_time_to_seconds(one.group(1).strip()) if one else None for one in found)
    return None if begin is None or end is None else (begin, end)
