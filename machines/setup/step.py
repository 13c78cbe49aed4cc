#!/usr/bin/python3
"""Runs one step of this machine's set-up: step.py NAME

cloud-init calls it for each step. The first ones fetch the software from S3, the others are its scripts. When one
fails, the rest does nothing, and the state file, the console, cloud-init and a node's port @AGENT_PORT@ name it.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from hashlib import sha256
from http.client import HTTPResponse
from pathlib import Path
from typing import Callable

from aws_instance import AwsError, ask

SETTINGS = Path("@SETUP_SETTINGS@")
STATE = Path("@SETUP_STATE@")
WORK = STATE.parent


class StepError(Exception):
    """Why a step cannot succeed, however long one waits."""


def open_object(source: str) -> HTTPResponse:
    """Asks S3 for s3://BUCKET/KEY."""
    bucket, key = source[5:].split("/", 1)
    answer = ask("s3", "GET", f"/{key}", {}, bucket=bucket)
    if answer.status != 200:
        code = re.search("<Code>(.*?)<", answer.read().decode())
        raise AwsError(f"S3 refuses {source}: {code[1] if code else answer.status}")
    return answer


def patiently(attempt: Callable[[], object], patience: float) -> None:
    """Tries again where that may help, for `patience` seconds after the first failure."""
    deadline = 0.0
    while True:
        try:
            attempt()
            return
        except Exception as error:
            deadline = deadline or time.monotonic() + patience
            final = isinstance(error, StepError) or getattr(error, "errno", 0) == errno.ENOSPC
            if final or time.monotonic() > deadline:
                raise
            print(f"set-up: {error}", flush=True)
            time.sleep(5)


def perform(step: str) -> None:
    """Does what a step's name says."""
    settings = json.loads(SETTINGS.read_text())
    software, archive = settings["packages"]["software"], WORK / "software"
    if step == "software-download":
        patiently(lambda: archive.write_bytes(open_object(software["source"]).read()), settings["patienceSeconds"])
    elif step == "software-checksum":
        if (found := sha256(archive.read_bytes()).hexdigest()) != software["sha256"]:
            raise StepError(f"the SHA-256 is {found}")
    elif step == "software-unpack":
        subprocess.run(["tar", "-xpf", archive, "--no-same-owner", "--directory=/"], check=True)
        archive.unlink()
    elif step == "done":
        STATE.unlink()
    else:
        subprocess.run([f"@SETUP_LIBRARY@/steps/{step}"], check=True)


def write(file: Path, text: str) -> None:
    """In one step: the agent answers with the state, and never reads half a line."""
    new = file.with_suffix(".new")
    new.write_text(f"{text}\n")
    os.replace(new, file)


def main(step: str) -> int:
    WORK.mkdir(exist_ok=True)
    if STATE.exists() and STATE.read_text().startswith("@SETUP_FAILED@"):
        return 0
    print(f"set-up: {step}", flush=True)
    try:
        write(STATE, f"@SETUP_RUNNING@{step}")
        perform(step)
        return 0
    except Exception as error:
        reason = f"set-up: step {step} failed: {str(error) or repr(error)}"
        print(reason, flush=True)
        # On a full disk this makes room for the state.
        shutil.rmtree(WORK, ignore_errors=True)
        with suppress(OSError):
            WORK.mkdir(exist_ok=True)
            write(STATE, f"@SETUP_FAILED@{step}")
        subprocess.run(["systemctl", "enable", "--now", "wcs-setup-failed.socket"], stderr=subprocess.DEVNULL)
        # Once more at the end, where people look first.
        subprocess.run(["systemd-run", "--on-active=10", "--property=StandardOutput=journal+console", "echo", reason])
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
