#!/usr/bin/python3
"""Fetches or checks a package of @SETUP_SETTINGS@: fetch.py download|checksum NAME

It downloads from S3 with this machine's role, or from a web address, and in parts, since a WCS tarball has some 300 MB.
The file is then @SETUP_FOLDER@/NAME.
"""

import hashlib
import json
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

from step import SETTINGS, WORK, StepError, open_object, patiently

READ_SECONDS = 30
DOWNLOAD_SECONDS = 900
PART_BYTES = 1 << 20


def open_source(source: str) -> HTTPResponse:
    """Opens a download, from S3 or the web."""
    if source.startswith("s3://"):
        return open_object(source)
    try:
        answer: HTTPResponse = urllib.request.urlopen(source, timeout=READ_SECONDS)
        return answer
    except urllib.error.HTTPError as error:
        # 408 and 429: the request was too slow, or requests came too often.
        if error.code < 500 and error.code not in (408, 429):
            raise StepError(f"{source}: HTTP {error.code}") from error
        raise


def copy(answer: HTTPResponse, file: BinaryIO) -> None:
    """Copies a download within its deadline, and checks that it is complete."""
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    size = 0
    # Each round reads once from the network, so that the deadline is checked often.
    while part := answer.read1(PART_BYTES):
        file.write(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise StepError(f"the download is too slow: {size} bytes after {DOWNLOAD_SECONDS} s")
    length = answer.headers.get("content-length")
    if length is not None and size != int(length):
        raise OSError(f"the download ends after {size} of {length} bytes")


def download(source: str, target: Path) -> None:
    """Downloads to a file, and removes the file if that fails."""
    try:
        with open_source(source) as answer, target.open("wb") as file:
            copy(answer, file)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def check(file: Path, wanted: str) -> None:
    """Compares a file with its SHA-256."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(PART_BYTES):
            digest.update(part)
    if digest.hexdigest() != wanted:
        raise StepError(f"the SHA-256 of the download is {digest.hexdigest()}, not {wanted}")


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("download", "checksum"):
        print(__doc__, file=sys.stderr)
        return 2
    verb, name = arguments
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    package = settings["packages"][name]
    try:
        if verb == "download":
            patiently(lambda: download(package["source"], WORK / name), settings["patienceSeconds"])
        else:
            check(WORK / name, package["sha256"])
    except Exception as error:
        print(f"set-up: {str(error) or repr(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
