"""The output TamperRule: it is valid, names all that the stack has, and matches calls on that and on no other names."""

import json
import re
import subprocess

import pytest
from local_aws import ACCOUNT, REGION, LocalAws, binary, record

MORE = [f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}" for name in ("more", "more.fifo")]
# The types of what a stack has that a call can name, and nobody else has.
NAMED = ("S3::Bucket", "CloudTrail::Trail", "SNS::Topic", "SNS::Subscription", "Lambda::Function", "Logs::LogGroup",
         "SQS::Queue", "IAM::Role", "Events::Rule", "Lambda::EventSourceMapping", "CloudWatch::Alarm",
         "DynamoDB::Table")


class Stack:
    def __init__(self, aws, name):
        self.name, self.bucket, self.configuration_bucket = name, f"{name}.logs", f"{name}.logs"
        parameters = {"LogBucketName": self.bucket}
        self.keys, self.log_topic, self.more = [], None, []
        if name == "with-keys":
            self.keys = [aws.kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
            parameters |= {"KmsKeyArn": self.keys[0], "TrailKmsKeyArn": self.keys[1], "Memory": "table",
                           "ReplayBucketName": self.bucket}
        elif name == "by-queue":
            self.log_topic = aws.sns.create_topic(Name="announcements")["TopicArn"]
            self.more, self.configuration_bucket = MORE, "the.configuration"
            parameters |= {"Source": "queue", "LogTopicArn": self.log_topic, "MoreTopicArns": ",".join(MORE),
                           "ConfigBucketName": self.configuration_bucket, "AlertEmail": "alice@example.com"}
        else:
            assert name == "by-rule"
            parameters |= {"Source": "eventbridge", "AlarmTopicArn": aws.sns.create_topic(Name="alarms")["TopicArn"]}
        if name != "with-keys":
            aws.s3.create_bucket(Bucket=self.bucket)
        self.outputs = aws.deploy(name, **parameters)
        self.rule = json.loads(self.outputs["TamperRule"])
        self.resources = aws.cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.ids = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in self.resources}


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        yield aws


@pytest.fixture(scope="module", params=["with-keys", "by-queue", "by-rule"])
def stack(aws, request):
    return Stack(aws, request.param)


