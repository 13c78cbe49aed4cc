"""Orders a certificate from an ACME directory (RFC 8555) with python3-acme. HAProxy answers the challenges (HTTP-01).

python3-acme needs 20 MB of memory, so it is imported when a balancer orders.
"""

import datetime
import email.utils
import re
import time
from typing import Any, Collection
from urllib.parse import urlsplit

from .acme_connections import Connections
from .document import Acme
from .errors import OrderError

REQUEST_SECONDS = 10
"""The longest time without a byte of the directory's answer."""
DIRECTORY_SECONDS = 20
"""The longest time for the directory's addresses, however its answer comes."""
ORDER_SECONDS = 180
"""The longest time for an order, however the answers come. A directory validates and signs within seconds, under load
within a minute or two. The ledger takes an order for dead after much more (renewal.py)."""
MAX_ANSWER_BYTES = 1_000_000
NONCE_TRIES = 8
"""A directory may refuse a nonce at any time. python3-acme itself tries twice only, and Pebble refuses many."""
MAX_CLOCK_SECONDS = 3600
"""The most by which this machine's clock may differ from the directory's."""
PROFILES = ("tlsserver", "classic", "default")
"""Profiles in the order of preference. `tlsserver` has the smaller certificates."""
MAX_LETTERS = 300


def one_line(text: object) -> str:
    """A text of the directory or of a library for the status: no objects' addresses, which differ at each try."""
    text = re.sub(r"<[^<>]*(<locals>[^<>]*)? object at 0x[0-9a-f]+>:? *", "", str(text))
    return " ".join(text.split())[:MAX_LETTERS]


