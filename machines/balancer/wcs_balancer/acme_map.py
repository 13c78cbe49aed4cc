"""HAProxy's map for certificates by ACME: the account's thumbprint, with which HAProxy answers every challenge itself,
and whether the served certificate is publicly trusted. HAProxy also reads it at a start and at a reload."""

from pathlib import Path

from . import files
from . import haproxy_runtime as haproxy

THUMBPRINT, PUBLIC = "thumbprint", "public"


def read_map(text: str) -> dict[str, str]:
    """The entries of the file."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


class AcmeMap:
    """Keeps the file and the running HAProxy the same. Only the loop uses it."""

    def __init__(self, file: Path):
        self.file = file
        self.entries = self.load()

    def load(self) -> dict[str, str]:
        """The entries that an earlier run of this service has left."""
        try:
            return read_map(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def put(self, thumbprint: str | None, public: bool) -> bool:
        """Puts the entries into force; gives whether HAProxy answers challenges. An unknown thumbprint is kept."""
        entries = {THUMBPRINT: thumbprint or self.entries.get(THUMBPRINT, ""), PUBLIC: "1" if public else ""}
        entries = {key: value for key, value in entries.items() if value}
        if entries != self.entries or not self.file.exists():
            files.replace_file(self.file, "".join(f"{key} {value}\n" for key, value in entries.items()))
            self.entries = entries
        maps = haproxy.maps_of(self.file)
        for name in maps:
            running = haproxy.map_entries(name)
            for key, value in entries.items():
                if running.get(key) != value:
                    haproxy.put_into_map(name, key, value)
            for key in running.keys() - entries.keys():
                haproxy.tell(f"del map {name} {key}")
        return bool(maps) and THUMBPRINT in entries
