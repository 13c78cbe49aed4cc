"""The plan that turns running servers into wanted ones, against a model of HAProxy's runtime API."""

import random
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "machines/balancer"))
from wcs_balancer.errors import PlanError
from wcs_balancer.haproxy_plan import (
    RunningServer,
    needs_reload,
    parse_configuration,
    parse_servers_state,
    plan_joining,
    plan_leaving,
    plan_removal,
)


def config(servers, request="cpu 90;", algorithm="roundrobin"):
    lines = "".join(f"    server {name} {address}:8080\n" for name, address in servers.items())
    return f"""global
    maxconn 4100

backend wcs_balancer_status
    server sync 127.0.0.1:8181

backend wcs_back
    balance {algorithm}
    # server none 10.0.0.1:80
    default-server weight 100 maxconn 50 check inter 1s agent-check agent-send "{request}" agent-port 9707
{lines}"""


class Model:
    """As much of HAProxy as the plan counts on; refuses what HAProxy refuses."""

    def __init__(self):
        self.servers = {}

    def add(self, name, *, maintenance=False, sockets=0, request="cpu 90;", checked=True):
        self.servers[name] = {
            "maintenance": maintenance,
            "sockets": sockets,
            "request": request,
            "health": checked,
            "agent": checked,
            "proven": checked,
        }

    def running(self):
        return {name: RunningServer(server["maintenance"]) for name, server in self.servers.items()}

    def tell(self, command):
        words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^ ])+", command)]
        name = next(word for word in words if word.startswith("wcs_back/")).removeprefix("wcs_back/")
        if words[:2] == ["add", "server"]:
            assert name not in self.servers, f"{command}: already exists"
            request = words[words.index("agent-send") + 1]
            self.add(name, maintenance=True, request=request, checked=False)
            return
        server = self.servers[name]
        match words[0], words[1], words[3:]:
            case "wait", _, _:
                assert server["sockets"] == 0, f"{command}: never"
            case "del", "server", _:
                assert server["maintenance"] and server["sockets"] == 0, f"{command}: in use"
                del self.servers[name]
            case "enable" | "disable", "health" | "agent" as check, _:
                server[check] = words[0] == "enable"
            case "set", "server", ["state", state]:
                assert state == "maint" or server["health"] and server["agent"], f"{command}: takes clients unchecked"
                server["maintenance"] = state == "maint"
            case "set", "server", ["health" | "agent" as check, "down"]:
                assert server["maintenance"], f"{command}: takes clients from a server that has some"
                assert check == "health" or server["agent"], f"{command}: agent checks are not enabled"
                server["proven"] = True
            case "set", "server", ["agent-send", request]:
                assert server["agent"], f"{command}: agent checks are not enabled"
                server["request"] = request
            case _:
                raise AssertionError(f"unknown command: {command}")
        assert server["proven"] or server["maintenance"], f"{command}: counts as up before its checks"


def converge(model, wanted, joining, leaving, new_request, stop_after=None):
    """One run of wcs-balancer-sync; gives what it recorded before it began, and stops early when told to."""
    running = model.running()
    unfinished = {*joining, *leaving}
    joining = {name for name in wanted.servers if name not in running} | (unfinished & set(wanted.servers))
    leaving = ({*running, *leaving}) - set(wanted.servers)
    commands = plan_joining(wanted, running, unfinished, new_request) + plan_leaving(leaving, running)
    for command in commands[:stop_after]:
        model.tell(command)
    return joining, leaving, len(commands)


