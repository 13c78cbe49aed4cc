"""Turns running servers into wanted ones: the service's own functions, with a model of HAProxy's runtime API."""

import random
import re
import unittest

import filled_machines  # noqa: F401
from wcs_balancer import steps
from wcs_balancer.changes import Changes, Leaving
from wcs_balancer.errors import PlanError
from wcs_balancer.haproxy_plan import (
    RunningServer,
    needs_reload,
    parse_configuration,
    parse_servers_state,
    taken_out,
    server_lines,
    with_servers,
)
from wcs_balancer.reconcile import due_removals, reconcile

NOW = 1_800_000_000.0
DRAIN_SECONDS = 600
REQUEST = "cpu 50 hls 5;"
# What an agent that knows fewer words is sent.
OLDER_REQUESTS = ("cpu 50;", "none;")


def options(address, own_request=None):
    return f"{address}:8080" + (f' agent-send "{own_request}"' if own_request else "")


def config(servers, request="cpu 90;", algorithm="roundrobin", own_requests={}):
    lines = "".join(
        f"    server {name} {options(address, own_requests.get(name))}\n" for name, address in servers.items()
    )
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
    """A model of HAProxy, as far as the plan needs it. It refuses the same commands as HAProxy."""

    def __init__(self):
        self.servers = {}
        self.base = ""
        """The part of haproxy.cfg that only a reload changes."""
        self.added = set()
        """Servers that a command has added. After a reload a server of the same name is a new one."""

    def add(self, name, *, maintenance=False, sockets=0, request="cpu 90;", checked=True):
        self.servers[name] = {
            "maintenance": maintenance,
            "sockets": sockets,
            "request": request,
            "health": checked,
            "agent": checked,
            "proven": checked,
        }

    def reload(self, file):
        """The new worker has the servers of the file, in the states that the old worker has saved."""
        assert set(file.servers) <= set(self.servers), "counts as up before its checks"
        self.base = file.base
        self.servers = {name: self.servers[name] for name in file.servers}
        for name, server in self.servers.items():
            server |= {"request": file.request_of(name), "health": True, "agent": True}

    def running(self):
        return {name: RunningServer(server["maintenance"]) for name, server in self.servers.items()}

    def tell(self, command):
        words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^ ])+", command)]
        name = next(word for word in words if word.startswith("wcs_back/")).removeprefix("wcs_back/")
        if words[:2] == ["add", "server"]:
            assert name not in self.servers, f"{command}: already exists"
            assert words.count("agent-send") == 1 and '"' not in command, f"{command}: not as the runtime API wants it"
            request = words[words.index("agent-send") + 1]
            self.add(name, maintenance=True, request=request, checked=False)
            self.added.add(name)
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


class Machine:
    """A model of HAProxy, with what the service has left on disk, and the effects of the service's steps on both. A run
    of the service may end before any of its steps: `steps_left` counts them down."""

    def __init__(self, config_text):
        self.haproxy = Model()
        self.haproxy.base = parse_configuration(config_text).base
        self.changes = Changes()
        self.wanted = config_text
        self.file = config_text
        self.recorded = (config_text, config_text)
        """The wanted haproxy.cfg that the last finished run has recorded, and the file that it has left."""
        self.runs_with_both = True
        """Whether HAProxy accepts old and new servers together."""
        self.steps_left = 10_000

    @property
    def applied(self):
        return self.recorded[0] if self.recorded[1] == self.file else None

    def step(self):
        if self.steps_left == 0:
            raise Killed
        self.steps_left -= 1

    def tell(self, command):
        self.step()
        self.haproxy.tell(command)

    def note(self, changes):
        self.step()
        self.changes = changes

    def write(self):
        self.step()
        self.file = self.wanted + server_lines(self.changes.held)

    def reload(self):
        self.write()
        self.step()
        self.haproxy.reload(parse_configuration(self.file))

    def record(self):
        self.step()
        self.recorded = (self.wanted, self.file)

    def apply(self, wanted):
        """Applies a wanted haproxy.cfg; gives the commands."""
        if wanted == self.applied and not self.changes.begun:
            return ()
        actions = reconcile(
            parse_configuration(wanted),
            parse_configuration(self.applied) if self.applied else None,
            self.haproxy.running(),
            self.changes,
            parse_configuration(self.file).servers,
            NOW,
            self.runs_with_both,
        )
        self.wanted = wanted
        steps.carry_out(actions, self)
        return actions.commands

    def release(self):
        """All servers have been up for long enough."""
        steps.release(self.haproxy.servers, self.haproxy.running, NOW, self)

    def look_for_the_last_resort(self, dead):
        """A round while every server that the configuration wants is `dead`, or none."""
        rows = [
            {"svname": name, "lastchg": "99", "status": self.status_of(name, dead)} for name in self.haproxy.servers
        ]
        steps.call_up_last_resort(
            parse_configuration(self.applied), rows, self.haproxy.running(), DRAIN_SECONDS, NOW, self
        )

    def status_of(self, name, dead):
        if self.haproxy.servers[name]["maintenance"]:
            return "MAINT"
        return "DOWN" if dead and name not in self.changes.leaving else "UP"

    def drain(self):
        """The last sockets of all servers have ended."""
        for server in self.haproxy.servers.values():
            server["sockets"] = 0
        running = self.haproxy.running()
        for name in due_removals(self.changes, running, {}, False, (), DRAIN_SECONDS, NOW).drained:
            steps.delete(name, running, self)


