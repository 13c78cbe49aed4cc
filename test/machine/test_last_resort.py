"""When removed servers may stop serving, and when they must serve again."""

import unittest

import filled_machines  # noqa: F401
from wcs_balancer.last_resort import PROOF_SECONDS, all_down, certainly_served, proven


def rows(*servers):
    return [
        {"svname": name, "status": status, "lastchg": str(seconds), "weight": "1"} for name, status, seconds in servers
    ]


class Proven(unittest.TestCase):
    def test_a_server_that_has_been_up_for_long_enough(self):
        servers = rows(("new", "UP", PROOF_SECONDS - 1), ("old", "UP", PROOF_SECONDS), ("going", "UP 1/2", 99))
        self.assertEqual(proven(servers), {"old", "going"})

    def test_a_server_that_has_been_down_or_in_maintenance_for_long_is_not(self):
        self.assertEqual(proven(rows(("a", "DOWN", 99), ("b", "MAINT", 99), ("c", "DOWN 1/2", 99))), set())

    def test_a_full_server_is(self):
        servers = rows(("a", "DRAIN", PROOF_SECONDS), ("b", "DRAIN (agent)", 99), ("c", "DRAIN", 1))
        self.assertEqual(proven(servers), {"a", "b"})


class AllDown(unittest.TestCase):
    def test_when_no_wanted_server_is_up_though_a_removed_one_is(self):
        servers = rows(("a", "DOWN", 1), ("b", "DOWN (agent)", 1), ("c", "DOWN 1/2", 1), ("old", "UP", 1))
        self.assertTrue(all_down(servers, {"old"}))
        self.assertFalse(all_down(servers, set()))

    def test_a_full_server_is_not_down(self):
        full = {**rows(("b", "UP", 1))[0], "weight": "0"}
        self.assertFalse(all_down([*rows(("a", "DOWN", 1)), full], set()))
        self.assertFalse(all_down(rows(("a", "DOWN", 1), ("b", "DRAIN", 1)), set()))

    def test_one_that_an_operator_has_taken_out_does_not_serve(self):
        self.assertTrue(all_down(rows(("a", "DOWN", 1), ("b", "MAINT", 1)), set()))

    def test_when_operators_have_taken_out_all_it_is_as_they_want(self):
        self.assertFalse(all_down(rows(("a", "MAINT", 1)), set()))

    def test_not_where_nothing_is_wanted(self):
        self.assertFalse(all_down(rows(("old", "DOWN", 1)), {"old"}))
        self.assertFalse(all_down([], set()))

    def test_one_that_an_operator_lets_drain_does_not_serve_either(self):
        servers = rows(("a", "DOWN", 1), ("b", "DRAIN", 99))
        self.assertTrue(all_down(servers, set(), {"b"}))
        self.assertFalse(all_down(rows(("b", "DRAIN", 99)), set(), {"b"}))
        self.assertFalse(certainly_served(servers, set(), {"b"}))
        self.assertTrue(certainly_served(rows(("b", "DRAIN", 99)), set(), {"b"}))


class CertainlyServed(unittest.TestCase):
    def test_by_a_wanted_server_that_is_proven(self):
        servers = rows(("a", "UP", PROOF_SECONDS), ("b", "DOWN", 1))
        self.assertTrue(certainly_served(servers, set()))
        self.assertFalse(certainly_served(servers, {"a"}))

    def test_not_while_haproxy_only_takes_servers_for_up(self):
        self.assertFalse(certainly_served(rows(("a", "UP", 1), ("b", "MAINT", 99)), set()))

    def test_as_far_as_operators_want_it(self):
        self.assertTrue(certainly_served(rows(("a", "MAINT", 1)), set()))


if __name__ == "__main__":
    unittest.main()
