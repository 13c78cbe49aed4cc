"""The desired state that `pulumi up` writes (cluster/desired-state.ts), and the secret beside it. Pure functions."""

import base64
import gzip
import io
import json
import zlib
from dataclasses import dataclass, replace
from typing import Any, Mapping, NamedTuple

from .errors import SyncError
from .haproxy_plan import parse_configuration, server_lines, with_servers

# What this version understands. A document without a number is of the versions before there was one.
CONTRACT = 1
MAX_DOCUMENT_BYTES = 1_000_000


@dataclass(frozen=True)
class State:
    """What is to run, or runs: the document's content."""

    revision: str
    haproxy_config: str
    """With the wanted servers as its last lines."""
    certificate_hash: str
    drain_timeout_seconds: int


@dataclass(frozen=True)
class NewerDocument:
    """What any version understands of a document whose contract is higher than its own. These fields never change."""

    contract: int
    revision: str
    servers: Mapping[str, str]
    """Address and own options of each wanted server, by its name."""


class Secret(NamedTuple):
    """The content of the secret parameter."""

    pem: str
    token: str


class Wanted(NamedTuple):
    """What AWS was asked for and has answered."""

    document: State | NewerDocument
    secret: Secret | None = None
    """None while the certificate on this machine is the wanted one."""


def decode_document(text: str) -> State | NewerDocument:
    """Reads the desired state: base64 of gzip of JSON. Raises SyncError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text, validate=True))) as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"more than {MAX_DOCUMENT_BYTES} bytes")
        return read_document(json.loads(raw))
    except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error, RecursionError) as error:
        raise SyncError(f"the desired state cannot be read: {error or type(error).__name__}") from error


def read_document(document: dict[str, Any]) -> State | NewerDocument:
    """The document of this contract, of a newer one, or of the time before there was a number."""
    contract = number(document, "contract") if "contract" in document else 0
    if contract > CONTRACT:
        return NewerDocument(contract, text_of(document, "revision"), servers_of(document))
    if contract == CONTRACT:
        haproxy_config = text_of(document, "haproxyBase") + server_lines(servers_of(document))
    else:
        haproxy_config = text_of(document, "haproxyConfig")
    return State(
        text_of(document, "revision"),
        haproxy_config,
        text_of(document, "certificateHash"),
        number(document, "drainTimeoutSeconds"),
    )


def text_of(document: dict[str, Any], key: str) -> str:
    if not isinstance(value := document[key], str):
        raise ValueError(f"{key} is no text")
    return value


def number(document: dict[str, Any], key: str) -> int:
    if not isinstance(value := document[key], int):
        raise ValueError(f"{key} is no number")
    return value


def servers_of(document: dict[str, Any]) -> dict[str, str]:
    servers = document["servers"]
    if not isinstance(servers, dict) or not all(isinstance(value, str) and value.split() for value in servers.values()):
        raise ValueError("servers are no names with an address")
    return servers


def known_words(options: str) -> str:
    """What this version understands of a server in a newer document: its address, and its cookie."""
    address, *words = options.split()
    return address + "".join(f" cookie {value}" for word, value in zip(words, words[1:]) if word == "cookie")


def obeyed(document: NewerDocument, kept: State | None) -> State:
    """What is to run by a document of a newer contract: its servers, with all else as it is kept.

    Servers that are here already keep their lines. Raises SyncError where there is nothing to be kept.
    """
    if kept is None:
        raise SyncError(f"{newer_contract(document)}. This balancer has no configuration of its own to go on with")
    there = parse_configuration(kept.haproxy_config).servers
    servers = {name: there.get(name) or known_words(options) for name, options in document.servers.items()}
    # Whatever servers it had before.
    revision = kept.revision.split()[0]
    return replace(
        kept,
        revision=f"{revision} with the servers of {document.revision}",
        haproxy_config=with_servers(kept.haproxy_config, servers),
    )


def newer_contract(document: NewerDocument) -> str:
    """What to say of a document that this version can obey only in part."""
    return (
        f"the desired state {document.revision} has contract {document.contract}, and this balancer understands "
        f"{CONTRACT}: it obeys the servers alone. The pulumi up that has written it brings a newer balancer"
    )


def decode_secret(text: str) -> Secret:
    """Reads the secret: JSON. Raises ValueError, KeyError, TypeError, AttributeError or RecursionError."""
    content = json.loads(text)
    secret = Secret(content["pem"], content["token"])
    # No text, or one that no file can hold: it shows here.
    secret.pem.encode()
    secret.token.encode()
    return secret
