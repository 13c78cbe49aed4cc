"""Certificates by ACME, with a real HAProxy, open WebSockets and Pebble, which refuses many nonces.

Runs in a Debian root and in a network of its own. The arguments are files with haproxy.cfg, with ACME and without. AWS is
a stand-in. The threads do not run: each round is told to happen. Prints one line a promise that held,
and the statuses that it has seen.
"""

import calendar
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import acme_directory
import sync_lab as lab
from acme_answers import remembers_tls, serve_pages
from acme_directory import DAY, HERE, Directory, Dns, problem
from sync_lab import CERTIFICATE, Client, Disk, Nodes, Service, eventually, haproxy, new_pem, status_secret
from wcs_balancer import acme, acme_order, acme_serving, reachable, renewal
from wcs_balancer.errors import AwsError
from wcs_balancer.places import ACME_MAP

DOMAIN = "wcs.example.com"
INSTANCE, OTHER = "i-0123456789abcdef0", "i-0fedcba9876543210"
BALANCERS = {"balancer-1": INSTANCE, "balancer-2": OTHER}
LEDGER = "acme-certificate"
# Nothing leads there.
ELSEWHERE = "192.0.2.9"
DELAYS = {"turnSeconds": 3, "checkSeconds": 1, "failSeconds": 2}
PATIENCE = (acme_order.REQUEST_SECONDS, acme_order.DIRECTORY_SECONDS)


def held(promise):
    print(promise, flush=True)


class Killed(BaseException):
    """The end of the service at some moment."""


class Ssm:
    """The parameters of the stack."""

    def __init__(self):
        self.values = lab.parameters
        self.read_only = self.away = False

    def get_parameter(self, name):
        if self.away:
            raise AwsError("SSM is away")
        return self.values[name]

    def put_parameter(self, name, value):
        if self.read_only:
            raise AwsError(f"SSM refuses {name}: AccessDeniedException")
        assert name == LEDGER and len(value) <= 8192, name
        self.values[name] = value


ssm = Ssm()


class Clock:
    """The module `time` with another time of day."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __getattr__(self, name):
        return getattr(time, name)

    def time(self):
        return time.time() + self.seconds


class Balancer(Service):
    """The service, one round at a time."""

    def __init__(self, instance=INSTANCE):
        super().__init__(Disk(CERTIFICATE), reports.append, ssm, {}, LEDGER)
        names = ("state", "secret", "status", self.disk, ssm.get_parameter, "acme-account", LEDGER)
        self.desired_state = lab.DesiredState(*names)
        self.instance.known = instance

    def round(self):
        """A round, as it is when all threads have had their turn since the last one."""
        self.look(self.desired_state.ask())
        self.orders.turn()
        self.look(self.desired_state.ask())
        assert self.error is None or ssm.away, self.error
        lab.show_once(lab.status_of(self))
        return self.snapshot.acme


reports = []


def ledger():
    return renewal.read_ledger(ssm.values[LEDGER])


def new_account():
    """The account's key, as Pulumi makes it."""
    ssm.values["acme-account"] = acme_directory.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def wanted(config=None, revision="acme", **settings):
    """A state with a certificate by ACME."""
    content = {"domain": DOMAIN, "email": "ops@example.com", "directory": acme_directory.URL, "profile": None}
    content |= {"delays": DELAYS, **settings}
    return lab.target(config or CONFIG, PEM, revision, STATUS, balancers=BALANCERS, acme=content)


def serves(pem):
    """Whether HAProxy serves a certificate, and the file holds it."""
    return CERTIFICATE.read_text() == pem and pem.startswith(lab.served_to(DOMAIN).strip())


def until(balancer, condition, what, seconds=90):
    """Rounds until something is so in the status; gives it."""
    shown = {}

    def reached():
        shown.update(balancer.round())
        return condition(shown)

    try:
        eventually(reached, what, seconds, 0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}; {shown}; {balancer.snapshot.error}; {ssm.values[LEDGER][-900:]}; {reports[-5:]}") from error
    return shown


