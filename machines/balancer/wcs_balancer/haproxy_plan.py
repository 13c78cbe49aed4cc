"""The commands to a running HAProxy that turn its servers into those of a configuration. Pure functions."""

import re
from dataclasses import dataclass
from typing import Collection, Iterator, Mapping, NamedTuple

from .errors import PlanError
from .places import BACKEND

AGENT_REQUEST = re.compile(r' ?agent-send "([^"]*)"')
FORCED_MAINTENANCE = 0x01
FORCED_DRAIN = 0x08


@dataclass(frozen=True)
class Configuration:
    """haproxy.cfg, split into parts that can change without a reload, and the rest."""

    base: str
    """The text without the servers of the backend and without the agents' request. If it changes, HAProxy has to be
    reloaded."""
    defaults: str
    """The options of every server, as words of `add server`, without the agents' request."""
    agent_request: str
    """The request to the agents of servers that have none of their own."""
    servers: Mapping[str, str]
    """Address and own options of each server, by its name."""

    def request_of(self, name: str) -> str:
        """The request to the agent of a server."""
        own = own_request(self.servers[name])
        return self.agent_request if own is None else own


class RunningServer(NamedTuple):
    """A server of the current worker."""

    maintenance: bool
    drain: bool = False
    """Whether an operator drains it. (A full server also takes no new clients, but its agent says so.)"""


def escaped(text: str) -> str:
    """The text, escaped as one word of the runtime API."""
    return re.sub(r"([\\ ;#])", r"\\\1", text)


def own_request(options: str) -> str | None:
    """The request that a server's own options name for its agent, if any."""
    found = AGENT_REQUEST.search(options)
    return found.group(1) if found else None


def without_request(options: str) -> str:
    """Address and own options of a server without its agent's request."""
    return AGENT_REQUEST.sub("", options)


def lines_of_backend(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each line of haproxy.cfg with its words. A line outside the nodes' backend has no words."""
    section = ""
    for line in text.splitlines():
        words = line.split()
        if line[:1].strip() and words[0] != "#":
            section = line.rstrip()
        yield line, words if section == f"backend {BACKEND}" else []


def parse_configuration(text: str) -> Configuration:
    """Reads the backend's servers and their defaults from haproxy.cfg."""
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
                line = AGENT_REQUEST.sub(" agent-send", line)
            defaults = " ".join(words)
        base.append(line)
    return Configuration("\n".join(base), defaults, agent_request, servers)


def with_servers(text: str, servers: Mapping[str, str]) -> str:
    """haproxy.cfg with other servers. Its last section is the nodes' backend."""
    kept = [line for line, words in lines_of_backend(text) if words[:1] != ["server"]]
    return "".join(f"{line}\n" for line in kept) + server_lines(servers)


def parse_servers_state(answer: str) -> dict[str, RunningServer]:
    """The backend's servers, read from `show servers state`."""
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


def taken_out(running: Mapping[str, RunningServer], unfinished: Collection[str]) -> dict[str, str]:
    """The servers that an operator has taken out, with HAProxy's word for how. The maintenance of an unfinished server
    comes from this service."""
    return {
        name: "maint" if server.maintenance else "drain"
        for name, server in running.items()
        if server.drain or server.maintenance and name not in unfinished
    }


def needs_reload(wanted: Configuration, applied: Configuration | None) -> bool:
    """Whether the runtime API is not enough: it can only add and remove servers, and change requests to agents."""
    if applied is None or wanted.base != applied.base:
        return True
    return any(
        without_request(options) != without_request(applied.servers[name])
        for name, options in wanted.servers.items()
        if name in applied.servers
    )


def plan_joining(
    wanted: Configuration, running: Mapping[str, RunningServer], unfinished: Collection[str], told: Collection[str]
) -> list[str]:
    """Commands that add new servers, take back removed ones that are wanted again, and tell those in `told` the request
    to their agents.

    A server takes clients only after its checks have passed and its agent has agreed. `unfinished` names servers that
    were added or removed when a run ended early. Only their maintenance is lifted, since all other maintenance is an
    operator's.
    """
    commands: list[str] = []
    for name, options in wanted.servers.items():
        server = f"{BACKEND}/{name}"
        agent_send = f"agent-send {escaped(wanted.request_of(name))}"
        request = [f"set server {server} {agent_send}"] if name in told else []
        if name not in running:
            # A server that is added has nothing of `default-server`.
            commands.append(f"add server {server} {without_request(options)} {wanted.defaults} {agent_send}")
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
    """Commands after which servers get no new clients, not even clients with a cookie, and keep their sockets.

    Maintenance comes first: if the run ends early, the next run knows the server by its maintenance.
    """
    return [
        command
        for name in leaving
        if name in running
        for server in [f"{BACKEND}/{name}"]
        for command in (f"set server {server} state maint", f"disable agent {server}", f"disable health {server}")
    ]


def plan_removal(name: str) -> list[str]:
    """Commands that delete a server without sockets."""
    return [f"wait 2s srv-removable {BACKEND}/{name}", f"del server {BACKEND}/{name}"]
