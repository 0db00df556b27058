"""The parameter Memory: with a table, all environments of the function remember together what they saw and sent.

A function that runs as a process of its own is another environment than the deployed one.
"""

import json
import re
from contextlib import contextmanager

import pytest
from local_aws import BUCKET, STACK, LocalAws, binary, event_ids, log_key, record, wait_until
from runtime_api import running

HOUR = {"by": ["userIdentity.arn"], "for": "1h"}
CONFIGURATION = {"rules": [{"name": "users", "source": "iam", "regexp": "^CreateUser$", "suppress": HOUR}]}


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        aws.outputs = aws.deploy(Memory="table")
        aws.queue = aws.subscribe(aws.outputs["TopicArn"])
        aws.configure(CONFIGURATION)
        yield aws


def call(caller, time, event_id):
    """A call that the rule matches, at a time of day, by a caller whom no other test uses."""
    identity = {"type": "IAMUser", "arn": f"arn:aws:iam::123456789012:user/{caller}", "userName": caller}
    return {**record(f"{caller} {event_id}"), "eventTime": f"2026-11-20T{time}:00Z", "userIdentity": identity}


def put(aws, key, *records):
    """Store a log that nobody announces; the event that announces it."""
    key = log_key(key).removesuffix(".gz")
    aws.put_log(key, {"Records": records})
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                         "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}}]}


@contextmanager
def environment(aws, table=None):
    """Another environment of the function: gives the counts of an invocation that must succeed."""
    variables = aws.client("lambda").get_function_configuration(FunctionName=STACK)["Environment"]["Variables"]
    variables |= {"STATE_TABLE": table} if table else {}
    with running(binary(), {**aws.function_environment(), **variables}) as invoke:
        def counts(event):
            answer, failed = invoke(event)
            assert not failed, answer
            return answer

        yield counts


def items(aws):
    """The items of the table."""
    return aws.dynamodb.scan(TableName=aws.outputs["StateTableName"])["Items"]


def test_the_table_is_as_the_function_uses_it(aws):
    name = aws.outputs["StateTableName"]
    table = aws.dynamodb.describe_table(TableName=name)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    life = aws.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert life == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    function = aws.client("lambda").get_function_configuration(FunctionName=STACK)
    assert function["Environment"]["Variables"]["STATE_TABLE"] == name


def test_what_one_environment_holds_back_the_alert_of_another_tells(aws):
    first, second, third = (
        put(aws, "first", call("alice", "10:00", 1)),
        put(aws, "second", call("alice", "10:02", 2), call("alice", "10:58", 3), call("bob", "10:30", 4)),
        put(aws, "third", call("alice", "11:30", 5)))
    counts, failed = aws.invoke(first)
    assert not failed and (counts["published"], counts["suppressed"]) == (1, 0)
    with environment(aws) as invoke:
        counts = invoke(second)
        assert (counts["published"], counts["suppressed"]) == (1, 2), "bob is another group"
    with environment(aws) as invoke:
        assert invoke(third)["published"] == 1
    alerts = aws.receive(aws.queue, 3)
    assert event_ids(alerts) == ["alice 1", "alice 5", "bob 4"]
    told = {event_ids([each])[0]: re.findall("^Held .*", each["Message"], re.M) for each in alerts}
    held = "2 more between 2026-11-20T10:02:00Z and 2026-11-20T10:58:00Z with the same userIdentity.arn were not sent"
    assert told == {"alice 1": [], "bob 4": [], "alice 5": [f"Held    : {held}"]}

    # All that the table holds expires, and names nobody.
    assert {item["id"]["S"][0] for item in items(aws)} == {"g", "p"}
    assert all(int(item["expires"]["N"]) > 1.7e9 for item in items(aws))
    assert not re.search("alice|bob|CreateUser|users", json.dumps(items(aws)))


def test_a_log_that_was_read_repeats_nothing_in_any_environment(aws):
    event = put(aws, "again", call("carol", "10:00", 1), call("carol", "12:00", 2))
    assert aws.invoke(event)[0]["published"] == 2
    assert event_ids(aws.receive(aws.queue, 2)) == ["carol 1", "carol 2"]
    for _ in range(2):
        with environment(aws) as invoke:
            counts = invoke(event)
            assert (counts["published"], counts["duplicates"], counts["failed"]) == (0, 2, 0)
    assert aws.receive(aws.queue) == []


def test_without_the_table_every_alert_goes_out_and_the_invocation_succeeds(aws):
    event = put(aws, "gone", call("dave", "10:00", 1), call("dave", "10:30", 2))
    with environment(aws, table="gone") as invoke:
        counts = invoke(event)
    assert (counts["published"], counts["suppressed"]) == (2, 0)
    assert event_ids(aws.receive(aws.queue, 2)) == ["dave 1", "dave 2"]


def test_without_the_parameter_there_is_no_table_and_an_environment_remembers_for_itself(aws):
    tables = aws.dynamodb.list_tables()["TableNames"]
    outputs = aws.deploy("forgetful", LogBucketName="forgetful")
    assert aws.dynamodb.list_tables()["TableNames"] == tables
    assert "StateTableName" not in outputs and "StateTable" not in aws.resources("forgetful")
    variables = aws.client("lambda").get_function_configuration(FunctionName="forgetful")["Environment"]["Variables"]
    assert "STATE_TABLE" not in variables
    role = aws.resources("forgetful")["FunctionRole"]
    assert "dynamodb" not in json.dumps(aws.iam.get_role_policy(RoleName=role, PolicyName="alerter"))
    assert "forgetful-StateUnavailable" not in {
        alarm["AlarmName"] for alarm in aws.cloudwatch.describe_alarms()["MetricAlarms"]}

    aws.configure(CONFIGURATION, "forgetful")
    key = log_key("own")
    aws.put_log(key, {"Records": [call("erin", "10:00", 1), call("erin", "10:01", 2)]}, "forgetful")
    [counts] = wait_until(lambda: aws.summaries("forgetful"), "an invocation")
    assert (counts["published"], counts["suppressed"]) == (1, 1)
