"""The instance id of this machine."""

import threading
import time

from aws_instance import metadata

AGAIN_SECONDS = 5


class Instance:
    """The instance id. It is asked for in the background until it is known."""

    def __init__(self) -> None:
        self.known: str | None = None

    def ask_until_known(self) -> None:
        """Begins to ask, in a separate thread."""
        threading.Thread(target=self.keep_asking, daemon=True).start()

    def keep_asking(self) -> None:
        while self.known is None:
            try:
                self.known = metadata("instance-id", metadata("")).strip() or None
            except Exception:
                # An error of the metadata service is reported when the role's credentials are fetched.
                pass
            if self.known is None:
                time.sleep(AGAIN_SECONDS)
