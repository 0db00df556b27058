"""A second opinion on what AWS sends and takes: whole invocations against the server of moto, an emulator of others.

moto sends the events of each source, but runs no functions: a test hands them to the program. It encrypts nothing.
"""

import json
import re
import urllib.request

import boto3
import pytest
from local_aws import ACCOUNT, REGION, ROOT, binary, event_ids, log_key, record
from runtime_api import running
from second_aws import Moto

LOG_KEY = log_key("a")
# What SNS takes, in bytes of subject, text and attributes.
LIMIT = 262_144
CONFIGURATION = json.loads((ROOT / "filter_config.json").read_text())
# CloudTrail does not name logs like this, but S3 allows it.
DIFFICULT = log_key("a b+c%2B=ü")


@pytest.fixture(scope="module")
def aws():
    with Moto() as aws:
        aws.key = aws.kms.create_key()["KeyMetadata"]["Arn"]
        yield aws


def announcement(bucket, key):
    """The event by which a bucket announces a log."""
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                         "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}


class World:
    """A bucket, a topic and a queue of a test, all encrypted with a key; `name` is new."""

    def __init__(self, aws, name, configuration=CONFIGURATION, **subscription):
        self.aws, self.bucket = aws, name
        aws.s3.create_bucket(Bucket=name)
        by_key = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": aws.key}}
        aws.s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [by_key]})
        self.topic = aws.sns.create_topic(Name=name, Attributes={"KmsMasterKeyId": aws.key})["TopicArn"]
        self.alerts = aws.subscribe(self.topic, f"{name}-alerts", **subscription)
        aws.sqs.set_queue_attributes(QueueUrl=self.alerts, Attributes={"KmsMasterKeyId": aws.key})
        aws.configure(configuration, name)

    def put(self, *records, key=LOG_KEY):
        """Store a log with these records; the event that announces it."""
        self.aws.put_log(key, {"Records": records}, self.bucket)
        return announcement(self.bucket, key)

    def running(self, **environment):
        """The program as a warm function."""
        return running(binary(), {**self.aws.function_environment(), "TOPIC_ARN": self.topic, **environment})

    def invoke(self, event, **environment):
        """One invocation of a cold function: its answer or error, and whether it is an error."""
        with self.running(**environment) as invoke:
            return invoke(event)


def published(result):
    """The number of alerts of an invocation that must have succeeded."""
    answer, failed = result
    assert not failed and answer["failed"] == 0, answer
    return answer["published"]


def test_an_encrypted_log_becomes_an_alert_on_an_encrypted_topic(aws):
    world = World(aws, "encrypted")
    event = world.put(record("match"), record("no match", "ListRoles"))
    for key in (LOG_KEY, "filter_config.json"):
        stored = aws.s3.head_object(Bucket=world.bucket, Key=key)
        assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", aws.key)
    assert published(world.invoke(event)) == 1
    [alert] = aws.receive(world.alerts, 1)
    assert alert["Subject"] == "[medium] CreateUser by alice in 123456789012 us-east-1"
    assert alert["Message"].startswith("Event  : CreateUser\nSource : iam.amazonaws.com\n")
    assert {name: each["Value"] for name, each in alert["MessageAttributes"].items()} == {
        "eventSource": "iam.amazonaws.com", "eventName": "CreateUser", "awsRegion": REGION, "accountId": ACCOUNT,
        "eventID": "match", "severity": "medium", "result": "Success", "rule": '["default"]',
    }


def create_function(aws, name):
    """Create a function, and the queue where its events wait: (ARN, URL)."""
    role = aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    function = aws.client("lambda").create_function(
        FunctionName=name, Role=role, Runtime="provided.al2023", Handler="bootstrap", Code={"ZipFile": b"code"})
    return function["FunctionArn"], aws.sqs.create_queue(QueueName=name)["QueueUrl"]


