"""What the real service answers over HTTP in every state that it can be in, with a real HAProxy.

Runs in a Debian root and in a network of its own. The arguments are files with haproxy.cfg of nodes 1, 2 and 3, of 1
and 2, of node 3 alone, of that with few connections for one address, and of that with ACME. AWS is a stand-in, and
Pebble the ACME directory. Prints one line of JSON for each state: its name and the answer.
"""

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import acme_directory
import sync_acme
import sync_lab as lab
from filled_machines import MACHINES
from sync_lab import NODES, Client, Nodes, eventually, fresh, haproxy, packed, parameters, through_load_balancer
from sync_client_paths import GROUPS, INSTANCE, OTHER, Account
from wcs_balancer import client_paths, server
from wcs_balancer.errors import AwsError
from wcs_balancer.hand_over import HandOverRequest
from wcs_balancer.places import AGENT_PORT, BACKEND, PAGES_PORT, SETUP_STATE, SETUP_WORDS, STATUS_PORT, TOKEN
from wcs_balancer.status import STALE_SECONDS

WORDS = {address: "up 100%" for address in NODES}
"""What each node's agent says."""
NO_ANSWER = "no answer"


async def agent(reader, writer):
    """Answers the health check's empty question always, the agent check's as it is told to."""
    try:
        question = await reader.readuntil(b";")
    except (ConnectionError, asyncio.IncompleteReadError):
        return writer.close()
    words = WORDS[writer.get_extra_info("sockname")[0]]
    if question == b";" or words != NO_ANSWER:
        writer.write(f"{'down #empty' if question == b';' else words}\n".encode())
    await writer.drain()
    writer.close()


lab.agent = agent
# The nodes are on this machine, too: the real path is that of their set-up.
server.SETUP_STATE = Path("/set-up-of-the-balancer")


