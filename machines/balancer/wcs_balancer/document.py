"""The desired state that `pulumi up` writes (cluster/desired-state.ts), and the secrets beside it. Pure functions."""

import base64
import gzip
import io
import json
import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal, Mapping, NamedTuple

from .errors import SyncError
from .haproxy_plan import AGENT_REQUEST, parse_configuration, server_lines, with_servers
from .places import CONTRACT

# From this contract on, documents say how clients reach the balancers.
ENTRY_CONTRACT = 3
MAX_DOCUMENT_BYTES = 1_000_000

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""The errors of a text that cannot be read."""


class Acme(NamedTuple):
    """A directory (ACME, RFC 8555) from which the balancers get the certificate themselves."""

    domain: str
    email: str
    directory: str
    """Its https URL."""
    profile: str | None
    """The name of a profile of the directory; None = the first of `acme_order.PROFILES` that it offers."""
    turn_seconds: int
    """How much longer each balancer waits than the one before it in the list."""
    check_seconds: int
    """The time between two checks of DNS and port 80."""
    fail_seconds: int
    """The pause after the first failed order. It grows with each failure."""


Source = Literal["document", "acme", "former"]
"""The origin of a certificate: the secret that the document names, an ACME directory, or the secret of an earlier
document, which serves until the first certificate comes from the directory."""


@dataclass(frozen=True)
class State:
    """A state that is wanted or applied: the document's content."""

    revision: str
    haproxy_config: str
    """Its last lines are the wanted servers."""
    certificate_hash: str
    """In a document it is the hash of the PEM in the secret parameter. In an applied state it is that of the PEM that
    is served."""
    drain_timeout_seconds: int
    acme: Acme | None = None
    certificate_source: Source = "document"


class TargetGroup(NamedTuple):
    """A target group of the load balancer."""

    arn: str
    port: int
    """The port on which balancers take its clients."""


@dataclass(frozen=True)
class Entry:
    """How clients reach the balancers. Every version from contract 3 on understands these fields of the document."""

    balancers: Mapping[str, str]
    """The instance id of each wanted balancer, by its name."""
    address: bool
    """Whether clients use the balancers' own addresses."""
    target_groups: tuple[TargetGroup, ...]
    """Empty without a load balancer."""
    tail_seconds: int
    """For how long clients may still come on a way that is given up."""
    quiet_seconds: int
    """After this time without a new client no further client is expected."""

    def names(self, instance: str | None) -> bool:
        """Whether an instance is a wanted balancer."""
        return instance in self.balancers.values()


class Document(NamedTuple):
    """A document of this contract."""

    state: State
    status_hash: str
    """Hash of the value of the status parameter."""
    entry: Entry

    @property
    def revision(self) -> str:
        return self.state.revision


@dataclass(frozen=True)
class OtherDocument:
    """A document of another contract: the fields that every version understands. They never change."""

    contract: int
    revision: str
    servers: Mapping[str, str] | None
    """Address and own options of each wanted server, by its name. None in a document of the first versions, which had
    no field for them."""
    entry: Entry | None = None
    """None in a document of contract 1 or 2."""


class Secret(NamedTuple):
    """The content of the secret parameter."""

    pem: str
    source: Source = "document"


class StatusSecret(NamedTuple):
    """The content of the status parameter."""

    text: str
    """The whole value. The document has its hash."""
    pem: str
    token: str


