"""What the node's scripts promise, without a machine."""

import importlib.util
import sys
import unittest
from pathlib import Path

files = Path(__file__).parents[2] / "machines"
sys.path.insert(0, str(files / "setup"))


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), files / f"node/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


configure = load("wcs-configure")
license_ = load("wcs-license")


class SetProperties(unittest.TestCase):
    def test_replaces_where_the_key_stands_and_keeps_the_rest(self):
        text = "# comment\na=1\nb = 2\n"
        self.assertEqual(configure.set_properties(text, {"a": "9"}), "# comment\na=9\nb = 2\n")

    def test_a_key_with_blanks_around_is_the_same_key(self):
        self.assertEqual(configure.set_properties("ip =127.0.0.1\n", {"ip": "10.0.0.1"}), "ip=10.0.0.1\n")

    def test_duplicates_are_removed(self):
        self.assertEqual(configure.set_properties("a=1\nb=2\na=3\n", {"a": "9"}), "a=9\nb=2\n")

    def test_new_keys_come_last(self):
        self.assertEqual(configure.set_properties("a=1", {"ws.port": "8080"}), "a=1\nws.port=8080\n")

    def test_a_key_that_only_begins_alike_stays(self):
        self.assertEqual(configure.set_properties("ip_local=x\n", {"ip": "y"}), "ip_local=x\nip=y\n")

    def test_a_comment_is_no_key(self):
        self.assertEqual(configure.set_properties("#a=1\n", {"a": "2"}), "#a=1\na=2\n")

    def test_running_it_again_changes_nothing(self):
        once = configure.set_properties("a=1\n", {"a": "2", "b": "x=y"})
        self.assertEqual(configure.set_properties(once, {"a": "2", "b": "x=y"}), once)


class Resolve(unittest.TestCase):
    def test_the_addresses_stand_in_their_own_properties_and_where_a_value_asks_for_them(self):
        properties = configure.resolve({"cdn_ip": "{privateAddress}", "x": "{publicAddress}:1"}, "10.0.0.1", "203.0.113.1")
        self.assertEqual(properties["ip"], "203.0.113.1")
        self.assertEqual(properties["ip_local"], "10.0.0.1")
        self.assertEqual(properties["cdn_ip"], "10.0.0.1")
        self.assertEqual(properties["x"], "203.0.113.1:1")

    def test_a_users_own_property_wins(self):
        self.assertEqual(configure.resolve({"ip": "192.0.2.1"}, "10.0.0.1", "203.0.113.1")["ip"], "192.0.2.1")


class SetHeap(unittest.TestCase):
    def test_replaces_the_option_and_keeps_the_others(self):
        self.assertEqual(configure.set_heap("-Xmx1024M\n-Dx=y\n", "4g"), "-Dx=y\n-Xmx4g\n")

    def test_adds_it_where_there_is_none(self):
        self.assertEqual(configure.set_heap("-Dx=y\n", "4g"), "-Dx=y\n-Xmx4g\n")

    def test_running_it_again_changes_nothing(self):
        once = configure.set_heap("-Xmx1024M\n", "512m")
        self.assertEqual(configure.set_heap(once, "512m"), once)

    def test_half_of_memory(self):
        self.assertEqual(configure.half_of_memory("MemTotal:       8388608 kB\nMemFree: 1 kB\n"), "4096m")
        with self.assertRaises(ValueError):
            configure.half_of_memory("nothing")


class License(unittest.TestCase):
    reboot = "1 reboot.target start waiting\n2 shutdown.target start waiting\n"
    poweroff = "1 poweroff.target start waiting\n2 shutdown.target start waiting\n"
    halt = "1 halt.target start waiting\n2 shutdown.target start waiting\n"

    def test_a_reboot_is_no_power_off(self):
        self.assertTrue(license_.is_reboot(self.reboot))
        self.assertFalse(license_.is_reboot(self.poweroff))
        self.assertFalse(license_.is_reboot(self.halt))

    def test_a_stop_of_the_service_alone_is_no_shutdown(self):
        self.assertFalse(license_.is_shutdown("7 wcs-license.service stop running\n"))
        for jobs in (self.reboot, self.poweroff, self.halt):
            self.assertTrue(license_.is_shutdown(jobs))


if __name__ == "__main__":
    unittest.main()
