"""Writes WCS's files and runs WCS's scripts as WCS's own user.

That user can replace them with a link, a pipe or another script at any time. So root neither writes nor runs
anything there; it passes what only root may know on standard input.
"""

import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

WCS = Path("/usr/local/FlashphonerWebCallServer")
INSTALLERS_CHOICE = "flashphoner"


class Owner(NamedTuple):
    """A user, by number."""

    uid: int
    gid: int


def user_named(name: str) -> Owner:
    user = pwd.getpwnam(name)
    return Owner(user.pw_uid, user.pw_gid)


def owner_of(*paths: str, installation: Path = WCS) -> Owner:
    """The user that can change the folder of the installation or one of these paths in it; root if no other can.

    Checked from the top down, since the owner of a folder can replace everything below it. WCS_USER in the
    environment of the service overrides the result.
    """
    if name := os.environ.get("WCS_USER"):
        return user_named(name)
    # The installation is a link to the folder with the version; it lies in a folder of root's.
    for path in (installation.resolve(), *(installation / path for path in paths)):
        status = path.lstat()
        if status.st_uid != 0:
            return Owner(status.st_uid, status.st_gid)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return user_named(INSTALLERS_CHOICE)
    return Owner(0, 0)


def run_as(owner: Owner, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs a command as a user, without root's groups."""
    return subprocess.run(command, user=owner.uid, group=owner.gid, extra_groups=[], cwd="/", text=True, **options)