def decode_document(text: str) -> Document | OtherDocument:
    """Reads the desired state: base64 of gzip of JSON. Raises SyncError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text, validate=True))) as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"more than {MAX_DOCUMENT_BYTES} bytes")
        return read_document(json.loads(raw))
    except (*UNREADABLE, EOFError, OSError, zlib.error) as error:
        raise SyncError(f"the desired state cannot be read: {error or type(error).__name__}") from error


def read_document(document: dict[str, Any]) -> Document | OtherDocument:
    """Reads a document of this contract, of another contract, or of the first versions, which had no number."""
    # A document without a number comes from the first versions.
    contract = number(document, "contract") if "contract" in document else 0
    if contract != CONTRACT:
        servers = servers_of(document) if contract > 0 else None
        entry = entry_of(document) if contract >= ENTRY_CONTRACT else None
        return OtherDocument(contract, text_of(document, "revision"), servers, entry)
    state = State(
        text_of(document, "revision"),
        text_of(document, "haproxyBase") + server_lines(servers_of(document)),
        text_of(document, "certificateHash"),
        number(document, "drainTimeoutSeconds"),
        acme_of(document.get("acme")),
    )
    return Document(state, text_of(document, "statusHash"), entry_of(document))


def text_of(document: dict[str, Any], key: str) -> str:
    if not isinstance(value := document[key], str):
        raise ValueError(f"{key} is not a text")
    return value


def number(document: dict[str, Any], key: str) -> int:
    if not isinstance(value := document[key], int) or isinstance(value, bool):
        raise ValueError(f"{key} is not a whole number")
    return value


def seconds_of(document: dict[str, Any], key: str) -> int:
    if (value := number(document, key)) < 0:
        raise ValueError(f"{key} is below 0")
    return value


def entry_of(document: dict[str, Any]) -> Entry:
    """How clients reach the balancers. Raises an error of `UNREADABLE`."""
    balancers, address, groups = document["balancers"], document["address"], document["targetGroups"]
    if not isinstance(balancers, dict) or not all(isinstance(value, str) and value for value in balancers.values()):
        raise ValueError("balancers does not give each name an instance")
    if not balancers:
        # Otherwise every balancer would leave.
        raise ValueError("balancers names no instance")
    if not isinstance(address, bool):
        raise ValueError("address is not true or false")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("targetGroups is not a list of objects")
    target_groups = tuple(TargetGroup(text_of(group, "arn"), number(group, "port")) for group in groups)
    leave = document["leave"]
    return Entry(
        balancers, address, target_groups, seconds_of(leave, "tailSeconds"), seconds_of(leave, "quietSeconds")
    )


def entry_content(entry: Entry) -> dict[str, Any]:
    """The entry in the form of the document."""
    return {
        "balancers": dict(entry.balancers),
        "address": entry.address,
        "targetGroups": [group._asdict() for group in entry.target_groups],
        "leave": {"tailSeconds": entry.tail_seconds, "quietSeconds": entry.quiet_seconds},
    }


def acme_of(content: dict[str, Any] | None) -> Acme | None:
    """Where the certificate comes from, if not from the secret parameter. Raises an error of `UNREADABLE`."""
    if content is None:
        return None
    if (profile := content["profile"]) is not None:
        profile = text_of(content, "profile")
    names = (text_of(content, key) for key in ("domain", "email", "directory"))
    delays = (seconds_of(content["delays"], f"{name}Seconds") for name in ("turn", "check", "fail"))
    return Acme(*names, profile, *delays)


def acme_content(acme: Acme | None) -> dict[str, Any] | None:
    """The ACME settings in the form of the document."""
    if acme is None:
        return None
    delays = {f"{name}Seconds": getattr(acme, f"{name}_seconds") for name in ("turn", "check", "fail")}
    return {**{key: getattr(acme, key) for key in ("domain", "email", "directory", "profile")}, "delays": delays}


def servers_of(document: dict[str, Any]) -> dict[str, str]:
    servers = document["servers"]
    if not isinstance(servers, dict) or not all(isinstance(value, str) and value.split() for value in servers.values()):
        raise ValueError("servers does not give each name an address")
    return servers


def known_words(options: str) -> str:
    """A server's options in a document of another contract, as far as this version understands them: its address, its
    cookie, and the request to its agent, which may be older than the others' request."""
    request = AGENT_REQUEST.search(options)
    address, *words = AGENT_REQUEST.sub("", options).split()
    cookie = "".join(f" cookie {value}" for word, value in zip(words, words[1:]) if word == "cookie")
    return address + cookie + (request.group() if request else "")


def obeyed(document: OtherDocument, kept: State | None) -> State:
    """The state to run with a document of another contract: its servers, and everything else as it is kept.

    Servers that exist already keep their lines. Raises SyncError when no state is kept.
    """
    if kept is None:
        raise SyncError(f"{other_contract(document)}. This balancer has no earlier configuration to use")
    if document.servers is None:
        return kept
    there = parse_configuration(kept.haproxy_config).servers
    servers = {name: there.get(name) or known_words(options) for name, options in document.servers.items()}
    # Without "with the servers of" an earlier document.
    revision = kept.revision.split()[0]
    return replace(
        kept,
        revision=f"{revision} with the servers of {document.revision}",
        haproxy_config=with_servers(kept.haproxy_config, servers),
    )


def other_contract(document: OtherDocument) -> str:
    """The message about a document that this version can apply only in part."""
    does = "changes nothing" if document.servers is None else "applies only the servers"
    if document.entry is not None:
        does = "applies only the servers and the balancers"
    return (
        f"the desired state {document.revision} has contract {document.contract}, and this balancer understands "
        f"{CONTRACT}: it {does}. The pulumi up that wrote it also makes a balancer that understands it"
    )


def decode_secret(text: str) -> Secret:
    """Reads the secret: JSON. Raises one of `UNREADABLE`."""
    secret = Secret(json.loads(text)["pem"])
    # Fails if it is not a text, or a text that cannot be written to a file.
    secret.pem.encode()
    return secret


def decode_status_secret(text: str) -> StatusSecret:
    """Reads the status's secret: JSON. Raises one of `UNREADABLE`."""
    content = json.loads(text)
    secret = StatusSecret(text, content["pem"], content["token"])
    secret.pem.encode()
    if not secret.token.encode().strip():
        raise ValueError("an empty token would open the details to everybody")
    return secret