class Killed(Exception):
    """The service is killed."""


NAMES = [f"wcs-{number}-0000000{number}" for number in range(1, 9)]


def some_wanted(chance):
    """A random choice of servers, in most cases with other thresholds, and in a fifth of all cases with a reload."""
    names = [name for name in NAMES if chance.random() < 0.5]
    algorithm = "first" if chance.random() < 0.2 else "roundrobin"
    request = REQUEST if chance.random() < 0.8 else "cpu 90;"
    return config({name: f"10.0.0.{name[4]}" for name in names}, request, algorithm, some_own_requests(chance))


def some_own_requests(chance):
    """A third of the servers have an older agent."""
    return {name: chance.choice(OLDER_REQUESTS) for name in NAMES if chance.random() < 0.3}


def some_machine(chance):
    """A machine whose servers are absent, up, being removed, or in an operator's maintenance."""
    kinds = {name: chance.choice(["absent", "absent", "up", "up", "leaving", "maintenance"]) for name in NAMES}
    addresses = {name: f"10.0.0.{name[4]}" for name in NAMES}
    own = some_own_requests(chance)
    in_file = {name: addresses[name] for name in NAMES if kinds[name] in ("up", "maintenance")}
    machine = Machine(config(in_file, own_requests=own))
    for name, kind in kinds.items():
        if kind != "absent":
            machine.haproxy.add(
                name,
                sockets=chance.randrange(3),
                maintenance=kind != "up",
                checked=kind != "leaving",
                request=own.get(name, "cpu 90;"),
            )
    gone = {name: options(addresses[name], own.get(name)) for name in NAMES if kinds[name] == "leaving"}
    machine.changes = Changes(leaving={name: Leaving(line, NOW - 60) for name, line in gone.items()})
    return machine


