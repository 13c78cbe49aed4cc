"""What this machine runs, as it stands on its disk: a restart or a reboot comes back the same."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from . import files
from .changes import Changes, Leaving
from .document import Secret, State
from .errors import HaproxyError, RefusedError
from .files import sha256
from .haproxy_plan import parse_configuration, server_lines, with_servers
from .places import HAPROXY_CONFIG, STATE


class Disk:
    """The files of this service, and what of them the loop knows. Only the loop writes."""

    def __init__(self, certificate: Path, folder: Path = STATE, haproxy_config: Path = HAPROXY_CONFIG):
        self.certificate = certificate
        self.haproxy_config = haproxy_config
        self.token = folder / "status-token"
        self.candidate = folder / "candidate"
        self.record = folder / "applied.json"
        self.changes_file = folder / "changes.json"
        self.changes = self.load_changes()
        self.applied = self.load_applied()

    def load_changes(self) -> Changes:
        """What the last run has noted."""
        try:
            saved = json.loads(self.changes_file.read_text(encoding="utf-8"))
            leaving = {name: Leaving(*values) for name, values in saved["leaving"].items()}
            names = {key: tuple(saved[key]) for key in ("joining", "unproven", "last_resort")}
            return Changes(begun=bool(saved["begun"]), leaving=leaving, **names)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Changes()

    def note(self, changes: Changes) -> None:
        """From now on these are the changes. What cannot be written does not count."""
        files.replace_file(self.changes_file, json.dumps(vars(changes)))
        self.changes = changes

    def load_applied(self) -> State | None:
        """What the last finished run recorded, unless the files were changed since."""
        return self.load("haproxyConfigHash", lambda config: config)

    def load_kept(self) -> State | None:
        """The same whatever servers haproxy.cfg has: a change of servers may have ended half-way."""
        return self.load("haproxyBaseHash", lambda config: with_servers(config, {}))

    def load(self, key: str, part: Callable[[str], str]) -> State | None:
        """What was recorded, where the hash of a part of haproxy.cfg is the recorded one, and the certificate's is."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            config = self.haproxy_config.read_text(encoding="utf-8")
            if sha256(part(config).encode()) != record[key]:
                return None
            wanted = config.removesuffix(server_lines(self.changes.held))
            state = State(record["revision"], wanted, record["certificateHash"], record["drainTimeoutSeconds"])
            return state if self.has_certificate(state.certificate_hash) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, state: State) -> None:
        """What is applied, for the next run: the last step of each change."""
        record = {
            "revision": state.revision,
            "certificateHash": state.certificate_hash,
            "haproxyConfigHash": sha256(self.file_content(state).encode()),
            "haproxyBaseHash": sha256(with_servers(state.haproxy_config, {}).encode()),
            "drainTimeoutSeconds": state.drain_timeout_seconds,
        }
        files.replace_file(self.record, json.dumps(record))

    def has_certificate(self, certificate_hash: str) -> bool:
        """Whether the certificate on this machine is the one with this SHA-256."""
        try:
            return sha256(self.certificate.read_bytes()) == certificate_hash
        except FileNotFoundError:
            return False

    def pem(self) -> str:
        return self.certificate.read_text(encoding="utf-8")

    def servers(self) -> dict[str, str]:
        """The servers of haproxy.cfg, held ones included: address and options by name."""
        return dict(parse_configuration(self.haproxy_config.read_text(encoding="utf-8")).servers)

    def file_content(self, state: State) -> str:
        """haproxy.cfg as it has to stand on disk: what is wanted, and the servers that are held."""
        return state.haproxy_config + server_lines(self.changes.held)

    def write_files(self, state: State, secret: Secret | None) -> None:
        """Writes haproxy.cfg, and token and certificate where there are new ones."""
        if secret:
            # The certificate last: while it is not there, the secret is fetched again.
            files.replace_file(self.token, secret.token, 0o600)
            files.replace_file(self.certificate, secret.pem, 0o600)
        files.replace_file(self.haproxy_config, self.file_content(state))

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        """What HAProxy could not start with does not stay on disk, where a reboot would find it."""
        paths = (self.haproxy_config, self.certificate)
        kept = {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}
        try:
            yield
        except HaproxyError as error:
            for path, content in kept.items():
                files.replace_file(path, content, 0o600 if path == self.certificate else 0o644)
            raise RefusedError(str(error)) from error
