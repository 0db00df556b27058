"""A stack's second day: its source changes, what waits stays, the stack is deleted, and deployed again."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from local_aws import ACCOUNT, ROOT, LocalAws, changes, event_ids, key_policy, log_key, record, wait_until

CONFIGURATION = json.loads((ROOT / "filter_config.json").read_text())
SOURCES = ["new-trail", "existing-bucket", "queue", "existing-sns-topic", "queue-by-topic", "eventbridge"]
# Steps round the list of sources. A walk that begins at each source makes each change from one to another once.
STEPS = [0, 1, -1, 2, -2, 3]
KEYS = ["KmsKeyArn", "TrailKmsKeyArn"]
EMAIL = "alice@example.com"

DIGEST = {"MailQueue", "MailQueuePolicy", "MailQueueSubscription", "MailMapping", "MailTopic", "MailTopicPolicy",
          "MailSubscription", "MailNotDelivered", "MailFallsBehind", "MessagesHandedBack"}
MEMORY = {"StateTable", "StateUnavailable"}
ALARM_TOPIC = {"AlarmTopic", "AlarmTopicPolicy", "AlarmEmailSubscription"}
# Updates, one after the other: source, parameters, and the resources that they remove (-), add (+) and replace (*). All
# other resources stay, with all that they hold.
UPDATES = [
    ("new-trail", {"LogBucketExists": "true"}, {"-": {"LogBucket"}}),  # the bucket itself stays
    ("new-trail", {"LogBucketName": "another-bucket", "LogBucketExists": "false"},
     {"+": {"LogBucket"}, "*": {"LogBucketPolicy", "S3MayInvoke"}}),
    ("new-trail", {"LogBucketName": "a-third-bucket"}, {"*": {"LogBucket", "LogBucketPolicy", "S3MayInvoke"}}),
    ("new-trail", {"LogFileRetentionDays": "90"}, {}),
    ("new-trail", {"AccessLogBucketName": "{bucket}"}, {}),
    ("new-trail", {"ConfigKey": "other.json"}, {}),
    ("new-trail", {"ConfigBucketName": "{bucket}"}, {}),
    ("new-trail", {"EmailSeverity": "high"}, {}),
    ("new-trail", {"EmailWindowSeconds": "60"}, {}),
    ("new-trail", {"EmailWindowSeconds": "0"}, {"-": DIGEST, "+": {"EmailSubscription"}}),
    ("new-trail", {"EmailSeverity": "low"}, {}),
    ("new-trail", {"EmailWindowSeconds": "20"}, {"+": DIGEST, "-": {"EmailSubscription"}}),
    ("new-trail", {"AlertEmail": "bob@example.com"}, {"*": {"MailSubscription", "AlarmEmailSubscription"}}),
    ("new-trail", {"AlertEmail": ""}, {"-": DIGEST | {"AlarmEmailSubscription"}}),
    ("new-trail", {"AlertEmail": "alice@example.com"}, {"+": DIGEST | {"AlarmEmailSubscription"}}),
    ("new-trail", {"MoreTopicArns": "{topic}"}, {}),
    ("new-trail", {"MoreKmsKeyArns": "{key}"}, {}),
    ("new-trail", {"Memory": "table"}, {"+": MEMORY}),
    ("new-trail", {"KmsKeyArn": "{key}"}, {}),
    ("new-trail", {"Memory": "none"}, {"-": MEMORY}),
    ("new-trail", {"TrailKmsKeyArn": "{key}"}, {}),
    ("new-trail", {"LogGroupKmsKeyArn": "{key}"}, {}),
    ("new-trail", {"AlarmTopicArn": "{topic}"}, {"-": ALARM_TOPIC}),
    ("new-trail", {"AlarmTopicArn": ""}, {"+": ALARM_TOPIC}),
    ("new-trail", {"HoursWithoutLogs": "3"}, {}),
    ("new-trail", {"LogRetentionDays": "90"}, {}),
    ("new-trail", {"ReservedConcurrency": "50"}, {}),
    ("new-trail", {"ReplayBucketName": "{bucket}"}, {"+": {"ReplayRole"}}),
    ("new-trail", {"ReplayBucketName": "a-third-bucket"}, {}),
    ("new-trail", {"XRayTracing": "true"}, {}),
    ("new-trail", {"Architecture": "x86_64"}, {}),
    ("new-trail", {"PermissionsBoundaryArn": "{policy}"}, {}),
    ("new-trail", {"RolePath": "/security/"}, {"*": {"FunctionRole", "ReplayRole"}}),
    ("new-trail", {"ReplayBucketName": ""}, {"-": {"ReplayRole"}}),
    ("new-trail", {"SubnetIds": "{subnet}", "SecurityGroupIds": "{group}"}, {}),
    ("new-trail", {"SubnetIds": "", "SecurityGroupIds": ""}, {}),
    ("existing-bucket", {"LogBucketName": "{bucket}"}, {"*": {"S3MayInvoke"}}),
    ("existing-bucket", {"LogKeyPrefix": "trails/"}, {}),
    ("eventbridge", {"LogBucketName": "{bucket}"}, {}),
    ("eventbridge", {"LogKeyPrefix": "trails/"}, {}),
    ("queue", {"LogBucketName": "{bucket}"}, {}),
    ("queue", {"LogKeyPrefix": "trails/"}, {}),
    ("queue", {"MaximumConcurrency": "50"}, {}),
    ("queue", {"LogTopicArn": "{topic}"}, {"+": {"QueueSubscription"}}),
    ("queue", {"LogTopicArn": "{other_topic}"}, {"*": {"QueueSubscription"}}),
    ("queue", {"LogTopicArn": ""}, {"-": {"QueueSubscription"}}),
    ("existing-sns-topic", {"LogBucketName": "{bucket}"}, {}),
    ("existing-sns-topic", {"LogKeyPrefix": "trails/"}, {}),
    ("existing-sns-topic", {"LogTopicArn": "{other_topic}"}, {"*": {"FunctionSubscription", "TopicMayInvoke"}}),
]


def walk_from(first):
    return [SOURCES[(first + step) % len(SOURCES)] for step in STEPS]


def emails(first, place):
    """Each second walk has an address. It gets no alert before the end, when one that begins there has both keys."""
    severity = "info" if place == len(STEPS) - 1 else "critical"
    return {"AlertEmail": EMAIL, "EmailWindowSeconds": "1", "EmailSeverity": severity} if first % 2 else {}


def combination(source, place):
    """Which of the keys a stack has there: the walks come to each source with no key, either key, and both."""
    return (SOURCES.index(source) + place) % 4


@pytest.fixture(scope="module")
def aws():
    if not shutil.which("jq"):
        pytest.skip("jq, which the commands use, is not installed")
    with LocalAws(auth=True) as aws:
        policy = key_policy("updated-new-trail", *(f"walk-from-{source}" for source in SOURCES))
        aws.keys = [aws.kms.create_key(Policy=policy)["KeyMetadata"]["Arn"] for _ in KEYS]
        yield aws


class Stack:
    """A stack, its bucket and a topic, which its owner uses as the manual says."""

    def __init__(self, aws, name):
        self.aws, self.name, self.outputs, self.alerts, self.changes = aws, name, None, None, None
        self.bucket, self.configuration = name, (name, "filter_config.json")
        self.topic = aws.sns.create_topic(Name=f"{name}-logs")["TopicArn"]
        self.seen = []

    def notifications(self):
        found = self.aws.s3.get_bucket_notification_configuration(Bucket=self.bucket)
        del found["ResponseMetadata"]
        return found

    def exists(self):
        return self.name in [bucket["Name"] for bucket in self.aws.s3.list_buckets()["Buckets"]]

    def go_to(self, source, **more):
        """Deploy or update the stack for a source, as the manual says."""
        if not self.exists() and source != "new-trail":
            self.aws.s3.create_bucket(Bucket=self.name)
        parameters = {"Source": source.removesuffix("-by-topic"), **more,
                      "LogTopicArn": self.topic if "topic" in source else "",
                      "LogBucketExists": str(source == "new-trail" and self.exists()).lower()}
        if self.outputs:
            self.announce_to_topic(False)
            self.update(**parameters)
        else:
            self.outputs = self.aws.deploy(self.name, LogBucketName=self.name, **parameters)
            self.subscribe()
            self.add_notifications()
        if "topic" in source:
            self.announce_to_topic(True)

    def update(self, **parameters):
        """The manual's steps: what removed the stack's notifications before the update is run after it."""
        old = self.outputs["RemoveNotification"]
        self.outputs = self.aws.update(self.name, **parameters)
        self.aws.run(old)
        self.add_notifications()

    def subscribe(self):
        """Two queues in the place of people get the alerts and the notices of the alarm topic."""
        self.alerts = self.aws.subscribe(self.outputs["TopicArn"], f"{self.outputs['FunctionName']}-alerts")
        self.changes = self.aws.subscribe(self.outputs["AlarmTopicArn"], f"{self.outputs['FunctionName']}-changes")

    def add_notifications(self):
        for command in ("AddNotification", "AnnounceConfigurationChanges"):
            if command in self.outputs:
                self.aws.run(self.outputs[command])

    def announce_to_topic(self, on):
        """The bucket's owner makes the bucket announce logs to the topic, or no more."""
        statement = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sns:Publish",
                     "Resource": self.topic, "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}
        self.aws.sns.set_topic_attributes(TopicArn=self.topic, AttributeName="Policy", AttributeValue=json.dumps(
            {"Version": "2012-10-17", "Statement": [statement]}))
        logs = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "AWSLogs/"}]}}
        own = {"Id": "logs", "TopicArn": self.topic, "Events": ["s3:ObjectCreated:*"], "Filter": logs}
        configuration = self.notifications()
        others = [each for each in configuration.pop("TopicConfigurations", []) if each["Id"] != "logs"]
        self.aws.s3.put_bucket_notification_configuration(Bucket=self.name, NotificationConfiguration={
            **configuration, "TopicConfigurations": [*others, own] if on else others})

    def put_log(self, event_id):
        self.aws.put_log(log_key(event_id), {"Records": [record(event_id)]}, self.bucket)

    def assert_alert(self, *ids):
        """These alerts arrive, and no others since the last time."""
        found = event_ids(self.aws.receive(self.alerts, len(ids)))
        assert found == sorted(ids)
        self.seen += found

    def assert_works(self, event_id):
        """A change of the configuration is announced, and a log becomes an alert."""
        self.aws.configure(CONFIGURATION, *self.configuration)
        created = ("ObjectCreated", self.configuration[1])
        [announced] = changes(self.aws.receive_until(self.changes, lambda messages: created in changes(messages),
                                                     "a change of the configuration"))
        assert announced == created
        self.put_log(event_id)
        self.assert_alert(event_id)

    def waiting(self, queue):
        attributes = self.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"])


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_each_source_with_each_key_changes_to_each_other_and_each_log_becomes_one_alert(aws, first):
    walk = walk_from(first)
    stack = Stack(aws, f"walk-from-{walk[0]}")
    for place, source in enumerate(walk):
        keys = {name: key if combination(source, place) >> bit & 1 else ""
                for bit, (name, key) in enumerate(zip(KEYS, aws.keys, strict=True))}
        stack.go_to(source, **keys, **emails(first, place))
        if is_mailed := "info" in emails(first, place).values():
            mails = aws.subscribe(stack.outputs["MailTopicArn"], f"{stack.name}-mails")
        stack.assert_works(f"{first}-{place}")
        encrypted = aws.sns.get_topic_attributes(TopicArn=stack.outputs["TopicArn"])["Attributes"]
        assert encrypted.get("KmsMasterKeyId", "") == keys["KmsKeyArn"]
        if source == "new-trail":
            trail = aws.cloudtrail.get_trail(Name=stack.name)["Trail"]
            assert trail["S3BucketName"] == stack.name
            assert trail.get("KmsKeyId", "") == (keys["TrailKmsKeyArn"] or keys["KmsKeyArn"])
    if is_mailed:
        [mail] = aws.receive(mails, 1)
        assert f"Event ID: {first}-{place}\n" in mail["Message"]

    aws.run(stack.outputs["RemoveNotification"])
    aws.delete(stack.name)
    assert stack.exists() and not stack.notifications().keys() & {"LambdaFunctionConfigurations", "QueueConfigurations"}
    stack.seen += event_ids(aws.receive(stack.alerts))
    assert len(stack.seen) == len(set(stack.seen)) == len(walk)


