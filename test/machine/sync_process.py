"""wcs-balancer-sync as a process of its own, in a Debian root: everything is real but AWS and systemd.

AWS is the folder PARAMETERS, one file a parameter (and `instance-id`): a missing one is an error, as if the service were
away. While there is a file `full`, the disk is full. systemd is a script that starts and ends HAProxy.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

FILES = Path("/project/machines")
sys.path[:0] = [str(FILES / "setup"), str(FILES / "balancer")]
from wcs_balancer import files, instance, service
from wcs_balancer.errors import AwsError
from wcs_balancer.places import HAPROXY_CONFIG, MASTER_SOCKET, SERVER_STATE, SETTINGS

PARAMETERS = Path("/parameters")
LOG = Path("/sync.log")
SYSTEMCTL = Path("/usr/local/bin/systemctl")
HAPROXY_PID = Path("/run/haproxy-lab.pid")

SYSTEMD = f"""#!/bin/bash
# One at a time, as systemd does it.
exec 9> /run/systemctl.lock
flock 9
pid=$(cat {HAPROXY_PID} 2>/dev/null)
runs() {{ [[ -n $pid && -d /proc/$pid ]]; }}
case $1 in
  is-active) runs && echo active || echo failed ;;
  show) echo "$pid" ;;
  restart)
    if runs; then kill "$pid"; while runs; do sleep 0.02; done; fi
    rm -f {SERVER_STATE}
    exec haproxy -W -D -p {HAPROXY_PID} -f {HAPROXY_CONFIG} -S {MASTER_SOCKET} 2>&1 9>&- ;;
esac
"""


def prepare(certificate):
    """What the set-up of the machine leaves."""
    # Whoever gives up waiting for the script ends what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("was told to end"))
    PARAMETERS.mkdir(exist_ok=True)
    Path("/run/haproxy").mkdir(exist_ok=True)
    SYSTEMCTL.write_text(SYSTEMD)
    SYSTEMCTL.chmod(0o755)
    names = {f"{name}Parameter": name for name in ("state", "secret", "status")}
    files.replace_file(SETTINGS, json.dumps({**names, "certificatePath": str(certificate), "balancerTags": {}}))
    LOG.write_text("")


def systemctl(*words):
    return subprocess.run([str(SYSTEMCTL), *words], capture_output=True, text=True, check=True).stdout.strip()


def kill_haproxy():
    """Master and workers, as the kernel does it when there is no memory."""
    master = int(HAPROXY_PID.read_text())
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    for pid in (master, *map(int, children)):
        os.kill(pid, signal.SIGKILL)


class Process:
    """The service, which can be killed, stopped for a while, and started again."""

    started: "list[Process]" = []

    def __init__(self):
        self.started.append(self)
        with LOG.open("a") as log:
            self.popen = subprocess.Popen([sys.executable, __file__], stdout=log, stderr=log)

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        self.popen.kill()
        self.popen.wait()


def end_all():
    """Ends what a script has started."""
    for process in Process.started:
        process.kill()
    if HAPROXY_PID.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(HAPROXY_PID.read_text()), signal.SIGTERM)


def get_parameter(name):
    try:
        return (PARAMETERS / name).read_text()
    except FileNotFoundError:
        raise AwsError(f"SSM refuses {name}: it is away") from None


class Aws:
    """SSM alone: there is no load balancer."""

    def get_parameter(self, name):
        return get_parameter(name)


def metadata(path, token="", missing=""):
    return get_parameter("instance-id") if token else "a token"


def fsync(descriptor, original=os.fsync):
    if (PARAMETERS / "full").exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    original(descriptor)


if __name__ == "__main__":
    service.Aws, instance.metadata, files.os.fsync = Aws, metadata, fsync
    # The service's own pace is for another test.
    service.POLL_SECONDS = instance.AGAIN_SECONDS = 0.3
    service.LOOK_SECONDS = 0.3
    service.main()
