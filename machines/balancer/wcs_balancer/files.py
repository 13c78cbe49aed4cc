"""Writes files so that readers see the old content or the new, never half of it."""

import contextlib
import errno
import hashlib
import os
from pathlib import Path


class FileError(OSError):
    """Why a file cannot be written, and what to do."""

    def __init__(self, path: Path, error: OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room (df -h; journalctl --vacuum-size=100M)" if full else "remove the cause"
        super().__init__(f"{path} cannot be written: {error.strerror or error}; {advice}, then it goes on automatically")


def replace_file(path: Path, content: str, mode: int = 0o644) -> None:
    """Writes a file in one step, and makes its folder if it is missing. Raises FileError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # Half a file would take up the little room that is left.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FileError(path, error) from error


def sha256(data: bytes) -> str:
    """The hash in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
