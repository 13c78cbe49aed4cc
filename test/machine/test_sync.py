"""The decisions of wcs-balancer-sync, without a machine."""

import base64
import contextlib
import errno
import gzip
import io
import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from filled_machines import MACHINES
from wcs_balancer import command, haproxy_runtime, haproxy_service, node_states, set_up
from wcs_balancer.document import (
    UNREADABLE,
    Acme,
    Document,
    Entry,
    OtherDocument,
    State,
    TargetGroup,
    acme_content,
    decode_document,
    decode_secret,
    decode_status_secret,
    obeyed,
    other_contract,
)
from wcs_balancer.errors import SyncError


def packed(content):
    return base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()


BASE = """global
    maxconn 4100

backend wcs_back
    balance roundrobin
    default-server check agent-check agent-send "cpu 90;"
"""
SERVERS = {"wcs-1-0a1b2c3d": "10.0.0.1:8080", "wcs-2-4e5f6a7b": "10.0.0.2:8080 cookie wcs-2-4e5f6a7b"}
LINES = "    server wcs-1-0a1b2c3d 10.0.0.1:8080\n    server wcs-2-4e5f6a7b 10.0.0.2:8080 cookie wcs-2-4e5f6a7b\n"
APPLIED = State("r1", BASE + LINES, "c1", 600)


ENTRY_FIELDS = {
    "balancers": {"balancer-1": "i-1", "balancer-2": "i-2"},
    "address": False,
    "targetGroups": [{"arn": "arn:https", "port": 10443}, {"arn": "arn:http", "port": 10080}],
    "leave": {"tailSeconds": 300, "quietSeconds": 60},
}
GROUPS = (TargetGroup("arn:https", 10443), TargetGroup("arn:http", 10080))
ENTRY = Entry({"balancer-1": "i-1", "balancer-2": "i-2"}, False, GROUPS, 300, 60)


ACME_FIELDS = {
    "domain": "wcs.example.com",
    "email": "ops@example.com",
    "directory": "https://acme.example.com/directory",
    "profile": None,
    "delays": {"turnSeconds": 180, "checkSeconds": 60, "failSeconds": 300},
}
ACME = Acme("wcs.example.com", "ops@example.com", "https://acme.example.com/directory", None, 180, 60, 300)


def document(**values):
    rest = {"certificateHash": "c1", "statusHash": "s1", "drainTimeoutSeconds": 600}
    content = {"contract": 4, "revision": "r1", "haproxyBase": BASE, "servers": SERVERS, **rest, **ENTRY_FIELDS}
    return packed({**content, **values})