class Pairs(unittest.TestCase):
    names = [f"wcs-{number}-0000000{number}" for number in range(1, 9)]

    def generated(self, chance):
        wanted = parse_configuration(
            config({name: f"10.0.0.{name[4]}" for name in self.names if chance.random() < 0.5}, "cpu 50 hls 5;")
        )
        model = Model()
        leaving = set()
        for name in self.names:
            match chance.choice(["absent", "absent", "up", "up", "leaving", "maintenance"]):
                case "up":
                    model.add(name, sockets=chance.randrange(3))
                case "leaving":
                    model.add(name, sockets=chance.randrange(3), maintenance=True, checked=False)
                    leaving.add(name)
                case "maintenance":
                    model.add(name, sockets=chance.randrange(3), maintenance=True)
        return wanted, model, leaving

    def assert_converged(self, model, wanted, by_operator, leaving, sockets):
        for name in wanted.servers:
            server = model.servers[name]
            self.assertEqual(server["maintenance"], name in by_operator, name)
            self.assertEqual(server["request"], "cpu 50 hls 5;")
            self.assertTrue(server["health"] and server["agent"])
        for name in leaving & set(model.servers):
            server = model.servers[name]
            self.assertTrue(server["maintenance"] and not server["health"] and not server["agent"])
        self.assertEqual(set(model.servers), set(wanted.servers) | (leaving & set(model.servers)))
        for name, count in sockets.items():
            self.assertEqual(model.servers[name]["sockets"], count)

    def test_a_plan_always_gives_what_was_wanted(self):
        for seed in range(2000):
            with self.subTest(seed=seed):
                wanted, model, leaving = self.generated(random.Random(seed))
                sockets = {name: server["sockets"] for name, server in model.servers.items()}
                by_operator = {
                    name for name, server in model.servers.items() if server["maintenance"] and name not in leaving
                }
                _, leaving, _ = converge(model, wanted, set(), leaving, True)
                self.assert_converged(model, wanted, by_operator, leaving, sockets)
                for name in leaving & set(model.servers):
                    model.servers[name]["sockets"] = 0
                    for command in plan_removal(name):
                        model.tell(command)
                self.assertEqual(set(model.servers), set(wanted.servers))
                _, _, commands = converge(model, wanted, set(), set(), False)
                self.assertEqual(commands, 0)

    def test_a_run_that_ends_at_any_command_is_completed_by_the_next(self):
        for seed in range(300):
            steps = 1
            stop = 0
            while stop < steps:
                chance = random.Random(seed)
                wanted, model, leaving = self.generated(chance)
                sockets = {name: server["sockets"] for name, server in model.servers.items()}
                by_operator = {
                    name for name, server in model.servers.items() if server["maintenance"] and name not in leaving
                }
                with self.subTest(seed=seed, stop=stop):
                    joining, leaving, steps = converge(model, wanted, set(), leaving, True, stop)
                    if chance.random() < 0.5:
                        # The next run may want something else.
                        wanted = self.generated(chance)[0]
                        by_operator -= leaving
                    _, leaving, _ = converge(model, wanted, joining, leaving, True)
                    self.assert_converged(model, wanted, by_operator, leaving, sockets)
                stop += 1


class Configuration(unittest.TestCase):
    old = parse_configuration(config({"a": "10.0.0.1", "b": "10.0.0.2"}))

    def test_reads_the_servers_of_the_nodes_and_what_they_have_in_common(self):
        self.assertEqual(self.old.servers, {"a": "10.0.0.1:8080", "b": "10.0.0.2:8080"})
        self.assertEqual(
            self.old.defaults, r"weight 100 maxconn 50 check inter 1s agent-check agent-port 9707 agent-send cpu\ 90\;"
        )
        self.assertIn("server sync 127.0.0.1:8181", self.old.base)

    def test_servers_and_thresholds_change_without_a_reload(self):
        self.assertFalse(needs_reload(parse_configuration(config({"c": "10.0.0.3"}, "cpu 50;")), self.old))

    def test_anything_else_is_a_reload(self):
        self.assertTrue(needs_reload(parse_configuration(config({"a": "10.0.0.1"}, algorithm="first")), self.old))
        self.assertTrue(needs_reload(parse_configuration(config({"a": "10.0.0.9"})), self.old))
        self.assertTrue(needs_reload(self.old, None))


class ServersState(unittest.TestCase):
    def test_reads_names_maintenance_and_forced_drain(self):
        answer = (
            "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
            "6 other 1 sync 127.0.0.1 2 0\n7 wcs_back 1 a 10.0.0.1 2 0\n7 wcs_back 2 b 10.0.0.2 0 1\n"
            "7 wcs_back 3 c 10.0.0.3 2 8\n\n"
        )
        servers = {"a": RunningServer(False), "b": RunningServer(True), "c": RunningServer(False, True)}
        self.assertEqual(parse_servers_state(answer), servers)

    def test_refuses_another_answer(self):
        with self.assertRaisesRegex(PlanError, "has no backend wcs_back: Permission denied"):
            parse_servers_state("Permission denied\n")


if __name__ == "__main__":
    unittest.main()
