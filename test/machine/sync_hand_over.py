"""The hand-over of a balancer to another one, with a real HAProxy, open WebSockets, and a service that dies meanwhile.

Runs in a Debian root and in a network of its own. The argument is a file with haproxy.cfg. Prints one line a promise
that held, and the statuses that it has seen.
"""

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import sync_lab as lab
import sync_process
from sync_lab import CERTIFICATE, STATUS_NAME, Client, Nodes, eventually, haproxy, new_pem, status_secret, through_load_balancer
from sync_process import Process
from sync_status import HAND_OVER, OTHER, STATUS, Asked, details, eventually_shows, held, put_state
from wcs_balancer.places import ADDRESS_FRONTEND, HAPROXY_CONFIG


def hand_over(seconds, token="token"):
    return Asked(None, f"{HAND_OVER}?seconds={seconds}", "POST", token)


def lets_in():
    """Whether a client gets a node. Any other answer than HAProxy's refusal is an error."""
    try:
        Client().socket.close()
        return True
    except AssertionError as error:
        assert "503" in str(error), error
        return False


def is_closed(client):
    """Whether the other side has ended a socket on which nobody says anything."""
    client.socket.settimeout(30)
    try:
        while client.socket.recv(65536):
            pass
    except TimeoutError:
        return False
    except (ssl.SSLError, ConnectionError):
        pass
    return True


def eventually_lets_in(what):
    eventually(lambda: details(TARGET)["handedOver"] is None, what, 90, 0.2)
    assert lets_in()


def refuses_what_is_no_request(clients):
    trusted = None
    for token in (None, "wrong", ""):
        assert Asked(trusted, f"{HAND_OVER}?seconds=60", "POST", token).code == 403, token
    asked = Asked(trusted, f"{HAND_OVER}?seconds=60", "GET", "token")
    assert (asked.code, asked.headers["Allow"]) == (405, "POST")
    assert Asked(trusted, STATUS, "POST", "token").code == 405
    for query in ("", "?", "?seconds=", *(f"?seconds={value}" for value in ("301", "-1", "1.5", "six", "60&seconds=9"))):
        assert Asked(trusted, HAND_OVER + query, "POST", "token").code == 400, query
    assert details(TARGET)["handedOver"] is None
    for client in clients:
        client.talk()
    assert lets_in()
    held("without the token, by another method, or for no whole number of seconds nobody is told to go")


def closes_all_and_refuses(clients):
    through = through_load_balancer()
    full = Client()
    full.socket.settimeout(0.2)
    try:
        while True:
            full.socket.sendall(b"x" * 65536)
    except TimeoutError:
        pass
    answer = hand_over(60)
    assert (answer.code, answer.json["closed"]) == (200, len(clients) + 1), answer.text
    assert 30 < answer.json["seconds"] <= 60, answer.text
    for client in (*clients, full):
        assert is_closed(client)
    assert haproxy.clients(ADDRESS_FRONTEND) == ({}, [])
    held("every client's socket is closed, those of an old worker and a full one included")
    through.talk()
    through_load_balancer().talk()
    through.socket.close()
    held("clients of the load balancer do not notice")

    for path in ("/", "/healthz", "/wcs/", "/.well-known/other"):
        refused = Asked(None, path, name="wcs.example.com")
        headers = [refused.headers[name] for name in ("Retry-After", "Cache-Control", "Connection")]
        assert (refused.code, headers) == (503, ["1", "no-store", "close"]), (path, refused.code, headers)
    assert not lets_in()
    assert Asked(None).code == 200
    assert 30 < details(TARGET)["handedOver"] <= 60
    assert "clients are refused for" in command("status")
    held("new ones get a 503, and the status goes on")

    shorter = hand_over(1).json
    assert shorter["closed"] == 0 and shorter["seconds"] > 30, shorter
    assert details(TARGET)["handedOver"] > 30
    assert hand_over(300).json["seconds"] > 290
    assert details(TARGET)["handedOver"] > 290
    held("asked again, it lasts longer and never shorter, and the answer says how long")


def command(word):
    """The output that an operator gets."""
    script = "import sys; sys.path.insert(0, '/project/machines/balancer'); from wcs_balancer import command; "
    run = [sys.executable, "-c", f"{script}sys.exit(command.main(['{word}']))"]
    return subprocess.run(run, capture_output=True, text=True).stdout


def lets_nobody_in_by_a_reload():
    stop, entered = threading.Event(), []

    def knock():
        while not stop.is_set():
            entered.append(lets_in())

    thread = threading.Thread(target=knock)
    thread.start()
    for _ in range(3):
        haproxy.reload()
    put_state(OTHER_TARGET)
    eventually_shows(OTHER_TARGET, "a reload by the service", revision="reload", applied=True)
    stop.set()
    thread.join()
    assert len(entered) > 5 and not any(entered), (len(entered), sum(entered))
    sync_process.kill_haproxy()
    # The service starts it: who else did would start a second one, beside it on the same port.
    eventually(lambda: details(OTHER_TARGET), "HAProxy")
    assert not lets_in()
    held("neither a reload nor a new HAProxy lets anybody in")


