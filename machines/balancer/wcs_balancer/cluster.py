"""The statuses of all balancers, as each of them shows the whole cluster."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Mapping

from .disk import Disk
from .document import Entry
from .peers import Answer, Peers, ask_all, ask_status

# An answer is reused for this long, for every client.
REUSE_SECONDS = 1


def no_address(asks: bool, answered: bool) -> str:
    """Why a wanted balancer has no known address. `asks` tells whether AWS is asked for the machines that run,
    `answered` whether it has just named all of them."""
    if not asks:
        # Only the old balancer of a stack with one Elastic IP answers for another machine without asking AWS.
        return (
            "it does not serve yet: most probably it is still being set up. No other balancer knows its address before "
            "the Elastic IP moves to it"
        )
    return "it does not run" if answered else "AWS has not said yet whether it runs, so its address is not known"


def rows(
    instance: str | None,
    own: Mapping[str, Any],
    named: Mapping[str, str],
    addresses: Mapping[str, str],
    answers: Mapping[str, Answer],
    unknown: str,
) -> list[dict[str, Any]]:
    """Every balancer that is wanted or runs. `own` is the status of this machine, `unknown` the reason why a wanted one
    has no known address."""
    names = {wanted: name for name, wanted in named.items()}
    silent = Answer(None, unknown)

    def row(one: str | None, answer: Answer) -> dict[str, Any]:
        return {
            "name": names.get(one or ""),
            "instance": one,
            "address": addresses.get(one or ""),
            "status": answer.status,
            "reason": answer.reason,
            "haproxyAnswers": answer.haproxy_answers,
        }

    others = {*names, *answers} - {instance}
    found = [row(instance, Answer(dict(own), ""))] + [row(one, answers.get(one, silent)) for one in others]
    return sorted(found, key=lambda one: (one["name"] is None, one["name"] or "", one["instance"] or ""))


class Cluster:
    """Asks the other balancers when a client wants to see all. Several HTTP threads may use it."""

    def __init__(
        self,
        disk: Disk,
        peers: Peers,
        instance: Callable[[], str | None],
        entry: Callable[[], Entry | None],
        own_status: Callable[[], dict[str, Any]],
    ):
        self.disk, self.peers, self.instance, self.entry, self.own_status = disk, peers, instance, entry, own_status
        self.lock = threading.Lock()
        self.answers: dict[str, Answer] = {}
        self.answered_at = float("-inf")

    def shown(self) -> dict[str, Any]:
        """The answer over HTTP."""
        instance, entry, addresses = self.instance(), self.entry(), self.peers.known
        named = entry.balancers if entry else {}
        others = {one: address for one, address in addresses.items() if one != instance}
        with ThreadPoolExecutor(max_workers=1) as beside:
            asked = beside.submit(self.ask, others, named)
            own = self.own_status()
            unknown = no_address(self.peers.asks, self.peers.answered)
            balancers = rows(instance, own, named, addresses, asked.result(), unknown)
        complete = self.peers.answered or not self.peers.asks
        return {"instance": instance, "complete": complete, "balancers": balancers}

    def ask(self, peers: Mapping[str, str], named: Mapping[str, str]) -> dict[str, Answer]:
        """The other balancers' answers, at most a second old. Threads that ask meanwhile get the same answers."""
        with self.lock:
            if time.monotonic() - self.answered_at > REUSE_SECONDS or self.answers.keys() != peers.keys():
                self.answers = self.ask_all(peers)
                self.answered_at = time.monotonic()
                self.peers.note_silence(self.answers, named.values())
            return self.answers

    def ask_all(self, peers: Mapping[str, str]) -> dict[str, Answer]:
        secret = self.disk.status_secret()
        if secret is None:
            return {one: Answer(None, "this machine has no certificate of the status yet") for one in peers}
        return ask_all(lambda address, one: ask_status(address, one, secret.pem, secret.token), peers)
