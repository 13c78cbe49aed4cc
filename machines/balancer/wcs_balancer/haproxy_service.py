"""HAProxy as a program and as a service of systemd: checks its files, starts it when it does not run, and finds the
reason for that."""

import re
import subprocess
import time
from pathlib import Path
from typing import Callable

from . import files
from . import haproxy_runtime as haproxy
from .errors import SyncError
from .places import BOOTSTRAP, HAPROXY_CONFIG
from .watchdog import note_step

# A start of HAProxy takes a second. If HAProxy is away for longer, it cannot start with its files.
AWAY_SECONDS = 10
# HAProxy is not started again for this long after a start.
PAUSE_SECONDS = 5


def run(*command: str) -> None:
    """Runs a command. If it fails, its output becomes the error."""
    note_step()
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=90)
    finally:
        note_step()
    if result.returncode != 0:
        raise SyncError(f"{command[0]} failed ({result.returncode}): {what_matters(result.stdout + result.stderr)}")


def judge(config: Path) -> None:
    """Lets HAProxy check a haproxy.cfg. Raises SyncError with HAProxy's words."""
    # Warnings are ignored: HAProxy also warns about each saved server that is up again.
    run("haproxy", "-c", "-f", str(config))


def what_matters(output: str) -> str:
    """The output of a command on one line: without HAProxy's notices and process ids."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("[NOTICE]")]
    return "; ".join(re.sub(r"^\[(ALERT|WARNING)\] +\(\d+\) : ", "", line) for line in lines)


def limits_problem(config: str, open_files: int) -> str | None:
    """The error if HAProxy cannot open enough files: each connection takes two, one for each side."""
    found = re.search(r"^ +maxconn (\d+)$", config, re.M)
    if not found or (needed := 2 * int(found.group(1)) + 100) <= open_files:
        return None
    return (
        f"maxConnections needs {needed} open files, and HAProxy may have {open_files} on this machine: "
        "lower maxConnections, or raise LimitNOFILE of haproxy.service"
    )


def service_state() -> str:
    """The state of HAProxy's service in systemd: active, activating, failed, inactive."""
    command = ["systemctl", "is-active", "haproxy"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()


def end_of_journal() -> str:
    """The last lines that HAProxy's service has logged."""
    command = ["journalctl", "--unit=haproxy", "--boot", "--lines=5", "--output=cat", "--no-pager"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def open_files_limit() -> int | None:
    """The number of files that HAProxy may open; None while it does not run."""
    command = ["systemctl", "show", "--property=MainPID", "--value", "haproxy"]
    pid = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    try:
        limits = Path(f"/proc/{int(pid)}/limits").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.search(r"^Max open files\s+\d+\s+(\d+)", limits, re.M)
    return int(found.group(1)) if found else None


class HaproxyService:
    """Starts HAProxy when it does not run, and remembers how long it has not run."""

    def __init__(self, report: Callable[[str], None]):
        self.report = report
        self.started_at = float("-inf")
        self.start_failed = False
        """Whether HAProxy did not start with the applied files."""
        self.away_since: float | None = None
        """The moment since which HAProxy does not run, by the monotonic clock."""
        self.away_reason = ""

    def start(self) -> None:
        """Starts HAProxy, even if systemd has given up."""
        self.report("starts HAProxy")
        subprocess.run(["systemctl", "reset-failed", "haproxy"], capture_output=True, timeout=30)
        run("systemctl", "restart", "haproxy")

    def start_with_new_files(self) -> None:
        """Starts HAProxy with new files. The reason why it was away with the old files does not count any more."""
        self.away_reason = ""
        self.start()

    def revive(self) -> None:
        """Starts HAProxy with the files on disk when it does not run, since systemd may have given up.

        A HAProxy that ends at each start never counts as failed in systemd, which starts it again for ever.
        """
        now = time.monotonic()
        if haproxy.runs():
            self.start_failed, self.away_since, self.away_reason = False, None, ""
            return
        if self.away_since is None:
            self.away_since = now
        if now - self.away_since >= AWAY_SECONDS:
            self.start_failed = True
            self.away_reason = self.away_reason or self.why_away()
        if now - self.started_at >= PAUSE_SECONDS and service_state() in ("failed", "inactive"):
            self.started_at = now
            self.start_failed = True
            self.start()
            self.start_failed = False

    def serve_status(self, haproxy_config: Path) -> None:
        """Starts HAProxy with only the status, when it does not run with a configuration of this service.

        It may run with the distribution's configuration: then systemd calls it active.
        """
        if haproxy.runs():
            return
        bootstrap = BOOTSTRAP.read_text(encoding="utf-8")
        there = haproxy_config.read_text(encoding="utf-8") if haproxy_config.exists() else ""
        now = time.monotonic()
        if there == bootstrap and (now - self.started_at < PAUSE_SECONDS or service_state() == "activating"):
            return
        files.replace_file(haproxy_config, bootstrap)
        self.started_at = now
        self.report("HAProxy serves only the status until a state is applied")
        self.start()

    def why_away(self) -> str:
        """Why HAProxy does not start: the error of its check of the files, or else the end of its journal."""
        try:
            judge(HAPROXY_CONFIG)
        except SyncError as error:
            return str(error)
        return what_matters(end_of_journal()) or "nothing in its journal"