def calls(stack):
    """Calls that can silence the alerts or change a part of the stack: (source, name, parameters)."""
    name, ids = stack.name, stack.ids
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    for event in ("UpdateFunctionCode20150331v2", "UpdateFunctionConfiguration20150331v2", "DeleteFunction20150331",
                  "PutFunctionConcurrency20171031", "DeleteFunctionConcurrency20171031", "PutRuntimeManagementConfig",
                  "PutFunctionEventInvokeConfig", "UpdateFunctionEventInvokeConfig", "DeleteFunctionEventInvokeConfig",
                  "PutFunctionCodeSigningConfig", "PutFunctionRecursionConfig", "AddPermission20150331v2",
                  "RemovePermission20150331v2", "CreateEventSourceMapping20150331"):
        for called in (name, function, f"{function}:$LATEST", f"{ACCOUNT}:function:{name}"):
            yield "lambda", event, {"functionName": called}

    for event in ("PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy", "DeleteRole",
                  "UpdateRole", "UpdateAssumeRolePolicy", "PutRolePermissionsBoundary",
                  "DeleteRolePermissionsBoundary"):
        for role in {"FunctionRole", "ReplayRole"} & set(ids):
            yield "iam", event, {"roleName": ids[role]}

    for event in ("PutBucketNotification", "PutBucketPolicy", "DeleteBucketPolicy", "PutBucketEncryption",
                  "DeleteBucketEncryption", "PutBucketLifecycle", "PutBucketVersioning", "PutBucketPublicAccessBlock",
                  "PutBucketReplication", "PutBucketOwnershipControls", "DeleteBucket"):
        for bucket in {stack.bucket, stack.configuration_bucket}:
            yield "s3", event, {"bucketName": bucket, "Host": f"{bucket}.s3.{REGION}.amazonaws.com"}

    topics = [stack.outputs["TopicArn"], stack.outputs["AlarmTopicArn"], stack.outputs.get("MailTopicArn"),
              stack.log_topic, *stack.more]
    for topic in filter(None, topics):
        yield "sns", "Unsubscribe", {"subscriptionArn": f"{topic}:5a1e05f5-c5ca-424a-b837-959e25d6aea7"}
        yield "sns", "SetSubscriptionAttributes", {"subscriptionArn": f"{topic}:x", "attributeName": "FilterPolicy"}
        yield "sns", "PutDataProtectionPolicy", {"resourceArn": topic}
        for event in ("SetTopicAttributes", "DeleteTopic", "AddPermission", "RemovePermission"):
            yield "sns", event, {"topicArn": topic}

    for queue in ("DeadLetters", "LogQueue", "MailQueue"):
        if url := ids.get(queue):
            for event in ("SetQueueAttributes", "PurgeQueue", "DeleteQueue", "AddPermission", "RemovePermission"):
                yield "sqs", event, {"queueUrl": url}
            arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[-1]}"
            yield "sqs", "StartMessageMoveTask", {"sourceArn": arn}
    if table := ids.get("StateTable"):
        for called in (table, f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"):
            for event in ("UpdateTable", "DeleteTable", "UpdateTimeToLive"):
                yield "dynamodb", event, {"tableName": called}
            for event in ("PutResourcePolicy", "DeleteResourcePolicy"):
                yield "dynamodb", event, {"resourceArn": called}
    for mapping in filter(None, [ids.get("QueueMapping"), ids.get("MailMapping")]):
        for event in ("UpdateEventSourceMapping20150331", "DeleteEventSourceMapping20150331"):
            yield "lambda", event, {"uUID": mapping}

    for event in ("PutMetricAlarm", "SetAlarmState"):
        yield "monitoring", event, {"alarmName": f"{name}-NoLogs"}
    for event in ("DeleteAlarms", "DisableAlarmActions"):
        yield "monitoring", event, {"alarmNames": [f"{name}-NoLogs", f"{name}-EventsLost"]}
    if rule := ids.get("LogRule"):
        for event in ("PutRule", "DisableRule", "DeleteRule"):
            yield "events", event, {"name": rule}
        for event in ("PutTargets", "RemoveTargets"):
            yield "events", event, {"rule": rule}

    for event in ("DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "DeleteRetentionPolicy", "AssociateKmsKey",
                  "DisassociateKmsKey"):
        yield "logs", event, {"logGroupName": f"/aws/lambda/{name}"}
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{name}"
    for event in ("PutDataProtectionPolicy", "DeleteDataProtectionPolicy"):
        yield "logs", event, {"logGroupIdentifier": group}

    for key in stack.keys:
        for event in ("PutKeyPolicy", "CreateGrant", "RetireGrant", "RevokeGrant", "DisableKey", "ScheduleKeyDeletion",
                      "DeleteImportedKeyMaterial"):
            yield "kms", event, {"keyId": key}
            yield "kms", event, {"keyId": key.rsplit("/", 1)[1]}

    if "Trail" in ids:
        trail = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{name}"
        for event, key in (("StopLogging", "name"), ("DeleteTrail", "name"), ("UpdateTrail", "name"),
                           ("PutEventSelectors", "trailName")):
            yield "cloudtrail", event, {key: name}
            yield "cloudtrail", event, {key: trail}

    stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/5a1e05f5-c5ca-424a-b837-959e25d6aea7"
    for event in ("UpdateStack", "DeleteStack", "RollbackStack", "CreateChangeSet", "ExecuteChangeSet",
                  "SetStackPolicy", "UpdateTerminationProtection"):
        yield "cloudformation", event, {"stackName": name}
        yield "cloudformation", event, {"stackName": stack_id}


def elsewhere(stack, text):
    """The same parameters with other names: longer at the end, and longer in front."""
    own = [stack.bucket, stack.configuration_bucket, stack.name, "announcements", "alarms", "more.fifo", "more"]
    own += [key.rsplit("/", 1)[1] for key in stack.keys]
    own += [stack.ids.get(f"{queue}Mapping", "") for queue in ("Queue", "Mail")]
    names = "|".join(re.escape(name) for name in sorted(filter(None, own), key=len, reverse=True))
    for other in (r"\g<0>-2", r"x-\g<0>"):
        yield re.sub(rf"(?<![\w.-])({names})(?![a-z])", other, text)


def test_the_rule_is_valid_and_short(stack, tmp_path):
    assert stack.rule["name"] == "alerter-tampered" and stack.rule["severity"] == "critical"
    assert len(stack.outputs["TamperRule"].encode()) <= 4096, "as long as a parameter of CloudFormation"
    file = tmp_path / "filter_config.json"
    file.write_text(json.dumps({"sns": {"topicARN": stack.outputs["TopicArn"]}, "rules": [stack.rule]}))
    checked = subprocess.run([binary(), "check", file], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, ""), checked


def test_the_rule_names_all_that_the_stack_has(stack):
    pattern = stack.rule["where"]["requestParameters"]
    found = [each for each in stack.resources if each["ResourceType"].removeprefix("AWS::") in NAMED]
    assert len(found) > 12
    for each in found:
        assert re.search(pattern, json.dumps({"x": each["PhysicalResourceId"]})), each
    for arn in [stack.outputs["AlarmTopicArn"], stack.outputs["RoleArn"], *stack.keys, *stack.more]:
        assert re.search(pattern, json.dumps({"x": arn})), arn


def test_tampering_with_the_stack_alerts_and_the_same_calls_on_other_names_do_not(stack, tmp_path):
    records, expected = [], []
    for source, event, parameters in calls(stack):
        own = json.dumps(parameters)
        for text in (own, *elsewhere(stack, own)):
            each = record(f"{len(records)} {source} {event} {text}", event, f"{source}.amazonaws.com")
            records.append({**each, "requestParameters": json.loads(text)})
            expected += [each["eventID"]] * (text == own)
        assert len({json.dumps(each["requestParameters"]) for each in records[-3:]}) == 3, records[-3:]
    file, log = tmp_path / "filter_config.json", tmp_path / "log.json"
    file.write_text(json.dumps({"rules": [stack.rule]}))
    log.write_text(json.dumps({"Records": records}))
    scanned = subprocess.run([binary(), "scan", "--config", file, "--format", "json", log], capture_output=True,
                             text=True, check=True)
    found = [json.loads(line)["event"]["eventID"] for line in scanned.stdout.splitlines()]
    assert len(expected) > 100 and found == expected
