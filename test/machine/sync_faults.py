"""What goes wrong around wcs-balancer-sync, with a real HAProxy and open WebSockets.

Runs in a Debian root and in a network of its own. The arguments are files with haproxy.cfg before and after a change
that replaces nodes 1 and 2 by node 3. Prints one line a promise that held.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import sync_lab as lab
from sync_lab import NODES, Client, Nodes, eventually, fresh, haproxy, haproxy_service, packed, parameters
from wcs_balancer.haproxy_plan import parse_configuration, with_servers
from wcs_balancer.places import HAPROXY_CONFIG
from wcs_balancer.service import LOOK_SECONDS

OLD, NEW = NODES[:2], NODES[2]


def look_until(balancer, condition, what, seconds=60):
    """Rounds at the service's own pace, without AWS."""

    def done():
        balancer.look()
        return condition()

    eventually(done, what, seconds, LOOK_SECONDS)


def refused():
    try:
        Client().socket.close()
        return False
    except AssertionError as error:
        assert "503" in str(error), error
        return True


def serves():
    return not refused()


def status(name):
    rows = haproxy.statistics(haproxy.ask("show stat"))
    return next((row["status"] for row in rows if row["svname"].startswith(name)), None)


def shows(balancer, key):
    return lab.status_of(balancer)[key]


def held(promise):
    print(promise, flush=True)


def change(after):
    """Writes what is wanted and lets it be applied; gives the service."""
    lab.put(after)
    balancer = fresh()
    balancer.poll()
    assert balancer.error is None, balancer.error
    return balancer


def new_nodes_die(nodes, before, after):
    lab.bring_to(before)
    eventually(lab.all_up, "the nodes")
    clients = [Client() for _ in range(4)]
    nodes.kill(NEW)
    balancer = change(after)
    time.sleep(3 * LOOK_SECONDS)
    balancer.look()
    assert len(balancer.changes.held) == 2
    nodes.revive(NEW)
    look_until(balancer, lambda: status("wcs-3") == "UP", "the new node")
    up_since = time.monotonic()
    look_until(balancer, lambda: not balancer.changes.held, "the old nodes")
    took = time.monotonic() - up_since
    assert took > lab.last_resort.PROOF_SECONDS - 2, took
    held(f"held servers serve until the new one has been up for long enough ({took:.0f} s)")

    since = {name: server.since for name, server in balancer.changes.leaving.items()}
    nodes.kill(NEW)
    died = time.monotonic()
    eventually(lambda: balancer.look() or refused(), "a client without a node", 20, 0.1)
    look_until(balancer, serves, "the last resort")
    took = time.monotonic() - died
    assert took < 20, took
    for client in clients:
        client.talk()
    [warning] = shows(balancer, "warnings")[:1]
    assert "every wanted node is down" in warning, warning
    held(f"when every new one is down the old ones take clients again ({took:.1f} s)")

    balancer = fresh()
    balancer.look()
    assert serves()
    held("a service that was killed meanwhile goes on with it")

    haproxy.reload()
    look_until(balancer, serves, "the last resort after a reload", 20)
    for client in clients:
        client.talk()
    held("so does one whose HAProxy was reloaded")

    nodes.kill(OLD[0])
    eventually(lambda: balancer.look() or (status("wcs-1") or "").startswith("DOWN"), "the end of an old node", 30, 0.2)
    for _ in range(4):
        assert serves()
    held("an old one that dies itself takes nobody")

    nodes.revive(OLD[0])
    nodes.revive(NEW)
    look_until(balancer, lambda: status("wcs-2") == "MAINT", "the return of the new node")
    assert {name: server.since for name, server in balancer.changes.leaving.items()}.items() <= since.items()
    assert balancer.changes.last_resort == ()
    talking = 0
    for client in clients:
        try:
            client.talk()
            talking += 1
        except (OSError, AssertionError):
            pass  # It was on the node that died.
    assert talking, "no client has kept its socket"
    for client in clients:
        client.socket.close()
    look_until(balancer, lambda: not balancer.changes.leaving, "the drain")
    held("when a new one is back the old ones drain on, to the deadline that they had")


def deadline_passes(nodes, before, after):
    lab.bring_to(before)
    eventually(lab.all_up, "the nodes")
    balancer = change(after)
    clients = [Client() for _ in range(4)]
    look_until(balancer, lambda: not balancer.changes.held, "the old nodes")
    nodes.kill(NEW)
    look_until(balancer, lambda: balancer.changes.last_resort and serves(), "the last resort")
    leaving = {name: server._replace(since=server.since - 600) for name, server in balancer.changes.leaving.items()}
    balancer.disk.note(replace(balancer.changes, leaving=leaving))
    look_until(balancer, lambda: not balancer.changes.leaving, "the end")
    assert refused()
    for client in clients:
        client.socket.close()
    nodes.revive(NEW)
    held("the last resort ends at the deadline of its drain")


