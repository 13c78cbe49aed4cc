"""Talks to the HAProxy of this machine: its workers, its statistics, its certificate."""

import csv
import io
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Collection, Iterator

from haproxy_plan import BACKEND

RUNTIME_SOCKET = "/run/haproxy/wcs-balancer.sock"
MASTER_SOCKET = "/run/haproxy-master.sock"
SERVER_STATE = Path("/var/lib/haproxy/server-state")
ANSWER_SECONDS = 10

# What HAProxy says when it has done a thing; most commands say nothing then.
DONE = re.compile(
    r"(New server registered\.|Server deleted\.|Done\.|Transaction (created|updated) .*|Committing .*Success!)?", re.S
)


class HaproxyError(Exception):
    """What HAProxy has refused, in one line for an operator."""


def ask(command: str, path: str = RUNTIME_SOCKET) -> str:
    """Sends one command to a socket of HAProxy and gives its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_SECONDS)
        client.connect(path)
        client.sendall(command.encode() + b"\n")
        if path == MASTER_SOCKET:
            # The master closes when it has nothing more to read; a worker might give up waiting.
            client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def tell(command: str) -> None:
    """Sends a command that changes something, and checks that it did."""
    answer = ask(command).strip()
    if not DONE.fullmatch(answer):
        raise HaproxyError(f"HAProxy refuses `{command.splitlines()[0]}`: {' '.join(answer.split())[:300]}")


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


def save_server_states() -> None:
    """Keeps the servers' states over a reload: without, a node that its agent took out counts as up again."""
    try:
        replace_file(SERVER_STATE, ask("show servers state"))
    except OSError:
        return  # HAProxy does not run yet, or still runs the distribution's configuration.


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
    lines = ask("show proc", MASTER_SOCKET).splitlines()
    return [int(line.split()[0]) for line in lines if re.match(r"\d+\s+worker\s", line)]


def ask_workers(command: str) -> Iterator[tuple[int, str]]:
    """Asks every worker; one that has ended meanwhile has nothing to say."""
    for pid in workers():
        try:
            yield pid, ask(f"@!{pid} {command}", MASTER_SOCKET)
        except OSError:
            continue


def statistics(show_stat: str, backend: str = BACKEND) -> list[dict[str, str]]:
    """A backend's servers out of the CSV of `show stat`."""
    rows = csv.DictReader(io.StringIO(show_stat.removeprefix("# ")))
    return [row for row in rows if row.get("pxname") == backend and row["svname"] not in ("FRONTEND", "BACKEND")]


def sockets_of(names: Collection[str]) -> dict[str, int]:
    """Open sockets of each server, over all workers: after a reload the new one does not know the old one's."""
    counts = dict.fromkeys(names, 0)
    for _, answer in ask_workers("show stat"):
        for row in statistics(answer):
            if row["svname"] in counts:
                counts[row["svname"]] += int(row["scur"] or 0)
    return counts


def close_sockets(name: str) -> int:
    """Ends every session of a server, in all workers, so that its clients connect again at once."""
    session = re.compile(rf"^(0x[0-9a-f]+): .*\bbe={BACKEND} srv={re.escape(name)} ", re.M)
    closed = 0
    for pid, answer in ask_workers("show sess"):
        for pointer in session.findall(answer):
            ask(f"@!{pid} shutdown session {pointer}", MASTER_SOCKET)
            closed += 1
    return closed


def open_files_limit() -> int | None:
    """Open files that HAProxy may have; None while it does not run."""
    command = ["systemctl", "show", "--property=MainPID", "--value", "haproxy"]
    pid = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    try:
        limits = Path(f"/proc/{int(pid)}/limits").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.search(r"^Max open files\s+\d+\s+(\d+)", limits, re.M)
    return int(found.group(1)) if found else None
