"""What has to be said to a running HAProxy so that its servers become those of a configuration. Pure functions."""

import re
from dataclasses import dataclass
from typing import Collection, Iterator, Mapping, NamedTuple

from .errors import PlanError
from .places import BACKEND

AGENT_REQUEST = re.compile(r'agent-send "([^"]*)"')
FORCED_MAINTENANCE = 0x01
FORCED_DRAIN = 0x08


@dataclass(frozen=True)
class Configuration:
    """haproxy.cfg as far as a change of it can be made without a reload."""

    base: str
    """The text without the servers of the backend and without the agent's request: when it changes, HAProxy
    has to be reloaded."""
    defaults: str
    """Options that every server has, as words of `add server`."""
    agent_request: str
    servers: Mapping[str, str]
    """Address and own options of each server, by its name."""


class RunningServer(NamedTuple):
    """A server of the current worker."""

    maintenance: bool
    drain: bool = False
    """Whether an operator lets it take no new clients. (A full one is another thing: its agent says so.)"""


def escaped(text: str) -> str:
    """A text as one word of the runtime API."""
    return re.sub(r"([\\ ;#])", r"\\\1", text)


def lines_of_backend(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each line of haproxy.cfg with its words; a line that is not of the nodes' backend has none."""
    section = ""
    for line in text.splitlines():
        words = line.split()
        if line[:1].strip() and words[0] != "#":
            section = line.rstrip()
        yield line, words if section == f"backend {BACKEND}" else []


def parse_configuration(text: str) -> Configuration:
    """Takes the backend's servers and their defaults out of haproxy.cfg."""
    base: list[str] = []
    servers: dict[str, str] = {}
    defaults = agent_request = ""
    for line, words in lines_of_backend(text):
        if words[:1] == ["server"]:
            servers[words[1]] = " ".join(words[2:])
            continue
        if words[:1] == ["default-server"]:
            words = AGENT_REQUEST.sub("", line).split()[1:]
            if found := AGENT_REQUEST.search(line):
                agent_request = found.group(1)
                words += ["agent-send", escaped(agent_request)]
                line = AGENT_REQUEST.sub("agent-send", line)
            defaults = " ".join(words)
        base.append(line)
    return Configuration("\n".join(base), defaults, agent_request, servers)


def with_servers(text: str, servers: Mapping[str, str]) -> str:
    """haproxy.cfg, whose last section is the nodes' backend, with other servers."""
    kept = [line for line, words in lines_of_backend(text) if words[:1] != ["server"]]
    return "".join(f"{line}\n" for line in kept) + server_lines(servers)


def parse_servers_state(answer: str) -> dict[str, RunningServer]:
    """The backend's servers out of `show servers state`."""
    lines = answer.splitlines()
    names = next((line[2:].split() for line in lines if line.startswith("# ")), None)
    if names is None:
        raise PlanError(f"HAProxy has no backend {BACKEND}: {' '.join(answer.split())[:200]}")
    rows = [dict(zip(names, line.split())) for line in lines if line[:1] not in ("", "#") and " " in line]
    return {
        row["srv_name"]: RunningServer(bool(admin & FORCED_MAINTENANCE), bool(admin & FORCED_DRAIN))
        for row in rows
        if row["be_name"] == BACKEND
        for admin in [int(row["srv_admin_state"])]
    }


def needs_reload(wanted: Configuration, applied: Configuration | None) -> bool:
    """Whether the runtime API is not enough: anything but servers that come and go, and the agent's request."""
    if applied is None or wanted.base != applied.base:
        return True
    return any(
        options != applied.servers[name] for name, options in wanted.servers.items() if name in applied.servers
    )


def plan_joining(
    wanted: Configuration, running: Mapping[str, RunningServer], unfinished: Collection[str], told: Collection[str]
) -> list[str]:
    """Commands that add servers, take back those that were on their way out, and tell those in `told` the agent's
    request.

    A server takes clients when its checks have passed and its agent has said so, not before. `unfinished`
    names those that came or went when a run ended early; only their maintenance is lifted, since any other
    is an operator's.
    """
    commands: list[str] = []
    for name, options in wanted.servers.items():
        server = f"{BACKEND}/{name}"
        request = [f"set server {server} agent-send {escaped(wanted.agent_request)}"] if name in told else []
        if name not in running:
            commands.append(f"add server {server} {options} {wanted.defaults}")
        if not joins(name, running, unfinished):
            commands += request
        else:
            commands += [
                f"set server {server} health down",
                f"enable agent {server}",
                *request,
                f"set server {server} agent down",
                f"enable health {server}",
                f"set server {server} state ready",
            ]
    return commands


def joins(name: str, running: Mapping[str, RunningServer], unfinished: Collection[str]) -> bool:
    """Whether a wanted server takes no clients yet: it is new, or a run that ended early has left it in maintenance."""
    return name not in running or (name in unfinished and running[name].maintenance)


def server_lines(servers: Mapping[str, str]) -> str:
    """Servers as the last lines of haproxy.cfg."""
    return "".join(f"    server {name} {options}\n" for name, options in servers.items())


def plan_leaving(leaving: Collection[str], running: Mapping[str, RunningServer]) -> list[str]:
    """Commands after which servers get no client any more, not even one with a cookie, and keep their sockets.

    Maintenance comes first: a run that ends early leaves by it a server of which the next one knows.
    """
    return [
        command
        for name in leaving
        if name in running
        for server in [f"{BACKEND}/{name}"]
        for command in (f"set server {server} state maint", f"disable agent {server}", f"disable health {server}")
    ]


def plan_removal(name: str) -> list[str]:
    """Commands that remove a server which has no socket left."""
    return [f"wait 2s srv-removable {BACKEND}/{name}", f"del server {BACKEND}/{name}"]
