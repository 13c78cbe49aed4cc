"""What this machine asks AWS: its metadata, and the parameters that its role may read.

Standard library only. Requests are signed here, not by a command whose arguments every process could see.
"""

import datetime
import hmac
import http.client
import json
from hashlib import sha256

REQUEST_SECONDS = 10


class AwsError(Exception):
    """Why AWS gives no answer, in one line for an operator."""


def signed_headers(
    credentials: dict[str, str], region: str, service: str, host: str, target: str, body: bytes, now: datetime.datetime
) -> dict[str, str]:
    """Signs a POST with AWS Signature Version 4. Here, not in curl, whose arguments every process sees."""
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": timestamp,
        "x-amz-security-token": credentials["Token"],
        "x-amz-target": target,
    }
    names = ";".join(sorted(headers))
    canonical_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"POST\n/\n\n{canonical_headers}\n{names}\n{sha256(body).hexdigest()}"
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials['SecretAccessKey']}".encode()
    for part in (timestamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials['AccessKeyId']}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


def metadata(path: str, token: str | None = None, missing: str | None = None) -> str:
    """Asks the instance metadata service, version 2: for a session token, or with one for a path below meta-data.

    `missing` is the answer for what this machine does not have.
    """
    connection = http.client.HTTPConnection("169.254.169.254", timeout=REQUEST_SECONDS)
    try:
        if token is None:
            headers = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
            connection.request("PUT", "/latest/api/token", headers=headers)
        else:
            connection.request("GET", f"/latest/meta-data/{path}", headers={"x-aws-ec2-metadata-token": token})
        response = connection.getresponse()
        body = response.read().decode()
        if response.status == 404 and missing is not None:
            return missing
        if response.status != 200:
            raise AwsError(f"instance metadata answers HTTP {response.status} for {path or 'a token'}")
        return body
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"instance metadata cannot be reached: {error}") from error
    finally:
        connection.close()


def role_credentials() -> tuple[dict[str, str], str]:
    """Short-lived credentials of the instance's role, and the region."""
    token = metadata("")
    region = metadata("placement/region", token)
    role = metadata("iam/security-credentials/", token).splitlines()[0]
    credentials: dict[str, str] = json.loads(metadata(f"iam/security-credentials/{role}", token))
    return credentials, region


def get_parameter(name: str) -> str:
    """Reads one SSM parameter, decrypted."""
    credentials, region = role_credentials()
    host = f"ssm.{region}.amazonaws.com"
    body = json.dumps({"Name": name, "WithDecryption": True}).encode()
    now = datetime.datetime.now(datetime.timezone.utc)
    headers = signed_headers(credentials, region, "ssm", host, "AmazonSSM.GetParameter", body, now)
    connection = http.client.HTTPSConnection(host, timeout=REQUEST_SECONDS)
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            kind = str(answer.get("__type", "")).rpartition("#")[2]
            raise AwsError(f"SSM refuses {name}: {kind} {answer.get('message', answer.get('Message', ''))}".strip())
        return str(answer["Parameter"]["Value"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise AwsError(f"SSM cannot be read at {host}: {error}") from error
    finally:
        connection.close()