def seconds_to_wait(retry_after: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks to wait; None when there is no readable one."""
    if retry_after is None:
        return None
    if re.fullmatch("[0-9]{1,9}", retry_after.strip()):
        return float(retry_after)
    moment = seconds_of_date(retry_after)
    return max(0.0, moment - now) if moment is not None else None


def seconds_of_date(text: str | None) -> float | None:
    """The moment of an HTTP date, in seconds since the epoch."""
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def in_utc(seconds: float) -> str:
    """A moment as an operator reads it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def clock_problem(date: str | None, now: float) -> str | None:
    """Why this machine's clock cannot be right, by the directory's Date header."""
    moment = seconds_of_date(date)
    if moment is None or abs(now - moment) <= MAX_CLOCK_SECONDS:
        return None
    return f"this machine's clock says {in_utc(now)}, and the directory's {in_utc(moment)}: set the clock (timedatectl)"


def choose_profile(offered: Collection[str], wanted: str | None) -> str | None:
    """The profile to name in the order; None for a directory without profiles."""
    if wanted is None:
        return next((name for name in PROFILES if name in offered), None)
    if wanted not in offered:
        has = f"it has {', '.join(sorted(offered))}" if offered else "it has none"
        raise OrderError(f"the directory has no profile {wanted}: {has}; change acme.profile")
    return wanted


def reasons(failed: Collection[Any]) -> str:
    """Why authorizations failed. The error of python3-acme has no text of its own."""
    found = [
        f"{authorization.body.identifier.value}: {challenge.error.detail or challenge.error}"
        for authorization in failed
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]
    return one_line("; ".join(found) or "the directory gives no reason")


def new_key_and_request(domain: str) -> tuple[str, bytes]:
    """A new private key, and a certificate signing request with it, both in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(domain)])
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    encoding = serialization.Encoding.PEM
    pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), request.sign(key, hashes.SHA256()).public_bytes(encoding)


def account_key(pem: str) -> Any:
    """The account's key for python3-acme. Raises OrderError."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise ValueError("it is of another kind")
    except Exception as error:
        raise OrderError(
            "the account's key cannot be read: it is no P-256 key in PEM, as this stack makes it. To write it again: "
            "pulumi refresh, then pulumi up"
        ) from error
    from josepy import JWKEC, ComparableECKey

    return JWKEC(key=ComparableECKey(key))


def thumbprint(pem: str) -> str:
    """The thumbprint of the account's key (RFC 7638), which is a part of the answer to each challenge."""
    key = account_key(pem)
    from josepy import b64encode

    return b64encode(key.thumbprint()).decode()


def make_network(key: Any, seconds: float) -> Any:
    """The connection to a directory, for a number of seconds from now on. It limits the time and size of every answer,
    tries again with another nonce, and keeps the headers of the last answer."""
    import requests
    from acme import client, messages
    from josepy import ES256
    from requests import certs
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    connections = Connections(seconds)

    class Connection(HTTPSConnection):
        def _new_conn(self) -> Any:
            try:
                return connections.open(self.host, self.port, self.timeout)
            except TimeoutError as error:
                raise ConnectTimeoutError(self, str(error)) from error
            except OSError as error:
                raise NewConnectionError(self, str(error)) from error

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"https": Pool}

    class Session(requests.Session):
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            try:
                return connections.in_time(lambda: self.answer(method, url, *args, **kwargs))
            except TimeoutError as error:
                if not connections.over:
                    raise
                text = f"{urlsplit(url).netloc} takes too long: it has not answered within {seconds} s"
                raise OrderError(text) from error

        def answer(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            response = super().request(method, url, *args, **{**kwargs, "stream": True})
            body = b""
            for part in response.iter_content(16384):
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise OrderError(f"{urlsplit(url).netloc} answers with more than {MAX_ANSWER_BYTES} bytes")
            response._content = body
            return response

    class Network(client.ClientNetwork):
        headers: Any = {}

        def _send_request(self, *args: Any, **kwargs: Any) -> Any:
            response = super()._send_request(*args, **kwargs)
            self.headers = response.headers
            return response

        def post(self, *args: Any, **kwargs: Any) -> Any:
            for left in reversed(range(NONCE_TRIES)):
                try:
                    return self._post_once(*args, **dict(kwargs))
                except messages.Error as error:
                    if error.code != "badNonce" or left == 0:
                        raise

    # Named, the authorities are read for each connection. Those that requests has read at its import may be old.
    verify = certs.where()
    network = Network(key, alg=ES256, verify_ssl=verify, user_agent="wcs-balancer", timeout=REQUEST_SECONDS)
    network.session = Session()
    # A directory has only https addresses (RFC 8555, 6.1). Other connections would not be noted.
    network.session.adapters.pop("http://")
    network.session.mount("https://", Adapter())
    network.connections = connections
    return network


def in_order_words(error: Exception, network: Any, url: str) -> OrderError:
    """An error during an order, as text for an operator."""
    import requests
    from acme import errors, messages

    if isinstance(error, OrderError):
        return error
    wait = seconds_to_wait(network.headers.get("Retry-After"), time.time())
    if isinstance(error, errors.ValidationError):
        return OrderError(f"the directory could not validate the domain: {reasons(error.failed_authzrs)}")
    if isinstance(error, errors.IssuanceError):
        error = error.error
    if isinstance(error, messages.Error):
        text = f"the directory refuses: {error.code or error.typ}: {one_line(error.detail or error.title or '')}"
        if "deactivated" in (error.detail or "").lower():
            text += ". The stack needs a new account: pulumi up --replace '**PrivateKey::acme-account'"
        return OrderError(text, wait)
    if isinstance(error, (errors.TimeoutError, requests.exceptions.Timeout)):
        return OrderError(f"{url} gives no answer in time", wait)
    if isinstance(error, requests.exceptions.SSLError):
        now = in_utc(time.time())
        return OrderError(one_line(f"{url} cannot be trusted (this machine's clock says {now}): {error}"))
    # python3-acme makes a ValueError of some of them.
    if isinstance(error, requests.exceptions.ConnectionError) or str(error).startswith("Requesting "):
        return OrderError(one_line(f"{url} cannot be reached: {error}"))
    if isinstance(error, errors.ClientError) and error.args and isinstance(error.args[0], requests.Response):
        return OrderError(f"{url} answers {error.args[0].status_code} without an ACME error", wait)
    text = str(error) if not isinstance(error, KeyError) else f"{error.args[0]}"
    return OrderError(one_line(f"{url} gives an answer that cannot be understood: {type(error).__name__}: {text}"), wait)


class Directory:
    """An ACME directory, asked for one certificate. Every error is an OrderError."""

    def __init__(self, acme: Acme, account_pem: str):
        """Asks the directory for its addresses, which is no order yet."""
        from acme import client

        self.acme = acme
        self.network = make_network(account_key(account_pem), DIRECTORY_SECONDS)
        try:
            self.directory = directory = client.ClientV2.get_directory(acme.directory, self.network)
            if problem := clock_problem(self.network.headers.get("Date"), time.time()):
                raise OrderError(problem)
            for name in ("newNonce", "newAccount", "newOrder"):
                directory[name]
            self.profile = choose_profile(directory.meta.profiles or {}, acme.profile)
        except Exception as error:
            raise in_order_words(error, self.network, acme.directory) from error
        finally:
            self.network.connections.close()

    def connect(self) -> None:
        """Makes `client`, with the connections for an order. The time of the order begins."""
        from acme import client

        self.network = make_network(self.network.key, ORDER_SECONDS)
        self.client = client.ClientV2(self.directory, self.network)

    def order(self) -> str:
        """Gets a certificate with a new private key: certificate, chain and key in PEM."""
        self.connect()
        try:
            return self.get_certificate()
        except Exception as error:
            raise in_order_words(error, self.network, self.acme.directory) from error
        finally:
            self.network.connections.close()

    def get_certificate(self) -> str:
        from acme import challenges, errors, messages

        deadline = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_SECONDS)
        account = messages.NewRegistration.from_data(email=self.acme.email, terms_of_service_agreed=True)
        try:
            self.client.new_account(account)
        except errors.ConflictError as there:
            # The account exists, perhaps with the contact of an earlier configuration.
            known = messages.RegistrationResource(body=messages.Registration(), uri=there.location)
            try:
                self.client.update_registration(known, messages.Registration.from_data(email=self.acme.email))
            except messages.Error:
                pass  # The contact is no reason to have no certificate.
            self.network.account = known
        key, request = new_key_and_request(self.acme.domain)
        order = self.client.new_order(request, self.profile)
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_PENDING:
                self.answer(authorization, challenges.HTTP01)
        order = self.client.finalize_order(self.client.poll_authorizations(order, deadline), deadline)
        lines = f"{order.fullchain_pem}\n{key}".splitlines()
        return "".join(f"{line}\n" for line in lines if line.strip())

    def answer(self, authorization: Any, kind: Any) -> None:
        """Tells the directory that HAProxy answers its challenge."""
        for challenge in authorization.body.challenges:
            if isinstance(challenge.chall, kind):
                self.client.answer_challenge(challenge, challenge.response(self.network.key))
                return
        raise OrderError("the directory offers no challenge over HTTP (HTTP-01)")