def until_issued(balancer, by="balancer-1", seconds=90):
    """Rounds until a certificate that is new in the ledger is served; gives it."""
    before = ledger().certificate

    def is_new(shown):
        there = ledger().certificate
        return there != before and shown["state"] == "issued" and serves(there.pem)

    until(balancer, is_new, "the certificate", seconds)
    assert ledger().certificate.by == by and ledger().order is None and ledger().failures == ()
    return ledger().certificate.pem


def old_certificate():
    """Puts a certificate into the ledger that is to be renewed; gives it."""
    begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * DAY)) for days in (-70, 20))
    pem = new_pem(DOMAIN, "-not_before", begin, "-not_after", end)
    there = renewal.Certificate(pem, DOMAIN, acme_directory.URL, None, "balancer-1", int(time.time() - 70 * DAY))
    ssm.values[LEDGER] = renewal.write_ledger(renewal.Ledger(certificate=there))
    return pem


def serves_before_there_is_one():
    lab.put(wanted())
    ssm.values[LEDGER] = "{}"
    balancer = Balancer()
    shown = balancer.round()
    assert serves(PEM) and balancer.snapshot.certificate.source == "document"
    assert shown == {**shown, "state": "waiting", "directory": acme_directory.URL}, shown
    assert "wcs.example.com has no address in DNS" in shown["reason"] and shown["nextTry"], shown
    dns.records[DOMAIN] = ["127.0.0.1"]
    shown = until(balancer, lambda now: "127.0.0.1" in now["reason"], "the address of each machine itself")
    assert "is loopback, so no directory can reach it" in shown["reason"], shown
    dns.records[DOMAIN] = [HERE, ELSEWHERE, "2001:db8::9"]
    shown = until(balancer, lambda now: ELSEWHERE in now["reason"], "the wrong address")
    for address in (ELSEWHERE, "2001:db8::9"):
        assert f"port 80 of {address}, which DNS gives for {DOMAIN}, does not answer: [Errno " in shown["reason"], shown
    assert HERE not in shown["reason"], shown
    assert directory.orders == 0
    held("until DNS leads here the stack's own certificate serves, and the reason names each wrong address")
    return balancer


