"""This machine as a target of the load balancer: registers and deregisters it, and knows the health of all targets.

A separate thread asks AWS. The loop gives it a task, and reads the result of the last turn.
"""

import threading
from dataclasses import dataclass, field
from typing import Any, Iterable, Literal, Mapping, NamedTuple

from .aws import Aws, next_pause
from .document import TargetGroup
from .errors import AwsError, in_words

# The time between two turns while there is a load balancer.
TURN_SECONDS = 10
# AWS's errors when the target group, or this target in it, does not exist any more.
GONE = ("TargetGroupNotFound", "InvalidTarget")
SERVICE = "elbv2"

State = Literal["healthy", "initial", "draining", "unused", "unhealthy", "unknown"]
# From good to bad.
STATES: tuple[State, ...] = ("healthy", "initial", "draining", "unused", "unhealthy", "unknown")


class Health(NamedTuple):
    """The health of a target."""

    state: State
    reason: str


NOT_REGISTERED = Health("unused", "it is not registered")


class Task(NamedTuple):
    """The loop's task for this machine."""

    instance: str
    groups: tuple[TargetGroup, ...]
    action: Literal["register", "deregister", "watch"]


@dataclass(frozen=True)
class Seen:
    """The result of a turn. Immutable, for other threads to read."""

    task: Task | None = None
    health: Mapping[TargetGroup, Mapping[str, Health]] = field(default_factory=dict)
    """The health of each registered instance, for each target group that has answered."""
    errors: tuple[str, ...] = ()


def parse_health(answer: Mapping[str, Any], port: int) -> dict[str, Health]:
    """The health of the instances that are registered with a port, read from DescribeTargetHealth.

    Raises AwsError when there is no list: that does not mean that nothing is registered.
    """
    rows = answer.get("TargetHealthDescriptions")
    if not isinstance(rows, list):
        raise AwsError("Elastic Load Balancing gives an answer that cannot be read")
    found = {}
    for row in rows:
        target, health = row.get("Target") or {}, row.get("TargetHealth") or {}
        code = str(health.get("Reason", ""))
        if target.get("Port") != port or code == "Target.NotRegistered":
            continue
        state = "unhealthy" if health.get("State") == "unhealthy.draining" else health.get("State")
        reason = str(health.get("Description") or code)
        found[str(target.get("Id"))] = Health(state if state in STATES else "unknown", reason)
    return found


def is_registered(health: Health | None) -> bool:
    """Whether a target gets new clients now or soon. A target that has been deregistered drains."""
    return health is not None and health.state != "draining"


def own_health(task: Task, seen: Seen) -> Health:
    """The health of this machine in the target groups, the worst of them. `task` is what the loop wants now."""
    if seen.task is None or seen.task.groups != task.groups:
        return Health("unknown", "AWS has not been asked yet")
    if seen.errors:
        return Health("unknown", "; ".join(seen.errors))
    every = [seen.health.get(group, {}).get(task.instance, NOT_REGISTERED) for group in task.groups]
    return max(every, key=lambda health: STATES.index(health.state))


def not_healthy(named: Mapping[str, str], groups: Iterable[TargetGroup], seen: Seen) -> list[str]:
    """Why not every named instance is a healthy target of every group; empty when each is."""
    if seen.task is None or seen.task.groups != tuple(groups):
        return ["AWS has not been asked for the targets yet"]
    if seen.errors:
        return list(seen.errors)
    return [
        f"{name} is not a healthy target on port {group.port} yet: {health.state}"
        + (f" ({health.reason})" if health.reason else "")
        for name, instance in sorted(named.items())
        for group in seen.task.groups
        for health in [seen.health.get(group, {}).get(instance, NOT_REGISTERED)]
        if health.state != "healthy"
    ]


def is_deregistered(instance: str, groups: Iterable[TargetGroup], seen: Seen) -> bool:
    """Whether this machine certainly gets no new clients from any group."""
    return (
        seen.task is not None
        and seen.task.groups == tuple(groups)
        and not seen.errors
        and not any(is_registered(targets.get(instance)) for targets in seen.health.values())
    )


class Targets:
    """Keeps this machine registered or deregistered."""

    def __init__(self, aws: Aws):
        self.aws = aws
        self.task: Task | None = None
        self.seen = Seen()
        self.pause: float = TURN_SECONDS
        """The time until the next turn."""
        self.changed = threading.Event()

    def want(self, task: Task | None) -> None:
        """Called by the loop, as often as it likes."""
        if task != self.task:
            self.task = task
            self.changed.set()

    def start(self) -> None:
        threading.Thread(target=self.keep_turning, daemon=True).start()

    def keep_turning(self) -> None:
        while True:
            self.turn()
            self.changed.wait(self.pause)
            self.changed.clear()

    def turn(self) -> None:
        """Carries out the loop's task once. No error ends the thread."""
        task = self.task
        health: dict[TargetGroup, dict[str, Health]] = {}
        errors: list[Exception] = []
        for group in task.groups if task else ():
            try:
                health[group] = self.turn_group(task, group)
            except Exception as error:
                errors.append(error)
        self.pause = next_pause(self.pause, TURN_SECONDS, errors)
        # Both groups often have the same error.
        self.seen = Seen(task, health, tuple(dict.fromkeys(map(in_words, errors))))

    def turn_group(self, task: Task, group: TargetGroup) -> dict[str, Health]:
        """Carries out the loop's task in one group. Returns the health of its targets afterwards."""
        try:
            targets = self.ask(group)
            registered = is_registered(targets.get(task.instance))
            if registered != (task.action == "register") and task.action != "watch":
                target = [{"Id": task.instance, "Port": group.port}]
                self.aws.call(SERVICE, f"{task.action}_targets", TargetGroupArn=group.arn, Targets=target)
                targets = self.ask(group)
            return targets
        except AwsError as error:
            if task.action == "deregister" and error.code in GONE:
                return {}
            raise

    def ask(self, group: TargetGroup) -> dict[str, Health]:
        return parse_health(self.aws.call(SERVICE, "describe_target_health", TargetGroupArn=group.arn), group.port)
