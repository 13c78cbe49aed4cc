"""Reads the progress of a machine's set-up from the words that its step.py writes. Pure functions."""

from typing import Any

from .places import SETUP_WORDS


def parse_setup(words: str) -> dict[str, Any] | None:
    """The current or failed step of a set-up, as the status shows it; None when the words are about something else."""
    for state, beginning in SETUP_WORDS.items():
        if words.startswith(beginning):
            return {"state": state, "step": words.removeprefix(beginning).strip()}
    return None


def own_setup(file: str) -> dict[str, Any]:
    """The current or failed step of this machine's own set-up, by the content of its file. While the file exists the
    set-up is not complete, even if the content cannot be read."""
    return parse_setup(file) or {"state": "running", "step": file.strip() or "unknown"}