def test_the_walks_make_every_change_and_have_every_combination_of_keys():
    walks = [walk_from(first) for first in range(len(SOURCES))]
    made = [change for walk in walks for change in zip(walk, walk[1:], strict=False)]
    assert sorted(made) == sorted((one, other) for one in SOURCES for other in SOURCES if one != other)
    states = {(source, combination(source, place)) for walk in walks for place, source in enumerate(walk)}
    assert len(states) == len(SOURCES) * 4
    with_email = {combination(walk[-1], len(walk) - 1) for first, walk in enumerate(walks) if emails(first, 0)}
    assert 3 in with_email, "emails with both keys"


@pytest.mark.parametrize("source", ["new-trail", "existing-bucket", "queue", "eventbridge"])
def test_other_buckets_and_keys_take_over_in_the_same_steps(aws, source):
    stack = Stack(aws, f"moves-with-{source}")
    stack.go_to(source)
    stack.assert_works("before")
    second, third = f"{stack.name}-2", f"{stack.name}-3"
    for bucket in [third] if source == "new-trail" else [second, third]:
        aws.s3.create_bucket(Bucket=bucket)
    for parameters, logs, configuration in [
            ({"LogBucketName": second}, second, (second, "filter_config.json")),
            ({"ConfigKey": "rules/other.json"}, second, (second, "rules/other.json")),
            ({"ConfigBucketName": third}, second, (third, "rules/other.json"))]:
        left = stack.bucket
        stack.update(**parameters)
        if left != logs:
            assert stack.notifications().keys() <= {"EventBridgeConfiguration"}, "of the bucket that the stack left"
        stack.bucket, stack.configuration = logs, configuration
        stack.assert_works(" ".join(parameters))
    assert "TopicConfigurations" not in stack.notifications(), "the configuration is elsewhere"


