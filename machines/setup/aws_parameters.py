"""Reads the parameters of AWS Systems Manager that this machine's role may read."""

import http.client
import json

from aws_instance import AwsError, ask

MAX_ANSWER_BYTES = 1_000_000


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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AwsError(f"SSM gives an answer for {name} that cannot be read: HTTP {status}") from error
    raise AwsError(f"SSM refuses {name}: {why}")


def metadata_problem(error: Exception) -> str:
    """The fault of an answer of the metadata service, by the error that it caused. `aws_instance` does not check
    answers itself: it is in user-data, where each line counts."""
    if isinstance(error, IndexError):
        return "instance metadata names no role of this machine"
    if isinstance(error, (KeyError, TypeError, AttributeError)):
        return "instance metadata has no credentials for this machine's role"
    return f"instance metadata gives an answer that cannot be read: {error}"


def get_parameter(name: str) -> str:
    """Reads one parameter, decrypted."""
    body = json.dumps({"Name": name, "WithDecryption": True}).encode()
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameter"}
    try:
        response = ask("ssm", "POST", "/", headers, body)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise AwsError(metadata_problem(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"SSM cannot be read: {error}") from error
    try:
        with response:
            return parse_parameter(response.status, response.read(MAX_ANSWER_BYTES), name)
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"SSM cannot be read: {error}") from error