def closes_what_slips_through():

    def slips_through():
        haproxy.ask(f"set map {haproxy.HAND_OVER} until 0")
        try:
            return Client()
        except AssertionError:
            return None  # The service was faster.

    while (client := slips_through()) is None:
        pass
    assert is_closed(client)
    eventually(lambda: not lets_in(), "the refusal")
    held("what slips through is closed, and HAProxy told again")


def is_taken_back(process):
    haproxy.HAND_OVER.unlink()
    process.kill()
    process = Process()
    eventually(lambda: details(OTHER_TARGET), "the service")
    assert details(OTHER_TARGET)["handedOver"] > 2 and not lets_in()
    held("the status says what HAProxy does, even if the service has forgotten it")

    assert "clients are taken again" in command("take-back")
    assert details(OTHER_TARGET)["handedOver"] is None and lets_in()
    client = Client()
    haproxy.reload()
    time.sleep(1)
    client.talk()
    assert lets_in()
    assert hand_over(60).code == 200 and not lets_in()
    assert hand_over(0).json == {"closed": 0, "seconds": 0}
    assert lets_in() and not haproxy.HAND_OVER.exists()
    assert hand_over(0).code == 200 and lets_in()
    held("it is taken back by one command, also after a reload, and without one nothing changes")
    return process


def ends_by_itself(process):
    """Whatever happens to the service meanwhile: HAProxy compares the times."""
    for what, hinder in (("hangs", signal.SIGSTOP), ("dies", signal.SIGKILL)):
        began = time.time()
        assert hand_over(15).code == 200
        process.signal(hinder)
        assert not lets_in()
        eventually(lets_in, f"the end, while the service {what}", 60, 0.1)
        assert time.time() - began >= 14
        if hinder == signal.SIGSTOP:
            process.signal(signal.SIGCONT)
            eventually(lambda: details(TARGET)["handedOver"] is None, "the service")
    process.kill()
    process = Process()
    eventually(lambda: details(TARGET), "the service")
    held("clients get in when the time is over, even while the service hangs or is dead")

    assert hand_over(60).code == 200
    process.kill()
    process = Process()
    eventually(lambda: details(TARGET), "the service")
    assert details(TARGET)["handedOver"] > 2 and not lets_in()
    haproxy.ask(f"set map {haproxy.HAND_OVER} until 0")
    eventually(lambda: not lets_in(), "the refusal")
    command("take-back")
    held("a service that starts meanwhile knows of it")
    return process


def waits_for_every_worker():
    clients = [Client() for _ in range(2)]
    [old] = haproxy.workers()
    haproxy.reload()
    os.kill(old, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = hand_over(12)
        took = time.monotonic() - began
    finally:
        os.kill(old, signal.SIGCONT)
    assert answer.code == 500 and f"HAProxy's worker {old} does not answer" in answer.text, answer.text
    # Without an end it would wait for ever.
    assert 9 < took < 60, took
    # The service itself may have closed them by now: the first hand-over still holds.
    answer = hand_over(1)
    assert answer.code == 200, answer.text
    for client in clients:
        assert is_closed(client)
    eventually_lets_in("the end")
    held("a worker that does not answer is named, and no success claimed")


def closes_many():
    clients = [Client() for _ in range(90)]
    answer = hand_over(1)
    assert answer.json["closed"] == 90, answer.text
    assert all(is_closed(client) for client in clients)
    eventually_lets_in("the end")
    held("many are closed at once")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Nodes()
    sync_process.prepare(CERTIFICATE)
    HAPROXY_CONFIG.write_text(OTHER)
    sync_process.systemctl("restart", "haproxy")
    put_state(TARGET)
    process = Process()
    try:
        eventually_shows(TARGET, "the state", applied=True, error=None)
        eventually(lab.all_up, "the nodes")
        clients = [Client() for _ in range(4)]
        haproxy.reload()
        clients += [Client() for _ in range(4)]
        refuses_what_is_no_request(clients)
        closes_all_and_refuses(clients)
        lets_nobody_in_by_a_reload()
        closes_what_slips_through()
        process = is_taken_back(process)
        process = ends_by_itself(process)
        waits_for_every_worker()
        closes_many()
    finally:
        sync_process.end_all()


CONFIG = Path(sys.argv[1]).read_text()
PEM, STATUS_VALUE = new_pem(), status_secret(new_pem(STATUS_NAME))
TARGET = lab.target(CONFIG, PEM, "first", STATUS_VALUE)
OTHER_TARGET = lab.target(CONFIG.replace("balance roundrobin", "balance first"), PEM, "reload", STATUS_VALUE)

if __name__ == "__main__":
    main()