class DecodeDocument(unittest.TestCase):
    def test_reads_what_the_program_renders(self):
        self.assertEqual(decode_document(document()), Document(APPLIED, "s1", ENTRY))

    def test_reads_where_the_certificate_comes_from(self):
        self.assertEqual(decode_document(document(acme=None)), Document(APPLIED, "s1", ENTRY))
        with_acme = replace(APPLIED, acme=ACME)
        self.assertEqual(decode_document(document(acme=ACME_FIELDS)), Document(with_acme, "s1", ENTRY))
        self.assertEqual(acme_content(ACME), ACME_FIELDS)

    def test_takes_of_an_older_contract_the_servers_where_it_has_them(self):
        rest = {"certificateHash": "c1", "drainTimeoutSeconds": 600}
        older = {"revision": "r1", "haproxyBase": BASE, "servers": SERVERS, **rest}
        self.assertEqual(decode_document(packed({"contract": 1, **older})), OtherDocument(1, "r1", SERVERS))
        unnumbered = packed({"revision": "r1", "haproxyConfig": BASE + LINES, **rest})
        self.assertEqual(decode_document(unnumbered), OtherDocument(0, "r1", None))

    def test_refuses_what_is_cut_in_half(self):
        text = document()
        with self.assertRaisesRegex(SyncError, "the desired state cannot be read"):
            decode_document(text[: len(text) // 2])

    def test_refuses_a_document_after_which_every_balancer_would_leave(self):
        with self.assertRaisesRegex(SyncError, "balancers names no instance"):
            decode_document(document(balancers={}))

    def test_refuses_what_is_no_document(self):
        wrong = [
            "",
            "not base64!",
            base64.b64encode(b"plain").decode(),
            packed({}),
            packed([]),
            packed({"contract": 4, "revision": "r1"}),
            packed({"contract": 3, "revision": "r1"}),
            packed({"contract": 2, "revision": "r1"}),
            packed({"contract": 1, "revision": "r1"}),
            packed({"haproxyConfig": BASE}),
            document(statusHash=None),
            document(revision=7),
            document(drainTimeoutSeconds="soon"),
            document(contract="2"),
            document(servers=["wcs-1 10.0.0.1:8080"]),
            document(servers={"wcs-1": ""}),
            document(servers={"wcs-1": None}),
            document(contract=5, servers=None),
            document(balancers=["i-1"]),
            document(balancers={"balancer-1": None}),
            document(balancers={"balancer-1": ""}),
            document(address=1),
            document(address=None),
            document(targetGroups=None),
            document(targetGroups=["arn:https"]),
            document(targetGroups=[{"arn": "arn:https"}]),
            document(targetGroups=[{"arn": "arn:https", "port": True}]),
            document(leave=[]),
            document(leave={"tailSeconds": -1, "quietSeconds": 60}),
            document(leave={"tailSeconds": 300, "quietSeconds": "60"}),
            document(contract=5, leave=None),
            document(acme="a directory"),
            document(acme={}),
            document(acme={**ACME_FIELDS, "directory": None}),
            document(acme={**ACME_FIELDS, "profile": 7}),
            document(acme={key: value for key, value in ACME_FIELDS.items() if key != "profile"}),
            document(acme={**ACME_FIELDS, "delays": {"turnSeconds": 180, "checkSeconds": -1, "failSeconds": 300}}),
            base64.b64encode(gzip.compress(b"0" * 2_000_000)).decode(),
        ]
        for text in wrong:
            with self.subTest(text[:20]), self.assertRaises(SyncError):
                decode_document(text)


class OtherContract(unittest.TestCase):
    """A document of an older or newer contract than this version's: only its servers and balancers count."""

    def obeyed(self, servers, **values):
        states = []
        for contract in (1, 2, 3, 5):
            content = {"contract": contract, "revision": "r2", "servers": servers, **ENTRY_FIELDS, **values}
            other = decode_document(packed(content))
            self.assertEqual(other, OtherDocument(contract, "r2", servers, ENTRY if contract >= 3 else None))
            states.append(obeyed(other, APPLIED))
        self.assertEqual(states[0], states[1])
        return states[0]

    def test_without_servers_of_its_own_changes_nothing(self):
        self.assertEqual(obeyed(OtherDocument(0, "r2", None), APPLIED), APPLIED)

    def test_keeps_all_but_the_servers(self):
        self.assertEqual(self.obeyed(SERVERS), State("r1 with the servers of r2", BASE + LINES, "c1", 600))

    def test_looks_at_no_other_field(self):
        other = {"haproxyBase": 7, "certificateHash": "c2", "drainTimeoutSeconds": 1, "secret": {"pem": "new"}}
        self.assertEqual(self.obeyed(SERVERS, **other), self.obeyed(SERVERS))

    def test_drops_servers_that_are_not_named_and_adds_new_ones_with_the_words_that_it_knows(self):
        third = '10.0.0.3:8080 proto h2 cookie c check-sni a agent-send "cpu 90 hls 5;" ws h1'
        state = self.obeyed({"wcs-2-4e5f6a7b": "x", "wcs-3-8c9d0e1f": third})
        [_, kept] = LINES.splitlines()
        added = '    server wcs-3-8c9d0e1f 10.0.0.3:8080 cookie c agent-send "cpu 90 hls 5;"'
        self.assertEqual(state.haproxy_config, f"{BASE}{kept}\n{added}\n")

    def test_obeys_one_after_the_other(self):
        newer = OtherDocument(5, "r3", {"wcs-1-0a1b2c3d": "x"})
        state = obeyed(newer, self.obeyed(SERVERS))
        self.assertEqual((state.revision, state.haproxy_config.count(" server ")), ("r1 with the servers of r3", 1))
        self.assertEqual(obeyed(newer, state), state)

    def test_needs_something_to_keep(self):
        with self.assertRaisesRegex(SyncError, "no earlier configuration to use"):
            obeyed(OtherDocument(5, "r2", {}), None)

    def test_is_named(self):
        self.assertRegex(
            other_contract(OtherDocument(1, "r2", {})),
            "^the desired state r2 has contract 1, and this balancer understands 4: it applies only the servers. ",
        )
        self.assertRegex(
            other_contract(OtherDocument(5, "r2", {}, ENTRY)),
            "^the desired state r2 has contract 5, .*: it applies only the servers and the balancers. ",
        )
        self.assertRegex(
            other_contract(OtherDocument(0, "r2", None)),
            "^the desired state r2 has contract 0, and this balancer understands 4: it changes nothing",
        )


class Secrets(unittest.TestCase):
    def test_have_what_the_program_renders(self):
        self.assertEqual(decode_secret('{"pem": "p"}'), ("p", "document"))
        text = '{"pem": "p", "token": "t"}'
        self.assertEqual(decode_status_secret(text), (text, "p", "t"))

    def test_that_lack_a_part_are_refused(self):
        for text in ("", "[]", "{}", '{"pem": 1}', '{"pem": "\\ud800"}'):
            with self.subTest(text), self.assertRaises(UNREADABLE):
                decode_secret(text)
        for text in ("7", '{"pem": "p"}', '{"pem": "p", "token": 1}', '{"pem": "p", "token": ""}', '{"token": "t"}'):
            with self.subTest(text), self.assertRaises(UNREADABLE):
                decode_status_secret(text)


def refused_before_there_was_a_contract(text):
    """The code with which the last version without a contract read a document; a copy."""
    content = json.loads(gzip.decompress(base64.b64decode(text)))
    return [content[key] for key in ("revision", "haproxyConfig", "certificateHash", "drainTimeoutSeconds")]


class OlderService(unittest.TestCase):
    def test_cannot_take_this_document_for_one_without_servers(self):
        with self.assertRaisesRegex(KeyError, "haproxyConfig"):
            refused_before_there_was_a_contract(document())


class WhatMatters(unittest.TestCase):
    def test_leaves_out_notices_and_process_ids_so_that_the_same_error_has_the_same_text(self):
        output = (
            "[NOTICE]   (1368) : haproxy version is 3.0.11\n"
            "[ALERT]    (1368) : config : parsing [a.cfg:65] : unknown keyword\n"
            "[WARNING]  (1368) : config : missing timeouts\n"
        )
        self.assertEqual(
            haproxy_service.what_matters(output), "config : parsing [a.cfg:65] : unknown keyword; config : missing timeouts"
        )


class Limits(unittest.TestCase):
    config = "global\n    maxconn 4100\nbackend wcs_back\n    default-server maxconn 9\n"

    def test_fit_into_the_open_files(self):
        self.assertIsNone(haproxy_service.limits_problem(self.config, 8300))

    def test_that_do_not_fit_are_named_with_both_ways_out(self):
        problem = haproxy_service.limits_problem(self.config, 8299)
        self.assertIn("maxConnections needs 8300 open files, and HAProxy may have 8299", problem)
        self.assertIn("lower maxConnections, or raise LimitNOFILE", problem)


class NodeStates(unittest.TestCase):
    def state(self, **changes):
        row = {"pxname": "wcs_back", "svname": "wcs-1-a", "addr": "172.31.0.9:8080", "status": "UP", "weight": "94"}
        row |= {"scur": "3", "slim": "100", "agent_status": "L7OK", "last_agt": "", "last_chk": "", **changes}
        return node_states.node_state(row)

    def test_up_once_its_agent_has_said_so(self):
        self.assertEqual(self.state()["state"], "up")
        self.assertEqual(self.state(agent_status="* L7OK")["state"], "up")
        self.assertEqual(self.state(agent_status="INI")["state"], "unknown")
        self.assertEqual(self.state(agent_status="")["state"], "unknown")

    def test_full_at_weight_0(self):
        self.assertEqual(self.state(weight="0")["state"], "full")

    def test_full_with_the_threshold_that_is_reached(self):
        node = self.state(weight="0", last_agt="via agent : up (cpu 95 of 90)")
        self.assertEqual((node["state"], node["reason"]), ("full", "cpu 95 of 90"))

    def test_full_at_its_limit_of_sockets(self):
        node = self.state(scur="100", last_agt="via agent : up (cpu 9 of 90)")
        self.assertEqual((node["state"], node["reason"]), ("full", "sockets 100 of 100"))
        node = self.state(scur="100", weight="0", last_agt="via agent : up (cpu 95 of 90)")
        self.assertEqual((node["state"], node["reason"]), ("full", "cpu 95 of 90"))
        for limit in ("0", "", "101"):
            self.assertEqual(self.state(scur="100", slim=limit)["state"], "up")

    def test_up_with_the_check_that_is_nearest_to_its_threshold(self):
        node = self.state(weight="37", last_agt="via agent : up (publishers 63 of 100)")
        self.assertEqual((node["state"], node["reason"], node["load"]), ("up", "", "publishers 63 of 100"))

    def test_an_agent_that_names_no_check(self):
        self.assertEqual(self.state(weight="0", last_agt="via agent : up")["reason"], "")

    def test_keeps_what_an_agent_said_while_it_is_asked_again(self):
        head = "# pxname,svname,status,weight,scur,slim,addr,agent_status,last_agt,last_chk\n"
        asked, said = "0,1,100,x,* L7OK,,\n", "0,1,100,x,L7OK,via agent : up (cpu 95 of 90),\n"
        answers = [head + f"wcs_back,a,UP,{a}wcs_back,b,UP,{b}" for a, b in ((said, asked), (asked, said), (asked, asked))]
        reasons = [node["reason"] for node in node_states.node_states(*answers)]
        self.assertEqual(reasons, ["cpu 95 of 90", "cpu 95 of 90"])

    def reason(self, **changes):
        node = self.state(status="DOWN", **changes)
        self.assertEqual(node["state"], "down")
        return node["reason"]

    failed_set_up = {"agent_status": "L7STS", "last_agt": "via agent : down (setup failed: checksum of WCS)"}

    def test_down_with_the_agents_own_words(self):
        self.assertEqual(self.reason(**self.failed_set_up), "setup failed: checksum of WCS")

    def test_has_its_set_up_as_a_field_while_the_agent_says_so(self):
        def setup(words, **changes):
            said = {"status": "DOWN", "agent_status": "L7STS", "last_agt": f"via agent : down ({words})", **changes}
            return self.state(**said)["setup"]

        self.assertEqual(setup("setup failed: wcs-checksum"), {"state": "failed", "step": "wcs-checksum"})
        self.assertEqual(setup("setup running: wcs-install"), {"state": "running", "step": "wcs-install"})
        for words in ("setup incomplete", "WCS hangs", "the setup failed: x", ""):
            self.assertIsNone(setup(words), words)
        self.assertIsNone(setup("setup failed: x", status="MAINT"))
        self.assertIsNone(setup("setup failed: x", agent_status="L4CON", check_status="L4CON"))
        self.assertIsNone(self.state()["setup"])

    def test_of_its_own_set_up_a_balancer_says_more_than_nothing_while_the_file_is_there(self):
        self.assertEqual(set_up.own_setup("setup failed: sync\n"), {"state": "failed", "step": "sync"})
        self.assertEqual(set_up.own_setup("\n"), {"state": "running", "step": "unknown"})

    def test_the_agents_words_win_over_the_health_checks_whichever_came_last(self):
        refused = "Connection refused at step 1 of tcp-check (connect) comment: 'port 8080'"
        for status in ("DOWN", "DOWN (agent)", "DOWN 1/2"):
            for check in (("L4CON", refused), ("* L4CON", ""), ("L7OK", "(tcp-check)"), ("* L7OK", "")):
                with self.subTest(status=status, check=check):
                    row = {**self.failed_set_up, "status": status, "check_status": check[0], "last_chk": check[1]}
                    self.assertEqual(self.state(**row)["reason"], "setup failed: checksum of WCS")

    def test_an_agent_that_gives_no_reason(self):
        self.assertEqual(self.reason(agent_status="L7STS", last_agt="via agent : down"), "its agent says so")

    def test_a_machine_that_is_off_or_refuses_on_both_ports(self):
        connect = "at step 1 of tcp-check (connect) comment: 'port 8080'"
        cases = [
            ("L4TOUT", f" {connect}", "L4TOUT", ""),
            ("L4TOUT", f" {connect}", "* L4TOUT", ""),
            ("L4CON", f"No route to host {connect}", "* L4CON", ""),
            ("L4CON", f"Connection refused {connect}", "L4CON", "Connection refused"),
        ]
        for check, words, agent, agent_words in cases:
            with self.subTest(check=check, agent=agent):
                row = {"check_status": check, "last_chk": words, "agent_status": agent, "last_agt": agent_words}
                self.assertEqual(self.reason(**row), "does not answer on ports 8080 and 9707")

    def test_a_port_that_does_not_answer(self):
        cases = [
            ("L4CON", "Connection refused at step 1 of tcp-check (connect) comment: 'port 8080'", "* L7OK", "port 8080"),
            ("L4CON", "Connection refused at step 2 of tcp-check (connect port 9707) comment: 'port 9707'", "L4CON", "port 9707"),
            ("L7TOUT", " at step 4 of tcp-check (expect regex) comment: 'port 9707'", "* L7TOUT", "port 9707"),
            ("L7OK", "(tcp-check)", "L4CON", "port 9707"),
        ]
        for check, words, agent, port in cases:
            with self.subTest(check=check, words=words):
                row = {"check_status": check, "last_chk": words, "agent_status": agent}
                self.assertEqual(self.reason(**row), f"does not answer on {port}")

    def test_a_server_without_a_result_or_without_words(self):
        self.assertEqual(self.reason(check_status="* INI", agent_status="* INI"), "has not been asked yet")
        self.assertEqual(self.reason(check_status="* L4TOUT", agent_status="* L4TOUT"), "does not answer")

    def test_a_server_that_comes_up(self):
        self.assertEqual(self.reason(check_status="L7OK", last_chk="(tcp-check)"), "answers again and comes up")

    def test_the_reason_stays_while_checks_are_under_way(self):
        columns = "pxname,svname,status,weight,scur,slim,addr,check_status,last_chk,agent_status,last_agt"

        def stat(first, second):
            return f"# {columns}\n" + "".join(
                f"wcs_back,{name},DOWN,9,0,9,x,{'* ' if asked else ''}L7OK,,{'* ' if asked else ''}L7STS,"
                f"{'' if asked else 'via agent : down (WCS hangs)'}\n"
                for name, asked in (("wcs-1-a", first), ("wcs-2-b", second))
            )

        for answers in ([stat(False, True), stat(True, False)], [stat(True, False), stat(True, True), stat(False, True)]):
            reasons = [node["reason"] for node in node_states.node_states(*answers)]
            self.assertEqual(reasons, ["WCS hangs", "WCS hangs"])

    def test_asks_again_only_for_words_that_a_reason_needs(self):
        row = {"status": "DOWN", "check_status": "L4TOUT", "last_chk": "at step 1", "agent_status": "* L4TOUT", "last_agt": ""}
        self.assertFalse(node_states.lacks_words(row))
        self.assertTrue(node_states.lacks_words({**row, "check_status": "* L4TOUT", "last_chk": ""}))
        self.assertTrue(node_states.lacks_words({**row, "agent_status": "* L7STS"}))
        self.assertFalse(node_states.lacks_words({**row, "status": "UP", "agent_status": "L7OK"}))
        self.assertTrue(node_states.lacks_words({**row, "status": "UP", "agent_status": "* L7OK"}))
        self.assertFalse(node_states.lacks_words({**row, "status": "MAINT", "agent_status": "* L7OK"}))

    def test_maintenance_is_not_down(self):
        self.assertEqual(self.state(status="MAINT")["state"], "maint")

    def test_is_named_as_in_the_configuration_too(self):
        self.assertEqual(self.state(svname="wcs-1-0a1b2c3d")["node"], "wcs-1")

    def test_reads_only_the_servers_of_the_nodes(self):
        columns = "pxname,svname,status,weight,scur,slim,addr,agent_status,last_agt,last_chk"
        text = f"# {columns}\nwcs_back,wcs-1-a,UP,9,1,100,x,L7OK,,\nwcs_back,BACKEND,UP,9,1,,,,,\nother,nginx,UP,1,0,,,,,\n"
        self.assertEqual([node["server"] for node in node_states.node_states(text)], ["wcs-1-a"])


class PartsAway(unittest.TestCase):
    def away(self, status):
        return node_states.parts_away(f"# pxname,svname,status\nwcs_web_admin,nginx,{status}\nwcs_web_admin,BACKEND,UP\n")

    def test_names_nginx_while_it_does_not_answer(self):
        self.assertEqual(self.away("UP"), [])
        self.assertEqual(self.away("UP 2/3"), [])
        self.assertEqual(self.away("DOWN"), ["nginx does not answer on port 8180, so there are no pages"])


class TakesClients(unittest.TestCase):
    def takes(self, *rows):
        head = "# pxname,svname,status,weight,scur,slim,addr,agent_status,last_agt,last_chk\n"
        return node_states.takes_clients(head + "".join(f"wcs_back,wcs-{row},x,L7OK,,\n" for row in rows))

    def test_a_node_that_is_up_with_a_free_connection(self):
        self.assertTrue(self.takes("1,DOWN,9,0,10", "2,UP,9,9,10"))

    def test_nobody_when_all_are_down_at_weight_0_or_without_a_free_connection(self):
        self.assertFalse(self.takes("1,DOWN,9,0,10", "2,UP,0,0,10", "3,UP,9,10,10"))
        self.assertFalse(self.takes())


class Report(unittest.TestCase):
    node = {"server": "wcs-1-0a1b2c3d", "node": "wcs-1", "state": "up", "reason": "", "weight": 94, "sockets": 3, "limit": 100}
    certificate = {"notAfter": "2026-12-04T00:00:00Z", "daysLeft": 90}
    status = {"revision": "r1", "applied": True, "instance": "i-0a1b2c3d", "handedOver": None, "error": None}
    status |= {"nodes": [node], "certificate": certificate, "warnings": []}
    removed = {
        "server": "wcs-2-0a1b2c3d",
        "node": "wcs-2",
        "state": "draining",
        "reason": "",
        "sockets": 7,
        "secondsLeft": 90,
        "held": False,
        "lastResort": False,
    }

    def report(self, **changes):
        return command.report({**self.status, **changes})

    def last_line(self, **changes):
        return self.report(draining=[{**self.removed, **changes}])[0][-1].removeprefix("wcs-2 (wcs-2-0a1b2c3d)  ")

    def test_says_what_an_operator_asks_first(self):
        lines, well = self.report()
        self.assertTrue(well)
        self.assertEqual(
            lines,
            [
                "revision     r1 (applied)",
                "instance     i-0a1b2c3d",
                "certificate  90 days left",
                "wcs-1 (wcs-1-0a1b2c3d)  up       weight  94  3 of 100 sockets",
            ],
        )

    def test_says_how_long_the_certificate_is_valid(self):
        for days, text in {36: "36 days left", 1: "1 day left", 0: "0 days left", -2: "has ended, on 2026-12-04"}.items():
            self.assertEqual(self.report(certificate={**self.certificate, "daysLeft": days})[0][2], f"certificate  {text}")
        self.assertEqual(self.report(certificate=None)[0][2], "certificate  none is served")

    def test_a_node_that_is_down_comes_with_its_reason(self):
        lines, well = self.report(nodes=[{**self.node, "state": "down", "reason": "WCS hangs"}])
        self.assertFalse(well)
        self.assertTrue(lines[-1].endswith("3 of 100 sockets  WCS hangs"))

    def test_a_node_without_a_complete_set_up_comes_with_its_step(self):
        failed = {"state": "down", "reason": "setup failed: a", "setup": {"state": "failed", "step": "a"}}
        running = {"state": "down", "reason": "setup running: b", "setup": {"state": "running", "step": "b"}}
        lines, well = self.report(nodes=[{**self.node, **failed}, {**self.node, **running}])
        self.assertFalse(well)
        self.assertTrue(lines[-2].endswith("3 of 100 sockets  its set-up failed at step a"))
        self.assertTrue(lines[-1].endswith("3 of 100 sockets  its set-up is at step b"))

    def test_says_how_near_a_node_is_to_which_threshold(self):
        full = {**self.node, "state": "full", "reason": "cpu 95 of 90", "load": "cpu 95 of 90", "weight": 0}
        lines, well = self.report(nodes=[{**self.node, "load": "publishers 6 of 100"}, full])
        self.assertTrue(well)
        self.assertTrue(lines[-2].endswith("up       weight  94  3 of 100 sockets  publishers 6 of 100"))
        self.assertTrue(lines[-1].endswith("full     weight   0  3 of 100 sockets  cpu 95 of 90"))

    def test_a_server_that_drains_comes_with_its_sockets(self):
        self.assertEqual(self.last_line(), "drains   90 s at most, 7 sockets")
        self.assertTrue(self.report(draining=[self.removed])[1])
        self.assertEqual(
            self.last_line(reason="waits for HAProxy's worker 7, which does not answer"),
            "drains   90 s at most, 7 sockets  waits for HAProxy's worker 7, which does not answer",
        )
        self.assertEqual(self.last_line(sockets=None), "drains   90 s at most, an unknown number of sockets")

    def test_a_held_server_serves_only_when_it_is_up(self):
        held = {"held": True, "state": "up"}
        self.assertEqual(self.last_line(**held), "serves until the new nodes are up, 7 sockets")
        held |= {"state": "down", "reason": "WCS does not answer"}
        self.assertEqual(
            self.last_line(**held), "down (WCS does not answer), stays until the new nodes are up, 7 sockets"
        )

    def test_a_last_resort_says_so(self):
        self.assertEqual(
            self.last_line(lastResort=True, state="up"), "serves while every wanted node is down, 90 s at most, 7 sockets"
        )

    def test_a_set_up_that_failed_is_named(self):
        lines, well = self.report(setup={"state": "failed", "step": "websdk-download"})
        self.assertFalse(well)
        self.assertIn("set-up       it failed at step websdk-download; see: cloud-init status --long", lines)

    def test_says_how_far_a_certificate_by_acme_is(self):
        acme = {"state": "waiting", "reason": "no address", "nextTry": "2026-12-04T00:00:00Z", "directory": "https://x/"}
        lines, well = self.report(acme=acme)
        self.assertFalse(well)
        line = "acme         no certificate yet by https://x/, next try at 2026-12-04T00:00:00Z: no address"
        self.assertIn(line, lines)
        lines, well = self.report(acme={**acme, "state": "issued", "reason": ""})
        self.assertTrue(well)
        self.assertIn("acme         issued by https://x/, next order at 2026-12-04T00:00:00Z", lines)
        lines, _ = self.report(acme={**acme, "state": "ordering", "reason": "", "nextTry": None})
        self.assertIn("acme         orders the first certificate by https://x/", lines)

    def test_a_part_of_the_balancer_that_is_away_is_named(self):
        lines, well = self.report(away=["nginx does not answer on port 8180"])
        self.assertFalse(well)
        self.assertIn("away         nginx does not answer on port 8180", lines)

    def test_is_not_well_with_an_error_or_a_warning(self):
        self.assertFalse(self.report(error="haproxy failed", applied=False)[1])
        lines, well = self.report(warnings=["the certificate ends in 10 days"])
        self.assertFalse(well)
        self.assertIn("warning      the certificate ends in 10 days", lines)

    def test_says_that_another_balancer_takes_over(self):
        lines, well = self.report(handedOver=42)
        self.assertFalse(well)
        self.assertIn("handed over  clients are refused for 42 s more: another balancer takes over", lines)
        self.assertIn("instance     not known yet", self.report(instance=None)[0])

    def test_does_not_claim_to_know_what_aws_does_not_say(self):
        self.assertEqual(
            self.report(applied=None)[0][0], "revision     r1 (AWS does not say which one is wanted)"
        )


class ReportOfAll(unittest.TestCase):
    """The same for all balancers of a cluster."""

    own = {**Report.status, "target": {"state": "healthy", "reason": ""}, "leaving": []}

    def row(self, name, instance, status, reason=""):
        return {"name": name, "instance": instance, "address": "10.0.0.1", "status": status, "reason": reason}

    def report(self, *others, **own):
        rows = [self.row("balancer-1", "i-1", {**self.own, **own}), *others]
        return command.report_cluster({"instance": "i-1", "balancers": rows})

    def test_of_one_balancer_is_as_without_a_cluster(self):
        self.assertEqual(self.report(), command.report(self.own))
        self.assertIn("target       healthy", self.report()[0])

    def test_has_a_line_for_each_balancer_and_the_sockets_of_all(self):
        second = {**self.own, "revision": "r0", "applied": False, "nodes": [{**Report.node, "sockets": 5}]}
        lines, well = self.report(self.row("balancer-2", "i-22", second))
        self.assertFalse(well)
        self.assertEqual(
            lines,
            [
                "balancer-1 (i-1)   revision r1 (applied)  target healthy",
                "balancer-2 (i-22)  revision r0 (another one is wanted)  target healthy",
                "balancer-1 (i-1)   certificate: 90 days left",
                "balancer-2 (i-22)  certificate: 90 days left",
                "wcs-1 (wcs-1-0a1b2c3d)  up       weight  94  8 of 200 sockets",
            ],
        )
        self.assertTrue(self.report(self.row("balancer-2", "i-22", {**second, "applied": True}))[1])

    def test_names_a_node_that_an_operator_drains(self):
        drained = {**Report.node, "takenOut": "drain", "load": "cpu 9 of 90"}
        lines, well = self.report(nodes=[drained])
        self.assertTrue(lines[-1].endswith("3 of 100 sockets  an operator drains it: no new clients"), lines)
        self.assertTrue(well)

    def test_names_a_balancer_that_sees_a_node_otherwise(self):
        down = {**self.own, "nodes": [{**Report.node, "state": "down", "reason": "does not answer on port 8080"}]}
        lines, well = self.report(self.row("balancer-2", "i-2", down))
        self.assertTrue(lines[-1].endswith("6 of 200 sockets  balancer-2: down: does not answer on port 8080"))
        self.assertFalse(well)

    def test_says_of_what_is_wrong_whose_it_is(self):
        lines, well = self.report(self.row("balancer-2", "i-2", {**self.own, "error": "haproxy failed"}))
        self.assertIn("balancer-2 (i-2)  error: haproxy failed", lines)
        self.assertFalse(well)

    def test_a_wanted_one_that_does_not_answer_is_not_well_and_another_one_does_not_count(self):
        lines, well = self.report(self.row("balancer-2", "i-2", None, "it does not run"))
        self.assertEqual((lines[1], well), ("balancer-2 (i-2)  it does not run", False))
        lines, well = self.report(self.row(None, "i-2", None, "it does not answer within 3 s"))
        self.assertEqual((lines[1], well), ("not wanted (i-2)  it does not answer within 3 s", True))

    def test_one_that_is_no_healthy_target_is_not_well(self):
        lines, well = self.report(target={"state": "initial", "reason": "just registered"})
        self.assertIn("target       initial: just registered", lines)
        self.assertFalse(well)

    def test_shows_what_a_balancer_leaves(self):
        path = {"path": "loadBalancer", "phase": "tail", "reason": "", "sockets": 3, "secondsLeft": 200}
        drains = {**path, "path": "address", "phase": "draining", "sockets": None, "reason": "a worker is silent"}
        lines, well = self.report(self.row(None, "i-2", {**self.own, "target": None, "leaving": [path, drains]}))
        self.assertTrue(well)
        self.assertEqual(
            lines[1],
            "not wanted (i-2)  revision r1 (applied)  leaves the load balancer: tail, 200 s at least, 3 sockets  "
            "leaves its own address: draining, 200 s at most, an unknown number of sockets (a worker is silent)",
        )
        left = [{**path, "phase": "left"}, {**path, "path": "address", "phase": "left"}]
        lines = self.report(leaving=left, target=None)[0]
        self.assertIn("leaving      it has left the load balancer", lines)
        self.assertIn("leaving      it has left its own address", lines)

    def test_does_not_claim_to_know_sockets_that_one_does_not_know(self):
        status = {**self.own, "draining": [Report.removed]}
        other = {**self.own, "draining": [{**Report.removed, "sockets": None}]}
        lines, _ = self.report(self.row("balancer-2", "i-2", other), draining=[Report.removed])
        self.assertIn("an unknown number of sockets", lines[-1])
        lines, _ = self.report(self.row("balancer-2", "i-2", status), draining=[Report.removed])
        self.assertTrue(lines[-1].endswith("90 s at most, 14 sockets"))


class SaveServerStates(unittest.TestCase):
    def test_on_a_full_disk_says_so_in_one_line(self):
        full = OSError(errno.ENOSPC, "No space left on device")
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(haproxy_runtime, "SERVER_STATE", Path(folder) / "server-state"),
            mock.patch.object(haproxy_runtime, "ask", return_value="1\n"),
            mock.patch.object(haproxy_runtime.files.os, "fsync", side_effect=full),
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            haproxy_runtime.SERVER_STATE.write_text("of an earlier reload")
            self.assertEqual(command.main(["save-server-states"]), 1)
            self.assertEqual(list(Path(folder).iterdir()), [])
        self.assertRegex(said.getvalue(), r"^wcs-balancer: \S+/server-state cannot be written: No space left .*\n$")

    def test_keeps_haproxy_from_no_reload(self):
        unit = (MACHINES / "balancer/haproxy-service.conf").read_text()
        self.assertIn("\nExecReload=-/usr/local/sbin/wcs-balancer save-server-states\n", unit)


if __name__ == "__main__":
    unittest.main()
