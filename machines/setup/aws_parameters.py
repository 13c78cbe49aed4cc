"""Reads the parameters of AWS Systems Manager that this machine's role may read.

Whatever metadata and Systems Manager answer, nothing but an AwsError comes out of it: who asks every few seconds must
not end by an answer.
"""

import http.client
import json
import re

from aws_instance import AwsError, ask, metadata

MAX_ANSWER_BYTES = 1_000_000
PROBLEMS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def read_metadata(path: str, token: str | None = None, missing: str | None = None) -> str:
    """The same as `metadata`, of one line."""
    try:
        return metadata(path, token, missing).partition("\n")[0].strip()
    except ValueError as error:
        raise AwsError(f"instance metadata answers what cannot be read for {path or 'a token'}") from error


def parse_credentials(text: str, role: str) -> dict[str, str]:
    """Checks the credentials of a role as instance metadata gives them: while EC2 cannot have any, it says so here."""
    try:
        credentials = json.loads(text)
        keys = {name: credentials[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")}
        if not all(isinstance(value, str) and re.fullmatch(r"[!-~]+", value) for value in keys.values()):
            raise ValueError
    except PROBLEMS as error:
        code = re.search(r'"Code" *: *"(\w+)"', text)
        why = f" (Code: {code[1]})" if code else ""
        raise AwsError(f"instance metadata has no credentials for the role {role}{why}") from error
    return keys


def checked_identity() -> tuple[dict[str, str], str, str]:
    """What `role_credentials` gives, with every part of it checked."""
    token = read_metadata("")
    role = read_metadata("iam/security-credentials/", token)
    if not re.fullmatch(r"[\w+=,.@-]+", role):
        raise AwsError(f"instance metadata names no role of this machine: {role[:40]!r}")
    try:
        text = metadata(f"iam/security-credentials/{role}", token)
    except ValueError:
        text = ""
    credentials = parse_credentials(text, role)
    domain = read_metadata("services/domain", token, missing="amazonaws.com")
    region = read_metadata("placement/region", token)
    if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9.-]+", f"{region}/{domain}"):
        raise AwsError(f"instance metadata names no region and domain: {region[:40]!r}, {domain[:40]!r}")
    return credentials, region, domain


def parse_parameter(status: int, body: bytes, name: str) -> str:
    """The value in SSM's answer, or SSM's refusal as an error."""
    try:
        answer = json.loads(body)
        if status == 200:
            if isinstance(value := answer["Parameter"]["Value"], str):
                return value
            raise ValueError
        kind = str(answer.get("__type", "")).rpartition("#")[2]
        why = f"{kind} {answer.get('message', answer.get('Message', ''))}".strip()
    except PROBLEMS as error:
        raise AwsError(f"SSM answers HTTP {status} for {name} with what cannot be read") from error
    raise AwsError(f"SSM refuses {name}: {why}")


def get_parameter(name: str) -> str:
    """Reads one parameter, decrypted."""
    body = json.dumps({"Name": name, "WithDecryption": True}).encode()
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameter"}
    try:
        with ask("ssm", "POST", "/", headers, body, identity=checked_identity()) as response:
            return parse_parameter(response.status, response.read(MAX_ANSWER_BYTES), name)
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"SSM cannot be read: {error}") from error
