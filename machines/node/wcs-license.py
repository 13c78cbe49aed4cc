#!/usr/bin/python3
"""Activates and gives back this node's WCS licence: wcs-license activate|deactivate

The key comes from an SSM SecureString through the instance's role. It reaches WCS's own script in the memory
of one shell, not as an argument, so that no process list shows it, and nothing here prints it.
"""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, "/usr/local/lib/wcs-setup")
from aws_parameters import get_parameter

SETTINGS = Path("/etc/wcs-node/node.json")
WCS = Path("/usr/local/FlashphonerWebCallServer")
LICENSE = WCS / "conf/flashphoner.license"
# Reads the key from standard input and runs the script as if it had been given on its command line.
WITH_KEY = 'read -r key && source "$0" "$key"'


def is_reboot(jobs: str) -> bool:
    """Whether systemd is on its way to a reboot, by the output of `systemctl list-jobs`."""
    targets = ("reboot.target", "soft-reboot.target", "kexec.target")
    rows = [line.split() for line in jobs.splitlines()]
    return any(len(row) >= 3 and row[1] in targets and row[2] == "start" for row in rows)


def is_shutdown(jobs: str) -> bool:
    """Whether systemd is on its way down at all."""
    return any("shutdown.target" in line.split() for line in jobs.splitlines())


def activate() -> None:
    if LICENSE.exists():
        print("wcs-license: there is one")
        return
    parameter = json.loads(SETTINGS.read_text(encoding="utf-8"))["licenseParameter"]
    command = ["bash", "-c", WITH_KEY, str(WCS / "bin/activation.sh")]
    result = subprocess.run(command, input=f"{get_parameter(parameter)}\n", text=True, capture_output=True, timeout=120)
    if result.returncode != 0 or not LICENSE.exists():
        # Its output may repeat the key.
        sys.exit(f"wcs-license: activation.sh failed ({result.returncode})")
    print("wcs-license: activated")


def deactivate() -> None:
    jobs = subprocess.run(["systemctl", "list-jobs", "--no-legend"], text=True, capture_output=True, timeout=10).stdout
    if not is_shutdown(jobs) or is_reboot(jobs):
        print("wcs-license: kept")
        return
    if LICENSE.exists():
        subprocess.run([str(WCS / "bin/deactivation.sh")], check=True, capture_output=True, timeout=60)
        LICENSE.unlink(missing_ok=True)
        print("wcs-license: given back")


def main(arguments: list[str]) -> int:
    actions = {"activate": activate, "deactivate": deactivate}
    if len(arguments) != 1 or arguments[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    actions[arguments[0]]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