def way_to(aws, function, source):
    """Make the way of a source from its topic, if it has one, over its queue, if it has one, to the function: (the
    bucket's notification that begins it, the topic)."""
    kind, arn, topic = "LambdaFunction", function, None
    if "queue" in source:
        url = aws.sqs.create_queue(QueueName=f"{source}-logs", Attributes={"KmsMasterKeyId": aws.key})["QueueUrl"]
        kind, arn = "Queue", aws.queue_arn(url)
        aws.client("lambda").create_event_source_mapping(FunctionName=function, EventSourceArn=arn, BatchSize=10)
    if "topic" in source:
        topic = aws.sns.create_topic(Name=f"{source}-logs", Attributes={"KmsMasterKeyId": aws.key})["TopicArn"]
        raw = {"RawMessageDelivery": "true"} if "raw" in source else {}
        aws.sns.subscribe(
            TopicArn=topic, Protocol="sqs" if kind == "Queue" else "lambda", Endpoint=arn, Attributes=raw)
        kind, arn = "Topic", topic
    return {f"{kind}Configurations": [{f"{kind}Arn": arn, "Events": ["s3:ObjectCreated:*"]}]}, topic


@pytest.mark.parametrize(
    "source", ["bucket", "queue", "topic", "topic-and-queue", "raw-topic-and-queue", "eventbridge"])
def test_the_events_of_each_source_are_understood(aws, source):
    world = World(aws, source)
    function, events = create_function(aws, source)
    notification, topic = way_to(aws, function, source)
    if source == "eventbridge":
        notification = {"EventBridgeConfiguration": {}}
        pattern = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": [source]}}}
        aws.events.put_rule(Name=source, EventPattern=json.dumps(pattern))
        # moto knows no function as a target. A queue gets the same event.
        aws.events.put_targets(Rule=source, Targets=[{"Id": "1", "Arn": aws.queue_arn(events)}])
    aws.s3.put_bucket_notification_configuration(Bucket=source, NotificationConfiguration=notification)

    keys = [log_key("plain"), DIFFICULT]
    for key in keys:
        world.put(record(key), key=key)
    # S3 announces itself with a test event, except to functions and to EventBridge.
    announcements = len(keys) + (source not in ("bucket", "eventbridge"))
    if topic:  # CloudTrail's own notification names several logs.
        aws.s3.put_bucket_notification_configuration(Bucket=source, NotificationConfiguration={})
        more = [log_key("one"), log_key("two")]
        for key in more:
            world.put(record(key), key=key)
        aws.sns.publish(TopicArn=topic, Message=json.dumps({"s3Bucket": source, "s3ObjectKey": more}))
        keys += more
        announcements += 1
    with world.running() as invoke:
        results = [invoke(event) for event in aws.receive(events, announcements)]
    assert len(results) == announcements
    if "queue" in source:
        assert all(result == ({"batchItemFailures": []}, False) for result in results), results
    else:
        assert sum(map(published, results)) == len(keys)
        assert sum(answer["skipped"]["testEvent"] for answer, _ in results) == (source == "topic")
    assert event_ids(aws.receive(world.alerts, len(keys))) == sorted(keys)


CALLS = [
    {**record("root", "CreateUser"), "userIdentity": {"type": "Root", "arn": f"arn:aws:iam::{ACCOUNT}:root"}},
    {**record("other account", "DeleteTrail", "cloudtrail.amazonaws.com"), "recipientAccountId": "111122223333"},
    {**record("refused", "DeleteTrail", "cloudtrail.amazonaws.com"), "errorCode": "AccessDenied"},
    record("several rules", "DeleteUser"),
]
RULES = [
    {"name": "root", "severity": "critical", "where": {"userIdentity.type": "^Root$"}, "tags": ["root", "people"]},
    {"name": "trail", "severity": "high", "regexp": "Trail$"},
    {"name": "users", "severity": "low", "regexp": "User$"},
    {"name": "deleted", "severity": "info", "regexp": "^DeleteUser$", "tags": ["gone", "people"]},
]
# Attributes that a filter policy may name, and the calls that pass. None has a prefix for `rule` or `tag`: SNS
# compares it with each element, moto with none.
SUBSCRIBERS = {
    "everything": ({}, {"root", "other account", "refused", "several rules"}),
    "severity": ({"severity": ["high", "critical"]}, {"root", "other account", "refused"}),
    "rule": ({"rule": ["root", "deleted"]}, {"root", "several rules"}),
    "tag": ({"tag": ["people"]}, {"root", "several rules"}),
    "one-tag": ({"tag": ["gone"]}, {"several rules"}),
    "no-tag": ({"tag": [{"exists": False}]}, {"other account", "refused"}),
    "event": ({"eventName": [{"prefix": "Delete"}]}, {"other account", "refused", "several rules"}),
    "not-the-event": ({"eventName": [{"anything-but": "DeleteTrail"}]}, {"root", "several rules"}),
    "account": ({"accountId": ["111122223333"]}, {"other account"}),
    "result": ({"result": ["Failure"], "eventSource": ["cloudtrail.amazonaws.com"]}, {"refused"}),
    "no-id": ({"eventID": [{"exists": False}]}, set()),
}


