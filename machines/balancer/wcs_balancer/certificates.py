"""Reads certificates. python3-cryptography is imported when it is needed: not every balancer needs it."""

import functools
import os
import re
import ssl
from typing import NamedTuple

KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S)


class Validity(NamedTuple):
    """From when to when a certificate is valid, in seconds since the epoch."""

    begin: float
    end: float

    @property
    def lifetime(self) -> float:
        return self.end - self.begin


# The loop, the thread that orders and the one that asks AWS look at the same text all the time, and a look takes 2 ms.
@functools.lru_cache(maxsize=2)
def validity(pem: str, domain: str) -> Validity:
    """The validity of the first certificate of a PEM with certificate, chain and key.

    Raises ValueError when HAProxy could not serve the domain with it. An expired certificate is no error.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = KEY.search(pem)
    if key is None:
        raise ValueError("it has no private key")
    certificate = x509.load_pem_x509_certificates(pem.encode())[0]
    if load_pem_private_key(key.group().encode(), None).public_key() != certificate.public_key():
        raise ValueError("its private key belongs to another certificate")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = []
    if domain.lower() not in (name.value.lower() for name in names if isinstance(name, x509.DNSName)):
        raise ValueError(f"it does not name {domain}")
    if refusal := refused(pem):
        raise ValueError(refusal)
    return Validity(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def refused(pem: str) -> str | None:
    """Why OpenSSL, and so HAProxy, refuses certificate, chain or key, such as a key that is too short."""
    # OpenSSL reads only files.
    descriptor = os.memfd_create("certificate")
    with open(descriptor, "wb", buffering=0) as file:
        file.write(pem.encode())
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{descriptor}")
        except OSError as error:
            return f"OpenSSL refuses it: {getattr(error, 'reason', None) or error}"
    return None


def problem(pem: str, domain: str) -> str | None:
    """Why HAProxy cannot serve a domain with a PEM; None when it can."""
    try:
        validity(pem, domain)
    except Exception as error:
        # cryptography has errors of its own for some broken keys.
        return " ".join(str(error).split()) or type(error).__name__
    return None
