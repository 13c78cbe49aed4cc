"""The status of a balancer from its first moment on, by HAProxy's port 443 and under its own name.

Runs in a Debian root and in a network of its own. The argument is a file with haproxy.cfg. Prints one line a promise
that held, and the statuses that it has seen.
"""

import json
import re
import socket
import ssl
import subprocess
import sys
from http.client import HTTPResponse
from pathlib import Path

import sync_lab as lab
import sync_process
from sync_lab import CERTIFICATE, STATUS_NAME, Nodes, eventually, haproxy, new_pem, packed, status_secret
from sync_process import LOG, PARAMETERS, Process
from wcs_balancer.places import BOOTSTRAP, HAPROXY_CONFIG, STATUS_CERTIFICATE, STATUS_SECRET, TOKEN

STATUS = "/.well-known/wcs-balancer/status"
HAND_OVER = "/.well-known/wcs-balancer/hand-over"


def held(promise):
    print(promise, flush=True)


def put(**parameters):
    """What AWS has from now on; None is nothing."""
    for name, value in parameters.items():
        path = PARAMETERS / name
        if value is None:
            path.unlink(missing_ok=True)
        else:
            path.with_suffix(".new").write_text(value)
            path.with_suffix(".new").rename(path)


def put_state(target):
    put(**{name: target[name] for name in ("status", "secret", "state")})


class Asked:
    """An answer on port 443, from who asks for the status's name and trusts the status's certificate alone."""

    def __init__(self, trusted, path=STATUS, method="GET", token=None, name=STATUS_NAME, seconds=60):
        context = ssl.create_default_context(cadata=trusted) if trusted else ssl._create_unverified_context()
        with (
            socket.create_connection(("127.0.0.1", 443), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=name) as client,
        ):
            authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
            length = "Content-Length: 0\r\n" if method == "POST" else ""
            client.sendall(f"{method} {path} HTTP/1.1\r\nHost: {name}\r\n{authorization}{length}\r\n".encode())
            with HTTPResponse(client) as response:
                response.begin()
                self.code, self.headers = response.status, response.headers
                self.text = response.read().decode()

    @property
    def json(self):
        return json.loads(self.text)


def details(target, token="token"):
    """The status with its details, or None where nobody gives them."""
    try:
        asked = Asked(json.loads(target["status"])["pem"], token=token)
    except (OSError, ssl.SSLError):
        return None
    if asked.code != 200:
        return None
    lab.show_once(asked.json)
    return asked.json


def shows(target, token="token", **wanted):
    """Whether the status has these values; of a text it has to have a part."""

    def fits(value, part):
        return part in (value or "") if isinstance(part, str) else value == part

    status = details(target, token)
    return status is not None and all(fits(status[key], part) for key, part in wanted.items())


def eventually_shows(target, what, token="token", **wanted):
    try:
        eventually(lambda: shows(target, token, **wanted), what, 60, 0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}; {details(target, token)}; {LOG.read_text()[-2000:]}") from error


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
        return True
    except ConnectionRefusedError:
        return False


def logged(text):
    return text in LOG.read_text()


def starts_with_what_aws_has(target):
    eventually(lambda: logged("error: SSM refuses state: it is away"), "the reason in the journal")
    assert not listens(443)
    garbage = json.dumps({"pem": "no certificate\n", "token": "token"})
    put(status=garbage)
    eventually(lambda: logged("the status's certificate cannot be used: haproxy failed"), "the reason in the journal")
    assert not listens(443) and not STATUS_SECRET.exists()
    put(state=target["state"], secret=target["secret"])
    eventually(lambda: logged("token that the desired state names are not in use yet"), "the reason in the journal")
    put(state=None, full="", status=target["status"])
    eventually(lambda: logged("No space left on device; make room"), "the reason in the journal")
    assert not listens(443)
    held("whatever is missing at the first boot is named in the journal")

    put(full=None)
    eventually_shows(target, "the status", error="SSM refuses state: it is away", revision=None, applied=False)
    assert Asked(None).json == {"revision": None, "applied": False}
    try:
        Asked(None, name="wcs.example.com")
        raise AssertionError("a client of the domain gets a certificate of another name")
    except ssl.SSLError as error:
        assert "UNRECOGNIZED_NAME" in str(error), error
    for path in ("/", "/healthz", "/wcs/"):
        refused = Asked(None, path)
        assert (refused.code, refused.headers["Retry-After"]) == (503, "10"), (path, refused.code)
    assert not listens(80) and not listens(8404)
    assert Asked(None, token="wrong").code == 403
    held("with a certificate of its own the status says why nothing is applied, and nothing else is served")

    assert details(target)["instance"] is None
    put(**{"instance-id": "i-0123456789abcdef0"})
    eventually_shows(target, "the instance", instance="i-0123456789abcdef0")
    assert set(Asked(None).json) == {"revision", "applied"}
    held("it names the instance to those with the token")