def test_each_subscriber_gets_the_alerts_that_its_filter_policy_lets_through(aws):
    world = World(aws, "filtered", {"rules": RULES})
    queues = {name: aws.subscribe(world.topic, name, **({"FilterPolicy": json.dumps(policy)} if policy else {}))
              for name, (policy, _) in SUBSCRIBERS.items()}
    assert published(world.invoke(world.put(*CALLS))) == len(CALLS)
    got = {name: set(event_ids(aws.receive(url))) for name, url in queues.items()}
    assert got == {name: calls for name, (_, calls) in SUBSCRIBERS.items()}


def take_all(aws, url):
    """Take all messages off a queue, as SQS gives them to Lambda and to others."""
    return [message for batch in iter(lambda: aws.take(url), []) for message in batch]


def test_a_raw_subscription_gets_the_text_and_all_attributes(aws):
    rule = {"name": "r", "regexp": ".", "source": "iam", "tags": ["a", "b"]}
    world = World(aws, "raw", {"rules": [rule]})
    raw = aws.subscribe(world.topic, "raw-queue", RawMessageDelivery="true")
    assert published(world.invoke(world.put(record("raw")))) == 1
    [[message], [alert]] = take_all(aws, raw), aws.receive(world.alerts)
    assert message["Body"] == alert["Message"]
    attributes = {name: (each["DataType"], each["StringValue"]) for name, each in message["MessageAttributes"].items()}
    assert attributes == {name: (each["Type"], each["Value"]) for name, each in alert["MessageAttributes"].items()}
    assert attributes["rule"] == ("String.Array", '["r"]')
    assert attributes["tag"] == ("String.Array", '["a","b"]')
    assert len(attributes) == 9, "SNS passes ten"


def test_a_fifo_topic_takes_alerts_by_account_and_drops_repeats(aws):
    world = World(aws, "fifo")
    topic = aws.sns.create_topic(Name="alerts.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    queue = aws.sqs.create_queue(QueueName="alerts.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    aws.sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=aws.queue_arn(queue), Attributes={"RawMessageDelivery": "true"})
    accounts = [ACCOUNT, "111122223333", "444455556666"]
    calls = [{**record(f"call-{n}"), "recipientAccountId": accounts[n % 3]} for n in range(45)]
    event = world.put(*calls)
    # A cold function does not know what another one has published. moto knows it as long as the queue holds it.
    for _ in range(2):
        assert published(world.invoke(event, TOPIC_ARN=topic)) == len(calls)
    got = [(each["Attributes"]["MessageGroupId"], each["Attributes"]["MessageDeduplicationId"])
           for each in take_all(aws, queue)]
    assert sorted(got) == sorted((call["recipientAccountId"], call["eventID"]) for call in calls)


def test_an_alert_of_the_size_that_sns_takes_arrives_whole(aws):
    world = World(aws, "large", {**CONFIGURATION, "format": "json"})

    def alert(length):
        """The alert for a call with a text of this length: its size as SNS counts it, and whether the text is in it."""
        parameters = {"text": "x" * length}
        assert published(world.invoke(world.put({**record("1"), "requestParameters": parameters}))) == 1
        [alert] = aws.receive(world.alerts, 1)
        attributes = (f"{name}{each['Type']}{each['Value']}" for name, each in alert["MessageAttributes"].items())
        size = len("".join([alert["Subject"], alert["Message"], *attributes]).encode())
        return size, json.loads(alert["Message"])["event"]["requestParameters"] == parameters

    size, _ = alert(1)
    longest = LIMIT - size + 1
    assert alert(longest) == (LIMIT, True)
    size, is_whole = alert(longest + 1)
    assert size < LIMIT and not is_whole


def test_an_alert_is_published_in_the_region_of_its_topic(aws):
    west = aws.client("sns", boto3.Session(ACCOUNT, "test", region_name="us-west-2"))
    topic = west.create_topic(Name="alerts")["TopicArn"]
    world = World(aws, "regions", {**CONFIGURATION, "sns": {"region": "us-west-2", "topicARN": topic}})
    west.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=aws.queue_arn(world.alerts))
    assert published(world.invoke(world.put(record("west")))) == 1
    [alert] = aws.receive(world.alerts, 1)
    assert alert["TopicArn"] == topic


