#!/usr/bin/python3
"""Sets properties in a Java properties file: wcs-set-properties FILE KEY=VALUE...

A key that is there is replaced where it stands, its duplicates are removed, a new one is added at the end.
Comments and all other lines stay. The file is replaced in one step and keeps its owner and mode.
"""

import os
import re
import shutil
import sys

KEY = re.compile(r"^\s*([^#!\s=:][^=:\s]*)\s*[=:]")


def set_properties(text: str, properties: dict[str, str]) -> str:
    """Gives `text` with `properties` set, each exactly once."""
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


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or not all("=" in argument for argument in arguments[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    path = arguments[0]
    properties = dict(argument.split("=", 1) for argument in arguments[1:])
    with open(path, encoding="utf-8") as file:
        text = file.read()
    changed = set_properties(text, properties)
    if changed == text:
        return 0
    status = os.stat(path)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(changed)
    os.chown(f"{path}.new", status.st_uid, status.st_gid)
    shutil.copymode(path, f"{path}.new")
    os.replace(f"{path}.new", path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
