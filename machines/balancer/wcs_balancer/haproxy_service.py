"""HAProxy as a program and as a service of systemd: judges its files, starts it when it is away, says why it is."""

import re
import subprocess
import time
from pathlib import Path
from typing import Callable

from . import haproxy_runtime as haproxy
from .errors import SyncError
from .places import HAPROXY_CONFIG

# A start of HAProxy takes a second. One that is away for longer does not come up with the files that it has.
AWAY_SECONDS = 10
# How long after a start HAProxy is not started again.
PAUSE_SECONDS = 5


def run(*command: str) -> None:
    """Runs a command; its output becomes the error."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=90)
    if result.returncode != 0:
        raise SyncError(f"{command[0]} failed ({result.returncode}): {what_matters(result.stdout + result.stderr)}")


def judge(config: Path) -> None:
    """Lets HAProxy judge a haproxy.cfg. Raises SyncError with HAProxy's words."""
    # Errors only: of every server in a saved state that is up again it warns too.
    run("haproxy", "-c", "-f", str(config))


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


def service_state() -> str:
    """What systemd says of HAProxy: active, activating, failed, inactive."""
    command = ["systemctl", "is-active", "haproxy"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()


def end_of_journal() -> str:
    """The last lines that HAProxy's service has logged."""
    command = ["journalctl", "--unit=haproxy", "--boot", "--lines=5", "--output=cat", "--no-pager"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


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


class HaproxyService:
    """Starts HAProxy when it does not run, and remembers since when it does not."""

    def __init__(self, report: Callable[[str], None]):
        self.report = report
        self.started_at = float("-inf")
        self.start_failed = False
        """Whether HAProxy did not start with the files that are applied."""
        self.away_since: float | None = None
        """Since when HAProxy does not run, by the monotonic clock."""
        self.away_reason = ""

    def start(self) -> None:
        """Starts HAProxy, also where systemd has given it up."""
        self.report("starts HAProxy")
        subprocess.run(["systemctl", "reset-failed", "haproxy"], capture_output=True, timeout=30)
        run("systemctl", "restart", "haproxy")

    def start_with_new_files(self) -> None:
        """The same; what was wrong with the old files says nothing of these."""
        self.away_reason = ""
        self.start()

    def revive(self) -> None:
        """Starts HAProxy with the files on disk when it does not run: systemd may have given it up.

        One that ends at each start never counts as failed, since systemd starts it again for ever.
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

    def why_away(self) -> str:
        """Why HAProxy does not come up: what it says of its files, else what it said last."""
        try:
            judge(HAPROXY_CONFIG)
        except SyncError as error:
            return str(error)
        return what_matters(end_of_journal()) or "nothing in its journal"