ABSENT = {
    "log bucket": "missing-bucket",
    "log": "missing.json.gz",
    "FILTER_CONFIG_BUCKET": "missing-bucket",
    "FILTER_CONFIG_FILE": "missing.json",
    "TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:missing",
}


@pytest.mark.parametrize("what, error_type, answer", [
    ("log bucket", "LogUnavailable", "S3 answered 404"),
    ("log", "LogUnavailable", "S3 answered 404"),
    ("FILTER_CONFIG_BUCKET", "ConfigurationUnavailable", "S3 answered 404"),
    ("FILTER_CONFIG_FILE", "ConfigurationUnavailable", "S3 answered 404"),
    ("TOPIC_ARN", "PublishFailed", "SNS answered 404"),
])
def test_the_error_about_what_is_missing_names_it_and_is_in_the_manual(aws, what, error_type, answer):
    world = World(aws, f"no-{what.lower().replace(' ', '-').replace('_', '-')}")
    world.put(record("1"))
    environment = {"log bucket": world.bucket, "log": LOG_KEY, "FILTER_CONFIG_BUCKET": world.bucket,
                   what: ABSENT[what]}
    event = announcement(environment.pop("log bucket"), environment.pop("log"))
    error, failed = world.invoke(event, **environment)
    assert failed and error["errorType"] == error_type, error
    assert ABSENT[what] in error["errorMessage"] and answer in error["errorMessage"], error
    manual = (ROOT / "docs" / "operating.md").read_text()
    assert f"| `{error_type}` |" in manual and f"| `{answer}` |" in manual
    assert aws.receive(world.alerts) == []


def check_keys(aws, is_on):
    """Whether moto checks signatures and permissions. That works for S3: moto writes the forms of SNS anew before."""
    after = b"0" if is_on else b"inf"
    request = urllib.request.Request(f"{aws.endpoint}/moto-api/reset-auth", after, {"Content-Type": "text/plain"})
    urllib.request.urlopen(request).close()


@pytest.mark.parametrize("wrong, answer", [
    ({}, "S3 answered 403 AccessDenied"),
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
    ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, "InvalidAccessKeyId"),
])
def test_a_missing_permission_and_wrong_keys_are_told_apart_as_in_the_manual(aws, wrong, answer):
    world = World(aws, f"refused-{answer[-10:].lower()}")
    event = world.put(record("1"))
    aws.iam.create_user(UserName=world.bucket)
    key = aws.iam.create_access_key(UserName=world.bucket)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"], **wrong}
    check_keys(aws, True)
    try:
        error, failed = world.invoke(event, **keys)
    finally:
        check_keys(aws, False)
    assert failed and error["errorType"] == "ConfigurationUnavailable" and answer in error["errorMessage"], error
    assert f"`{answer}`" in (ROOT / "docs" / "operating.md").read_text()


class Mail(World):
    """A world whose alerts are to be mailed: their queue brings them to the function, which has a mail topic."""

    def __init__(self, aws, name, **subscription):
        super().__init__(aws, name, {"rules": RULES}, **subscription)
        self.mail_topic = aws.sns.create_topic(Name=f"{name}-mail", Attributes={"KmsMasterKeyId": aws.key})["TopicArn"]
        self.mails = aws.subscribe(self.mail_topic, f"{name}-mails")

    def batch(self):
        """Take the messages off the queue: the event with which Lambda hands them over."""
        source = {"eventSource": "aws:sqs", "eventSourceARN": self.aws.queue_arn(self.alerts), "awsRegion": REGION}
        return {"Records": [
            {"messageId": each["MessageId"], "receiptHandle": each["ReceiptHandle"], "body": each["Body"],
             "attributes": each["Attributes"], "messageAttributes": {}, "md5OfBody": each["MD5OfBody"], **source}
            for each in take_all(self.aws, self.alerts)]}

    def handed_back(self, batch, **environment):
        """Invoke the function with a batch: the ids of the messages that it hands back."""
        answer, failed = self.invoke(batch, **{"MAIL_TOPIC_ARN": self.mail_topic, **environment})
        assert not failed, answer
        return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def bodies(batch):
    """The notifications in a batch."""
    return [json.loads(each["body"]) for each in batch["Records"]]


