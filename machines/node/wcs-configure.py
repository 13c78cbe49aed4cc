#!/usr/bin/python3
"""Configures Web Call Server on this machine, before each of its starts.

Writes the properties that the balancer needs and those of /etc/wcs-node/node.json, this machine's addresses and the Java heap into WCS's own
files. At every start, since nothing else detects the addresses, and a stop and start of the instance can
change its public address and its memory. Running it again changes nothing.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, "/usr/local/lib/wcs-setup")
from aws_instance import metadata

SETTINGS = Path("/etc/wcs-node/node.json")
NEEDED = Path("/usr/local/share/wcs-node/needed-properties.json")
WCS = Path("/usr/local/FlashphonerWebCallServer/conf")
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
    """Replaces a file in one step; it keeps its owner and mode."""
    status = path.stat()
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.chown(temporary, status.st_uid, status.st_gid)
    shutil.copymode(path, temporary)
    os.replace(temporary, path)


def main() -> None:
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    # A user's own win.
    properties = json.loads(NEEDED.read_text(encoding="utf-8")) | settings["properties"]
    token = metadata("")
    private = metadata("local-ipv4", token)
    # A node in a private subnet has no public address.
    public = metadata("public-ipv4", token, missing=private)
    heap = settings.get("heap") or half_of_memory(Path("/proc/meminfo").read_text(encoding="utf-8"))
    print(f"wcs-configure: ip={public} ip_local={private} heap={heap}")
    for name, change in (
        ("flashphoner.properties", lambda text: set_properties(text, resolve(properties, private, public))),
        ("wcs-core.properties", lambda text: set_heap(text, heap)),
    ):
        text = (WCS / name).read_text(encoding="utf-8")
        if (changed := change(text)) != text:
            rewrite(WCS / name, changed)


if __name__ == "__main__":
    main()