@pytest.mark.parametrize("by_topic", [False, True])
def test_what_waits_in_the_queue_outlives_a_change_of_the_source(aws, by_topic):
    stack = Stack(aws, f"waiting{'-by-topic' * by_topic}")
    stack.go_to(f"queue{'-by-topic' * by_topic}")
    stack.assert_works("before")
    queue = stack.outputs["QueueUrl"]
    [mapping] = aws.client("lambda").list_event_source_mappings(FunctionName=stack.name)["EventSourceMappings"]
    aws.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    waiting = [f"waiting-{n}" for n in range(12)]
    for event_id in waiting:
        stack.put_log(event_id)
    wait_until(lambda: stack.waiting(queue) == len(waiting), "waiting messages")

    # Without RemoveNotification the bucket still fills the queue. A topic does not: its subscription is deleted.
    stack.outputs = aws.update(stack.name, Source="existing-bucket", LogTopicArn="")
    assert "LogQueue" not in aws.resources(stack.name)
    if not by_topic:
        stack.put_log("between")
        waiting.append("between")
    wait_until(lambda: stack.waiting(queue) == len(waiting), "waiting messages")
    stack.announce_to_topic(False)
    stack.add_notifications()
    stack.assert_works("after")

    redrive = subprocess.run([sys.executable, ROOT / "tools" / "redrive.py", stack.name, queue], text=True,
                             env={**aws.function_environment(), "AWS_CA_BUNDLE": str(aws.certificate)},
                             capture_output=True)
    assert redrive.returncode == 0, redrive.stdout + redrive.stderr
    assert stack.waiting(queue) == 0
    stack.assert_alert(*waiting)

    # A new queue does not take the place of the old one.
    stack.go_to("queue")
    assert stack.outputs["QueueUrl"] != queue
    stack.assert_works("queue again")