def test_an_alert_alone_is_mailed_word_for_word(aws):
    world = Mail(aws, "one")
    assert published(world.invoke(world.put(CALLS[0]))) == 1
    batch = world.batch()
    assert world.handed_back(batch) == []
    [[alert], [mail]] = bodies(batch), aws.receive(world.mails)
    assert (mail["Subject"], mail["Message"]) == (alert["Subject"], alert["Message"])
    assert mail["MessageAttributes"] == {"severity": {"Type": "String", "Value": "critical"}}


def test_the_alerts_of_a_batch_are_mailed_as_one_message(aws):
    world = Mail(aws, "digest", FilterPolicy='{"severity": ["high", "critical"]}')
    assert published(world.invoke(world.put(*reversed(CALLS)))) == len(CALLS)
    batch = world.batch()
    alerts = {alert["MessageAttributes"]["eventID"]["Value"]: alert for alert in bodies(batch)}
    assert set(alerts) == {"root", "other account", "refused"}
    batch["Records"] += batch["Records"][:2]  # SQS may deliver a message twice
    assert world.handed_back(batch) == []
    [mail] = aws.receive(world.mails)
    assert mail["Subject"] == "[critical] 3 alerts: 2 DeleteTrail, 1 CreateUser"
    told = re.findall(r"^---- (\d) of 3: (.*)\n((?:(?!----).*\n)*)", mail["Message"], re.M)
    assert [number for number, _, _ in told] == ["1", "2", "3"]
    assert told[0][1] == alerts["root"]["Subject"], "the most severe first"
    assert {subject: text.strip() for _, subject, text in told} == {
        alert["Subject"]: alert["Message"].strip() for alert in alerts.values()}


def test_a_thousand_alerts_arrive_once_each_and_are_mailed_as_one_message(aws):
    world = Mail(aws, "thousand")
    ids = [f"{n:04}" for n in range(1000)]
    assert published(world.invoke(world.put(*map(record, ids)))) == 1000
    batch = world.batch()
    assert event_ids(bodies(batch)) == ids
    assert world.handed_back(batch) == []
    [mail] = aws.receive(world.mails)
    assert mail["Subject"] == "[low] 1000 alerts: 1000 CreateUser"
    told = re.findall(r"^---- (\d+) of 1000: \[low\] CreateUser by alice", mail["Message"], re.M)
    assert sorted(map(int, told)) == [*range(1, 1001)] and len(mail["Message"].encode()) < LIMIT


@pytest.mark.parametrize("mail_topic, error_type, named", [
    (ABSENT["TOPIC_ARN"], "PublishFailed", ABSENT["TOPIC_ARN"]),
    ("", "InvalidPayload", "MAIL_TOPIC_ARN"),
])
def test_alerts_that_could_not_be_mailed_are_handed_back_and_nothing_else_is(aws, mail_topic, error_type, named):
    world, environment = Mail(aws, f"not-mailed-{error_type.lower()}"), {"MAIL_TOPIC_ARN": mail_topic}
    assert published(world.invoke(world.put(*CALLS))) == len(CALLS)
    batch = world.batch()
    unsent = [each["messageId"] for each in batch["Records"]]
    [alert, *_] = bodies(batch)
    aws.sqs.send_message(QueueUrl=world.alerts, MessageBody=json.dumps(world.put(record("log"))))
    batch["Records"] += world.batch()["Records"]
    assert sorted(world.handed_back(batch, **environment)) == sorted(unsent)
    assert event_ids(aws.receive(world.alerts)) == ["log"]
    assert aws.receive(world.mails) == []

    # A dead letter of the queue is an alert without SQS's envelope.
    error, failed = world.invoke(alert, **environment)
    assert failed and error["errorType"] == error_type and named in error["errorMessage"], error


def test_a_mail_is_not_mailed_again(aws):
    world = Mail(aws, "loop")
    aws.sns.subscribe(TopicArn=world.mail_topic, Protocol="sqs", Endpoint=aws.queue_arn(world.alerts))
    assert published(world.invoke(world.put(*CALLS))) == len(CALLS)
    assert world.handed_back(world.batch()) == []
    mail = world.batch()
    assert world.handed_back(mail) == [each["messageId"] for each in mail["Records"]]
    assert len(aws.receive(world.mails)) == 1