class Reconcile(unittest.TestCase):
    def assert_serves(self, machine, wanted, before):
        """The wanted servers take clients, unless an operator has taken them out, and no client has lost a socket. New
        ones have to prove themselves."""
        self.assertLessEqual(
            machine.haproxy.added & set(parse_configuration(wanted).servers), set(machine.changes.unproven)
        )
        self.assert_serves_as_before(machine, wanted, before)

    def assert_serves_as_before(self, machine, wanted, before):
        servers = machine.haproxy.servers
        wanted = parse_configuration(wanted)
        self.assertEqual(machine.haproxy.base, wanted.base)
        for name in wanted.servers:
            self.assertEqual(servers[name]["maintenance"], name in before.by_operator, name)
            self.assertEqual(servers[name]["request"], wanted.request_of(name), name)
            self.assertTrue(servers[name]["health"] and servers[name]["agent"], name)
        for name in before.sockets.keys() & servers.keys():
            self.assertEqual(servers[name]["sockets"], before.sockets[name], name)
        self.assertEqual(set(servers), {*wanted.servers, *machine.changes.leaving} & set(servers))
        for name in set(machine.changes.leaving) & set(servers):
            self.assert_removed_server(machine, name, before)

    def assert_removed_server(self, machine, name, before):
        """A removed server that served before serves while new servers are unproven. Otherwise it gets no clients."""
        server, noted = machine.haproxy.servers[name], machine.changes.leaving[name]
        self.assertEqual(noted.barred, name in before.by_operator, name)
        if noted.since is None:
            self.assertTrue(machine.runs_with_both, name)
            self.assertEqual(server["maintenance"], name in before.by_operator, name)
        else:
            self.assertTrue(server["maintenance"], name)
            # An operator's maintenance is left as it is.
            self.assertEqual(server["health"] or server["agent"], name in before.by_operator, name)

    def assert_ends(self, machine, wanted, before):
        """When the new servers are proven, the removed ones get no clients. When their sockets have ended, they are
        deleted, and nothing is left to do."""
        machine.release()
        self.assertEqual((machine.changes.held, machine.changes.unproven), ({}, ()))
        for name in machine.changes.leaving:
            if name in machine.haproxy.servers:
                self.assert_removed_server(machine, name, before)
        machine.drain()
        self.assertEqual(set(machine.haproxy.servers), set(parse_configuration(wanted).servers))
        self.assertEqual(machine.file, wanted)
        self.assertEqual(machine.changes, Changes())
        self.assertEqual(machine.apply(wanted), ())

    def test_always_gives_what_was_wanted(self):
        for seed in range(2000):
            with self.subTest(seed=seed):
                chance = random.Random(seed)
                wanted, machine = some_wanted(chance), some_machine(chance)
                machine.runs_with_both = chance.random() < 0.8
                before = Before(machine)
                machine.apply(wanted)
                self.assert_serves(machine, wanted, before)
                self.assert_ends(machine, wanted, before)

    def test_a_run_that_ends_at_any_step_is_completed_by_the_next(self):
        for seed in range(300):
            stop, killed = 0, True
            while killed:
                chance = random.Random(seed)
                wanted, machine = some_wanted(chance), some_machine(chance)
                before, old = Before(machine), machine.file
                with self.subTest(seed=seed, stop=stop):
                    machine.steps_left = stop
                    try:
                        machine.apply(wanted)
                        killed = False
                    except Killed:
                        pass
                    machine.steps_left = 10_000
                    # The next run may want another state, or the earlier one again.
                    wanted = chance.choice([wanted, some_wanted(chance), old])
                    machine.apply(wanted)
                    self.assert_serves(machine, wanted, before)
                    self.assert_ends(machine, wanted, before)
                stop += 1
                self.assertLess(stop, 200)

    def assert_last_resort(self, machine, dead):
        """While every wanted server is dead, exactly the removed servers that may serve again do."""
        servers, changes = machine.haproxy.servers, machine.changes
        wanted = parse_configuration(machine.applied).servers
        needed = dead and any(not servers[name]["maintenance"] for name in wanted)
        serving = set(changes.eligible(DRAIN_SECONDS, NOW)) & set(servers) if needed else set()
        for name in set(changes.leaving) & set(servers):
            self.assertEqual(not servers[name]["maintenance"], name in serving, name)
            if name in serving:
                self.assertTrue(servers[name]["health"] and servers[name]["agent"], name)
        self.assertLessEqual(serving, set(changes.last_resort))
        self.assertFalse(set(changes.last_resort) and not needed)

    def test_calls_up_the_last_resort_and_takes_it_back_wherever_a_run_ends(self):
        called = 0
        for seed in range(80):
            stop, killed = 0, True
            while killed:
                chance = random.Random(seed)
                machine = some_machine(chance)
                before = Before(machine)
                machine.apply(some_wanted(chance))
                machine.release()
                with self.subTest(seed=seed, stop=stop):
                    machine.steps_left = stop
                    try:
                        machine.look_for_the_last_resort(dead=True)
                        machine.look_for_the_last_resort(dead=False)
                        killed = False
                    except Killed:
                        pass
                    machine.steps_left = 10_000
                    dead = chance.random() < 0.7
                    machine.look_for_the_last_resort(dead)
                    self.assert_last_resort(machine, dead)
                    called += bool(machine.changes.last_resort)
                    # What is wanted may change meanwhile.
                    if chance.random() < 0.3:
                        machine.apply(some_wanted(chance))
                        machine.release()
                        machine.look_for_the_last_resort(dead)
                        self.assert_last_resort(machine, dead)
                    machine.look_for_the_last_resort(dead=False)
                    self.assert_last_resort(machine, dead=False)
                    self.assert_serves_as_before(machine, machine.applied, before)
                    self.assert_ends(machine, machine.applied, before)
                stop += 1
                self.assertLess(stop, 200)
        self.assertGreater(called, 100)

    def test_takes_no_client_from_a_server_before_those_in_its_place_are_proven(self):
        old, new = (config({name: "10.0.0.1"}) for name in NAMES[:2])
        machine = Machine(old)
        machine.haproxy.add(NAMES[0])
        machine.apply(new)
        self.assertEqual(machine.changes.held, {NAMES[0]: "10.0.0.1:8080"})
        self.assertEqual(machine.changes.unproven, (NAMES[1],))
        self.assertFalse(machine.haproxy.servers[NAMES[0]]["maintenance"])
        before = machine.changes
        steps.release([], machine.haproxy.running, NOW, machine)
        self.assertEqual(machine.changes, before)
        machine.release()
        self.assertTrue(machine.haproxy.servers[NAMES[0]]["maintenance"])

    def test_tells_a_server_that_comes_back_the_thresholds_that_have_changed_meanwhile(self):
        a, b = NAMES[:2]
        old, new = config({a: "10.0.0.1"}), config({b: "10.0.0.2"}, REQUEST)
        machine = Machine(old)
        machine.haproxy.add(a)
        machine.apply(new)
        self.assertEqual(machine.haproxy.servers[a]["request"], "cpu 90;")
        machine.apply(config({a: "10.0.0.1", b: "10.0.0.2"}, REQUEST))
        self.assertEqual(machine.haproxy.servers[a]["request"], REQUEST)

    def test_tells_each_server_its_own_request_and_only_those_for_which_it_has_changed(self):
        a, b = NAMES[:2]
        servers = {a: "10.0.0.1", b: "10.0.0.2"}
        machine = Machine(config(servers))
        machine.haproxy.add(a)
        machine.haproxy.add(b)
        to_a, to_b = (f"set server wcs_back/{name} agent-send " for name in (a, b))
        newer = "cpu 90 connections 5;"
        self.assertEqual(
            machine.apply(config(servers, newer, own_requests={b: "cpu 90;"})), (rf"{to_a}cpu\ 90\ connections\ 5\;",)
        )
        # The agent of b is renewed.
        self.assertEqual(machine.apply(config(servers, newer)), (rf"{to_b}cpu\ 90\ connections\ 5\;",))
        self.assertEqual(machine.apply(config(servers, newer, own_requests={a: "none;"})), (rf"{to_a}none\;",))

    def test_adds_a_server_with_the_request_of_its_own(self):
        a, b = NAMES[:2]
        machine = Machine(config({a: "10.0.0.1"}))
        machine.haproxy.add(a)
        added, *_ = machine.apply(config({a: "10.0.0.1", b: "10.0.0.2"}, own_requests={b: "none;"}))
        self.assertRegex(added, rf"^add server wcs_back/{b} 10\.0\.0\.2:8080 weight 100 .* agent-send none\\;$")

    def test_completes_a_change_that_was_broken_off_and_then_taken_back(self):
        a, b = NAMES[:2]
        old, new = config({a: "10.0.0.1", b: "10.0.0.2"}), config({a: "10.0.0.1"})
        machine = Machine(old)
        machine.haproxy.add(a)
        machine.haproxy.add(b)
        machine.steps_left = 4
        with self.assertRaises(Killed):
            machine.apply(new)
        self.assertTrue(machine.haproxy.servers[b]["maintenance"])
        machine.steps_left = 10_000
        machine.apply(old)
        self.assertFalse(machine.haproxy.servers[b]["maintenance"])