def gets_the_first_one(balancer):
    clients, workers = [Client() for _ in range(5)], haproxy.workers()
    dns.records[DOMAIN] = [HERE]
    pem = until_issued(balancer)
    assert directory.orders == 1 and haproxy.workers() == workers
    for client in clients:
        client.talk()
        client.socket.close()
    assert balancer.snapshot.certificate.source == "acme"
    shown = balancer.round()
    assert shown["reason"] == "" and directory.orders == 1
    days = (calendar.timegm(time.strptime(shown["nextTry"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()) / DAY
    assert 29 < days < 31, shown
    held("when DNS is right the certificate comes by itself, without a reload, and its renewal is planned")
    return pem


def remembers(pem):
    kept = ACME_MAP.read_text()
    assert kept == f"thumbprint {acme_order.thumbprint(ssm.values['acme-account'])}\n", kept
    ssm.away = True
    for change in (haproxy.reload, lambda: (lab.stop_haproxy(), lab.start_haproxy())):
        change()
        assert reachable.obstacle(DOMAIN, kept.split()[1]) is None
        balancer = Balancer()
        shown = balancer.round()
        assert serves(pem) and balancer.snapshot.revision == "acme"
        assert shown["state"] == "issued" and shown["reason"] == "SSM is away", shown
        assert balancer.snapshot.certificate.source == "acme"
    ssm.away = False
    held("a new service and a new HAProxy without AWS serve the same, and answer challenges")


def is_public_only_when_trusted():
    balancer = Balancer()
    balancer.round()
    assert not remembers_tls() and "public" not in ACME_MAP.read_text()
    root = Path("/root.pem")
    root.write_text(directory.root())
    os.environ["SSL_CERT_FILE"] = str(root)
    balancer = Balancer()
    balancer.round()
    assert remembers_tls() and "public 1\n" in ACME_MAP.read_text()
    haproxy.reload()
    assert remembers_tls()
    del os.environ["SSL_CERT_FILE"]
    balancer.round()
    assert remembers_tls()
    balancer.acme.trusted = (*balancer.acme.trusted[:1], -2 * acme_serving.TRUST_SECONDS, True)
    balancer.round()
    assert not remembers_tls() and "public" not in ACME_MAP.read_text()
    held("HSTS is sent only while this machine's authorities vouch for the certificate, also after a reload")


def renews_under_open_sockets():
    old = old_certificate()
    balancer = Balancer()
    clients = [Client() for _ in range(40)]
    workers = haproxy.workers()
    pem = until_issued(balancer)
    assert pem != old and haproxy.workers() == workers
    for client in clients:
        client.talk()
        client.socket.close()
    assert pem.split("PRIVATE KEY")[1] != old.split("PRIVATE KEY")[1]
    held("a renewal has a new key, keeps every open socket, and the next handshake gets it")


def fails(what, reason, begun=False, orders=None, seconds=90):
    """Rounds until the reason is shown while the old certificate serves on; gives what is shown."""
    before = directory.orders
    balancer, old = Balancer(), old_certificate()
    shown = until(balancer, lambda now: reason in now["reason"], what, seconds)
    assert shown["state"] == "issued" and serves(old) and shown["nextTry"], shown
    assert bool(ledger().failures) == begun, ledger().failures
    if orders is not None:
        assert directory.orders - before == orders, directory.orders - before
    return balancer, shown


def with_fault(fault):
    directory.fault = fault


def outlasts_faults_of_the_directory():
    def away(path):
        raise ConnectionResetError

    def slow(path):
        time.sleep(3)

    def refuses(path):
        return problem("rateLimited", "too many", 429, Retry_After="4") if path == "/order-plz" else None

    def busy(path):
        return (503, [("Retry-After", "3")], b"") if path == "/dir" else None

    def cut(path):
        if path.startswith("/finalize-order"):
            raise ConnectionResetError

    nonsense = [
        (200, [("Content-Type", "text/html")], b"<html>Welcome</html>"),
        (200, [("Content-Type", "application/json")], b"[7]"),
        (200, [("Content-Type", "application/json")], b'{"newNonce": 7}'),
    ]
    for name, fault, reason, begun in [
        ("away", away, "cannot be reached", False),
        ("slow", slow, "gives no answer in time", False),
        *((f"nonsense {one[2][:9]}", lambda path, one=one: one, "gives an answer that cannot be understood", False) for one in nonsense),
        ("endless", lambda path: (200, [], b"x" * 2_000_000), "answers with more than 1000000 bytes", False),
        ("busy", busy, "answers 503 without an ACME error", False),
        ("refusing", refuses, "the directory refuses: rateLimited: too many", True),
        ("cut off", cut, acme_directory.URL, True),
    ]:
        with_fault(fault)
        # A directory that is only busy gets its time in every other case.
        acme_order.REQUEST_SECONDS, acme_order.DIRECTORY_SECONDS = (1, 2) if name == "slow" else PATIENCE
        balancer, shown = fails(name, reason, begun)
        acme_order.REQUEST_SECONDS, acme_order.DIRECTORY_SECONDS = PATIENCE
        began = time.time()
        with_fault(lambda path: None)
        until_issued(balancer)
        if name in ("refusing", "busy"):
            assert time.time() - began > 2, name
    held("a directory that is away, slow, busy, refuses with Retry-After or talks nonsense: the old one serves on")


def outlasts_answers_that_never_end():
    begins, ended = [], []

    def drip(connection):
        """The head of an answer, one byte each half second."""
        begins.append(drip)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                connection.sendall(b"x")
                time.sleep(0.5)
        except OSError:
            ended.append(drip)

    usual = acme_order.ORDER_SECONDS
    for path, begun in (("/dir", False), ("/order-plz", True)):
        acme_order.ORDER_SECONDS = 4 if begun else usual
        with_fault(lambda asked, path=path: drip if asked == path else None)
        began, threads = time.monotonic(), threading.active_count()
        seconds = 4 if begun else acme_order.DIRECTORY_SECONDS
        balancer, shown = fails(path, f"{acme_directory.HOST}:{acme_directory.PORT} takes too long", begun)
        assert f"it has not answered within {seconds} s" in shown["reason"], shown
        assert time.monotonic() - began < 60
        if not begins:
            # On a busy machine the time of an order may be over before it comes that far.
            until(balancer, lambda _: begins, "an order that comes that far")
        # The connection is cut, and nobody waits for it any more.
        eventually(lambda: ended, "the end of the connection")
        eventually(lambda: threading.active_count() <= threads, "the end of every thread")
        begins.clear()
        ended.clear()
        acme_order.ORDER_SECONDS = usual
        with_fault(lambda path: None)
        until_issued(balancer)
    held("an answer that comes byte by byte and never ends is cut off at a deadline, and the next try comes by itself")


def silent(address):
    """Gives a listener that takes no connection, as if nobody were at its address, with what fills its queue."""
    server = socket.create_server((address, acme_directory.PORT), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    return [server, *waiting]


def outlasts_dead_addresses_of_the_directory():
    known, addresses = dns.records[acme_directory.HOST], [f"127.0.0.{number}" for number in range(60, 66)]
    acme_order.DIRECTORY_SECONDS = 3
    with contextlib.ExitStack() as stack:
        for address in addresses:
            for part in silent(address):
                stack.enter_context(part)
        dns.records[acme_directory.HOST] = addresses
        began, threads = time.monotonic(), threading.active_count()
        fails("dead addresses", f"{acme_directory.HOST}:{acme_directory.PORT} takes too long", orders=0)
        assert time.monotonic() - began < 30
        eventually(lambda: threading.active_count() <= threads, "the end of every thread")
    acme_order.DIRECTORY_SECONDS, dns.records[acme_directory.HOST] = PATIENCE[1], known
    until_issued(Balancer())
    there = acme_order.Directory(Balancer().desired_state.ask().document.state.acme, ssm.values["acme-account"])
    eventually(lambda: threading.active_count() <= threads, "the end of every thread of an order that does not begin")
    assert there.profile == "tlsserver"
    held("dead addresses of the directory cost no more than its deadline, and an order that does not begin leaves no thread")


def outlasts_faults_here():
    acme.obstacle = lambda *_: None
    dns.records[DOMAIN] = [ELSEWHERE]
    balancer, shown = fails("validation", "the directory could not validate the domain: wcs.example.com:", True)
    assert ELSEWHERE in shown["reason"], shown
    acme.obstacle, dns.records[DOMAIN] = reachable.obstacle, [HERE]
    until_issued(balancer)
    for seconds in (-2 * DAY, 2 * DAY):
        acme_order.time = Clock(seconds)
        balancer, _ = fails("the clock", "set the clock (timedatectl)", orders=0)
        acme_order.time = time
        until_issued(balancer)
    held("a challenge that the directory cannot reach is named with its words, and a wrong clock orders nothing")


def known_account():
    """The directory with the account as it knows it."""
    from acme import client, messages

    there = acme_order.Directory(Balancer().desired_state.ask().document.state.acme, ssm.values["acme-account"])
    there.connect()
    try:
        there.client.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    except client.errors.ConflictError as known:
        there.network.account = messages.RegistrationResource(body=messages.Registration(), uri=known.location)
    return there.client, there.network.account


def tells_the_directory_another_contact():
    client, account = known_account()
    assert client.query_registration(account).body.emails == ("ops@example.com",)
    there = acme_order.Directory(Balancer().desired_state.ask().document.state.acme, ssm.values["acme-account"])
    there.acme = there.acme._replace(email="others@example.com")
    there.order()
    assert client.query_registration(account).body.emails == ("others@example.com",)
    held("another contact is told to the directory with the next order")


def outlasts_a_deactivated_account():
    client, account = known_account()
    client.deactivate_registration(account)
    balancer, shown = fails("the account", "pulumi up --replace '**PrivateKey::acme-account'", True)
    new_account()
    until_issued(balancer)
    assert acme_order.thumbprint(ssm.values["acme-account"]) in ACME_MAP.read_text()
    held("a deactivated account is named with what to do, and a new key comes into force by itself")


def outlasts_ssm():
    ssm.read_only = True
    balancer, _ = fails("a ledger that cannot be written", "AccessDeniedException", orders=0)
    ssm.read_only = False
    until_issued(balancer)

    def after_finalizing(path):
        ssm.read_only = ssm.read_only or path.startswith("/finalize-order")

    before = directory.orders
    with_fault(after_finalizing)
    balancer, _ = fails("a result that cannot be written", "the new certificate waits on this machine", orders=1)
    kept = balancer.disk.issued
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "waits on this machine" in until(Balancer(), lambda now: now["reason"], "the same anew")["reason"]
    with_fault(lambda path: None)
    ssm.read_only = False
    until_issued(Balancer())
    assert directory.orders == before + 1 and not kept.exists()
    held("without a ledger that can be written nothing is ordered, and a result waits for it, over a restart")


def dies_in_the_middle():
    balancer, old = Balancer(), old_certificate()
    original = acme_order.Directory.order

    def killed(self):
        raise Killed

    acme_order.Directory.order = killed
    try:
        until(balancer, lambda now: False, "death")
    except Killed:
        pass
    acme_order.Directory.order = original
    assert ledger().order.by == "balancer-1" and serves(old)
    another = acme.Orders(ssm, LEDGER, Path("/other-issued.json"), reports.append)
    task = balancer.orders.task._replace(instance=OTHER, ledger=ssm.values[LEDGER])
    another.want(task)
    another.turn()
    assert another.seen.reason == "balancer-1 is ordering a certificate", another.seen
    later = renewal.Ledger(ledger().certificate, ledger().order._replace(at=int(time.time() - 700)), about=ledger().about)
    dead = renewal.write_ledger(later)
    ssm.values[LEDGER] = dead
    another.want(task._replace(ledger=dead))
    orders = directory.orders
    another.due_since = time.monotonic() - 100
    another.settings = task.acme
    another.turn()
    assert another.seen.reason == "" and ledger().certificate.by == "balancer-2", another.seen
    assert directory.orders == orders + 1
    ssm.values[LEDGER] = renewal.write_ledger(renewal.begun(later, task.acme, renewal.Me("balancer-1", INSTANCE, 0), time.time()))
    balancer = Balancer()
    shown = balancer.round()
    assert "ended in the middle of the order" in shown["reason"], shown
    until_issued(balancer)
    held("when a balancer dies in the middle another one takes its turn, and so does it itself when it is back")


def only_one_orders():
    balancer, _ = Balancer(), old_certificate()
    balancer.look(balancer.desired_state.ask())
    task = balancer.orders.task
    quick = task.acme._replace(turn_seconds=0)
    text = ssm.values[LEDGER]
    everybody = []
    for number, instance in enumerate([INSTANCE, OTHER]):
        orders = acme.Orders(ssm, LEDGER, Path(f"/{number}.json"), reports.append)
        # The same place: the worst case.
        orders.want(task._replace(acme=quick, instance=instance, balancers={f"b-{number}": instance}, ledger=text))
        everybody.append(orders)
    for _ in range(3):
        before = directory.orders
        ssm.values[LEDGER] = text
        threads = [threading.Thread(target=one.turn) for one in everybody]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert directory.orders == before + 1, directory.orders - before
        for one in everybody:
            one.own_at = float("-inf")
            one.again_at = 0
    until(balancer, lambda now: serves(ledger().certificate.pem), "the certificate")
    held("of two balancers that want to order at the same moment one does")


def names_garbage():
    pem = ledger().certificate.pem
    for text in ("", "garbage", "[]", '{"certificate": {}}', '{"failures": [7]}', '{"order": {"by": 1}}'):
        ssm.values[LEDGER] = text
        shown = Balancer().round()
        assert serves(pem) and shown["state"] == "issued", shown
        assert "acme-certificate cannot be read, so no certificate is ordered" in shown["reason"], shown
    assert ssm.values[LEDGER] == '{"order": {"by": 1}}'
    held("a ledger that cannot be read is named, nothing is ordered, and the last certificate serves on")
    ssm.values[LEDGER], dns.records[DOMAIN] = "{}", []
    for balancer in (Balancer(), Balancer()):
        shown = balancer.round()
        assert serves(pem) and shown["state"] == "issued", shown
        assert shown["reason"].startswith(f"{acme_serving.ON_DISK}; {DOMAIN} has no address in DNS"), shown
    dns.records[DOMAIN] = [HERE]
    assert until_issued(Balancer()) != pem and Balancer().round()["reason"] == ""
    held("when the ledger was emptied the status says so, the last certificate serves on, and another one is ordered")


def renews_beside_a_refused_document():
    balancer = Balancer()
    balancer.round()
    before = ledger().certificate.pem
    assert serves(before)
    pem = old_certificate()
    assert pem != before
    lab.put(wanted(CONFIG.replace("mworker-max", "no-such"), "refused"))
    eventually(lambda: balancer.look(balancer.desired_state.ask()) or serves(pem), "the certificate")
    assert balancer.snapshot.refused == "refused" and balancer.snapshot.revision == "acme", balancer.snapshot
    lab.put(wanted())
    balancer.round()
    held("a renewal comes into force also beside a document that HAProxy refuses")


def changes_what_is_wanted():
    pem = ledger().certificate.pem
    lab.put(wanted(profile="classic"))
    balancer = Balancer()
    balancer.look(balancer.desired_state.ask())
    assert serves(pem)
    changed = until_issued(balancer)
    assert ledger().certificate.profile == "classic" and changed != pem
    lab.put(wanted(profile="no-such"))
    shown = until(Balancer(), lambda now: "no profile no-such" in now["reason"], "the profile")
    assert "it has classic, tlsserver; change acme.profile" in shown["reason"] and serves(changed), shown
    clients = [Client() for _ in range(3)]
    lab.put(lab.target(PLAIN, PEM, "no-acme", STATUS, balancers=BALANCERS))
    balancer = Balancer()
    balancer.round()
    assert serves(PEM) and balancer.snapshot.acme is None and not ACME_MAP.exists()
    assert balancer.snapshot.certificate.source == "document"
    lab.put(wanted(profile="classic"))
    balancer.round()
    assert serves(changed)
    for client in clients:
        client.talk()
    held("another profile is ordered while the old one serves; from ACME to a user's certificate and back")


def keeps_a_trusted_one_until_the_first_order():
    public = new_pem(DOMAIN)
    root = Path("/root.pem")
    root.write_text(public.split("-----BEGIN PRIVATE")[0])
    os.environ["SSL_CERT_FILE"] = str(root)
    lab.put(lab.target(PLAIN, public, "public", STATUS, balancers=BALANCERS))
    Balancer().round()
    assert serves(public)
    ssm.values[LEDGER], dns.records[DOMAIN] = "{}", []
    lab.put(wanted())
    for balancer in (Balancer(), Balancer()):
        shown = balancer.round()
        assert serves(public) and remembers_tls() and shown["state"] == "waiting", shown
    dns.records[DOMAIN] = [HERE]
    assert until_issued(Balancer()) != public
    del os.environ["SSL_CERT_FILE"]
    held("a user-supplied certificate that browsers trust serves on until the first one by ACME has come")


def main():
    global dns, directory
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Nodes()
    serve_pages()
    dns, directory = Dns(), Directory()
    acme.SETTLE_SECONDS = 1
    new_account()
    try:
        with lab.haproxy_with(lab.target(CONFIG, PEM, "acme", STATUS)):
            eventually(lab.all_up, "the nodes")
            pem = gets_the_first_one(serves_before_there_is_one())
            remembers(pem)
            is_public_only_when_trusted()
            renews_under_open_sockets()
            outlasts_faults_of_the_directory()
            outlasts_answers_that_never_end()
            outlasts_dead_addresses_of_the_directory()
            outlasts_faults_here()
            tells_the_directory_another_contact()
            outlasts_a_deactivated_account()
            outlasts_ssm()
            dies_in_the_middle()
            only_one_orders()
            names_garbage()
            renews_beside_a_refused_document()
            changes_what_is_wanted()
            keeps_a_trusted_one_until_the_first_order()
    finally:
        directory.end()


if __name__ == "__main__":
    CONFIG, PLAIN = (Path(path).read_text() for path in sys.argv[1:3])
    PEM = new_pem()
    STATUS = status_secret(new_pem(lab.STATUS_NAME))
    main()