def test_a_deleted_stack_is_deployed_again_with_the_bucket_that_it_kept(aws):
    stack = Stack(aws, "again")
    stack.go_to("new-trail")
    stack.assert_works("before")
    new = stack.notifications()
    aws.delete(stack.name)
    assert stack.exists()
    with pytest.raises(aws.cloudtrail.exceptions.TrailNotFoundException):
        aws.cloudtrail.get_trail(Name=stack.name)
    with pytest.raises(RuntimeError, match="Validation failed"):
        aws.deploy(stack.name, LogBucketName=stack.name)

    other = "again-by-another-name"
    stack.outputs = aws.deploy(other, LogBucketName=stack.name, LogBucketExists="true")
    assert "LogBucket" not in aws.resources(other)
    trail = aws.cloudtrail.get_trail(Name=other)["Trail"]
    assert trail["S3BucketName"] == stack.name and aws.cloudtrail.get_trail_status(Name=other)["IsLogging"]
    policy = json.loads(aws.s3.get_bucket_policy(Bucket=stack.name)["Policy"])
    sources = [each["Condition"].get("StringEquals", {}).get("aws:SourceArn") for each in policy["Statement"]]
    assert sources == [trail["TrailARN"], trail["TrailARN"], None]

    stack.subscribe()
    for _ in range(2):
        stack.add_notifications()

    def summary(notifications):
        """Which events of which keys go to which kind of target."""
        return sorted((kind, event, *sorted(rule["Value"] for rule in each["Filter"]["Key"]["FilterRules"]))
                      for kind, some in notifications.items() for each in some for event in each["Events"])

    found = stack.notifications()
    assert summary(found) == summary(new)
    assert [each["LambdaFunctionArn"].split(":")[-1] for each in found["LambdaFunctionConfigurations"]] == [other]
    assert {each["TopicArn"] for each in found["TopicConfigurations"]} == {stack.outputs["AlarmTopicArn"]}
    stack.assert_works("after")

    aws.run(stack.outputs["RemoveNotification"])
    assert stack.notifications() == {}