def says_what_is_wrong(target):
    put(state="garbage")
    eventually_shows(target, "garbage", error="the desired state cannot be read")
    put(state=packed({"contract": 1, "revision": "older", "servers": {"a": "127.0.0.2:8080"}}))
    eventually_shows(target, "a rollback", error="has contract 1, and this balancer understands 4")
    assert "no earlier configuration" in details(target)["error"]
    broken = lab.target(target["config"].replace("mworker-max", "no-such"), target["pem"], "broken", target["status"])
    put_state(broken)
    eventually_shows(target, "a refusal", refused="broken", error="unknown keyword 'no-such-reloads'")
    put(secret=None, state=target["state"])
    eventually_shows(target, "a missing secret", error="SSM refuses secret: it is away", refused=None)
    assert HAPROXY_CONFIG.read_text() == BOOTSTRAP.read_text()
    held("so it does when the document is garbage, of another contract or refused, or a secret is missing")

    put(status=None, state=None)
    eventually_shows(target, "the end of AWS", error="SSM refuses state: it is away; SSM refuses status: it is away")
    put(status=status_secret(new_pem(STATUS_NAME), "other"))
    changed = {"status": (PARAMETERS / "status").read_text()}
    eventually_shows(changed, "another certificate", "other", error="SSM refuses state: it is away")
    put(status=target["status"])
    eventually_shows(target, "the certificate again")
    held("it takes over another certificate while there is no document")

    sync_process.kill_haproxy()
    eventually_shows(target, "HAProxy again")
    held("a HAProxy that dies meanwhile comes back with it")


def starts_again_wherever_it_was_killed(target, process):
    """What a service leaves that is killed at its first steps."""
    for what, leave in {
        "after the certificate": lambda: (TOKEN.unlink(), STATUS_SECRET.unlink(), HAPROXY_CONFIG.write_text(OTHER)),
        "before the token": lambda: (TOKEN.write_text("old"), STATUS_SECRET.unlink()),
        "before HAProxy": lambda: HAPROXY_CONFIG.write_text(OTHER),
        "before HAProxy has started": lambda: None,
    }.items():
        process.kill()
        HAPROXY_CONFIG.write_text(OTHER)
        sync_process.systemctl("restart", "haproxy")
        HAPROXY_CONFIG.write_text(BOOTSTRAP.read_text())
        leave()
        assert not haproxy.runs()
        process = Process()
        eventually_shows(target, what)
    held("a service that is killed on the way there gets there at the next start")
    return process


# The distribution's configuration runs when the machine is set up.
OTHER = "defaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\nfrontend f\n    bind 127.0.0.1:9\n"


def applies(target):
    put_state(target)
    eventually_shows(target, "the state", revision=target["revision"], applied=True, error=None)
    own, clients = json.loads(target["status"])["pem"], target["pem"]
    assert own.startswith(lab.served_to(STATUS_NAME).strip())
    for name in ("wcs.example.com", "anything.example.com", None):
        assert clients.startswith(lab.served_to(name).strip()), name
    assert listens(80) and listens(8404)
    eventually(lab.all_up, "the nodes")
    lab.Client().talk()
    # One that goes on was late on a busy machine.
    for pid in re.findall(r"worker (\d+) does not answer: its sockets", LOG.read_text()):
        assert Path(f"/proc/{pid}").exists(), "a worker that is just ending is no silent one"
    held("when a state is applied clients get their certificate, and the status its own")


