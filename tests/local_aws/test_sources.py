"""Every Source of the template: it is deployed, a log is dropped, and its alerts arrive."""

import json
import shutil

import pytest
from local_aws import ACCOUNT, ROOT, LocalAws, event_ids, log_key, record, wait_until

CONFIGURATIONS = "configurations"
PREFIX = "trails/main/"
# CloudTrail does not name logs like this, but S3 allows it.
DIFFICULT = f"{PREFIX}{log_key('a b+c%2B=ü')}"


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        aws.s3.create_bucket(Bucket=CONFIGURATIONS)
        aws.configure(json.loads((ROOT / "filter_config.json").read_text()), CONFIGURATIONS)
        yield aws


def deploy(aws, name, source, **parameters):
    """Create a bucket, and a stack of the same name for the logs below PREFIX; the outputs of the stack."""
    aws.s3.create_bucket(Bucket=name)
    outputs = aws.deploy(name, Source=source, LogBucketName=name, LogKeyPrefix=PREFIX, ConfigBucketName=CONFIGURATIONS,
                         **parameters)
    assert {"LogBucket", "LogBucketPolicy", "Trail"}.isdisjoint(aws.resources(name))
    outputs["alerts"] = aws.subscribe(outputs["TopicArn"], f"{name}-alerts")
    return outputs


def create_log_topic(aws, name):
    """Create a topic for the announcements of the bucket of that name."""
    return aws.sns.create_topic(Name=f"{name}-logs")["TopicArn"]


def announce_to(aws, bucket, topic):
    configuration = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    aws.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


def notifications(aws, bucket):
    found = aws.s3.get_bucket_notification_configuration(Bucket=bucket)
    del found["ResponseMetadata"]
    return found


def run(aws, command):
    if not shutil.which("jq"):
        pytest.skip("jq, which the command uses, is not installed")
    aws.run(command)


def assert_logs_become_alerts(aws, outputs, bucket):
    for key in (f"{PREFIX}{log_key('plain')}", DIFFICULT):
        aws.put_log(key, {"Records": [record(key), record(f"no match in {key}", "ListRoles")]}, bucket)
        [alert] = aws.receive(outputs["alerts"], 1)
        assert event_ids([alert]) == [key]
        assert alert["Message"].endswith(f"Log     : s3://{bucket}/{key}\n")


