#!/usr/bin/python3
"""Configures Web Call Server on this machine, before each of its starts.

Writes the properties that the balancer needs, those of @NODE_SETTINGS@, this machine's addresses and the Java
heap into WCS's own files. It runs at every start, since nothing else detects the addresses, and a stop and start of
the instance can change its public address and its memory. A second run changes nothing. When it fails, systemd runs
it again, since metadata may be away for a while, or the disk full.

Root asks metadata. A second process (`wcs-configure write`) writes as the user that owns the files.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, "@SETUP_LIBRARY@")
from aws_instance import AwsError, metadata
from wcs_user import WCS, owner_of, run_as

SETTINGS = Path("@NODE_SETTINGS@")
NEEDED = Path("/usr/local/share/wcs-node/needed-properties.json")
KEY = re.compile(r"^\s*([^#!\s=:][^=:\s]*)\s*[=:]")
HEAP = re.compile(r"^\s*-Xmx\S+\s*$")


def set_properties(text: str, properties: dict[str, str]) -> str:
    """Gives the text of a Java properties file with `properties` set, each exactly once.

    An existing key gets its new value in place, and its duplicates are removed. A new key is added at the end.
    Comments and all other lines stay.
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
    """Gives the text of wcs-core.properties, which holds one option of Java on each line, with the heap's size."""
    lines = [line for line in text.splitlines() if not HEAP.match(line)]
    return "\n".join([*lines, f"-Xmx{heap}"]) + "\n"


def half_of_memory(meminfo: str) -> str:
    """Half of the machine's memory, as Flashphoner advises, in the format of -Xmx."""
    match = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    if match is None:
        raise ValueError("no MemTotal in /proc/meminfo")
    return f"{int(match.group(1)) // 2048}m"


def resolve(properties: dict[str, str], private: str, public: str) -> dict[str, str]:
    """Sets the properties of the machine's addresses, and fills in the addresses where a value names them."""
    own = {"ip": public, "ip_local": private, "hold_ip_settings": "true"}
    asked = {
        key: value.replace("{privateAddress}", private).replace("{publicAddress}", public)
        for key, value in properties.items()
    }
    return own | asked


def rewrite(path: Path, text: str) -> None:
    """Replaces a file in one step. The file keeps its mode, and its owner if root writes."""
    status = path.stat()
    temporary = path.with_name(f".{path.name}.new")
    # A file with this name is left from a killed run, or was planted. Never write to it.
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
    """Writes the wanted content into WCS's files, as the user that this process runs as."""
    for name, change in (
        ("flashphoner.properties", lambda text: set_properties(text, properties)),
        ("wcs-core.properties", lambda text: set_heap(text, heap)),
    ):
        text = (folder / name).read_text(encoding="utf-8")
        if (changed := change(text)) != text:
            rewrite(folder / name, changed)


def hand_over(installation: Path, properties: dict[str, str], heap: str) -> None:
    """Starts a process that writes the files as the user that can change them anyway."""
    command = [sys.executable, "-I", __file__, "write", str(installation / "conf")]
    text = json.dumps({"properties": properties, "heap": heap})
    run_as(owner_of("conf", installation=installation), command, input=text, check=True)


def configure() -> None:
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    # User-supplied properties override the needed ones.
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
        # The writing process has printed the reason.
        sys.exit(error.returncode)
    except (AwsError, OSError, KeyError) as error:
        sys.exit(f"wcs-configure: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
