"""What the balancer asks AWS and other balancers, and what it makes of their answers."""

import contextlib
import json
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import filled_machines  # noqa: F401
import aws_instance
import boto3
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber
from wcs_balancer import aws, peers
from wcs_balancer.aws import Aws, in_aws_words
from wcs_balancer.cluster import Cluster, rows
from wcs_balancer.document import Entry, TargetGroup
from wcs_balancer.errors import AwsError
from wcs_balancer.peers import LOOK_SECONDS, Answer, Peers, ask_all, ask_status, parse_instances, parse_status
from wcs_balancer.targets import TURN_SECONDS, Health, Seen, Targets, Task, is_deregistered, not_healthy, own_health, parse_health

GROUPS = (TargetGroup("arn:https", 10443), TargetGroup("arn:http", 10080))
HOST = "ssm.eu-central-1.amazonaws.com"


def session():
    return boto3.Session("AKIA", "secret", "token", region_name="eu-central-1")


def refusal(code, message="not you"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetParameter")


class InWords(unittest.TestCase):
    def words(self, error):
        return str(in_aws_words(error, "ssm", "/wcs-balancer/dev/secret", HOST))

    def test_a_refusal_has_awss_code_and_message(self):
        refused = in_aws_words(refusal("AccessDeniedException"), "ssm", "/p", HOST)
        self.assertEqual(str(refused), "SSM refuses /p: AccessDeniedException not you")
        self.assertEqual(refused.code, "AccessDeniedException")

    def test_an_address_that_does_not_answer_is_named(self):
        url = f"https://{HOST}/"
        for error in (ConnectTimeoutError(endpoint_url=url), ReadTimeoutError(endpoint_url=url)):
            self.assertEqual(self.words(error), f"{HOST} cannot be reached: timed out")
        inner = "<botocore.awsrequest.AWSHTTPSConnection object at 0x7f3a>: Failed to establish: [Errno 111] refused"
        error = EndpointConnectionError(endpoint_url=url, error=inner)
        self.assertEqual(self.words(error), f"{HOST} cannot be reached: Failed to establish: [Errno 111] refused")

    def test_a_text_is_the_same_for_every_try(self):
        message = "You are not authorized. Encoded authorization failure message: dGhlIHNhbWU"
        self.assertEqual(self.words(refusal("Unauthorized", message)).split(": ", 1)[1], "Unauthorized You are not authorized.")
        self.assertLess(len(self.words(refusal("Long", "x" * 5000))), 400)

    def test_any_other_error_is_one_line(self):
        for error in (
            NoCredentialsError(),
            CredentialRetrievalError(provider="iam-role", error_msg="Credential refresh failed"),
            ResponseParserError("Unable to parse\nresponse <html>"),
            KeyError("Parameter"),
            RecursionError(),
        ):
            self.assertNotIn("\n", self.words(error))
            self.assertTrue(self.words(error))


class Calls(unittest.TestCase):
    def setUp(self):
        self.aws = Aws(session)

    def stub(self, service, *answers):
        stubber = Stubber(self.aws.client(service))
        for operation, expected, answer in answers:
            if isinstance(answer, str):
                stubber.add_client_error(operation, answer, expected_params=expected)
            else:
                stubber.add_response(operation, answer, expected)
        stubber.activate()
        self.addCleanup(stubber.assert_no_pending_responses)

    def test_read_a_parameter(self):
        asked = {"Name": "/p", "WithDecryption": True}
        self.stub("ssm", ("get_parameter", asked, {"Parameter": {"Value": "text"}}))
        self.assertEqual(self.aws.get_parameter("/p"), "text")

    def test_a_parameter_without_a_value_is_an_error(self):
        for answer in ({}, {"Parameter": {}}, {"Parameter": {"Value": 7}}, {"Parameter": None}):
            with mock.patch.object(self.aws, "call", return_value=answer), self.assertRaises(AwsError):
                self.aws.get_parameter("/p")

    def test_change_a_parameter_and_make_no_new_one(self):
        # Without a type AWS refuses to make one.
        asked = {"Name": "/p", "Value": "text", "Tier": "Advanced", "Overwrite": True}
        self.stub("ssm", ("put_parameter", asked, {"Version": 2, "Tier": "Advanced"}))
        self.aws.put_parameter("/p", "text")

    def test_a_refusal_is_an_aws_error_with_its_code(self):
        self.stub("ssm", ("get_parameter", None, "ParameterNotFound"))
        with self.assertRaisesRegex(AwsError, "^SSM refuses /p: ParameterNotFound"):
            self.aws.get_parameter("/p")

    def test_get_every_page(self):
        def page(instance, token=None):
            reservation = {"Instances": [{"InstanceId": instance, "PrivateIpAddress": "10.0.0.1"}]}
            return {"Reservations": [reservation], **({"NextToken": token} if token else {})}

        self.stub(
            "ec2",
            ("describe_instances", {}, page("i-1", "more")),
            ("describe_instances", {"NextToken": "more"}, page("i-2")),
        )
        self.assertEqual(list(parse_instances(self.aws.call("ec2", "describe_instances"))), ["i-1", "i-2"])

    def test_are_bounded_in_time_and_repeated(self):
        config = self.aws.client("elbv2").meta.config
        self.assertEqual((config.connect_timeout, config.read_timeout), (3, 5))
        self.assertEqual(config.retries["total_max_attempts"], 2)

    def test_go_to_the_regions_own_partition(self):
        china = Aws(lambda: boto3.Session("AKIA", "secret", "token", region_name="cn-north-1"))
        self.assertEqual(china.client("ssm").meta.endpoint_url, "https://ssm.cn-north-1.amazonaws.com.cn")


class NewSession(unittest.TestCase):
    """The credentials come from instance metadata and from nowhere else."""

    def calls(self, *answers, credentials=None):
        fetched = mock.Mock(return_value=credentials or {})
        with (
            mock.patch.object(aws, "metadata", side_effect=answers),
            mock.patch.object(aws.InstanceMetadataFetcher, "retrieve_iam_role_credentials", fetched),
            mock.patch.dict("os.environ", {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env"}),
            self.assertRaises(AwsError) as caught,
        ):
            Aws().call("ssm", "get_parameter", "/p", Name="/p")
        return str(caught.exception)

    def test_says_when_metadata_cannot_be_reached_or_read(self):
        away = aws_instance.AwsError("instance metadata cannot be reached: timed out")
        self.assertEqual(self.calls(away), "instance metadata cannot be reached: timed out")
        odd = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
        self.assertIn("instance metadata gives an answer that cannot be read", self.calls("token", odd))

    def test_says_when_the_machine_has_no_role(self):
        words = self.calls("token", "eu-central-1")
        self.assertEqual(words, "instance metadata has no credentials for this machine's role")

    def test_asks_again_after_an_error(self):
        account = Aws(mock.Mock(side_effect=[NoCredentialsError(), session()]))
        with self.assertRaises(AwsError):
            account.call("ssm", "get_parameter", "/p")
        self.assertIsNotNone(account.client("ssm"))

    def test_takes_the_roles_credentials(self):
        keys = {"role_name": "balancer", "access_key": "ASIA", "secret_key": "s", "token": "t"}
        keys["expiry_time"] = datetime(2100, 1, 1, tzinfo=timezone.utc).isoformat()
        with (
            mock.patch.object(aws, "metadata", side_effect=["token", "eu-central-1"]),
            mock.patch.object(aws.InstanceMetadataFetcher, "retrieve_iam_role_credentials", return_value=keys),
            mock.patch.dict("os.environ", {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env"}),
        ):
            self.assertEqual(aws.new_session().get_credentials().access_key, "ASIA")


def health(*rows):
    return {
        "TargetHealthDescriptions": [
            {"Target": {"Id": one, "Port": port}, "TargetHealth": {"State": state, "Reason": reason}}
            for one, port, state, reason in rows
        ]
    }


class TargetHealth(unittest.TestCase):
    task = Task("i-1", GROUPS, "register")

    def seen(self, https, http, **more):
        both = zip(GROUPS, (https, http))
        return Seen(self.task, {group: {one: Health(*state) for one, state in states.items()} for group, states in both}, **more)

    def test_is_read_for_one_port(self):
        answer = health(
            ("i-1", 10443, "healthy", ""),
            ("i-2", 10443, "unhealthy.draining", "x"),
            ("i-3", 8080, "healthy", ""),
            ("i-4", 10443, "unused", "Target.NotRegistered"),
            ("i-5", 10443, "a new state", ""),
        )
        found = parse_health(answer, 10443)
        self.assertEqual(found, {"i-1": ("healthy", ""), "i-2": ("unhealthy", "x"), "i-5": ("unknown", "")})
        for empty in ([], [{}], [{"Target": None, "TargetHealth": None}]):
            self.assertEqual(parse_health({"TargetHealthDescriptions": empty}, 10443), {})

    def test_that_cannot_be_read_does_not_mean_that_nothing_is_registered(self):
        for garbage in ({}, {"ResponseMetadata": {}}, {"TargetHealthDescriptions": None}, {"TargetHealthDescriptions": "x"}):
            with self.assertRaisesRegex(AwsError, "Elastic Load Balancing gives an answer that cannot be read"):
                parse_health(garbage, 10443)

    def test_of_this_machine_is_the_worst(self):
        seen = self.seen({"i-1": ("healthy", "")}, {"i-1": ("initial", "why")})
        self.assertEqual(own_health(self.task, seen), ("initial", "why"))
        seen = self.seen({"i-1": ("healthy", "")}, {})
        self.assertEqual(own_health(self.task, seen), ("unused", "it is not registered"))

    def test_is_unknown_before_aws_was_asked_about_these_groups_or_while_it_is_away(self):
        self.assertEqual(own_health(self.task, Seen()).state, "unknown")
        other = self.task._replace(groups=GROUPS[:1])
        self.assertEqual(own_health(other, self.seen({}, {})).state, "unknown")
        seen = self.seen({"i-1": ("healthy", "")}, {}, errors=("away",))
        self.assertEqual(own_health(self.task, seen), ("unknown", "away"))

    def test_of_every_named_one_counts_in_every_group(self):
        named = {"balancer-1": "i-1", "balancer-2": "i-2"}
        up = {"i-1": ("healthy", ""), "i-2": ("healthy", "")}
        self.assertEqual(not_healthy(named, GROUPS, self.seen(up, up)), [])
        missing = not_healthy(named, GROUPS, self.seen(up, {"i-1": ("healthy", "")}))
        self.assertEqual(missing, ["balancer-2 is not a healthy target on port 10080 yet: unused (it is not registered)"])
        self.assertEqual(not_healthy(named, GROUPS, self.seen(up, up, errors=("away",))), ["away"])
        self.assertTrue(not_healthy(named, GROUPS, Seen()))

    def test_tells_whether_it_is_certainly_taken_out(self):
        gone = {"i-1": ("draining", "")}
        self.assertTrue(is_deregistered("i-1", GROUPS, self.seen(gone, {})))
        self.assertFalse(is_deregistered("i-1", GROUPS, self.seen(gone, {"i-1": ("unhealthy", "")})))
        self.assertFalse(is_deregistered("i-1", GROUPS, self.seen(gone, {}, errors=("away",))))
        self.assertFalse(is_deregistered("i-1", GROUPS, Seen()))


class Turns(unittest.TestCase):
    """Turns of the thread, with the calls that it makes."""

    def setUp(self):
        self.answers = {group.arn: health() for group in GROUPS}
        self.called = []
        self.targets = Targets(mock.Mock(call=self.call))

    def call(self, service, operation, TargetGroupArn, Targets=None):
        self.called.append((operation, TargetGroupArn, Targets))
        answer = self.answers.get(operation) or self.answers[TargetGroupArn]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def turn(self, action):
        self.called.clear()
        self.targets.want(Task("i-1", GROUPS, action))
        self.targets.turn()
        return [(operation.removesuffix("_targets"), arn) for operation, arn, targets in self.called if targets]

    def test_register_what_is_missing_with_the_port(self):
        self.answers["arn:http"] = health(("i-1", 10080, "unhealthy", "x"))
        self.assertEqual(self.turn("register"), [("register", "arn:https")])
        self.assertIn(("register_targets", "arn:https", [{"Id": "i-1", "Port": 10443}]), self.called)

    def test_register_again_what_drains(self):
        self.answers = {group.arn: health(("i-1", group.port, "draining", "x")) for group in GROUPS}
        self.assertEqual(len(self.turn("register")), 2)
        self.assertEqual(self.turn("deregister"), [])

    def test_only_look_on_while_others_do_not_serve(self):
        self.assertEqual(self.turn("watch"), [])
        self.answers["arn:http"] = health(("i-1", 10080, "healthy", ""))
        self.assertEqual(self.turn("watch"), [])
        self.assertEqual(self.turn("deregister"), [("deregister", "arn:http")])

    def test_with_an_error_in_one_group_go_on_with_the_other(self):
        self.answers["arn:https"] = AwsError("throttled", "Throttling")
        self.assertEqual(self.turn("register"), [("register", "arn:http")])
        self.assertEqual(self.targets.seen.errors, ("throttled",))
        self.answers["arn:https"] = health()
        self.turn("register")
        self.assertEqual(self.targets.seen.errors, ())

    def test_name_an_error_of_both_groups_once(self):
        self.answers = {group.arn: AwsError("away") for group in GROUPS}
        self.turn("register")
        self.assertEqual(self.targets.seen.errors, ("away",))

    def test_outlive_any_error(self):
        for error in (KeyError("x"), RecursionError(), ValueError()):
            self.answers = {group.arn: error for group in GROUPS}
            self.turn("register")
            self.assertEqual(len(self.targets.seen.errors), 1)

    def test_leave_a_group_that_is_gone_as_left_but_do_not_serve_in_it(self):
        self.answers["arn:https"] = AwsError("gone", "TargetGroupNotFound")
        self.turn("deregister")
        self.assertTrue(is_deregistered("i-1", GROUPS, self.targets.seen))
        self.turn("register")
        self.assertEqual(self.targets.seen.errors, ("gone",))

    def test_recover_when_the_roles_rights_arrive(self):
        denied = AwsError("Elastic Load Balancing refuses DescribeTargetHealth: AccessDenied not you", "AccessDenied")
        self.answers = {group.arn: denied for group in GROUPS}
        for _ in range(3):
            self.turn("register")
            self.assertEqual((self.targets.seen.errors, self.targets.pause), ((str(denied),), TURN_SECONDS))
            self.assertEqual(own_health(self.targets.task, self.targets.seen), ("unknown", str(denied)))
        # The right to look may arrive before the one to register.
        self.answers = {**{group.arn: health() for group in GROUPS}, "register_targets": AwsError("not you", "AccessDenied")}
        self.turn("register")
        self.assertEqual(own_health(self.targets.task, self.targets.seen), ("unknown", "not you"))
        del self.answers["register_targets"]
        self.assertEqual(len(self.turn("register")), 2)
        self.assertEqual(self.targets.seen.errors, ())

    def test_ask_less_and_less_often_while_aws_finds_the_account_too_busy_and_at_once_when_the_loop_wants_it(self):
        self.answers["arn:http"] = AwsError("Rate exceeded", "Throttling")
        pauses = []
        for _ in range(5):
            self.turn("register")
            pauses.append(self.targets.pause)
        self.assertEqual(pauses, [20, 40, 60, 60, 60])
        self.assertEqual(self.targets.seen.errors, ("Rate exceeded",))
        self.targets.changed.clear()
        self.targets.want(Task("i-1", GROUPS, "deregister"))
        self.assertTrue(self.targets.changed.is_set())
        self.answers["arn:http"] = health()
        self.turn("register")
        self.assertEqual((self.targets.pause, self.targets.seen.errors), (TURN_SECONDS, ()))

    def test_take_garbage_for_an_error_and_do_nothing_on_its_word(self):
        self.answers = {group.arn: {"ResponseMetadata": {}} for group in GROUPS}
        for action in ("register", "deregister"):
            self.assertEqual(self.turn(action), [])
            self.assertFalse(is_deregistered("i-1", GROUPS, self.targets.seen))
            self.assertIn("cannot be read", self.targets.seen.errors[0])

    def test_go_over_to_the_group_that_replaces_a_deleted_one(self):
        self.answers["arn:https"] = AwsError("gone", "TargetGroupNotFound")
        self.turn("register")
        self.assertEqual(own_health(self.targets.task, self.targets.seen), ("unknown", "gone"))
        self.answers["arn:new"] = health()
        self.targets.want(Task("i-1", (TargetGroup("arn:new", 10443), GROUPS[1]), "register"))
        self.assertTrue(self.targets.changed.is_set())
        self.targets.turn()
        self.assertEqual(self.targets.seen.errors, ())

    def test_ask_nothing_without_a_load_balancer(self):
        self.turn("register")
        self.called.clear()
        self.targets.want(None)
        self.targets.turn()
        self.assertEqual((self.called, self.targets.seen), ([], Seen()))

    def test_follow_at_once_when_something_else_is_wanted(self):
        self.targets.want(None)
        self.assertFalse(self.targets.changed.is_set())
        self.targets.want(Task("i-1", GROUPS, "register"))
        self.assertTrue(self.targets.changed.is_set())


class OtherBalancers(unittest.TestCase):
    def peers(self, answer, known={}):
        call = mock.Mock(side_effect=answer if isinstance(answer, Exception) else None, return_value=answer)
        found = Peers(mock.Mock(call=call), {"Stack": "dev", "Role": "balancer"}, known)
        found.want(True)
        found.look()
        return found

    def test_are_found_by_their_tags_while_they_run(self):
        instances = [{"InstanceId": "i-2", "PrivateIpAddress": "10.0.0.2"}, {"InstanceId": "i-3"}]
        found = self.peers({"Reservations": [{"Instances": instances}]})
        self.assertEqual((found.known, found.answered), ({"i-2": "10.0.0.2"}, True))
        [filters] = [call.kwargs["Filters"] for call in found.aws.call.call_args_list]
        self.assertEqual(
            {one["Name"]: one["Values"] for one in filters},
            {"tag:Stack": ["dev"], "tag:Role": ["balancer"], "instance-state-name": ["running"]},
        )

    def test_stay_known_while_aws_does_not_answer(self):
        found = self.peers(AwsError("EC2 is away"), {"i-2": "10.0.0.2"})
        self.assertEqual((found.known, found.answered, found.error), ({"i-2": "10.0.0.2"}, False, "EC2 is away"))

    def test_stay_known_when_the_answer_cannot_be_read(self):
        """Otherwise one that still has clients would count as gone, and `pulumi up` would delete it."""
        for garbage in ({}, {"ResponseMetadata": {}}, {"Reservations": None}, {"Reservations": [{"Instances": None}]}, []):
            found = self.peers(garbage, {"i-2": "10.0.0.2"})
            self.assertEqual((found.known, found.answered), ({"i-2": "10.0.0.2"}, False), garbage)
            self.assertIn("EC2 gives an answer that cannot be read", found.error)

    def test_are_looked_for_less_often_while_the_account_is_too_busy_and_found_when_the_rights_arrive(self):
        found = self.peers(AwsError("EC2 refuses DescribeInstances: UnauthorizedOperation", "UnauthorizedOperation"))
        self.assertEqual((found.pause, found.answered), (LOOK_SECONDS, False))
        found.aws.call.side_effect = AwsError("EC2 refuses DescribeInstances: RequestLimitExceeded", "RequestLimitExceeded")
        pauses = []
        for _ in range(4):
            found.look()
            pauses.append(found.pause)
        self.assertEqual(pauses, [20, 40, 60, 60])
        found.aws.call.side_effect = None
        found.aws.call.return_value = {"Reservations": []}
        found.look()
        self.assertEqual((found.pause, found.answered, found.error), (LOOK_SECONDS, True, None))

    def test_are_not_looked_for_without_a_load_balancer(self):
        found = Peers(mock.Mock(), {}, {"i-2": "10.0.0.2"})
        found.look()
        found.aws.call.assert_not_called()
        self.assertEqual(found.known, {"i-2": "10.0.0.2"})

    def test_are_forgotten_when_they_are_silent_and_nobody_wants_them(self):
        silent, answers = Answer(None, "silent"), Answer({}, "")
        found = Peers(None, {}, {one: "10.0.0.1" for one in ("i-1", "i-2", "i-3")})
        with mock.patch.object(peers.time, "monotonic", return_value=100.0) as now:
            for seconds in (0, peers.FORGET_SECONDS, 1):
                now.return_value += seconds
                found.note_silence({"i-1": silent, "i-2": silent, "i-3": answers}, ["i-1"])
                self.assertEqual("i-2" in found.known, seconds != 1)
        self.assertEqual(set(found.known), {"i-1", "i-3"})

    def test_that_answer_in_between_or_are_looked_for_are_kept(self):
        found = Peers(None, {}, {"i-2": "10.0.0.2"})
        with mock.patch.object(peers.time, "monotonic", return_value=100.0) as now:
            silent, only_haproxy = Answer(None, ""), Answer(None, "", haproxy_answers=True)
            for answer in (silent, Answer({}, ""), silent, only_haproxy, silent):
                now.return_value += peers.FORGET_SECONDS
                found.note_silence({"i-2": answer}, [])
            found.asks = True
            now.return_value += 1000
            found.note_silence({"i-2": Answer(None, "")}, [])
        self.assertEqual(set(found.known), {"i-2"})

    def test_answer_with_their_own_status_or_a_reason(self):
        good = json.dumps({"instance": "i-2", "applied": True}).encode()
        self.assertEqual(parse_status(200, good, "i-2"), Answer({"instance": "i-2", "applied": True}, ""))
        other = Answer(None, "another machine answers at its address: i-2", haproxy_answers=False)
        self.assertEqual(parse_status(200, good, "i-3"), other)

    def test_whose_haproxy_alone_answers_are_told_apart_from_those_that_are_silent(self):
        def only_haproxy(reason):
            return Answer(None, reason, haproxy_answers=True)

        self.assertEqual(parse_status(503, b"", "i-2"), only_haproxy("it answers HTTP 503"))
        unknown = json.dumps({"instance": None}).encode()
        self.assertEqual(parse_status(200, unknown, "i-2"), only_haproxy("it does not know its instance id yet"))
        for garbage in (b"", b"<html>", b"[]", b"7", b"null", b"{}", b"\xff", b"[" * 100_000):
            self.assertEqual(parse_status(200, garbage, "i-2"), only_haproxy("it gives an answer that cannot be read"))

    def test_that_are_slow_delay_nobody(self):
        release = threading.Event()
        self.addCleanup(release.set)

        def ask(address, instance):
            if instance == "i-slow":
                release.wait(30)
            if instance == "i-bad":
                raise KeyError("a bug")
            return Answer({"instance": instance}, "")

        with mock.patch.object(peers, "ANSWER_SECONDS", 0.2):
            answers = ask_all(ask, {one: "10.0.0.1" for one in ("i-1", "i-slow", "i-bad")})
        self.assertEqual(answers["i-1"].reason, "")
        self.assertIn("does not answer within", answers["i-slow"].reason)
        self.assertIn("unexpected KeyError", answers["i-bad"].reason)

    def new_pem(self):
        with tempfile.TemporaryDirectory() as folder:
            command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=s -keyout k -out c"
            subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
            return (Path(folder) / "c").read_text() + (Path(folder) / "k").read_text()

    def new_server(self, pem):
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(pem)
            file.flush()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file.name)
        server = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.addCleanup(server.close)
        return server

    def test_with_another_certificate_of_the_status_may_have_clients(self):
        server = self.new_server(self.new_pem())

        def refuse():
            with contextlib.suppress(OSError):
                server.accept()

        threading.Thread(target=refuse, daemon=True).start()
        with mock.patch.object(peers, "STATUS_NAME", "s"):
            answer = ask_status("127.0.0.1", "i-2", self.new_pem(), "token", server.getsockname()[1])
        self.assertIn("another certificate of the status: ", answer.reason)
        self.assertEqual((answer.status, answer.haproxy_answers), (None, True))
        # Another machine at an old address is forgotten all the same.
        found = Peers(None, {}, {"i-2": "10.0.0.2"})
        with mock.patch.object(peers.time, "monotonic", return_value=100.0) as now:
            for seconds in (0, peers.FORGET_SECONDS + 1):
                now.return_value += seconds
                found.note_silence({"i-2": answer}, [])
        self.assertEqual(found.known, {})

    def test_whose_service_alone_is_frozen_or_dies_have_a_haproxy_that_answers(self):
        pem = self.new_pem()
        server = self.new_server(pem)
        clients = []
        threading.Thread(target=lambda: clients.extend(server.accept()[0] for _ in range(1)), daemon=True).start()
        with mock.patch.object(peers, "ANSWER_SECONDS", 0.5), mock.patch.object(peers, "STATUS_NAME", "s"):
            answer = ask_status("127.0.0.1", "i-2", pem, "token", server.getsockname()[1])
            self.assertEqual(answer, Answer(None, "its wcs-balancer-sync does not answer within 0.5 s", True))
            threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
            answer = ask_status("127.0.0.1", "i-2", pem, "token", server.getsockname()[1])
            self.assertEqual((answer.status, answer.haproxy_answers), (None, True))
        clients[0].close()

    def test_that_run_and_are_frozen_or_do_not_listen_do_not_answer(self):
        pem = self.new_pem()
        with socket.create_server(("127.0.0.1", 0)) as frozen, mock.patch.object(peers, "ANSWER_SECONDS", 0.2):
            port = frozen.getsockname()[1]
            self.assertEqual(ask_status("127.0.0.1", "i-2", pem, "token", port).reason, "it does not answer within 0.2 s")
        self.assertIn("Connection refused", ask_status("127.0.0.1", "i-2", pem, "token", 1).reason)
        self.assertIn("it does not answer", ask_status("127.0.0.1", "i-2", "no certificate", "token", 1).reason)


class TheCluster(unittest.TestCase):
    named = {"balancer-1": "i-1", "balancer-2": "i-2"}

    def test_has_every_balancer_sorted_by_name_and_instance(self):
        answers = {"i-9": Answer({"instance": "i-9"}, ""), "i-8": Answer(None, "it answers HTTP 503", True)}
        found = rows("i-2", {"own": True}, self.named, {"i-2": "a", "i-9": "b", "i-8": "c"}, answers, "it does not run")
        self.assertEqual(
            [tuple(row.values()) for row in found],
            [
                ("balancer-1", "i-1", None, None, "it does not run", False),
                ("balancer-2", "i-2", "a", {"own": True}, "", False),
                (None, "i-8", "c", None, "it answers HTTP 503", True),
                (None, "i-9", "b", {"instance": "i-9"}, "", False),
            ],
        )

    def test_does_not_claim_that_one_does_not_run_that_nobody_has_looked_for(self):
        def reason(*groups, answered=False):
            found = Peers(None, {}, {"i-2": "10.0.0.2"})
            found.want(bool(groups))
            found.answered = answered
            entry = Entry(self.named, not groups, groups, 300, 60)
            [missing, _] = Cluster(mock.Mock(), found, lambda: "i-2", lambda: entry, dict).shown()["balancers"]
            return missing["reason"]

        # The old balancer, while the new one is set up.
        self.assertRegex(reason(), "^it does not serve yet: most probably it is still being set up")
        self.assertRegex(reason(*GROUPS), "^AWS has not said yet whether it runs")
        self.assertEqual(reason(*GROUPS, answered=True), "it does not run")

    def test_of_one_balancer_is_itself(self):
        [own] = rows("i-1", {"own": True}, {"balancer-1": "i-1"}, {}, {}, "")
        self.assertEqual((own["name"], own["status"]), ("balancer-1", {"own": True}))
        [unknown] = rows(None, {"own": True}, {}, {}, {}, "")
        self.assertEqual((unknown["name"], unknown["instance"]), (None, None))

    def test_asks_the_others_once_a_second(self):
        entry = Entry(self.named, False, GROUPS, 300, 60)
        found = Peers(None, {}, {"i-1": "10.0.0.1", "i-2": "10.0.0.2"})
        disk = mock.Mock()
        cluster = Cluster(disk, found, lambda: "i-1", lambda: entry, lambda: {"own": True})
        with (
            mock.patch("wcs_balancer.cluster.ask_status", return_value=Answer({"instance": "i-2"}, "")) as asked,
            mock.patch("wcs_balancer.cluster.time.monotonic", return_value=100.0) as now,
        ):
            for seconds in (0, 0.5, 0.6):
                now.return_value += seconds
                shown = cluster.shown()
            self.assertEqual([call.args[:2] for call in asked.call_args_list], [("10.0.0.2", "i-2")] * 2)
        self.assertEqual(shown["instance"], "i-1")
        self.assertEqual([row["status"] for row in shown["balancers"]], [{"own": True}, {"instance": "i-2"}])
        disk.status_secret.return_value = None
        found.known = {"i-3": "10.0.0.3"}
        self.assertIn("no certificate of the status", cluster.shown()["balancers"][-1]["reason"])


if __name__ == "__main__":
    unittest.main()
