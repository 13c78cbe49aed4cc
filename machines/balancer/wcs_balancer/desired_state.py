"""Asks AWS what is wanted."""

from aws_instance import AwsError
from aws_parameters import get_parameter

from .disk import Disk
from .document import Secret, State, Wanted, decode_document, decode_secret
from .errors import SyncError
from .files import sha256


class DesiredState:
    """The two parameters of this stack. Asked in a thread of its own, since an answer may take half a minute: reads
    files, and changes nothing."""

    def __init__(self, state_parameter: str, secret_parameter: str, disk: Disk):
        self.state_parameter, self.secret_parameter, self.disk = state_parameter, secret_parameter, disk

    def ask(self) -> Wanted | Exception:
        """AWS's answer; whatever goes wrong is one, too."""
        try:
            return self.fetch()
        except AwsError as error:
            return SyncError(str(error))
        except Exception as error:
            return error

    def fetch(self) -> Wanted:
        """The document, and the secret when the document names another certificate than the one on this machine."""
        document = decode_document(get_parameter(self.state_parameter))
        if not isinstance(document, State) or self.disk.has_certificate(document.certificate_hash):
            return Wanted(document)
        return Wanted(document, self.fetch_secret(document.certificate_hash))

    def fetch_secret(self, certificate_hash: str) -> Secret:
        """The certificate that the document names. Its parameter may be written a little later: the next poll tries
        again."""
        try:
            secret = decode_secret(get_parameter(self.secret_parameter))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SyncError(f"{self.secret_parameter} cannot be read") from error
        if sha256(secret.pem.encode()) != certificate_hash:
            raise SyncError(f"the certificate {certificate_hash[:12]} is not in {self.secret_parameter} yet")
        return secret
