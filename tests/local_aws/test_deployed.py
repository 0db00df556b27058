"""template.yaml and the function, deployed onto a local AWS."""

import gzip
import json
import re

import pytest
from botocore.exceptions import ClientError
from local_aws import (
    ACCOUNT,
    BUCKET,
    FIXTURES,
    REGION,
    ROOT,
    STACK,
    LocalAws,
    changes,
    event_ids,
    log_key,
    record,
    wait_until,
)

CONFIGURATION = json.loads((ROOT / "filter_config.json").read_text())
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        aws.outputs = aws.deploy(AlertEmail="alice@example.com")
        aws.queue = aws.subscribe(aws.outputs["TopicArn"])
        yield aws


@pytest.fixture(autouse=True)
def configured(aws):
    aws.configure(CONFIGURATION)


def drop(aws, key, content):
    """Drop a log, and wait for the end of the invocation that it causes; the counts of that invocation."""
    before = len(aws.summaries())
    aws.put_log(key, content)
    return wait_until(lambda: aws.summaries()[before:], "an invocation")[0]


def event_of(key):
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                         "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}}]}


def test_the_fixtures_matches_and_no_others_become_alerts_and_they_are_complete(aws):
    log = json.loads((FIXTURES / "logs" / "iam-signin-sts.json").read_text())
    expected = sorted({r["eventID"] for r in log["Records"]
                       if re.search(CONFIGURATION["source"], r["eventSource"])
                       and re.search(CONFIGURATION["regexp"], r["eventName"])})
    [announced] = json.loads((FIXTURES / "events" / "s3-put.json").read_text())["Records"]
    summary = drop(aws, announced["s3"]["object"]["key"], log)
    assert summary["records"] == summary["matched"] + summary["unmatched"] == len(log["Records"])
    assert summary["published"] == summary["matched"] == len(expected)
    assert summary["rules"] == {"default": {"matches": len(expected), "alerts": len(expected)}}
    messages = aws.receive(aws.queue, len(expected))
    assert expected and event_ids(messages) == expected

    subjects = (GOLDEN / "subjects.txt").read_text().splitlines()
    assert sorted(each["Subject"] for each in messages) == sorted(subjects)
    [first] = [each for each in messages if event_ids([each]) == [log["Records"][0]["eventID"]]]
    assert first["Subject"] == subjects[0]
    assert first["Message"] == (GOLDEN / "text.txt").read_text()
    assert first["MessageAttributes"] == json.loads((GOLDEN / "attributes.json").read_text())


def test_an_edit_of_the_configuration_takes_effect_with_the_next_log(aws):
    drop(aws, log_key("before"), {"Records": [record("id-before", "ListRoles")]})
    aws.configure({"source": "iam", "regexp": "ListRoles"})
    drop(aws, log_key("after"), {"Records": [record("id-after", "ListRoles"), record("id-no-more")]})
    assert event_ids(aws.receive(aws.queue, 1)) == ["id-after"]


def test_a_digest_is_skipped(aws):
    digest = f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/{REGION}/2026/11/20/{ACCOUNT}_CloudTrail-Digest_x.json.gz"
    summary = drop(aws, digest, {"digestBucket": BUCKET})
    assert summary["skipped.digest"] == 1 and summary["logs"] == 0


def test_a_bad_log_is_retried_and_then_kept_as_it_was(aws):
    key = log_key("bad")
    good = gzip.compress(json.dumps({"Records": [record("id-in-bad-log")]}).encode())
    before = len(aws.summaries())
    aws.put_log(key, good[:-4])
    [kept] = aws.receive(aws.outputs["DeadLetterQueueUrl"], 1)
    assert len(aws.summaries()) - before == 3, "one attempt and two retries"
    assert [record["s3"]["object"]["key"] for record in kept["Records"]] == [key]
    # Alerts from before the corruption were sent all the same.
    assert set(event_ids(aws.receive(aws.queue, 1))) == {"id-in-bad-log"}

    error, failed = aws.invoke(kept)
    assert failed and error["errorType"] == "LogMalformed" and f"s3://{BUCKET}/{key}" in error["errorMessage"]
    drop(aws, key, good)
    aws.receive(aws.queue)
    answer, failed = aws.invoke(kept)
    assert not failed and answer["matched"] == 1


@pytest.mark.parametrize("configuration, error_type",
                         [(None, "ConfigurationUnavailable"), ({"source": "("}, "InvalidConfiguration")])