@pytest.mark.parametrize("source", ["existing-bucket", "queue", "eventbridge"])
def test_an_existing_bucket_announces_its_logs_and_keeps_its_other_notifications(aws, source):
    outputs = deploy(aws, source, source)
    run(aws, outputs["AddNotification"])
    alone = notifications(aws, source)
    [target] = alone
    if source == "eventbridge":
        assert target == "EventBridgeConfiguration"
    else:
        [added] = alone[target]
        assert added["Id"] == source and added["Events"] == ["s3:ObjectCreated:*"]
        rules = {rule["Name"].lower(): rule["Value"] for rule in added["Filter"]["Key"]["FilterRules"]}
        assert rules == {"prefix": f"{PREFIX}AWSLogs/", "suffix": ".json.gz"}

    arn = aws.queue_arn(aws.sqs.create_queue(QueueName=f"{source}-others")["QueueUrl"])
    other = {"Id": "others", "QueueArn": arn, "Events": ["s3:ObjectRemoved:*"]}
    with_other = {**alone, "QueueConfigurations": [*alone.get("QueueConfigurations", []), other]}
    before = with_other
    if source != "queue":  # left by the stack's command from a time when Source was `queue`
        stale = {"Id": source, "QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        before = {"QueueConfigurations": [other, stale]}
    aws.s3.put_bucket_notification_configuration(Bucket=source, NotificationConfiguration=before)
    run(aws, outputs["AddNotification"])
    again = notifications(aws, source)
    assert [each["Id"] for each in again["QueueConfigurations"]].count("others") == 1
    assert {kind: len(again[kind]) for kind in again} == {kind: len(with_other[kind]) for kind in with_other}

    aws.put_log(f"elsewhere/{log_key('a')}", {"Records": [record("elsewhere")]}, source)
    aws.put_log(f"{PREFIX}{log_key('a')}.txt", {"Records": [record("another suffix")]}, source)
    assert_logs_become_alerts(aws, outputs, source)
    # Nothing without the prefix and the suffix was announced.
    wait_until(lambda: sum(summary["objects"] for summary in aws.summaries(source)) >= 2, "both invocations")
    assert sorted(summary["objects"] for summary in aws.summaries(source) if summary["objects"]) == [1, 1]


@pytest.mark.parametrize("source", ["existing-sns-topic", "queue"])
def test_a_topic_announces_logs(aws, source):
    bucket = f"{source}-by-topic"
    topic = create_log_topic(aws, bucket)
    outputs = deploy(aws, bucket, source, LogTopicArn=topic)
    assert "AddNotification" not in outputs
    announce_to(aws, bucket, topic)
    assert_logs_become_alerts(aws, outputs, bucket)

    # A notification of CloudTrail itself names several logs. It also sends a text when the topic is set up.
    keys = [f"{PREFIX}{log_key(name)}" for name in ("one", "two")]
    aws.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    for key in keys:
        aws.put_log(key, {"Records": [record(key)]}, bucket)
    aws.sns.publish(TopicArn=topic, Message="CloudTrail validation message.")
    aws.sns.publish(TopicArn=topic, Message=json.dumps({"s3Bucket": bucket, "s3ObjectKey": keys}))
    assert event_ids(aws.receive(outputs["alerts"], 2)) == keys
    wait_until(lambda: sum(each["skipped.testEvent"] for each in aws.summaries(bucket)) > 0, "the test event")
    assert not [line for line in aws.log_lines(bucket) if line.get("level") == "ERROR"]


def test_exactly_the_bad_messages_of_a_batch_come_again_and_are_kept(aws):
    bucket = "batch"
    outputs = deploy(aws, bucket, "queue")
    queue, dead_letters = outputs["QueueUrl"], outputs["DeadLetterQueueUrl"]

    def body(key):
        return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                                        "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})

    keys = [f"{PREFIX}{log_key(str(n))}" for n in range(6)]
    for key in keys:
        aws.put_log(key, {"Records": [record(key)]}, bucket)
    bodies = [*map(body, keys), body(f"{PREFIX}{log_key('missing')}"), "garbage"]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    assert not aws.sqs.send_message_batch(QueueUrl=queue, Entries=entries).get("Failed")

    assert event_ids(aws.receive(outputs["alerts"], len(keys))) == keys
    kept = []

    def all_kept():
        for message in aws.sqs.receive_message(QueueUrl=dead_letters, MaxNumberOfMessages=10).get("Messages", []):
            kept.append(message["Body"])
        return len(kept) >= 2

    wait_until(all_kept, "the bad messages in the dead-letter queue")
    assert sorted(kept) == sorted(bodies[-2:])
    summaries = aws.summaries(bucket)
    assert sum(summary["logs"] for summary in summaries) == len(keys), "no good message came twice"
    assert max(summary["logs"] for summary in summaries) > 1, "there was a batch"
    assert sum(summary["handedBack"] for summary in summaries) == 2 * 5, "each bad one was tried five times"
    assert aws.receive(outputs["alerts"]) == []
    counts = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert {counts[f"ApproximateNumberOfMessages{more}"] for more in ("", "NotVisible")} == {"0"}


def test_the_queue_and_its_mapping_suit_large_organizations(aws):
    outputs = deploy(aws, "large", "queue", MaximumConcurrency="50")
    timeout = aws.client("lambda").get_function_configuration(FunctionName="large")["Timeout"]
    queue, dead_letters = (
        aws.sqs.get_queue_attributes(QueueUrl=outputs[name], AttributeNames=["All"])["Attributes"]
        for name in ("QueueUrl", "DeadLetterQueueUrl"))
    assert int(queue["VisibilityTimeout"]) >= 6 * timeout
    redrive = json.loads(queue["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == dead_letters["QueueArn"] and int(redrive["maxReceiveCount"]) == 5
    assert int(dead_letters["MessageRetentionPeriod"]) > int(queue["MessageRetentionPeriod"])
    assert queue["SqsManagedSseEnabled"] == dead_letters["SqsManagedSseEnabled"] == "true"
    [mapping] = aws.client("lambda").list_event_source_mappings(FunctionName="large")["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] and mapping["BatchSize"] == 10
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 50}


def test_each_source_lets_in_who_announces_and_nobody_else(aws):
    """The policies of the function and the queues allow only these: (service, the ARN that it must act for)."""
    topic, account = create_log_topic(aws, "let-in"), {"AWS:SourceAccount": ACCOUNT}
    lambda_ = aws.client("lambda")

    def let_in(source, **parameters):
        name = f"let-in-{source}" + ("-topic" if parameters else "")
        outputs = deploy(aws, name, source, **parameters)
        try:
            invoke = json.loads(lambda_.get_policy(FunctionName=name)["Policy"])["Statement"]
        except lambda_.exceptions.ResourceNotFoundException:
            invoke = []
        send = []
        for url in {"QueueUrl", "DeadLetterQueueUrl"} & set(outputs):
            attributes = aws.sqs.get_queue_attributes(QueueUrl=outputs[url], AttributeNames=["All"])["Attributes"]
            for statement in json.loads(attributes["Policy"])["Statement"]:
                assert statement["Resource"] == attributes["QueueArn"]
                if statement["Effect"] == "Allow":
                    assert statement["Action"] == "sqs:SendMessage"
                    send.append((url, statement))
                else:
                    assert statement["Action"] == "sqs:*"
                    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

        def who(statement):
            condition = {name.lower(): value for part in statement["Condition"].values()
                         for name, value in part.items()}
            service = statement["Principal"]["Service"].split(".")[0]
            assert service != "s3" or condition["aws:sourceaccount"] == account["AWS:SourceAccount"]
            return service, condition["aws:sourcearn"].replace(name, "NAME")

        rule = aws.resources(name).get("LogRule")
        return ([who(statement) for statement in invoke],
                sorted((url, *who(statement)) for url, statement in send), rule and rule.replace(name, "NAME"))

    bucket = "arn:aws:s3:::NAME"
    assert let_in("existing-bucket") == ([("s3", bucket)], [], None)
    assert let_in("existing-sns-topic", LogTopicArn=topic) == (
        [("sns", topic)], [("DeadLetterQueueUrl", "sns", topic)], None)
    assert let_in("queue") == ([], [("QueueUrl", "s3", bucket)], None)
    assert let_in("queue", LogTopicArn=topic) == (
        [], [("DeadLetterQueueUrl", "sns", topic), ("QueueUrl", "sns", topic)], None)
    invoke, send, rule = let_in("eventbridge")
    [(service, arn)] = invoke
    assert service == "events" and arn.endswith(f":rule/{rule}")
    assert send == [("DeadLetterQueueUrl", "events", arn)]
