"""What can go wrong, in one line for an operator."""

import subprocess
import traceback


class SyncError(Exception):
    """Why the desired state is not applied."""


class RefusedError(SyncError):
    """The desired state cannot be applied, however long one waits."""


class HaproxyError(Exception):
    """What HAProxy has refused."""


class PlanError(Exception):
    """What in a configuration or an answer cannot be understood."""


EXPECTED_ERRORS = (SyncError, HaproxyError, PlanError, OSError, subprocess.SubprocessError)


def in_words(error: Exception) -> str:
    """An error for an operator: one that nobody has thought of is retried like any other, and named as what it is."""
    if isinstance(error, EXPECTED_ERRORS):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} in {where.name}, line {where.lineno}: {error}; it is tried again"
