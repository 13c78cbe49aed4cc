"""Kills wcs-balancer-sync at every step of a change, with a real HAProxy and open WebSockets, and lets it run again.

Runs in a Debian root and in a network of its own. The arguments are files with haproxy.cfg before and after the
change; with `newer` behind them the change comes in a document of a newer contract, with `status` the status's
certificate changes, too, with `acme` the certificate comes from an ACME directory. Prints one line a step.
"""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import filled_machines  # noqa: F401
from wcs_balancer import files, haproxy_plan, haproxy_service, last_resort, renewal
from wcs_balancer import haproxy_runtime as haproxy
from wcs_balancer.desired_state import DesiredState
from wcs_balancer.disk import Disk
from wcs_balancer.errors import HaproxyError
from wcs_balancer.places import AGENT_PORT, HAPROXY_CONFIG, NODE_PORT, STATUS_CERTIFICATE
from wcs_balancer.server import Status
from wcs_balancer.service import Service

CERTIFICATE = Path("/etc/pki/tls/wcs.example.com/cert.pem")
STATUS_NAME = STATUS_CERTIFICATE.parent.name
NODES = [f"127.0.0.{number}" for number in (2, 3, 4)]


class Killed(BaseException):
    """What nothing in the service catches."""


async def node(reader, writer):
    """A WCS node as far as this needs one: upgrades, then sends everything back."""
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (ConnectionError, asyncio.IncompleteReadError):
        return writer.close()  # A health check.
    key = next(line.split(": ")[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def agent(_, writer):
    writer.write(b"up 100%\n")
    await writer.drain()
    writer.close()


class Nodes:
    """The nodes, each of which can die with its sockets and come back."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.servers = {}
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        for address in NODES:
            self.revive(address)

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def revive(self, address):
        async def serve():
            writers = set()

            async def counted(reader, writer):
                writers.add(writer)
                try:
                    await node(reader, writer)
                except ConnectionError:
                    pass
                writers.discard(writer)

            listeners = [
                await asyncio.start_server(counted, address, NODE_PORT, reuse_address=True),
                await asyncio.start_server(agent, address, AGENT_PORT, reuse_address=True),
            ]
            self.servers[address] = (listeners, writers)

        self.do(serve())

    def kill(self, address):
        async def end():
            listeners, writers = self.servers.pop(address)
            for listener in listeners:
                listener.close()
            for writer in list(writers):
                writer.transport.abort()

        self.do(end())


class Client:
    """An open WebSocket through HAProxy."""

    def __init__(self, port=443, proxy=b""):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        plain.sendall(proxy)
        self.socket = context.wrap_socket(plain)
        self.socket.sendall(
            b"GET / HTTP/1.1\r\nHost: wcs.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            part = self.socket.recv(1)
            assert part, f"ended after {answer!r}"
            answer += part
        assert answer.startswith(b"HTTP/1.1 101"), answer

    def talk(self):
        self.socket.sendall(b"numbered message")
        assert self.socket.recv(100) == b"numbered message"


def through_load_balancer():
    """The same as through the load balancer, which says who the client is."""
    return Client(10443, b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n")


def served_to(name):
    """The certificate that HAProxy serves to who asks for a name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", 443), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname=name) as client:
            return ssl.DER_cert_to_PEM_cert(client.getpeercert(True))


def eventually(condition, what, seconds=60, pause=0.05):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(pause)


def new_pem(name="wcs.example.com", *options):
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj".split()
    options = options or ["-days", "2"]
    names = ["-addext", f"subjectAltName=DNS:{name}", *options, "-keyout", "/key", "-out", "/crt"]
    subprocess.run([*command, f"/CN={name}", *names], check=True, capture_output=True)
    return Path("/crt").read_text() + Path("/key").read_text()


def status_secret(pem, token="token"):
    return json.dumps({"pem": pem, "token": token})


# One balancer with an address, and no load balancer.
ENTRY = {
    "balancers": {"balancer-1": "i-0123456789abcdef0"},
    "address": True,
    "targetGroups": [],
    "leave": {"tailSeconds": 300, "quietSeconds": 60},
}


def packed(content):
    return base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()


def target(config, pem, revision, status, **values):
    """A state, with the values of the three parameters. `values` are other fields of its document."""
    servers = haproxy_plan.parse_configuration(config).servers
    content = {"contract": 4, "revision": revision, "haproxyBase": haproxy_plan.with_servers(config, {})}
    content |= {"servers": servers, "drainTimeoutSeconds": 600, **ENTRY, **values}
    content["certificateHash"] = hashlib.sha256(pem.encode()).hexdigest()
    content["statusHash"] = hashlib.sha256(status.encode()).hexdigest()
    return {
        "state": packed(content),
        "secret": json.dumps({"pem": pem}),
        "status": status,
        "config": config,
        "pem": pem,
        "revision": revision,
        "error": "",
    }


def newer(before, after):
    """The same in a document of which only the servers count."""
    servers = haproxy_plan.parse_configuration(after["config"]).servers
    return {
        **before,
        "state": packed({"contract": 5, "revision": after["revision"], "servers": servers, **ENTRY}),
        "config": haproxy_plan.with_servers(before["config"], servers),
        "revision": f"{before['revision']} with the servers of {after['revision']}",
        "error": f"the desired state {after['revision']} has contract 5",
    }


def with_acme(wanted):
    """The same with a certificate by ACME: another one than the document's."""
    config, pem, revision = wanted["config"], new_pem(), wanted["revision"]
    content = {"domain": "wcs.example.com", "email": "ops@example.com", "directory": "https://x/", "profile": None}
    content |= {"delays": {"turnSeconds": 180, "checkSeconds": 0, "failSeconds": 300}}
    certificate = renewal.Certificate(pem, "wcs.example.com", "https://x/", None, "balancer-1", int(time.time()))
    ledger = renewal.write_ledger(renewal.Ledger(certificate))
    return {**target(config, wanted["pem"], revision, wanted["status"], acme=content), "pem": pem, "ledger": ledger}


def kind(status):
    """The parts of a status that tell one state of the service from another."""
    parts = [status[key] is None for key in ("handedOver", "error", "refused", "setup")]
    parts += [(status[key] or {}).get(part) for key, part in (("target", "state"), ("acme", "state"), ("certificate", "source"))]
    return (status["applied"], *parts, *((row["path"], row["phase"]) for row in status["leaving"]))


shown_kinds = set()


def show_once(status):
    """Prints a status of a new kind: the test compares it with the schema."""
    if kind(status) not in shown_kinds:
        shown_kinds.add(kind(status))
        print(json.dumps({"status": status}), flush=True)


def status_of(balancer):
    """The status of a service whose HTTP server does not run."""
    return Status(lambda: balancer.snapshot, balancer.disk.token).shown(True)


parameters = {"account": "no key"}


def get_parameter(name):
    """SSM, for as long as no test replaces it."""
    return parameters[name]


class Balancer(Service):
    """The service in one thread, which asks AWS when it is told to."""

    def __init__(self):
        super().__init__(Disk(CERTIFICATE), lambda message: None, None, {})
        names = ("state", "secret", "status", self.disk, lambda name: get_parameter(name), "account", "ledger")
        self.desired_state = DesiredState(*names)

    @property
    def changes(self):
        return self.disk.changes

    def poll(self):
        self.look(self.desired_state.ask())


def fresh():
    """The service after its start."""
    return Balancer()


def put(wanted):
    """What AWS has from now on."""
    parameters.update({name: wanted[name] for name in ("state", "secret", "status", "ledger") if name in wanted})


def bring_to(wanted):
    put(wanted)
    balancer = fresh()
    settle(balancer, wanted)
    eventually(lambda: not (balancer.poll() or balancer.changes.leaving), "the drain")
    return balancer


def kill_before(step):
    """From now on the service ends before its side effect number `step`. Gives what takes that back, and a count."""
    originals = {(module, name): getattr(module, name) for module, name in SIDE_EFFECTS}
    count = 0

    def wrap(original):
        def killing(*args, **kwargs):
            nonlocal count
            count += 1
            if count > step:
                raise Killed
            return original(*args, **kwargs)

        return killing

    for (module, name), original in originals.items():
        setattr(module, name, wrap(original))

    def restore():
        for (module, name), original in originals.items():
            setattr(module, name, original)

    return restore


SIDE_EFFECTS = [(files, "replace_file"), (haproxy, "ask"), (haproxy_service, "run")]


def running_servers():
    state = haproxy_plan.parse_servers_state(haproxy.ask("show servers state"))
    return {name for name, server in state.items() if not server.maintenance}


def all_up():
    return all(row["status"] == "UP" for row in haproxy.statistics(haproxy.ask("show stat")) if row["status"] != "MAINT")


def assert_no_other_error(balancer, wanted):
    assert (balancer.error or "").startswith(wanted["error"]), balancer.error
    assert wanted["error"] or balancer.error is None, balancer.error


def settle(balancer, wanted):
    """Polls until nobody is held any more. The steps of these rounds are killed at, too."""

    def settled():
        balancer.poll()
        assert_no_other_error(balancer, wanted)
        return not balancer.changes.held and not balancer.changes.unproven

    eventually(settled, "the new nodes", pause=0.4)


master = None


def names_worker():
    """Whether HAProxy's master answers. It does so later than its worker."""
    try:
        return haproxy.workers()
    except (OSError, HaproxyError):
        return False


def start_haproxy():
    """As the unit does: another run's servers may have had the same names, and a start ends when HAProxy is ready."""
    global master
    haproxy.SERVER_STATE.unlink(missing_ok=True)
    command = ["haproxy", "-W", "-f", "/etc/haproxy/haproxy.cfg", "-S", haproxy.MASTER_SOCKET]
    master = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    eventually(lambda: haproxy.runs() and names_worker() and not master.poll(), "HAProxy")


def stop_haproxy():
    master.terminate()
    master.wait()


@contextlib.contextmanager
def haproxy_with(first):
    """HAProxy, started with the files of a state."""
    files.replace_file(CERTIFICATE, first["pem"], 0o600)
    files.replace_file(STATUS_CERTIFICATE, json.loads(first["status"])["pem"], 0o600)
    files.replace_file(HAPROXY_CONFIG, first["config"])
    Path("/run/haproxy").mkdir(exist_ok=True)
    start_haproxy()
    try:
        yield
    finally:
        stop_haproxy()


def check(wanted, balancer, clients):
    balancer.poll()
    assert_no_other_error(balancer, wanted)
    assert balancer.disk.applied and balancer.disk.applied.revision == wanted["revision"]
    assert HAPROXY_CONFIG.read_text() == wanted["config"]
    assert CERTIFICATE.read_text() == wanted["pem"]
    assert STATUS_CERTIFICATE.read_text() == json.loads(wanted["status"])["pem"]
    assert running_servers() == set(haproxy_plan.parse_configuration(wanted["config"]).servers)
    for name, pem in (("wcs.example.com", wanted["pem"]), (STATUS_NAME, json.loads(wanted["status"])["pem"])):
        assert pem.startswith(served_to(name).strip()), f"HAProxy serves {name} another certificate than the file holds"
    for client in clients:
        client.talk()


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Nodes()
    # How long a node has to be up is for another test: here every step waits for it twice.
    last_resort.PROOF_SECONDS = 0
    status = status_secret(new_pem(STATUS_NAME))
    before = target(Path(sys.argv[1]).read_text(), new_pem(), "before", status)
    if sys.argv[3:] == ["status"]:
        status = status_secret(new_pem(STATUS_NAME), "another token")
    after = target(Path(sys.argv[2]).read_text(), new_pem(), "after", status)
    if sys.argv[3:] == ["newer"]:
        after = newer(before, after)
    if sys.argv[3:] == ["acme"]:
        before, after = with_acme(before), with_acme(after)
    with haproxy_with(before):
        step = 0
        killed = True
        while killed:
            bring_to(before)
            eventually(all_up, "the nodes")
            clients = [Client() for _ in range(4)]
            put(after)
            restore = kill_before(step)
            try:
                settle(fresh(), after)
                killed = False
            except Killed:
                pass
            finally:
                restore()
            for client in clients:
                client.talk()
            balancer = fresh()
            settle(balancer, after)
            check(after, balancer, clients)
            for client in clients:
                client.socket.close()
            eventually(lambda: not (balancer.poll() or balancer.changes.leaving), "the drain")
            check(after, fresh(), [])
            print(f"killed before step {step}" if killed else f"all {step} steps", flush=True)
            step += 1


if __name__ == "__main__":
    if shutil.which("haproxy") is None:
        sys.exit("this needs haproxy")
    main()
