"""The ways of clients to a balancer: what it registers, how it leaves each way, with a real HAProxy and open WebSockets.

Runs in a Debian root and in a network of its own. The argument is a file with haproxy.cfg. AWS is a stand-in, whose
threads do not run: each round is told to happen. Prints one line a promise that held, and the statuses that it has seen.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import sync_lab as lab
from sync_lab import CERTIFICATE, Client, Disk, Nodes, Service, eventually, haproxy, new_pem, status_secret, through_load_balancer
from wcs_balancer import client_paths, leaving, peers, server
from wcs_balancer.cluster import REUSE_SECONDS, Cluster
from wcs_balancer.errors import AwsError
from wcs_balancer.places import ADDRESS_FRONTEND, LAST_CLIENTS, LOAD_BALANCER_FRONTEND, STATE

INSTANCE, OTHER = "i-0123456789abcdef0", "i-0fedcba9876543210"
GROUPS = [{"arn": "arn:https", "port": 10443}, {"arn": "arn:http", "port": 10080}]
# The quiet time is longer than a busy machine takes for a client, a reload or a start of the service.
LEAVE = {"tailSeconds": 2, "quietSeconds": 4}


def held(promise):
    print(promise, flush=True)


class Account:
    """Elastic Load Balancing and EC2, as far as a balancer asks them."""

    def __init__(self):
        self.health = {group["arn"]: {} for group in GROUPS}
        self.running = {INSTANCE: "127.0.0.1"}
        self.away = False

    def call(self, service, operation, what="", **arguments):
        if self.away:
            raise AwsError("AWS is away")
        if operation == "describe_instances":
            instances = [{"InstanceId": one, "PrivateIpAddress": address} for one, address in self.running.items()]
            return {"Reservations": [{"Instances": instances}]}
        arn = arguments["TargetGroupArn"]
        [port] = [group["port"] for group in GROUPS if group["arn"] == arn]
        for target in arguments.get("Targets", []):
            assert target["Port"] == port, target
            self.health[arn][target["Id"]] = "initial" if operation == "register_targets" else "draining"
        rows = [
            {"Target": {"Id": one, "Port": port}, "TargetHealth": {"State": state}}
            for one, state in self.health[arn].items()
        ]
        return {"TargetHealthDescriptions": rows}

    def states(self, instance=INSTANCE):
        return [targets.get(instance) for targets in self.health.values()]

    def become(self, state, instance=INSTANCE):
        for targets in self.health.values():
            targets[instance] = state


class Balancer(Service):
    """The service, one round at a time."""

    def __init__(self):
        super().__init__(Disk(CERTIFICATE), lambda message: reports.append(message), account, {"Role": "balancer"})
        ssm = lambda name: lab.parameters[name]  # noqa: E731
        self.desired_state = lab.DesiredState("state", "secret", "status", self.disk, ssm)
        self.instance.known = INSTANCE

    def round(self, news=False):
        """A round, as it is when both threads have had their turn since the last one."""
        self.look(self.desired_state.ask() if news else None)
        self.targets.turn()
        self.peers.look()
        self.look()
        lab.show_once(lab.status_of(self))
        return {row["path"]: row for row in self.snapshot.leaving}


account = Account()
reports = []


def is_open(client):
    try:
        client.talk()
        return True
    except (OSError, AssertionError):
        return False


def want(config=None, **values):
    lab.put(lab.target(config or CONFIG, PEM, "paths", STATUS, drainTimeoutSeconds=2, leave=LEAVE, **values))


def both(*names, address=True, config=None):
    want(config, balancers=dict(names), address=address, targetGroups=GROUPS)


ME, OTHER_ONE = ("balancer-1", INSTANCE), ("balancer-2", OTHER)


def until(balancer, path, phase, seconds=60):
    """Rounds until a path is in a phase; gives how the status shows it. The service starts anew meanwhile."""
    shown = {}

    def reached():
        shown.update(balancer.round(news=True).get(path, {"phase": None}))
        return shown["phase"] == phase

    eventually(reached, f"{path}: {phase}; {shown}", seconds, 0.1)
    return shown


def registers_before_it_serves():
    both(ME, config=CONFIG.replace("mworker-max", "no-such"))
    balancer = Balancer()
    balancer.round(news=True)
    assert balancer.snapshot.revision is None and balancer.snapshot.refused == "paths", balancer.error
    assert account.states() == ["initial", "initial"]
    assert balancer.snapshot.target == {"state": "initial", "reason": ""}
    held("it registers in every target group before a state is applied, and beside one that is refused")
    both(ME)
    eventually(lambda: balancer.round(news=True) == {} and balancer.snapshot.revision, "the state", pause=0.2)
    account.become("healthy")
    balancer.round()
    assert balancer.snapshot.target == {"state": "healthy", "reason": ""}
    del account.health["arn:http"][INSTANCE]
    balancer.round()
    assert account.states() == ["healthy", "initial"]
    account.away = True
    balancer.round()
    shown = balancer.snapshot
    assert shown.target == {"state": "unknown", "reason": "AWS is away"} and balancer.error is None, shown
    assert any("AWS is away" in warning for warning in shown.cloud_warnings)
    account.away = False
    account.become("healthy")
    balancer.round()
    held("it registers again when it is not registered, and an error of AWS is a warning")


def tells_the_ways_of_clients_apart():
    assert haproxy.last_clients(LAST_CLIENTS["address"]) == {haproxy.workers()[0]: ""}
    by_address = Client()
    [first] = haproxy.last_clients(LAST_CLIENTS["address"]).values()
    assert abs(int(first) - time.time()) < 5
    assert list(haproxy.last_clients(LAST_CLIENTS["loadBalancer"]).values()) == [""]
    through = through_load_balancer()
    assert list(haproxy.last_clients(LAST_CLIENTS["loadBalancer"]).values()) != [""]
    for frontend in (ADDRESS_FRONTEND, LOAD_BALANCER_FRONTEND):
        assert [len(found) for found in haproxy.clients(frontend).by_pid.values()] == [1], frontend
    held("it counts the WebSockets of each way of clients, and knows of the last client of each")
    return by_address, through


def waits_for_the_others(through):
    both(OTHER_ONE)
    balancer = Balancer()
    shown = until(balancer, "loadBalancer", "waiting")
    assert shown["sockets"] == 1 and shown["secondsLeft"] is None, shown
    assert "balancer-2 is not a healthy target on port 10443 yet: unused (it is not registered)" in shown["reason"]
    account.become("initial", OTHER)
    balancer = Balancer()
    assert "balancer-2 is not a healthy target on port 10080 yet: initial" in balancer.round()["loadBalancer"]["reason"]
    assert account.states() == ["healthy", "healthy"]
    account.away = True
    assert balancer.round()["loadBalancer"] == {**shown, "reason": "AWS is away"}
    account.away = False
    account.become("healthy", OTHER)
    assert is_open(through)
    held("one that is not named stays a target until every named one is healthy")


def goes_on_through_the_tail(through):
    balancer = Balancer()
    shown = until(balancer, "loadBalancer", "tail")
    assert account.states() == ["draining", "draining"] and shown["secondsLeft"] <= 4
    began, kept = time.monotonic(), []
    while time.monotonic() - began < 4:
        kept.append(through_load_balancer())
        # A restart in the midst of it, and a reload: the old worker knows the last client.
        if len(kept) == 3:
            haproxy.reload()
            balancer = Balancer()
        assert balancer.round()["loadBalancer"]["phase"] == "tail", balancer.snapshot.leaving
        time.sleep(0.4)
    shown = balancer.round()["loadBalancer"]
    assert shown["reason"] == "new clients still come" and shown["sockets"] == len(kept) + 1, shown
    account.become("healthy")
    balancer.round()
    assert account.states() == ["draining", "draining"]
    held("it serves on until new clients have stopped coming, over a restart and a reload")
    return [through, *kept]


def drains_one_way_alone(by_address, clients):
    shown = until(Balancer(), "loadBalancer", "draining")
    assert shown["sockets"] in (None, len(clients)), shown
    assert all(is_open(client) for client in [by_address, *clients])
    balancer = Balancer()
    assert balancer.round()["loadBalancer"]["phase"] == "draining"
    until(balancer, "loadBalancer", "left")
    assert not any(is_open(client) for client in clients)
    assert is_open(by_address)
    assert Balancer().round() == {
        "loadBalancer": {"path": "loadBalancer", "phase": "left", "reason": "", "sockets": None, "secondsLeft": None}
    }
    held("at the drain time-out it closes the WebSockets of that way alone, and has left")


def comes_back():
    both(ME)
    balancer = Balancer()
    assert balancer.round(news=True) == {} and account.states() == ["initial", "initial"]
    account.become("healthy")
    through = through_load_balancer()
    for phase in ("tail", "draining"):
        want(balancers=dict([ME]), address=True, targetGroups=[])
        assert until(balancer, "loadBalancer", phase)["sockets"] in (1, None)
        assert balancer.snapshot.target is None
        both(ME)
        balancer = Balancer()
        assert balancer.round(news=True) == {} and is_open(through), phase
    held("named again, it forgets what it was about to leave, in whatever phase it was")
    want(balancers=dict([ME]), address=True, targetGroups=[])
    until(balancer, "loadBalancer", "draining")
    through.socket.close()
    eventually(lambda: Balancer().round() == {}, "the end")
    assert json.loads((STATE / "paths.json").read_text())["used"] == ["address"]
    held("a named one forgets a way when its last WebSocket has ended")


def leaves_its_address(by_address):
    both(ME, address=False)
    through = through_load_balancer()
    balancer = Balancer()
    assert until(balancer, "address", "draining")["path"] == "address"
    eventually(lambda: balancer.round() == {}, "the end")
    assert not is_open(by_address) and is_open(through)
    held("so it leaves its own address, and the clients of the load balancer stay")


def shows_all():
    """Over HTTP: asks another one, which is itself under another instance id."""
    balancer = Balancer()
    token = balancer.disk.token
    status = server.Status(lambda: balancer.snapshot, token)
    cluster = Cluster(
        balancer.disk,
        balancer.peers,
        lambda: balancer.instance.known,
        lambda: balancer.paths.record.entry,
        lambda: status.shown(True),
    )
    served = server.serve(status, lambda seconds: None, cluster.shown)
    account.running = {INSTANCE: "127.0.0.1", OTHER: "127.0.0.9", "i-gone": "192.0.2.1"}
    both(ME, OTHER_ONE, ("balancer-3", "i-missing"))
    balancer.round(news=True)
    assert peers.ask_status("127.0.0.1", INSTANCE, STATUS_PEM, "token").status["instance"] == INSTANCE
    assert "403" in peers.ask_status("127.0.0.1", INSTANCE, STATUS_PEM, "wrong").reason
    assert "CERTIFICATE_VERIFY_FAILED" in peers.ask_status("127.0.0.1", INSTANCE, PEM, "token").reason
    from sync_status import Asked

    path = "/.well-known/wcs-balancer/cluster"
    assert Asked(None, path).code == 403 and Asked(None, path, token="wrong").code == 403
    answer = Asked(STATUS_PEM, path, token="token").json
    assert answer["instance"] == INSTANCE
    reasons = {(row["name"], row["instance"]): row["reason"] for row in answer["balancers"]}
    assert list(reasons) == [
        ("balancer-1", INSTANCE),
        ("balancer-2", OTHER),
        ("balancer-3", "i-missing"),
        (None, "i-gone"),
    ], reasons
    assert reasons["balancer-1", INSTANCE] == "" and answer["balancers"][0]["status"]["instance"] == INSTANCE
    assert f"another machine answers at its address: {INSTANCE}" in reasons["balancer-2", OTHER]
    assert reasons["balancer-3", "i-missing"] == "it does not run"
    assert "does not answer" in reasons[None, "i-gone"]
    print(json.dumps({"cluster": answer}))
    # Its wcs-balancer-sync is away, and HAProxy is not.
    served.shutdown()
    served.server_close()
    time.sleep(REUSE_SECONDS)
    answer = cluster.shown()
    assert re.match("it answers HTTP 503|its wcs-balancer-sync does not", answer["balancers"][1]["reason"]), answer
    print(json.dumps({"cluster": answer}))
    held("any balancer shows all, with the reason of each that does not answer")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Nodes()
    leaving.CLOSING_SECONDS, client_paths.COUNT_SECONDS = 2, 0
    with lab.haproxy_with(lab.target(CONFIG, PEM, "paths", STATUS)):
        eventually(lab.all_up, "the nodes")
        registers_before_it_serves()
        by_address, through = tells_the_ways_of_clients_apart()
        waits_for_the_others(through)
        clients = goes_on_through_the_tail(through)
        drains_one_way_alone(by_address, clients)
        comes_back()
        leaves_its_address(by_address)
        shows_all()


if __name__ == "__main__":
    CONFIG = Path(sys.argv[1]).read_text()
    PEM, STATUS_PEM = new_pem(), new_pem(lab.STATUS_NAME)
    STATUS = status_secret(STATUS_PEM)
    main()
