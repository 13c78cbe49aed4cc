"""Deactivates the account of a key at the sandbox's Let's Encrypt, as its owner can.

    deactivate.py FILE    FILE has the key in PEM
"""

import sys
from pathlib import Path

from acme import client, errors, messages
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy import ES256, JWKEC, ComparableECKey

DIRECTORY = "https://acme-v02.api.letsencrypt.org/directory"


def main() -> None:
    key = load_pem_private_key(Path(sys.argv[1]).read_bytes(), None)
    network = client.ClientNetwork(JWKEC(key=ComparableECKey(key)), alg=ES256)
    directory = client.ClientV2(client.ClientV2.get_directory(DIRECTORY, network), network)
    try:
        account = directory.new_account(messages.NewRegistration(terms_of_service_agreed=True))
    except errors.ConflictError as there:
        account = messages.RegistrationResource(body=messages.Registration(), uri=there.location)
        network.account = account
    print(directory.deactivate_registration(account).body.status)


main()