class Lab:
    """The service under test, which the HTTP server shows; another one may take its place."""

    def __init__(self):
        self.balancer = fresh()
        # Nobody asks for a hand-over over HTTP here.
        server.serve(server.Status(lambda: self.balancer.snapshot, TOKEN), lambda seconds: None, lambda: {})

    def ask(self):
        request = urllib.request.Request(f"http://127.0.0.1:{STATUS_PORT}/", headers={"Authorization": "Bearer token"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def show(self, name):
        print(json.dumps({"name": name, "status": self.ask()}), flush=True)

    def show_when(self, name, condition, seconds=60):
        """Rounds of the service until the status says so; shows that."""
        status = {}

        def holds():
            self.balancer.look()
            status.update(self.ask())
            return condition(status)

        try:
            eventually(holds, name, seconds, 0.2)
        except AssertionError:
            print(f"the last status: {json.dumps(status)}", file=sys.stderr)
            raise
        print(json.dumps({"name": name, "status": status}), flush=True)

    def want(self, target):
        """Lets a service that has just started ask for this target once."""
        lab.put(target)
        self.balancer = fresh()
        self.balancer.instance.known = INSTANCE
        self.balancer.poll()

    def reach(self, target):
        """The same, until it is applied: HAProxy may just have started, and then refuses connections."""
        self.want(target)

        def applied():
            self.balancer.poll()
            return self.balancer.error is None and self.ask()["applied"]

        eventually(applied, target["revision"], pause=0.2)


def node(status, number):
    return next((row for row in status["nodes"] if row["node"] == f"wcs-{number}"), {})


def is_in(state, number=1, **more):
    return lambda status: {"state": state, **more}.items() <= node(status, number).items()


def is_removed(number=2, **more):
    name = f"wcs-{number}"
    return lambda status: any(more.items() <= row.items() for row in status["draining"] if row["node"] == name)


def leaves(path, phase):
    return lambda status: any((row["path"], row["phase"]) == (path, phase) for row in status["leaving"])


def nodes_in_every_state(there, nodes):
    up = [is_in("up", number) for number in (1, 2, 3)]
    there.show_when("applied, and every node is up", lambda status: not status["away"] and all(is_up(status) for is_up in up))
    WORDS[NODES[0]] = "up 37% #publishers 63 of 100"
    there.show_when("a node that names its tightest check", is_in("up", load="publishers 63 of 100", weight=37))
    WORDS[NODES[0]] = "up 0% #cpu 95 of 90"
    there.show_when("a node that is full", is_in("full", reason="cpu 95 of 90"))
    WORDS[NODES[0]] = "down #WCS hangs: no answer on port 8081"
    there.show_when("a node whose agent says down", is_in("down", reason="WCS hangs: no answer on port 8081"))
    WORDS[NODES[0]] = f"down #{SETUP_WORDS['running']}wcs-install"
    there.show_when("a node whose set-up runs", is_in("down", setup={"state": "running", "step": "wcs-install"}))
    # One that was down would stay so.
    WORDS[NODES[0]] = "up 100%"
    eventually(lab.all_up, "the node")
    WORDS[NODES[0]] = NO_ANSWER
    there.show_when("a node whose agent says nothing", is_in("unknown"))
    WORDS[NODES[0]] = "up 100%"
    nodes.kill(NODES[0])
    there.show_when("a node that is gone", is_in("down", setup=None))
    nodes.revive(NODES[0])
    haproxy.tell(f"set server {BACKEND}/wcs-1-00000001 state maint")
    there.show_when("a node in maintenance", is_in("maint"))
    haproxy.tell(f"set server {BACKEND}/wcs-1-00000001 state drain")
    there.show_when("a node that an operator drains", is_in("up", takenOut="drain"))
    haproxy.tell(f"set server {BACKEND}/wcs-1-00000001 state ready")
    eventually(lab.all_up, "the nodes")


def node_whose_set_up_failed(there, nodes):
    """The whole way: step.py's state file, the command of wcs-setup-failed, HAProxy's words, the status."""
    step = MACHINES / "setup/step.py"
    ended = subprocess.run([sys.executable, str(step), "wcs-checksum"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and SETUP_STATE.exists(), ended
    unit = (MACHINES / "setup/wcs-setup-failed@.service").read_text()
    [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    command = shlex.split(line.removeprefix("ExecStart="))
    nodes.kill(NODES[2])
    listener = socket.create_server((NODES[2], AGENT_PORT))

    def answer():
        # As the socket unit does: Accept=yes, StandardInput=socket.
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                subprocess.Popen(command, stdin=connection, stdout=connection)

    threading.Thread(target=answer, daemon=True).start()
    setup = {"state": "failed", "step": "wcs-checksum"}
    there.show_when("a node whose set-up failed", is_in("down", 3, setup=setup))
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    SETUP_STATE.unlink()
    nodes.revive(NODES[2])
    eventually(lab.all_up, "the nodes")


def set_up_of_the_balancer(there):
    for state, words in SETUP_WORDS.items():
        server.SETUP_STATE.write_text(f"{words}websdk-download\n")
        there.show(f"the balancer's set-up {state}")
    server.SETUP_STATE.unlink()


def what_aws_says(there, everybody):
    nonsense = everybody["config"].replace("mode http", "mode nonsense")
    there.want(lab.target(nonsense, everybody["pem"], "nonsense", everybody["status"]))
    there.show("refused")
    servers = lab.haproxy_plan.parse_configuration(everybody["config"]).servers
    parameters.update(state=packed({"contract": 7, "revision": "later", "servers": servers, **lab.ENTRY}))
    there.balancer.poll()
    there.show("a document of a newer contract")
    there.reach(everybody)

    def away(_):
        raise AwsError("ssm.eu-central-1.amazonaws.com cannot be reached: timed out")

    answer, lab.get_parameter = lab.get_parameter, away
    there.balancer.poll()
    there.show("AWS away")
    lab.get_parameter = answer
    there.reach(everybody)


def removed_nodes(there, nodes, pair, alone):
    there.reach(pair)
    eventually(lambda: not (there.balancer.look() or there.balancer.changes.leaving), "the end of node 3")
    clients = [Client() for _ in range(6)]
    nodes.kill(NODES[2])
    there.want(alone)
    there.show_when("held", is_removed(state="up", held=True))
    held_nodes_in_every_state(there, nodes)
    nodes.revive(NODES[2])
    there.show_when("draining", is_removed(state="draining", held=False))
    nodes.kill(NODES[2])
    there.show_when("the last resort", is_removed(state="up", lastResort=True))
    nodes.revive(NODES[2])
    there.show_when("draining again", is_removed(state="draining", lastResort=False))
    old = haproxy.workers()
    haproxy.reload()
    eventually(lambda: len(haproxy.workers()) > len(old), "another worker")
    silent = old[0]
    os.kill(silent, signal.SIGSTOP)
    try:
        reason = f"waits for HAProxy's worker {silent}, which does not answer"
        there.show_when("a silent worker", is_removed(reason=reason), 30)
    finally:
        os.kill(silent, signal.SIGCONT)
    haproxy_away(there)
    for client in clients:
        client.socket.close()


def held_nodes_in_every_state(there, nodes):
    WORDS[NODES[1]] = "up 0% #cpu 95 of 90"
    there.show_when("held and full", is_removed(state="full", held=True))
    WORDS[NODES[1]] = NO_ANSWER
    there.show_when("held, and its agent says nothing", is_removed(state="unknown", held=True))
    WORDS[NODES[1]] = "up 100%"
    haproxy.tell(f"set server {BACKEND}/wcs-2-00000002 state maint")
    there.show_when("held in maintenance", is_removed(state="maint", held=True))
    haproxy.tell(f"set server {BACKEND}/wcs-2-00000002 state ready")
    # The clients of the other one stay.
    nodes.kill(NODES[0])
    there.show_when("held and gone", is_removed(1, state="down", held=True))
    nodes.revive(NODES[0])


def behind_a_load_balancer(there, target):
    account = Account()

    def reach(**fields):
        """Of AWS's answers about the targets the service knows none yet."""
        content = {"targetGroups": GROUPS, "leave": {"tailSeconds": 2, "quietSeconds": 1}, **fields}
        there.reach(lab.target(target["config"], target["pem"], target["revision"], target["status"], **content))
        there.balancer.targets.aws = account

    def turn():
        there.balancer.targets.turn()
        there.balancer.look()

    reach()
    there.show_when("a target of the load balancer", lambda status: status["target"])
    for state in ("initial", "healthy", "unhealthy", "unused"):
        if state != "initial":
            account.become(state)
        turn()
        there.show(f"a target that is {state}")
    for one in (INSTANCE, OTHER):
        account.become("healthy", one)
    turn()
    leaves_the_load_balancer(there, reach, turn)
    reach(address=False, leave=lab.ENTRY["leave"])
    turn()
    there.show_when("a balancer that leaves its own address", leaves("address", "tail"))
    there.reach(target)


def leaves_the_load_balancer(there, reach, turn):
    client = through_load_balancer()
    reach(balancers={"balancer-2": OTHER})
    there.show_when("a balancer that is to leave the load balancer", leaves("loadBalancer", "waiting"))
    turn()
    turn()
    there.show_when("it serves on", leaves("loadBalancer", "tail"))
    there.show_when("its clients drain", leaves("loadBalancer", "draining"))
    client.socket.close()
    there.show_when("it has left the load balancer", leaves("loadBalancer", "left"))


def look_at_aws(balancer):
    balancer.look(balancer.desired_state.ask())


def certificates_by_acme(there, config, target):
    sync_acme.CONFIG, sync_acme.PEM, sync_acme.STATUS = config, target["pem"], target["status"]
    dns, directory = acme_directory.Dns(), acme_directory.Directory()
    try:
        sync_acme.new_account()
        parameters[sync_acme.LEDGER] = "{}"
        lab.put(sync_acme.wanted())
        there.balancer = sync_acme.Balancer()
        look_at_aws(there.balancer)
        there.balancer.orders.turn()
        there.show_when("a certificate by ACME that waits for DNS", lambda status: status["acme"]["reason"])
        dns.records[sync_acme.DOMAIN] = [acme_directory.HERE]
        orders_a_certificate(there, directory)
        serves_a_former_one(there, dns, target)
    finally:
        directory.end()


def orders_a_certificate(there, directory):
    begun, go_on = threading.Event(), threading.Event()

    def hold(path):
        if path == "/order-plz":
            begun.set()
            go_on.wait(8)

    directory.fault = hold
    there.balancer = balancer = sync_acme.Balancer()
    look_at_aws(balancer)
    thread = threading.Thread(target=balancer.orders.turn)
    thread.start()
    assert begun.wait(30), balancer.orders.seen
    there.show_when("a certificate by ACME that is being ordered", lambda status: status["acme"]["state"] == "ordering")
    go_on.set()
    thread.join()
    look_at_aws(balancer)
    there.show_when("a certificate by ACME", lambda status: status["acme"]["state"] == "issued")


def serves_a_former_one(there, dns, target):
    """A user-supplied certificate that browsers trust serves until the first one by ACME."""
    root = Path("/root.pem")
    root.write_text(target["pem"].split("-----BEGIN PRIVATE")[0])
    os.environ["SSL_CERT_FILE"] = str(root)
    there.reach(target)
    dns.records[sync_acme.DOMAIN] = []
    parameters[sync_acme.LEDGER] = "{}"
    lab.put(sync_acme.wanted())
    there.balancer = sync_acme.Balancer()
    look_at_aws(there.balancer)
    is_former = lambda status: status["certificate"]["source"] == "former"  # noqa: E731
    there.show_when("a certificate that serves until the first one by ACME", is_former)
    del os.environ["SSL_CERT_FILE"]
    there.reach(target)


def haproxy_away(there):
    lab.stop_haproxy()
    there.balancer.haproxy_service.revive = lambda: None
    there.balancer.look()
    there.show("HAProxy away")
    lab.start_haproxy()


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    nodes = Nodes()
    everybody, pair, alone, few, with_acme = (Path(path).read_text() for path in sys.argv[1:])
    pem = lab.new_pem("wcs.example.com", "-days", "90")
    status = lab.status_secret(lab.new_pem(lab.STATUS_NAME))
    everybody = lab.target(everybody, pem, "everybody", status)
    pair, alone = lab.target(pair, pem, "pair", status), lab.target(alone, pem, "alone", status)
    few = lab.target(few, lab.new_pem("wcs.example.com", "-days", "10"), "few connections", status)
    # How long a node has to be up is for another test.
    lab.last_resort.PROOF_SECONDS = 1
    client_paths.COUNT_SECONDS = 0
    there = Lab()
    TOKEN.parent.mkdir(parents=True, exist_ok=True)
    TOKEN.write_text("token")
    there.show("before HAProxy runs")
    with lab.haproxy_with(everybody):
        there.balancer = fresh()
        there.show_when("before a state is applied", lambda status: status["nodes"])
        there.reach(everybody)
        there.show_when("nginx away", lambda status: status["away"])
        # The check of nginx only connects.
        pages = socket.create_server(("127.0.0.1", PAGES_PORT), backlog=1000)
        nodes_in_every_state(there, nodes)
        node_whose_set_up_failed(there, nodes)
        set_up_of_the_balancer(there)
        what_aws_says(there, everybody)
        removed_nodes(there, nodes, pair, alone)
        there.reach(few)
        there.show_when("a certificate that ends soon", lambda status: status["warnings"])
        connections = [socket.create_connection(("127.0.0.1", 443)) for _ in range(12)]
        there.show_when("an address at its limit", lambda status: len(status["warnings"]) == 2)
        for connection in connections:
            connection.close()
        behind_a_load_balancer(there, few)
        certificates_by_acme(there, with_acme, few)
        there.balancer.look(HandOverRequest(300))
        there.show("handed over")
        there.balancer.snapshot = replace(there.balancer.snapshot, at=there.balancer.snapshot.at - STALE_SECONDS - 1)
        there.show("the loop hangs")
        pages.close()


if __name__ == "__main__":
    main()
