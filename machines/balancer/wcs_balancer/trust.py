"""Checks whether browsers trust the certificate that is served."""

import ssl
from pathlib import Path


def is_trusted(pem: Path, domain: str) -> bool:
    """Whether the authorities of this machine's distribution vouch for a certificate: a TLS handshake in memory."""
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pem)
        client = ssl.create_default_context()
        # Browsers do not insist on all extensions of RFC 5280 either.
        client.verify_flags &= ~ssl.VERIFY_X509_STRICT
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        asks = client.wrap_bio(to_client, to_server, server_hostname=domain)
        answers = server.wrap_bio(to_server, to_client, server_side=True)
        for side in (asks, answers, asks):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
        # None until the client is content.
        return asks.version() is not None and bool(asks.getpeercert())
    except (OSError, ValueError):
        return False
