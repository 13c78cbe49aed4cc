"""HAProxy's part in ACME: the answers to challenges, and the header that makes browsers remember TLS.

Runs in a Debian root and in a network of its own. The arguments are a file with haproxy.cfg and the path of the map that
wcs-balancer-sync writes. Prints one line a promise that held.
"""

import http.client
import http.server
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import sync_lab as lab
from sync_lab import eventually, haproxy, new_pem, status_secret
from wcs_balancer.places import PAGES_PORT

CHALLENGE = "/.well-known/acme-challenge/"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
REDIRECT = (301, f"https://wcs.example.com{CHALLENGE}{TOKEN}")
PROXY = b"PROXY TCP4 192.0.2.7 127.0.0.1 1234 80\r\n"


def asked(path, method="GET", port=80, proxy=b""):
    """The status, and the place that it redirects to or the text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.connect()
    connection.sock.sendall(proxy)
    connection.request(method, path, headers={"Host": "wcs.example.com"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers["Location"] or text


def everywhere(path, method="GET"):
    """The same, on both ways of clients, which must not differ."""
    straight = asked(path, method)
    assert asked(path, method, 10080, PROXY) == straight
    return straight


def remembers_tls():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", 443, timeout=20, context=context)
    connection.request("GET", "/wcs/", headers={"Host": "wcs.example.com"})
    answer = connection.getresponse()
    connection.close()
    assert answer.status == 200, answer.status
    return answer.headers["Strict-Transport-Security"]


class Pages(http.server.BaseHTTPRequestHandler):
    """In the place of nginx."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def serve_pages():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PAGES_PORT), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def held(what):
    print(what, flush=True)


def in_every_map(facts, command):
    """Runs a command for a map in each place that uses it.

    HAProxy 3.0 keeps a map of its own for each use of an `opt@` file, and a file's name means only the first of them.
    """
    places = re.findall(rf"^(\d+) \({re.escape(facts)}\)", haproxy.ask("show map"), re.M)
    assert len(places) == 6, places
    for place in places:
        answer = haproxy.ask(command.replace("MAP", f"#{place}")).strip()
        assert not answer, answer


def reload():
    before = haproxy.ask("show info")
    with socket.socket(socket.AF_UNIX) as master:
        master.connect(haproxy.MASTER_SOCKET)
        master.sendall(b"reload\n")
        master.recv(4096)
    eventually(lambda: haproxy.ask("show info").split("Pid:")[1] != before.split("Pid:")[1], "the new worker")


def answers(facts):
    """Before the account is known nothing is answered; then every token, on both ways."""
    assert everywhere(CHALLENGE + TOKEN) == REDIRECT
    held("without an account's thumbprint challenges are redirected like everything else")
    in_every_map(facts, f"add map MAP thumbprint {THUMBPRINT}")
    for token in (TOKEN, "x", "A-_9"):
        assert everywhere(CHALLENGE + token) == (200, f"{token}.{THUMBPRINT}")
    held("every token is answered with the thumbprint, on the ports of both ways of clients")
    for path in ("", f"{TOKEN}/", f"{TOKEN}/x", "a.b", "a%0Ab", "a<script>", "%25[path]", "../x"):
        status, place = everywhere(CHALLENGE + path)
        assert (status, place) == (301, f"https://wcs.example.com{CHALLENGE}{path}"), (path, status, place)
    assert everywhere(f"/x{CHALLENGE}{TOKEN}")[0] == 301
    assert everywhere(CHALLENGE + TOKEN, "POST") == REDIRECT
    assert everywhere("/") == (301, "https://wcs.example.com/")
    held("no other path and no other method is answered")


def remembers(facts):
    assert remembers_tls() is None
    in_every_map(facts, "add map MAP public 1")
    assert remembers_tls() == "max-age=31536000"
    in_every_map(facts, "clear map MAP")
    assert remembers_tls() is None
    held("browsers are told to remember TLS only while the certificate is public")


def outlives(facts):
    Path(facts).parent.mkdir(parents=True, exist_ok=True)
    Path(facts).write_text(f"thumbprint {THUMBPRINT}\npublic 1\n", encoding="utf-8")
    reload()
    assert everywhere(CHALLENGE + TOKEN) == (200, f"{TOKEN}.{THUMBPRINT}")
    assert remembers_tls() == "max-age=31536000"
    lab.stop_haproxy()
    lab.start_haproxy()
    assert everywhere(CHALLENGE + TOKEN) == (200, f"{TOKEN}.{THUMBPRINT}")
    assert remembers_tls() == "max-age=31536000"
    held("both outlive a reload and a start of HAProxy")


def main():
    config, facts = Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    serve_pages()
    status = status_secret(new_pem(lab.STATUS_NAME))
    with lab.haproxy_with({"pem": new_pem(), "status": status, "config": config}):
        answers(facts)
        remembers(facts)
        outlives(facts)


if __name__ == "__main__":
    main()