def outlives_the_clients_certificate(target):
    expired = new_pem("wcs.example.com", "-not_before", "20200101000000Z", "-not_after", "20200201000000Z")
    put_state(lab.target(target["config"], expired, "expired", target["status"]))
    eventually_shows(target, "an expired certificate", revision="expired", applied=True)
    assert "has ended" in details(target)["warnings"][0], details(target)
    foreign = new_pem("another.example.com")
    put_state(lab.target(target["config"], foreign, "foreign", target["status"]))
    eventually_shows(target, "a foreign certificate", revision="foreign", applied=True)
    put_state(lab.target(target["config"], "garbage\n", "garbage", target["status"]))
    eventually_shows(target, "garbage", refused="garbage", revision="foreign", applied=False)
    assert CERTIFICATE.read_text() == foreign
    assert foreign.startswith(lab.served_to("wcs.example.com").strip())
    put_state(target)
    eventually_shows(target, "the state", revision=target["revision"], error=None)
    held("whatever certificate clients get, the status answers with its own")


def takes_another_status(target):
    workers, client = haproxy.workers(), lab.Client()
    other = lab.target(target["config"], target["pem"], "other", status_secret(new_pem(STATUS_NAME), "another"))
    put_state(other)
    eventually_shows(other, "the new certificate", "another", revision="other", applied=True, error=None)
    assert Asked(None, token="token").code == 403
    assert (workers, STATUS_CERTIFICATE.stat().st_mode & 0o777) == (haproxy.workers(), 0o600)
    garbage = json.dumps({"pem": "no certificate\n", "token": "token"})
    put_state(lab.target(target["config"], target["pem"], "worse", garbage))
    eventually_shows(other, "garbage", "another", error="the status's certificate cannot be used", revision="other")
    broken = lab.target(target["config"].replace("mworker-max", "no-such"), target["pem"], "broken", target["status"])
    put_state(broken)
    eventually_shows(target, "a refusal with the new token", refused="broken", revision="other")
    put_state(target)
    eventually_shows(target, "the state", revision=target["revision"], error=None)
    assert workers == haproxy.workers()
    client.talk()
    held("another certificate and token come into force without a reload, even beside a document that is refused")


def reboots(target, process):
    process.kill()
    before = HAPROXY_CONFIG.read_text()
    sync_process.kill_haproxy()
    for name in ("state", "secret", "status", "instance-id"):
        put(**{name: None})
    sync_process.systemctl("restart", "haproxy")
    process = Process()
    eventually_shows(target, "the state", revision=target["revision"], applied=None, error="SSM refuses state: it is away")
    assert HAPROXY_CONFIG.read_text() == before
    eventually(lab.all_up, "the nodes")
    client, workers = lab.Client(), haproxy.workers()
    older = packed({"revision": "ancient", "haproxyConfig": "global\n", "certificateHash": "c"})
    put(state=older)
    eventually_shows(target, "a rollback", revision=target["revision"], applied=False, error="ancient has contract 0")
    servers = {name: words for name, words in lab.haproxy_plan.parse_configuration(before).servers.items() if "wcs-1" in name}
    put(state=packed({"contract": 1, "revision": "old", "servers": servers}))
    what = f"{target['revision']} with the servers of old"
    eventually_shows(target, "the servers", revision=what, applied=False, error="has contract 1")
    eventually(lambda: lab.running_servers() == set(servers), "the servers")
    client.talk()
    assert haproxy.workers() == workers
    held("a reboot without AWS comes back the same, and a document of an older contract takes no socket")
    return process


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Nodes()
    sync_process.prepare(CERTIFICATE)
    target = lab.target(Path(sys.argv[1]).read_text(), new_pem(), "first", status_secret(new_pem(STATUS_NAME)))
    HAPROXY_CONFIG.write_text(OTHER)
    sync_process.systemctl("restart", "haproxy")
    process = Process()
    try:
        starts_with_what_aws_has(target)
        says_what_is_wrong(target)
        process = starts_again_wherever_it_was_killed(target, process)
        applies(target)
        outlives_the_clients_certificate(target)
        takes_another_status(target)
        process = reboots(target, process)
    finally:
        sync_process.end_all()


if __name__ == "__main__":
    main()
