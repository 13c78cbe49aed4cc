"""The states of nodes and pages in HAProxy's `show stat`, in an operator's words. Pure functions."""

import re
import sys
from typing import Any

from .haproxy_runtime import statistics
from .places import AGENT_PORT, CHECK_COMMENTS, NODE_PORT, PAGES_BACKEND, PAGES_PORT
from .set_up import parse_setup

# HAProxy's text for the agent's answer `down #REASON`.
AGENT_REASON = re.compile(r"via agent : \w+ \((.*)\)")
# HAProxy's text for the agent's answer `up N% #TIGHTEST CHECK`.
AGENT_LOAD = re.compile(r"via agent : up \((.*)\)")
# The comment in haproxy.cfg on the step at which the health check has failed: it names the port.
CHECK_COMMENT = re.compile(rf"comment: '({'|'.join(CHECK_COMMENTS.values())})'")
# HAProxy's code for an agent that has answered `down`, `fail` or `stopped`.
AGENT_SAYS_DOWN = "L7STS"


def node_name(server: str) -> str:
    """The name in the configuration: without the part that makes a server's name unique to its instance."""
    return re.sub(r"-[0-9a-f]{8}$", "", server)


def check_code(row: dict[str, str], check: str) -> str:
    """HAProxy's code for the last result of a check. While the next check runs, an asterisk stands before it."""
    return row.get(check, "").removeprefix("* ")


def lacks_words(row: dict[str, str]) -> bool:
    """Whether the text of a server's last check is missing. HAProxy forgets it when the next check begins, and some
    checks run most of the time."""
    if row["status"].startswith("MAINT"):
        return False
    if row["status"].startswith("DOWN") and check_code(row, "agent_status") != AGENT_SAYS_DOWN:
        return row.get("check_status", "").startswith("* ") and not row["last_chk"]
    return row["agent_status"].startswith("* ") and not row["last_agt"]


def agent_reason(row: dict[str, str]) -> str:
    """The agent's own reason for `down`; empty when it gives none."""
    words = AGENT_REASON.fullmatch(row["last_agt"])
    return words.group(1) if words else ""


def down_reason(row: dict[str, str]) -> str:
    """Why a server is down, in an operator's words. The text does not change from one check to the next."""
    agent, check = check_code(row, "agent_status"), check_code(row, "check_status")
    if agent == AGENT_SAYS_DOWN:
        return agent_reason(row) or "its agent says so"
    if check == "INI":
        return "has not been asked yet"
    if check == "L7OK":
        return "answers again and comes up" if agent == "L7OK" else f"does not answer on port {AGENT_PORT}"
    comment = CHECK_COMMENT.search(row["last_chk"])
    if comment is None:
        return "does not answer"
    # The health check stops at the first port that does not answer. The agent check knows about the second port.
    if comment.group(1) == CHECK_COMMENTS["node"] and agent != "L7OK":
        return f"does not answer on ports {NODE_PORT} and {AGENT_PORT}"
    return f"does not answer on {comment.group(1)}"


def node_state(row: dict[str, str]) -> dict[str, Any]:
    """One server of HAProxy's `show stat` as the status shows it."""
    status, weight = row["status"], row["weight"]
    agent_status = check_code(row, "agent_status")
    reason = ""
    load = ""
    setup = None
    if status.startswith("MAINT"):
        state = "maint"
    elif agent_status == "":
        state = "unknown"
        reason = "no agent check has run"
    elif status.startswith("DOWN"):
        state = "down"
        reason = down_reason(row)
        setup = parse_setup(reason) if agent_status == AGENT_SAYS_DOWN else None
    elif agent_status != "L7OK":
        state = "unknown"
        reason = f"no answer from the agent ({agent_status})"
    else:
        tightest = AGENT_LOAD.fullmatch(row.get("last_agt", ""))
        load = tightest.group(1) if tightest else ""
        state, reason = ("full", load) if weight == "0" else ("up", "")
        sockets, limit = int(row["scur"] or 0), int(row["slim"] or 0)
        if state == "up" and sockets >= limit > 0:
            state, reason = "full", f"sockets {sockets} of {limit}"
    return {
        "server": row["svname"],
        "node": node_name(row["svname"]),
        "address": row["addr"],
        "state": state,
        "reason": reason,
        "setup": setup,
        "load": load,
        "weight": int(weight or 0),
        "sockets": int(row["scur"] or 0),
        "limit": int(row["slim"] or sys.maxsize),
    }


def node_states(*show_stats: str) -> list[dict[str, Any]]:
    """The servers of the WCS backend, read from one or more answers to `show stat`. Each server is taken from the last
    answer that has the text of its checks."""
    rows: dict[str, dict[str, str]] = {}
    for row in (row for show_stat in show_stats for row in statistics(show_stat)):
        if row["svname"] not in rows or not lacks_words(row):
            rows[row["svname"]] = row
    return [node_state(row) for row in rows.values()]


def parts_away(show_stat: str) -> list[str]:
    """Parts of the balancer itself that do not answer, in an operator's words. The nodes serve without them."""
    down = any(row["status"].startswith("DOWN") for row in statistics(show_stat, PAGES_BACKEND))
    return [f"nginx does not answer on port {PAGES_PORT}, so there are no pages"] if down else []


def takes_clients(show_stat: str) -> bool:
    """Whether any node takes a client: it is up, has a weight above 0 and a free connection."""
    return any(
        row["status"].startswith("UP") and row["weight"] != "0" and int(row["scur"]) < int(row["slim"] or sys.maxsize)
        for row in statistics(show_stat)
    )
