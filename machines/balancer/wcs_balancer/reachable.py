"""Checks before an order whether DNS leads to the balancers of this stack, and whether they answer challenges.
Directories refuse a domain for a while after a few failed validations."""

import http.client
import ipaddress
import re
import secrets
import socket
import time

from .acme_order import one_line
from .places import HTTP_PORT

PATH = "/.well-known/acme-challenge/"
CHECK_SECONDS = 5
MAX_ANSWER_BYTES = 4096
MOST_NAMED = 3
"""At most this many wrong addresses are named, so a foreign zone cannot make the status grow."""


def addresses_of(domain: str) -> list[str]:
    """All addresses of a name. Raises OSError."""
    found = socket.getaddrinfo(domain, HTTP_PORT, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


def obstacle(domain: str, thumbprint: str) -> str | None:
    """Why a directory could not validate the domain; None when each address gives the right answer to a challenge."""
    try:
        addresses = addresses_of(domain)
    except (OSError, UnicodeError) as error:
        return f"{domain} has no address in DNS: {error.args[-1] if error.args else error}"
    problems = [problem for address in addresses if (problem := wrong_answer(address, domain, thumbprint))]
    more = [f"{left} more addresses are wrong"] if (left := len(problems) - MOST_NAMED) > 0 else []
    return "; ".join([*problems[:MOST_NAMED], *more]) or None


def local_kind(address: str) -> str | None:
    """The kind of an address that means something else on each machine: this machine may reach itself there, but a
    directory does not. A private address is none of them: a directory may be in the same network, and DNS may tell this
    network another address than the rest of the world."""
    there = ipaddress.ip_address(address)
    there = getattr(there, "ipv4_mapped", None) or there
    kinds = ("loopback", "unspecified", "link_local", "multicast")
    return next((kind.replace("_", "-") for kind in kinds if getattr(there, f"is_{kind}")), None)


def wrong_answer(address: str, domain: str, thumbprint: str) -> str | None:
    """Asks one address for a challenge that no directory has made; None when the answer is right."""
    if kind := local_kind(address):
        return f"{address}, which DNS gives for {domain}, is {kind}, so no directory can reach it"
    token = secrets.token_urlsafe(16)
    where = f"port {HTTP_PORT} of {address}, which DNS gives for {domain}"
    try:
        status, body = ask(address, domain, PATH + token)
    except (OSError, http.client.HTTPException) as error:
        return f"{where}, does not answer: {one_line(error) or type(error).__name__}"
    if status == 200 and body.strip() == f"{token}.{thumbprint}":
        return None
    shown = repr(one_line(body)[:60])
    return f"{where}, is no balancer of this stack: it answers a challenge with {status} {shown}"


def ask(address: str, host: str, path: str) -> tuple[int, str]:
    """Status and body of the answer to a GET, within `CHECK_SECONDS`. It follows no redirect."""
    deadline = time.monotonic() + CHECK_SECONDS
    with socket.create_connection((address, HTTP_PORT), timeout=CHECK_SECONDS) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: wcs-balancer\r\n\r\n".encode())
        answer = b""
        while len(answer) < MAX_ANSWER_BYTES:
            client.settimeout(max(0.001, deadline - time.monotonic()))
            if not (part := client.recv(MAX_ANSWER_BYTES)):
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/\S+\s+([0-9]{3})(?!\S)", head)
    if status is None:
        raise http.client.HTTPException("it does not speak HTTP")
    return int(status[1]), body.decode(errors="replace")
