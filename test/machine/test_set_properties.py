"""What wcs-set-properties promises."""

import importlib.util
import unittest
from pathlib import Path

path = Path(__file__).parents[2] / "userdata/files/node/wcs-set-properties.py"
spec = importlib.util.spec_from_file_location("wcs_set_properties", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


class SetProperties(unittest.TestCase):
    def test_replaces_where_the_key_stands_and_keeps_the_rest(self):
        text = "# comment\na=1\nb = 2\n"
        self.assertEqual(module.set_properties(text, {"a": "9"}), "# comment\na=9\nb = 2\n")

    def test_a_key_with_blanks_around_is_the_same_key(self):
        self.assertEqual(module.set_properties("ip =127.0.0.1\n", {"ip": "10.0.0.1"}), "ip=10.0.0.1\n")

    def test_duplicates_are_removed(self):
        self.assertEqual(module.set_properties("a=1\nb=2\na=3\n", {"a": "9"}), "a=9\nb=2\n")

    def test_new_keys_come_last(self):
        self.assertEqual(module.set_properties("a=1", {"ws.port": "8080"}), "a=1\nws.port=8080\n")

    def test_a_key_that_only_begins_alike_stays(self):
        self.assertEqual(module.set_properties("ip_local=x\n", {"ip": "y"}), "ip_local=x\nip=y\n")

    def test_a_comment_is_no_key(self):
        self.assertEqual(module.set_properties("#a=1\n", {"a": "2"}), "#a=1\na=2\n")

    def test_running_it_again_changes_nothing(self):
        once = module.set_properties("a=1\n", {"a": "2", "b": "x=y"})
        self.assertEqual(module.set_properties(once, {"a": "2", "b": "x=y"}), once)


if __name__ == "__main__":
    unittest.main()