def test_an_update_that_cannot_make_the_bucket_leaves_a_stack_that_works(aws):
    stack = Stack(aws, "kept")
    aws.s3.create_bucket(Bucket=stack.name)
    stack.go_to("new-trail")
    with pytest.raises(RuntimeError, match="UPDATE_ROLLBACK_COMPLETE"):
        aws.update(stack.name, LogBucketExists="false")
    stack.assert_works("after")


def test_the_new_bucket_has_versions_a_life_cycle_and_an_access_log(aws):
    aws.s3.create_bucket(Bucket="access-log")
    aws.deploy("life", LogBucketName="life", LogFileRetentionDays="400", AccessLogBucketName="access-log")
    assert aws.s3.get_bucket_versioning(Bucket="life")["Status"] == "Enabled"
    rules = aws.s3.get_bucket_lifecycle_configuration(Bucket="life")["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"AWSLogs/"}, "the configuration stays"
    assert [rule["Expiration"]["Days"] for rule in rules if "Days" in rule.get("Expiration", {})] == [400]
    logging = aws.s3.get_bucket_logging(Bucket="life")["LoggingEnabled"]
    assert logging == {"TargetBucket": "access-log", "TargetPrefix": "life/"}

    aws.update("life", LogFileRetentionDays="0", AccessLogBucketName="")
    with pytest.raises(aws.s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        aws.s3.get_bucket_lifecycle_configuration(Bucket="life")
    assert "LoggingEnabled" not in aws.s3.get_bucket_logging(Bucket="life")
    assert aws.s3.get_bucket_versioning(Bucket="life")["Status"] == "Enabled"


def effects(aws, stack):
    """The parameters' values that the function, its role and its log have."""
    function = aws.client("lambda").get_function(FunctionName=stack)
    settings, network = function["Configuration"], function["Configuration"]["VpcConfig"]
    role = aws.iam.get_role(RoleName=aws.resources(stack)["FunctionRole"])["Role"]
    policy = aws.iam.get_role_policy(RoleName=role["RoleName"], PolicyName="alerter")["PolicyDocument"]
    statements = {statement.get("Sid") for statement in policy["Statement"]}
    [log] = aws.logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{stack}")["logGroups"]
    assert {"ConnectToTheVpc", "OnlyLambdaConnects"} & statements == (
        {"ConnectToTheVpc", "OnlyLambdaConnects"} if network["SubnetIds"] else set())
    return {
        "Architecture": settings["Architectures"][0],
        "ReservedConcurrency": str(function.get("Concurrency", {}).get("ReservedConcurrentExecutions", "")),
        "XRayTracing": str((settings["TracingConfig"]["Mode"], "SendTraces" in statements) == ("Active", True)).lower(),
        "SubnetIds": ",".join(network["SubnetIds"]),
        "SecurityGroupIds": ",".join(network["SecurityGroupIds"]),
        "RolePath": role["Path"],
        "PermissionsBoundaryArn": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
        "LogRetentionDays": str(log["retentionInDays"]),
        "LogGroupKmsKeyArn": log.get("kmsKeyId", ""),
        "Memory": "table" if "STATE_TABLE" in settings["Environment"]["Variables"] else "none",
    }


@pytest.mark.parametrize("source", dict.fromkeys(source for source, *_ in UPDATES))
def test_an_update_of_each_parameter_replaces_what_the_manual_says(aws, source):
    names = [f"{prefix}-{source}" for prefix in ("updated", "other")]
    for name in names[source == "new-trail":]:
        aws.s3.create_bucket(Bucket=name)
    topics = [aws.sns.create_topic(Name=name)["TopicArn"] for name in names]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    values = {
        "bucket": names[1], "topic": topics[0], "other_topic": topics[1], "key": aws.keys[0],
        "policy": aws.iam.create_policy(PolicyName=source, PolicyDocument=json.dumps(policy))["Policy"]["Arn"],
        "subnet": aws.ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        "group": aws.ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]}
    stack = names[0]
    aws.deploy(stack, Source=source, LogBucketName=stack, AlertEmail=EMAIL,
               LogTopicArn=topics[0] if source == "existing-sns-topic" else "")
    for parameters, expected in [update for each, *update in UPDATES if each == source]:
        before = aws.resources(stack)
        aws.update(stack, **{name: value.format(**values) for name, value in parameters.items()})
        after = aws.resources(stack)
        replaced = {name for name in before.keys() & after.keys() if before[name] != after[name]}
        found = {"-": before.keys() - after.keys(), "+": after.keys() - before.keys(), "*": replaced}
        assert {sign: some for sign, some in found.items() if some} == expected, parameters
        given, effective = aws.parameters(stack), effects(aws, stack)
        assert effective == {name: given[name] for name in effective}


def test_every_parameter_is_updated_and_the_manual_says_what_that_does():
    parameters = re.findall(r"^  (\w+):\n    Type:", (ROOT / "template.yaml").read_text().split("\nMappings:")[0], re.M)
    manual = (ROOT / "docs" / "deploying.md").read_text().split("### What a change of each parameter does")[1]
    rows = {name: row for names, row in re.findall(r"^\| (`.*?) \| (.*?) \|", manual.split("\n### ")[0], re.M)
            for name in re.findall(r"`(\w+)`", names)}
    updates = {name: [] for _, update, _ in UPDATES for name in update}
    for _, update, effect in UPDATES:  # the first parameter is the cause
        updates[next(iter(update))].append(effect)
    assert sorted(rows) == sorted(parameters) == sorted([*updates, "Source"])
    for name, some in updates.items():
        words = {"*": "replaced", "-": "deleted|leaves the stack"}
        said = {sign for sign, word in words.items() if re.search(word, rows[name])}
        assert said == {sign for effect in some for sign in effect} - {"+"}, rows[name]
        assert "in place" in rows[name] or {} not in some, rows[name]