def worker_hangs(nodes, before, after):
    lab.bring_to(before)
    eventually(lab.all_up, "the nodes")
    clients = [Client() for _ in range(2)]
    old = haproxy.workers()
    haproxy.reload()
    balancer = change(after)
    look_until(balancer, lambda: not balancer.changes.held, "the old nodes")
    [pid] = set(old) & set(haproxy.workers())
    assert sum(row["sockets"] for row in shows(balancer, "draining")) == 2
    held("the status counts the sockets of every worker")
    # How long it is left alone is for another test.
    haproxy.SILENT_SECONDS = 2
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            balancer.look()
        assert len(balancer.changes.leaving) == 2
        for row in shows(balancer, "draining"):
            assert row["reason"] == f"waits for HAProxy's worker {pid}, which does not answer", row
        assert shows(balancer, "error") is None
    finally:
        os.kill(pid, signal.SIGCONT)
    for client in clients:
        client.talk()
        client.socket.close()
    look_until(balancer, lambda: not balancer.changes.leaving, "the drain")
    held("a drain waits for a worker that does not answer")


def haproxy_dies(nodes, before, after):
    """With what systemd would do as functions."""
    balancer = lab.bring_to(before)
    started = []

    def systemctl(*command):
        started.append(command)
        lab.start_haproxy()

    haproxy_service.run, run = systemctl, haproxy_service.run
    haproxy_service.service_state, state = lambda: "failed", haproxy_service.service_state
    try:
        lab.stop_haproxy()
        balancer.look()
        assert started == [("systemctl", "restart", "haproxy")], started
        eventually(lambda: balancer.look() or serves(), "HAProxy")
    finally:
        haproxy_service.run, haproxy_service.service_state = run, state
    held("a HAProxy that is dead is started, with what it had")


def haproxy_dies_while_new_nodes_are_dead(nodes, before, after):
    lab.bring_to(before)
    eventually(lab.all_up, "the nodes")
    balancer = change(after)
    clients = [Client() for _ in range(2)]
    look_until(balancer, lambda: not balancer.changes.held, "the old nodes")
    nodes.kill(NEW)
    look_until(balancer, lambda: balancer.changes.last_resort and serves(), "the last resort")
    lab.stop_haproxy()
    lab.start_haproxy()
    look_until(balancer, lambda: balancer.changes.last_resort and serves(), "the last resort after a start", 30)
    for client in clients:
        client.socket.close()
    nodes.revive(NEW)
    look_until(balancer, lambda: not balancer.changes.leaving, "the drain")
    held("the last resort outlives a start of HAProxy")


def newer_contract(nodes, before, after):
    """The document of a version that does not exist yet: of its fields only the servers may count."""
    balancer = lab.bring_to(before)
    eventually(lab.all_up, "the nodes")
    workers = haproxy.workers()
    clients = [Client() for _ in range(4)]
    servers = parse_configuration(before["config"]).servers | parse_configuration(after["config"]).servers
    dropped, *_ = servers
    del servers[dropped]
    parameters.update(state=packed({"contract": 7, "revision": "later", "servers": servers, "haproxyBase": ["new"], **lab.ENTRY}))
    balancer.poll()
    assert "contract 7" in (balancer.error or ""), balancer.error
    look_until(balancer, lambda: not balancer.changes.held and lab.running_servers() == set(servers), "the servers")
    for client in clients:
        client.talk()
    assert haproxy.workers() == workers, "HAProxy was reloaded"
    assert shows(balancer, "revision") == f"{before['revision']} with the servers of later"
    assert shows(balancer, "applied") is False
    for client in clients:
        client.socket.close()
    look_until(balancer, lambda: not balancer.changes.leaving, "the drain")
    base = with_servers(before["config"], {})
    assert with_servers(HAPROXY_CONFIG.read_text(), {}) == base
    balancer = fresh()
    balancer.poll()
    assert lab.running_servers() == set(servers)
    held("a document of a newer contract changes the servers, nothing else, and no socket is lost")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    nodes = Nodes()
    pem, status = lab.new_pem(), lab.status_secret(lab.new_pem(lab.STATUS_NAME))
    before, after = (lab.target(Path(path).read_text(), pem, path, status) for path in sys.argv[1:])
    with lab.haproxy_with(before):
        for fault in (
            new_nodes_die,
            deadline_passes,
            worker_hangs,
            haproxy_dies,
            haproxy_dies_while_new_nodes_are_dead,
            newer_contract,
        ):
            fault(nodes, before, after)


if __name__ == "__main__":
    main()