class Before:
    """Properties that no change may lose."""

    def __init__(self, machine):
        servers = machine.haproxy.servers
        self.added = machine.haproxy.added
        self.all_sockets = {name: server["sockets"] for name, server in servers.items()}
        self.taken_out = {
            name for name, server in servers.items() if server["maintenance"] and name not in machine.changes.leaving
        }

    @property
    def sockets(self):
        return {name: count for name, count in self.all_sockets.items() if name not in self.added}

    @property
    def by_operator(self):
        return self.taken_out - self.added


class Configuration(unittest.TestCase):
    old = parse_configuration(config({"a": "10.0.0.1", "b": "10.0.0.2"}))

    def test_reads_the_servers_of_the_nodes_and_what_they_have_in_common(self):
        self.assertEqual(self.old.servers, {"a": "10.0.0.1:8080", "b": "10.0.0.2:8080"})
        self.assertEqual(
            self.old.defaults, "weight 100 maxconn 50 check inter 1s agent-check agent-port 9707"
        )
        self.assertEqual(self.old.agent_request, "cpu 90;")
        self.assertIn("server sync 127.0.0.1:8181", self.old.base)

    def test_takes_other_servers_and_keeps_all_else(self):
        other = with_servers(config({"a": "10.0.0.1", "b": "10.0.0.2"}), {"b": "10.0.0.2:8080"})
        self.assertEqual(other, config({"b": "10.0.0.2"}))

    def test_servers_and_thresholds_change_without_a_reload(self):
        self.assertFalse(needs_reload(parse_configuration(config({"c": "10.0.0.3"}, "cpu 50;")), self.old))
        own_requests = {"a": "none;"}
        older = parse_configuration(config({"a": "10.0.0.1"}, "cpu 50;", own_requests=own_requests))
        self.assertEqual(older.request_of("a"), "none;")
        self.assertFalse(needs_reload(older, self.old))
        self.assertFalse(needs_reload(self.old, older))

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
        self.assertEqual(taken_out(servers, ()), {"b": "maint", "c": "drain"})
        # This service itself keeps a new server in maintenance for a moment.
        self.assertEqual(taken_out(servers, {"a", "b", "c"}), {"c": "drain"})

    def test_refuses_another_answer(self):
        with self.assertRaisesRegex(PlanError, "has no backend wcs_back: Permission denied"):
            parse_servers_state("Permission denied\n")


if __name__ == "__main__":
    unittest.main()