def test_no_usable_configuration_is_an_error_and_the_next_good_event_works(aws, configuration, error_type):
    key = log_key(error_type)
    drop(aws, key, {"Records": [record(f"id-{error_type}")]})
    aws.receive(aws.queue, 1)
    if configuration is None:
        aws.s3.delete_object(Bucket=BUCKET, Key="filter_config.json")
    else:
        aws.configure(configuration)
    error, failed = aws.invoke(event_of(key))
    assert failed and error["errorType"] == error_type
    assert f"s3://{BUCKET}/filter_config.json" in error["errorMessage"]
    aws.configure(CONFIGURATION)
    answer, failed = aws.invoke(event_of(key))
    assert not failed and answer["matched"] == 1
    aws.receive(aws.queue)


def test_a_missing_log_and_an_unknown_payload_are_errors_that_say_so(aws):
    error, failed = aws.invoke(event_of(log_key("missing")))
    assert failed and error["errorType"] == "LogUnavailable" and log_key("missing") in error["errorMessage"]
    error, failed = aws.invoke({"hello": "world"})
    assert failed and error["errorType"] == "InvalidPayload"


def test_the_bucket_and_the_trail(aws):
    access = aws.s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert len(access) == 4 and all(access.values())
    [rule] = aws.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    trail = aws.cloudtrail.get_trail(Name=STACK)["Trail"]
    assert trail["S3BucketName"] == BUCKET
    assert trail["IsMultiRegionTrail"] and trail["LogFileValidationEnabled"] and trail["IncludeGlobalServiceEvents"]
    assert aws.cloudtrail.get_trail_status(Name=STACK)["IsLogging"]

    policy = json.loads(aws.s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    statements = {statement.pop("Sid"): statement for statement in policy["Statement"]}
    arn, this_trail = f"arn:aws:s3:::{BUCKET}", {"aws:SourceArn": trail["TrailARN"]}
    cloudtrail = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
    assert statements == {
        "CloudTrailChecksTheBucket": {**cloudtrail, "Action": "s3:GetBucketAcl", "Resource": arn,
                                      "Condition": {"StringEquals": this_trail}},
        "CloudTrailWritesLogs": {**cloudtrail, "Action": "s3:PutObject", "Resource": f"{arn}/AWSLogs/{ACCOUNT}/*",
                                 "Condition": {"StringEquals": {**this_trail,
                                                                "s3:x-amz-acl": "bucket-owner-full-control"}}},
        "OnlyTls": {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
    }


def test_the_function_and_what_may_invoke_it(aws):
    lambda_ = aws.client("lambda")
    function = lambda_.get_function_configuration(FunctionName=STACK)
    assert (function["Runtime"], function["Architectures"]) == ("provided.al2023", ["arm64"])
    assert function["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": aws.outputs["LogGroupName"]}
    [group] = aws.logs.describe_log_groups(logGroupNamePrefix=aws.outputs["LogGroupName"])["logGroups"]
    assert group["retentionInDays"] == 30

    retries = lambda_.get_function_event_invoke_config(FunctionName=STACK, Qualifier="$LATEST")
    assert retries["MaximumRetryAttempts"] == 2 and not retries.get("DestinationConfig")
    queue = aws.outputs["DeadLetterQueueUrl"]
    attributes = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert function["DeadLetterConfig"] == {"TargetArn": attributes["QueueArn"]}
    assert attributes["MessageRetentionPeriod"] == str(14 * 24 * 3600) and attributes["SqsManagedSseEnabled"] == "true"

    [statement] = json.loads(lambda_.get_policy(FunctionName=STACK)["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"] == {"ArnLike": {"AWS:SourceArn": f"arn:aws:s3:::{BUCKET}"},
                                      "StringEquals": {"AWS:SourceAccount": ACCOUNT}}
    [notification] = aws.s3.get_bucket_notification_configuration(Bucket=BUCKET)["LambdaFunctionConfigurations"]
    assert notification["LambdaFunctionArn"] == function["FunctionArn"]
    rules = notification["Filter"]["Key"]["FilterRules"]
    assert {rule["Name"].lower(): rule["Value"] for rule in rules} == {"prefix": "AWSLogs/", "suffix": ".json.gz"}


def test_the_email_address_is_subscribed_to_the_topic_of_the_emails_only(aws):
    alerts, mails = (aws.sns.list_subscriptions_by_topic(TopicArn=aws.outputs[name])["Subscriptions"]
                     for name in ("TopicArn", "MailTopicArn"))
    assert "email" not in [each["Protocol"] for each in alerts]
    assert [(each["Protocol"], each["Endpoint"]) for each in mails] == [("email", "alice@example.com")]


def test_alarms_and_changes_of_the_configuration_reach_the_alarm_topic(aws):
    topic = aws.outputs["AlarmTopicArn"]
    assert topic != aws.outputs["TopicArn"]
    subscriptions = aws.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert ("email", "alice@example.com") in [(each["Protocol"], each["Endpoint"]) for each in subscriptions]
    told = aws.subscribe(topic, "alarms")

    alarms = {alarm["AlarmName"]: alarm for alarm in aws.cloudwatch.describe_alarms()["MetricAlarms"]}
    assert sorted(alarms) == sorted(f"{STACK}-{name}" for name in (
        "NoLogs", "FunctionErrors", "FunctionThrottled", "DeadLettersWaiting", "EventsLost", "ConfigurationUnavailable",
        "InvalidConfiguration", "AlertsNotPublished", "AlertsNotDelivered", "DeliveriesFailed", "MailNotDelivered",
        "MailFallsBehind", "MessagesHandedBack"))
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic] and alarm["ActionsEnabled"]
        aws.cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")
        aws.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    assert aws.alarms(told, len(alarms)) == set(alarms)

    aws.s3.delete_object(Bucket=BUCKET, Key="filter_config.json")
    aws.configure(CONFIGURATION)
    # The announcement of an earlier change may arrive here too.
    expected = [("ObjectRemoved", "filter_config.json"), ("ObjectCreated", "filter_config.json")]
    aws.receive_until(told, lambda messages: changes(messages)[-2:] == expected, "two changes")


def test_an_existing_alarm_topic_is_used(aws):
    topic = aws.sns.create_topic(Name="existing-alarms")["TopicArn"]
    told = aws.subscribe(topic, "existing-alarms")
    outputs = aws.deploy("own-topic", LogBucketName="own-topic", AlarmTopicArn=topic, AlertEmail="alice@example.com",
                         HoursWithoutLogs="2")
    assert outputs["AlarmTopicArn"] == topic
    assert {"AlarmTopic", "AlarmTopicPolicy", "AlarmEmailSubscription"}.isdisjoint(aws.resources("own-topic"))
    aws.configure(CONFIGURATION, "own-topic")
    [alarm] = aws.cloudwatch.describe_alarms(AlarmNames=["own-topic-NoLogs"])["MetricAlarms"]
    assert alarm["AlarmActions"] == [topic] and alarm["TreatMissingData"] == "breaching"
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (3600, 2)
    expected = ("ObjectCreated", "filter_config.json")
    aws.receive_until(told, lambda messages: expected in changes(messages), "a change")


@pytest.mark.parametrize("name, value", [
    ("LogBucketName", "Capitals"),
    ("Source", "kafka"),
    ("Source", "existing-sns-topic"),
    ("LogTopicArn", f"arn:aws:sns:{REGION}:{ACCOUNT}:of-no-use-to-a-new-trail"),
    ("LogTopicArn", f"arn:aws:sns:{REGION}:{ACCOUNT}:first-in-first-out.fifo"),
    ("MaximumConcurrency", "1"),
    ("LogKeyPrefix", "no-slash"),
    ("LogKeyPrefix", "of-a-new-trail/"),
    ("ConfigBucketName", "no/path"),
    ("ConfigKey", "*"),
    ("ConfigKey", "AWSLogs/filter_config.json"),
    ("AlertEmail", "alice"),
    ("MoreTopicArns", "alerts"),
    ("Memory", "tables"),
    ("AlarmTopicArn", "alarms"),
    ("HoursWithoutLogs", "0"),
    ("KmsKeyArn", "alias/key"),
    ("TrailKmsKeyArn", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/key"),
    ("Architecture", "riscv"),
    ("LogRetentionDays", "2"),
    ("LogBucketExists", "yes"),
    ("LogFileRetentionDays", "-1"),
    ("AccessLogBucketName", "no/path"),
    ("EmailSeverity", "urgent"),
    ("EmailWindowSeconds", "301"),
    ("MoreKmsKeyArns", "alias/key"),
    ("LogGroupKmsKeyArn", "alias/key"),
    ("ReservedConcurrency", "1"),
    ("XRayTracing", "yes"),
    ("PermissionsBoundaryArn", "boundary"),
    ("RolePath", "no-slash"),
    ("SubnetIds", "subnet"),
    ("SubnetIds", "subnet-0123456789abcdef0"),
    ("SecurityGroupIds", "sg-0123456789abcdef0"),
])
def test_a_wrong_parameter_is_refused(aws, name, value):
    with pytest.raises(ClientError, match="ValidationError"):
        aws.deploy("refused", **{name: value})


@pytest.mark.parametrize("parameters", [
    {"Source": "existing-bucket", "LogBucketExists": "true"},
    {"Source": "existing-bucket", "LogFileRetentionDays": "30"},
    {"Source": "queue", "AccessLogBucketName": "access-logs"},
    {"LogBucketExists": "true", "LogFileRetentionDays": "30"},
    {"AccessLogBucketName": BUCKET},
])
def test_settings_of_a_bucket_that_do_not_fit_are_refused(aws, parameters):
    with pytest.raises(ClientError, match="ValidationError"):
        aws.deploy("refused", **parameters)
