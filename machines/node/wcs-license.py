#!/usr/bin/python3
"""Activates and gives back this node's WCS licence: wcs-license activate|deactivate

The instance's role reads the key from an SSM SecureString. WCS's own script gets the key in the memory of one
shell, not as an argument, so no process list shows it; nothing here prints it. WCS's scripts run as the user that
can change them.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, "@SETUP_LIBRARY@")
from aws_instance import AwsError
from aws_parameters import get_parameter
from wcs_user import WCS, owner_of, run_as

SETTINGS = Path("@NODE_SETTINGS@")
LICENSE = "conf/flashphoner.license"
# How long a boot waits for the key: SSM or metadata may be away, and a new role's rights take a while to arrive.
KEY_SECONDS = 180
# Reads the key from standard input, and runs the script with the key as its argument.
WITH_KEY = 'read -r key && source "$0" "$key"'


def is_reboot(jobs: str) -> bool:
    """Whether systemd is about to reboot, by the output of `systemctl list-jobs`."""
    targets = ("reboot.target", "soft-reboot.target", "kexec.target")
    rows = [line.split() for line in jobs.splitlines()]
    return any(len(row) >= 3 and row[1] in targets and row[2] == "start" for row in rows)


def is_shutdown(jobs: str) -> bool:
    """Whether systemd is about to shut down, for a reboot or not."""
    return any("shutdown.target" in line.split() for line in jobs.splitlines())


def patiently(ask: Callable[[], str], seconds: float = KEY_SECONDS, pause: float = 5) -> str:
    """The answer of `ask`, which is tried again until the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except AwsError as error:
            if time.monotonic() + pause > deadline:
                raise
            print(f"wcs-license: {error}; tries again", flush=True)
            time.sleep(pause)


def run_script(name: str, command: list[str], key: str = "", installation: Path = WCS, seconds: float = 120) -> int:
    """Runs one of WCS's own scripts, and gives its exit status. Its output is dropped, since it may repeat the key."""
    owner = owner_of("conf", "bin", f"bin/{name}", installation=installation)
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    script = str(installation / "bin" / name)
    return run_as(owner, [*command, script], input=f"{key}\n", timeout=seconds, **silence).returncode


def activate() -> None:
    if (WCS / LICENSE).exists():
        print("wcs-license: this node has a licence already")
        return
    parameter = json.loads(SETTINGS.read_text(encoding="utf-8"))["licenseParameter"]
    key = patiently(lambda: get_parameter(parameter))
    status = run_script("activation.sh", ["bash", "-c", WITH_KEY], key)
    if status != 0 or not (WCS / LICENSE).exists():
        sys.exit(f"wcs-license: activation.sh failed with status {status}, or left no {LICENSE}")
    print("wcs-license: licence activated")
    # A WCS that was started without a licence reads it when it starts again.
    subprocess.run(["systemctl", "--no-block", "try-restart", "webcallserver"], check=False, timeout=30)


def deactivate() -> None:
    jobs = subprocess.run(["systemctl", "list-jobs", "--no-legend"], text=True, capture_output=True, timeout=10).stdout
    if not is_shutdown(jobs) or is_reboot(jobs):
        print("wcs-license: licence kept, since the machine does not power off")
        return
    if (WCS / LICENSE).exists():
        remove = f'"$0" && rm --force {WCS / LICENSE}'
        if status := run_script("deactivation.sh", ["bash", "-c", remove], seconds=60):
            sys.exit(f"wcs-license: deactivation.sh failed with status {status}")
        print("wcs-license: licence given back")


def main(arguments: list[str]) -> int:
    actions = {"activate": activate, "deactivate": deactivate}
    if len(arguments) != 1 or arguments[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        actions[arguments[0]]()
    except (AwsError, OSError, KeyError, subprocess.SubprocessError) as error:
        # The error holds neither input nor output of WCS's own script.
        print(f"wcs-license: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
