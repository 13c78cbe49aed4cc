#!/usr/bin/python3
"""Configures Web Call Server on this machine, before each of its starts.

Writes the properties that the balancer needs, those of /etc/wcs-node/node.json, this machine's addresses and the Java
heap into WCS's own files. At every start, since nothing else detects the addresses, and a stop and start of the instance can
change its public address and its memory. Running it again changes nothing. When it fails, systemd does run it
again: metadata may be away for a while, or the disk full.

Root asks, and a second process (`wcs-configure write`) writes as the user that the files belong to.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, "/usr/local/lib/wcs-setup")
from aws_instance import AwsError, metadata
from wcs_user import WCS, owner_of, run_as

SETTINGS = Path("/etc/wcs-node/node.json")
NEEDED = Path("/usr/local/share/wcs-node/needed-properties.json")
KEY = re.compile(r"^\s*([^#!\s=:][^=:\s]*)\s*[=:]")
HEAP = re.compile(r"^\s*-Xmx\S+\s*$")


def set_properties(text: str, properties: dict[str, str]) -> str:
    """Gives the text of a Java properties file with `properties` set, each exactly once.

    A key that is there is replaced where it stands, its duplicates are removed, a new one is added at the
    end. Comments and all other lines stay.
    """
    lines: list[str] = []
    placed: set[str] = set()
    for line in text.splitlines():
        match = KEY.match(line)
        key = match.group(1) if match else None
        if key not in properties:
            lines.append(line)
        elif key not in placed:
            lines.append(f"{key}={properties[key]}")
            placed.add(key)
    lines += [f"{key}={value}" for key, value in properties.items() if key not in placed]
    return "\n".join(lines) + "\n"


def set_heap(text: str, heap: str) -> str:
    """Gives the text of wcs-core.properties, which holds an option of Java a line, with the heap's size."""
    lines = [line for line in text.splitlines() if not HEAP.match(line)]
    return "\n".join([*lines, f"-Xmx{heap}"]) + "\n"


def half_of_memory(meminfo: str) -> str:
    """Half of the machine's memory, as Flashphoner advises, in the words of -Xmx."""
    match = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    if match is None:
        raise ValueError("no MemTotal in /proc/meminfo")
    return f"{int(match.group(1)) // 2048}m"


def resolve(properties: dict[str, str], private: str, public: str) -> dict[str, str]:
    """Puts the machine's addresses into the properties: its own, and where a value asks for them."""
    own = {"ip": public, "ip_local": private, "hold_ip_settings": "true"}
    asked = {
        key: value.replace("{privateAddress}", private).replace("{publicAddress}", public)
        for key, value in properties.items()
    }
    return own | asked


def rewrite(path: Path, text: str) -> None:
    """Replaces a file in one step; it keeps its mode, and its owner where root writes."""
    status = path.stat()
    temporary = path.with_name(f".{path.name}.new")
    # What lies there under this name is left from a run that was killed, or planted: neither is written to.
    temporary.unlink(missing_ok=True)
    with open(temporary, "x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if os.geteuid() == 0:
        os.chown(temporary, status.st_uid, status.st_gid)
    shutil.copymode(path, temporary)
    os.replace(temporary, path)


def write(folder: Path, properties: dict[str, str], heap: str) -> None:
    """Brings WCS's files to what they should be, as the user that this runs as."""
    for name, change in (
        ("flashphoner.properties", lambda text: set_properties(text, properties)),
        ("wcs-core.properties", lambda text: set_heap(text, heap)),
    ):
        text = (folder / name).read_text(encoding="utf-8")
        if (changed := change(text)) != text:
            rewrite(folder / name, changed)


def hand_over(installation: Path, properties: dict[str, str], heap: str) -> None:
    """Has the files written by the user that may change them anyway."""
    command = [sys.executable, "-I", __file__, "write", str(installation / "conf")]
    text = json.dumps({"properties": properties, "heap": heap})
    run_as(owner_of("conf", installation=installation), command, input=text, check=True)


def configure() -> None:
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    # A user's own win.
    properties = json.loads(NEEDED.read_text(encoding="utf-8")) | settings["properties"]
    token = metadata("")
    private = metadata("local-ipv4", token)
    # A node in a private subnet has no public address.
    public = metadata("public-ipv4", token, missing=private)
    heap = settings.get("heap") or half_of_memory(Path("/proc/meminfo").read_text(encoding="utf-8"))
    print(f"wcs-configure: ip={public} ip_local={private} heap={heap}", flush=True)
    hand_over(WCS, resolve(properties, private, public), heap)


def main(arguments: list[str]) -> None:
    try:
        if arguments[:1] == ["write"]:
            write(Path(arguments[1]), **json.load(sys.stdin))
        else:
            configure()
    except subprocess.CalledProcessError as error:
        # The writing process has said why.
        sys.exit(error.returncode)
    except (AwsError, OSError, KeyError) as error:
        sys.exit(f"wcs-configure: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
