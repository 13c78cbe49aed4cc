"""What this machine may ask AWS: its metadata, and services with its role's credentials. Standard library only."""

import hmac
import http.client
import json
from hashlib import sha256
from time import gmtime, strftime
from urllib.parse import quote

REQUEST_SECONDS = 10


class AwsError(Exception):
    """Why AWS gives no answer, in one line for an operator."""


def metadata(path: str, token: str = "", missing: str = "") -> str:
    """Asks the metadata service (IMDSv2) for a session token, or with one for a path; `missing` stands for a 404."""
    connection = http.client.HTTPConnection("169.254.169.254", timeout=REQUEST_SECONDS)
    try:
        name = "x-aws-ec2-metadata-token"
        if not token:
            connection.request("PUT", "/latest/api/token", headers={f"{name}-ttl-seconds": "60"})
        else:
            connection.request("GET", f"/latest/meta-data/{path}", headers={name: token})
        response = connection.getresponse()
        body = response.read().decode()
        if response.status == 404 and missing:
            return missing
        if response.status != 200:
            raise AwsError(f"instance metadata answers HTTP {response.status} for {path or 'a token'}")
        return body
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"instance metadata cannot be reached: {error}") from error
    finally:
        connection.close()


def role_credentials() -> tuple[dict[str, str], str, str]:
    """Short-lived credentials of this machine's role, its region, and the domain of AWS's services."""
    token = metadata("")
    role = metadata("iam/security-credentials/", token).splitlines()[0]
    credentials = json.loads(metadata(f"iam/security-credentials/{role}", token))
    domain = metadata("services/domain", token, missing="amazonaws.com")
    return credentials, metadata("placement/region", token), domain


def signed_headers(
    credentials: dict[str, str], scope: list[str], request: list[str], headers: dict[str, str], body: bytes, time: str
) -> dict[str, str]:
    """Adds AWS Signature Version 4 to the headers of a request. Here, since every process sees curl's arguments.

    `scope` is region and service, `request` method and path.
    """
    digest = sha256(body).hexdigest()
    headers = headers | {"x-amz-content-sha256": digest, "x-amz-date": time, "x-amz-security-token": credentials["Token"]}
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join([*request, "", *lines, "", names, digest])
    scope = [time[:8], *scope, "aws4_request"]
    text = f"AWS4-HMAC-SHA256\n{time}\n{'/'.join(scope)}\n{sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credentials['SecretAccessKey']}".encode()
    for part in [*scope, text]:
        key = hmac.digest(key, part.encode(), "sha256")
    who = f"AWS4-HMAC-SHA256 Credential={credentials['AccessKeyId']}/{'/'.join(scope)}"
    return headers | {"authorization": f"{who}, SignedHeaders={names}, Signature={key.hex()}"}


def ask(
    service: str, method: str, path: str, headers: dict[str, str], body: bytes = b"", bucket: str = ""
) -> http.client.HTTPResponse:
    """Sends a signed request to a service of this region, or to a bucket of S3, and gives the answer unread."""
    credentials, region, domain = role_credentials()
    host = f"{bucket}.{service}.{region}.{domain}".lstrip(".")
    request = [method, quote(path)]
    now = strftime("%Y%m%dT%H%M%SZ", gmtime())
    headers = signed_headers(credentials, [region, service], request, headers | {"host": host}, body, now)
    connection = http.client.HTTPSConnection(host, timeout=REQUEST_SECONDS)
    try:
        connection.request(*request, body or None, headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"{host} cannot be reached: {error}") from error
