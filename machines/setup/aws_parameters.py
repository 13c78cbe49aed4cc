"""Reads the parameters of AWS Systems Manager that this machine's role may read."""

import http.client
import json

from aws_instance import AwsError, ask


def get_parameter(name: str) -> str:
    """Reads one parameter, decrypted."""
    body = json.dumps({"Name": name, "WithDecryption": True}).encode()
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameter"}
    try:
        with ask("ssm", "POST", "/", headers, body) as response:
            answer = json.loads(response.read())
        if response.status != 200:
            kind = str(answer.get("__type", "")).rpartition("#")[2]
            raise AwsError(f"SSM refuses {name}: {kind} {answer.get('message', answer.get('Message', ''))}".strip())
        return str(answer["Parameter"]["Value"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise AwsError(f"SSM cannot be read: {error}") from error
