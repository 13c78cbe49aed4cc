"""Reads the parameters of AWS Systems Manager that this machine's role may read."""

import http.client
import json

from aws_instance import MAX_ANSWER_BYTES, AwsError, ask


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
        raise AwsError(f"SSM answers HTTP {status} for {name} with what cannot be read") from error
    raise AwsError(f"SSM refuses {name}: {why}")


def get_parameter(name: str) -> str:
    """Reads one parameter, decrypted."""
    body = json.dumps({"Name": name, "WithDecryption": True}).encode()
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameter"}
    try:
        with ask("ssm", "POST", "/", headers, body) as response:
            return parse_parameter(response.status, response.read(MAX_ANSWER_BYTES), name)
    except (OSError, http.client.HTTPException) as error:
        raise AwsError(f"SSM cannot be read: {error}") from error
