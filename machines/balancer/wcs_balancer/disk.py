"""The state of this machine on its disk. After a restart or a reboot the machine is in the same state again."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from . import files
from .changes import Changes, Leaving
from .document import UNREADABLE, Secret, State, StatusSecret, acme_content, acme_of, decode_status_secret
from .errors import HaproxyError, RefusedError
from .files import sha256
from .haproxy_plan import parse_configuration, server_lines, with_servers
from .places import ACME_MAP, HAPROXY_CONFIG, STATE, STATUS_CERTIFICATE, STATUS_SECRET, TOKEN


class Disk:
    """The files of this service, and the loop's copy of their content. Only the loop writes."""

    def __init__(
        self,
        certificate: Path,
        folder: Path = STATE,
        haproxy_config: Path = HAPROXY_CONFIG,
        status_certificate: Path = STATUS_CERTIFICATE,
    ):
        self.certificate = certificate
        self.haproxy_config = haproxy_config
        self.status_certificate = status_certificate
        self.status_value = folder / STATUS_SECRET.name
        self.token = folder / TOKEN.name
        self.candidate = folder / "candidate"
        self.record = folder / "applied.json"
        self.changes_file = folder / "changes.json"
        self.paths_file = folder / "paths.json"
        self.acme_map = folder / ACME_MAP.name
        self.issued = folder / "acme-issued.json"
        self.changes = self.load_changes()
        self.applied = self.load_applied()

    def load_changes(self) -> Changes:
        """The notes of the last run."""
        try:
            saved = json.loads(self.changes_file.read_text(encoding="utf-8"))
            leaving = {name: Leaving(*values) for name, values in saved["leaving"].items()}
            names = {key: tuple(saved[key]) for key in ("joining", "unproven", "last_resort")}
            return Changes(begun=bool(saved["begun"]), leaving=leaving, **names)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Changes()

    def note(self, changes: Changes) -> None:
        """Replaces the changes, first on disk. If they cannot be written, the old ones stay."""
        files.replace_file(self.changes_file, json.dumps(vars(changes)))
        self.changes = changes

    def load_applied(self) -> State | None:
        """The state that the last finished run recorded; None if the files have changed since."""
        return self.load("haproxyConfigHash", lambda config: config)

    def load_kept(self) -> State | None:
        """The recorded state, even if haproxy.cfg has other servers: a change of servers may have ended half-way."""
        return self.load("haproxyBaseHash", lambda config: with_servers(config, {}))

    def load(self, key: str, part: Callable[[str], str]) -> State | None:
        """The recorded state, if a part of haproxy.cfg and the certificate have the recorded hashes."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            config = self.haproxy_config.read_text(encoding="utf-8")
            if sha256(part(config).encode()) != record[key]:
                return None
            wanted = config.removesuffix(server_lines(self.changes.held))
            state = State(
                record["revision"],
                wanted,
                record["certificateHash"],
                record["drainTimeoutSeconds"],
                acme_of(record.get("acme")),
                record.get("certificateSource", "document"),
            )
            return state if self.has_certificate(state.certificate_hash) else None
        except (OSError, *UNREADABLE):
            return None

    def drain_timeout_seconds(self) -> int | None:
        """The drain time-out of the applied state, or of the recorded one if files have changed since. None without a
        record."""
        if self.applied is not None:
            return self.applied.drain_timeout_seconds
        try:
            return int(json.loads(self.record.read_text(encoding="utf-8"))["drainTimeoutSeconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, state: State) -> None:
        """Records the applied state for the next run. This is the last step of each change."""
        record = {
            "revision": state.revision,
            "certificateHash": state.certificate_hash,
            "haproxyConfigHash": sha256(self.file_content(state).encode()),
            "haproxyBaseHash": sha256(with_servers(state.haproxy_config, {}).encode()),
            "drainTimeoutSeconds": state.drain_timeout_seconds,
            "acme": acme_content(state.acme),
            "certificateSource": state.certificate_source,
        }
        files.replace_file(self.record, json.dumps(record))

    def has_certificate(self, certificate_hash: str) -> bool:
        """Whether the certificate on this machine has this SHA-256."""
        try:
            return sha256(self.certificate.read_bytes()) == certificate_hash
        except FileNotFoundError:
            return False

    def status_secret(self) -> StatusSecret | None:
        """The status's certificate and token, if all of their files are in place."""
        try:
            secret = decode_status_secret(self.status_value.read_text(encoding="utf-8"))
            pem, token = (path.read_text(encoding="utf-8") for path in (self.status_certificate, self.token))
        except (OSError, *UNREADABLE):
            return None
        return secret if (pem, token) == (secret.pem, secret.token) else None

    def has_status(self, status_hash: str) -> bool:
        """Whether the status uses the secret that has this SHA-256."""
        secret = self.status_secret()
        return secret is not None and sha256(secret.text.encode()) == status_hash

    def pem(self) -> str:
        return self.certificate.read_text(encoding="utf-8")

    def servers(self) -> dict[str, str]:
        """The servers of haproxy.cfg, including held ones: address and options by name."""
        return dict(parse_configuration(self.haproxy_config.read_text(encoding="utf-8")).servers)

    def file_content(self, state: State) -> str:
        """haproxy.cfg for the disk: the wanted state, and the held servers."""
        return state.haproxy_config + server_lines(self.changes.held)

    def write_files(self, state: State, secret: Secret | None) -> None:
        """Writes haproxy.cfg, and the certificate if there is a new one."""
        if secret:
            files.replace_file(self.certificate, secret.pem, 0o600)
        files.replace_file(self.haproxy_config, self.file_content(state))

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        """Restores the old files if HAProxy could not start with the new ones: a reboot would use the files on disk."""
        paths = (self.haproxy_config, self.certificate)
        kept = {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}
        try:
            yield
        except HaproxyError as error:
            for path, content in kept.items():
                files.replace_file(path, content, 0o600 if path == self.certificate else 0o644)
            raise RefusedError(str(error)) from error
