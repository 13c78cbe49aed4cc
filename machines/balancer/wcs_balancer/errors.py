"""Errors, and their text in one line for an operator."""

import subprocess
import traceback


class SyncError(Exception):
    """The desired state is not applied; the text says why."""


class RefusedError(SyncError):
    """The desired state cannot be applied, and waiting does not help."""


class HaproxyError(Exception):
    """HAProxy has refused a command."""


class PlanError(Exception):
    """A configuration or an answer of HAProxy cannot be understood."""


class AwsError(Exception):
    """Why AWS gives no answer, in one line for an operator."""

    def __init__(self, text: str, code: str = ""):
        super().__init__(text)
        self.code = code
        """AWS's code of a refusal."""


class OrderError(Exception):
    """Why an ACME directory gives no certificate, in one line for an operator."""

    def __init__(self, text: str, retry_after: float | None = None):
        super().__init__(text)
        self.retry_after = retry_after
        """The seconds that the directory asks to wait, if it does."""


def printable(text: str) -> str:
    """A text from outside, made safe for a terminal: letters that it cannot show are escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


EXPECTED_ERRORS = (AwsError, OrderError, SyncError, HaproxyError, PlanError, OSError, subprocess.SubprocessError)


def in_words(error: Exception) -> str:
    """An error as a text for an operator. An unexpected error is also retried, and the text says where it happened."""
    if isinstance(error, EXPECTED_ERRORS):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} in {where.name}, line {where.lineno}: {error}; it is tried again"
