"""Calls of AWS's APIs with this machine's role, by boto3. Every error becomes an AwsError with a text of one line."""

import re
import threading
from typing import Any, Callable, Iterable

import boto3
import botocore.session
from aws_instance import AwsError as MetadataError
from aws_instance import metadata
from botocore.config import Config
from botocore.credentials import CredentialResolver, InstanceMetadataProvider
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError, ReadTimeoutError
from botocore.utils import InstanceMetadataFetcher

from .errors import AwsError

# boto3's own time-outs are a minute. Each call here is made again within seconds.
CALLS = Config(
    connect_timeout=3, read_timeout=5, max_pool_connections=4, retries={"mode": "standard", "total_max_attempts": 2}
)
METADATA_SECONDS = 3
NAMES = {"ssm": "SSM", "ec2": "EC2", "elbv2": "Elastic Load Balancing"}
MAX_LETTERS = 300
# AWS's codes for an account that asks too often, of EC2, SSM and Elastic Load Balancing.
THROTTLED = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException")
MOST_PAUSE_SECONDS = 60


def next_pause(pause: float, usual: float, errors: Iterable[Exception]) -> float:
    """The time until AWS is asked again: longer each time while it finds that this account asks too often. After any
    other error it stays as usual, since rights may just have arrived."""
    throttled = any(isinstance(error, AwsError) and error.code in THROTTLED for error in errors)
    return min(2 * pause, MOST_PAUSE_SECONDS) if throttled else usual


def one_line(text: str) -> str:
    """A text of AWS or boto3 without the parts that differ from one try to the next: a text that stays the same is
    reported once."""
    text = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? *", "", text)
    text = re.sub(r" *Encoded authorization failure message: .*", "", text, flags=re.S)
    return " ".join(text.split())[:MAX_LETTERS]


def in_aws_words(error: Exception, service: str, what: str, host: str) -> AwsError:
    """An error of boto3 about `what`: an operation or a parameter."""
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", ""))
        return AwsError(one_line(f"{NAMES[service]} refuses {what}: {code} {answer.get('Message', '')}"), code)
    if isinstance(error, NoCredentialsError):
        return AwsError("instance metadata has no credentials for this machine's role")
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return AwsError(f"{host} cannot be reached: timed out")
    details = getattr(error, "kwargs", {})
    if "endpoint_url" in details:
        return AwsError(one_line(f"{host} cannot be reached: {details.get('error') or error}"))
    return AwsError(one_line(f"{NAMES[service]} gives no answer for {what}: {type(error).__name__}: {error}"))


def new_session() -> boto3.Session:
    """A session in this machine's region with the credentials of its role. Other sources of credentials, such as files
    of a user, are not looked for."""
    try:
        region = metadata("placement/region", metadata("")).strip()
    except MetadataError as error:
        raise AwsError(str(error)) from error
    except ValueError as error:
        raise AwsError(f"instance metadata gives an answer that cannot be read: {error}") from error
    core = botocore.session.Session()
    fetcher = InstanceMetadataFetcher(timeout=METADATA_SECONDS, num_attempts=2)
    core.register_component("credential_provider", CredentialResolver([InstanceMetadataProvider(fetcher)]))
    # A client that is made without credentials would never get any.
    if core.get_credentials() is None:
        raise NoCredentialsError
    return boto3.Session(botocore_session=core, region_name=region)


class Aws:
    """boto3's clients, which are made when they are needed. Several threads may use it."""

    def __init__(self, make_session: Callable[[], boto3.Session] = new_session):
        self.make_session = make_session
        self.session: boto3.Session | None = None
        self.clients: dict[str, Any] = {}
        self.lock = threading.Lock()

    def client(self, service: str) -> Any:
        with self.lock:
            if self.session is None:
                self.session = self.make_session()
            if service not in self.clients:
                self.clients[service] = self.session.client(service, config=CALLS)
            return self.clients[service]

    def call(self, service: str, operation: str, what: str = "", **arguments: Any) -> dict[str, Any]:
        """All pages of an answer in one. Raises AwsError, whose text names the operation, or `what` instead."""
        host = f"AWS's {NAMES[service]}"
        try:
            client = self.client(service)
            host = client.meta.endpoint_url.removeprefix("https://")
            what = what or client.meta.method_to_api_mapping[operation]
            if client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**arguments).build_full_result()
            return getattr(client, operation)(**arguments)
        except AwsError:
            raise
        except Exception as error:
            # Not every error of boto3 has a common class, and none of them may end a thread.
            raise in_aws_words(error, service, what or operation, host) from error

    def get_parameter(self, name: str) -> str:
        """Reads one parameter of SSM, decrypted."""
        answer = self.call("ssm", "get_parameter", name, Name=name, WithDecryption=True)
        try:
            if isinstance(value := answer["Parameter"]["Value"], str):
                return value
        except (KeyError, TypeError):
            pass
        raise AwsError(f"SSM gives an answer for {name} that cannot be read")

    def put_parameter(self, name: str, value: str) -> None:
        """Changes one parameter of SSM, which keeps its type. It makes no new one: `pulumi destroy` may have deleted
        it."""
        # The tier holds 8 KB.
        self.call("ssm", "put_parameter", name, Name=name, Value=value, Tier="Advanced", Overwrite=True)
