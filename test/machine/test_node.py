"""The promises of the node's scripts, without a machine."""

import importlib.util
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from filled_machines import MACHINES


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), MACHINES / f"node/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


configure = load("wcs-configure")
license_ = load("wcs-license")
import wcs_user  # noqa: E402


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

    def test_the_key_is_asked_for_again_while_aws_does_not_answer(self):
        answers = [license_.AwsError("away"), license_.AwsError("away"), "KEY"]
        with mock.patch("builtins.print"):
            self.assertEqual(license_.patiently(mock.Mock(side_effect=answers), seconds=5, pause=0), "KEY")
            with self.assertRaises(license_.AwsError):
                license_.patiently(mock.Mock(side_effect=answers), seconds=0, pause=1)


@unittest.skipUnless(os.geteuid() == 0, "root has to be there to be protected")
class Owner(unittest.TestCase):
    """WCS's user has planted something in its own folders; root's files stay as they are."""

    uid = 990
    secret = "root:x\n"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        top = Path(folder.name)
        top.chmod(0o755)
        self.wcs = top / "wcs"
        for name in ("conf", "bin"):
            (self.wcs / name).mkdir(parents=True)
        (self.wcs / "conf/flashphoner.properties").write_text("a=1\n")
        (self.wcs / "conf/wcs-core.properties").write_text("-Xmx1m\n")
        for name in ("activation.sh", "deactivation.sh"):
            self.script(name, "exit 0")
        self.give(self.wcs)
        # Root's own, beside it.
        self.shadow = top / "shadow"
        self.shadow.write_text(self.secret)
        self.shadow.chmod(0o600)
        self.etc = top / "etc"
        self.etc.mkdir()
        for name in ("flashphoner.properties", "wcs-core.properties", "flashphoner.license"):
            (self.etc / name).write_text("root's\n")

    def script(self, name, text):
        (self.wcs / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.wcs / "bin" / name).chmod(0o755)

    def give(self, path):
        for each in (path, *path.rglob("*")):
            os.chown(each, self.uid, self.uid, follow_symlinks=False)

    def plant(self, name, target):
        link = self.wcs / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        os.chown(link, self.uid, self.uid, follow_symlinks=False)

    def configure(self):
        # Without the writing process's words.
        with mock.patch.object(subprocess, "run", lambda *a, run=subprocess.run, **o: run(*a, **o, capture_output=True)):
            configure.hand_over(self.wcs, {"a": "2"}, "2m")

    def assert_roots_files_stay(self):
        status = self.shadow.stat()
        self.assertEqual((self.shadow.read_text(), status.st_uid, status.st_mode & 0o777), (self.secret, 0, 0o600))
        for path in self.etc.iterdir():
            self.assertEqual((path.read_text(), path.stat().st_uid), ("root's\n", 0))
        self.assertEqual(len(list(self.etc.iterdir())), 3)

    def test_without_that_the_files_are_written_and_keep_their_owner_and_mode(self):
        path = self.wcs / "conf/flashphoner.properties"
        path.chmod(0o640)
        self.configure()
        self.assertEqual(path.read_text(), "a=2\n")
        self.assertEqual((path.stat().st_uid, path.stat().st_mode & 0o777), (self.uid, 0o640))
        self.assertEqual((self.wcs / "conf/wcs-core.properties").read_text(), "-Xmx2m\n")

    def test_an_installation_that_is_roots_alone_is_written_by_root(self):
        for path in (self.wcs, *self.wcs.rglob("*")):
            os.chown(path, 0, 0)
        os.chown(self.wcs / "conf/flashphoner.properties", self.uid, self.uid)
        self.configure()
        self.assertEqual((self.wcs / "conf/flashphoner.properties").read_text(), "a=2\n")
        self.assertEqual((self.wcs / "conf/flashphoner.properties").stat().st_uid, self.uid)

    def test_a_file_that_is_a_link_to_one_of_roots(self):
        self.plant("conf/flashphoner.properties", self.shadow)
        with self.assertRaises(subprocess.CalledProcessError):
            self.configure()
        self.assert_roots_files_stay()
        self.assertNotIn("root:x", "".join(path.read_text() for path in self.wcs.glob("conf/.*")))

    def test_the_name_of_the_temporary_file_is_a_link(self):
        self.plant("conf/.flashphoner.properties.new", self.shadow)
        self.configure()
        self.assert_roots_files_stay()
        self.assertEqual((self.wcs / "conf/flashphoner.properties").read_text(), "a=2\n")

    def test_the_folder_is_a_link_to_one_of_roots(self):
        subprocess.run(["rm", "-r", str(self.wcs / "conf")], check=True)
        self.plant("conf", self.etc)
        with self.assertRaises(subprocess.CalledProcessError):
            self.configure()
        self.assert_roots_files_stay()

    def test_scripts_run_as_the_user_that_they_belong_to_without_roots_groups(self):
        for name in ("activation.sh", "deactivation.sh"):
            self.script(name, f'{{ id -u; id -G; cat; }} >"{self.wcs}/conf/$(basename "$0").id"')
            self.give(self.wcs)
            status = license_.run_script(name, ["bash", "-c", license_.WITH_KEY], "KEY", installation=self.wcs)
            self.assertEqual(status, 0)
            written = self.wcs / f"conf/{name}.id"
            self.assertEqual(written.read_text(), f"{self.uid}\n{self.uid}\n")
            self.assertEqual(written.stat().st_uid, self.uid)

    def test_the_key_reaches_the_script_as_its_argument(self):
        self.script("activation.sh", f'echo "$1" >{self.wcs}/conf/key')
        self.give(self.wcs)
        license_.run_script("activation.sh", ["bash", "-c", license_.WITH_KEY], "KEY-1", installation=self.wcs)
        self.assertEqual((self.wcs / "conf/key").read_text(), "KEY-1\n")

    def test_the_drop_in_of_operations_undoes_it(self):
        with mock.patch.dict(os.environ, {"WCS_USER": "root"}):
            self.assertEqual(wcs_user.owner_of("bin", installation=self.wcs), (0, 0))

    def test_one_folder_of_somebody_else_is_enough(self):
        for path in (self.wcs, *self.wcs.rglob("*")):
            os.chown(path, 0, 0)
        self.assertEqual(wcs_user.owner_of("conf", "bin", installation=self.wcs), (0, 0))
        os.chown(self.wcs / "bin/activation.sh", self.uid, self.uid)
        self.assertEqual(
            wcs_user.owner_of("conf", "bin", "bin/activation.sh", installation=self.wcs), (self.uid, self.uid)
        )
        (self.wcs / "conf").chmod(0o777)
        with mock.patch.object(wcs_user, "user_named", return_value=wcs_user.Owner(7, 7)):
            self.assertEqual(wcs_user.owner_of("conf", installation=self.wcs), (7, 7))


if __name__ == "__main__":
    unittest.main()
