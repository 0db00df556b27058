"""For each source, with keys and without: the function's role allows a whole invocation and nothing beyond it; those
that announce logs are let in, and nobody else.

A user with the policies of the role makes the calls, and the program runs as a process with the keys of that user.
"""

import json
import shutil

import boto3
import pytest
from botocore.exceptions import ClientError
from local_aws import ACCOUNT, REGION, ROOT, LocalAws, binary, changes, event_ids, key_policy, log_key, record
from runtime_api import running

MORE_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:more"
ENCRYPTED_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:encrypted"
OTHER_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:others"
OTHER_TABLE = "others"
NO_POLICY = '{"Version": "2012-10-17", "Statement": []}'
# Its suffix is not announced: only the program that a test starts reads this log.
LOG_KEY = log_key("a").removesuffix(".gz")
LOG = {"Records": [{"eventSource": "iam.amazonaws.com", "eventName": "CreateUser", "eventID": "1"}]}
CONFIGURATION = json.loads((ROOT / "filter_config.json").read_text())
STACKS = ["new-trail", "existing-bucket", "existing-sns-topic", "queue", "queue-by-topic", "eventbridge",
          "new-trail-with-keys", "queue-with-keys"]


@pytest.fixture(scope="module")
def aws():
    with LocalAws(auth=True) as aws:
        for topic in (MORE_TOPIC, OTHER_TOPIC):
            aws.sns.create_topic(Name=topic.rsplit(":", 1)[1])
        aws.s3.create_bucket(Bucket="other-bucket")
        aws.s3.put_object(Bucket="other-bucket", Key=log_key("a"), Body=b"private")
        aws.dynamodb.create_table(
            TableName=OTHER_TABLE, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
        aws.other_queue = aws.sqs.create_queue(QueueName="others")["QueueUrl"]
        aws.own_key, aws.trail_key, aws.more_key = (
            aws.kms.create_key(Policy=key_policy(*STACKS))["KeyMetadata"]["Arn"] for _ in range(3))
        aws.sns.create_topic(Name="encrypted", Attributes={"KmsMasterKeyId": aws.more_key})
        yield aws


class Stack:
    """A deployed stack, and a user with the permissions of its function."""

    def __init__(self, aws, name):
        self.name = self.bucket = name
        self.source = name.removesuffix("-with-keys").removesuffix("-by-topic")
        self.log_topic, self.own_key, self.trail_key = None, None, None
        parameters = {"MoreTopicArns": MORE_TOPIC}
        if "topic" in name:
            self.log_topic = parameters["LogTopicArn"] = aws.sns.create_topic(Name=f"{name}-logs")["TopicArn"]
        if "keys" in name:
            self.own_key = parameters["KmsKeyArn"] = aws.own_key
            self.trail_key = parameters["TrailKmsKeyArn"] = aws.trail_key
            parameters |= {"MoreTopicArns": f"{MORE_TOPIC},{ENCRYPTED_TOPIC}", "MoreKmsKeyArns": aws.more_key,
                           "AlertEmail": "alice@example.com"}
        if "keys" in name or "eventbridge" in name:
            parameters["Memory"] = "table"
        if self.source != "new-trail":
            aws.s3.create_bucket(Bucket=name)
        self.outputs = aws.deploy(name, Source=self.source, LogBucketName=name, **parameters)
        self.resources = aws.resources(name)
        self.table = self.resources.get("StateTable")
        for key in ("private.txt", f"x/{log_key('a')}"):
            aws.s3.put_object(Bucket=name, Key=key, Body=b"private")
        aws.configure(CONFIGURATION, name)
        self.put_log(aws, LOG_KEY, LOG)

        role = self.resources["FunctionRole"]
        assert not aws.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        aws.iam.create_user(UserName=name)
        for policy in aws.iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = aws.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            aws.iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
        self.keys = aws.iam.create_access_key(UserName=name)["AccessKey"]
        self.session = boto3.Session(self.keys["AccessKeyId"], self.keys["SecretAccessKey"], region_name=REGION)

    def put_log(self, aws, key, log):
        """Store a log as CloudTrail does, encrypted with the key of the trail if it has one."""
        aws.put_log(key, log, self.bucket)
        if self.trail_key:
            body = aws.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            aws.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ServerSideEncryption="aws:kms",
                              SSEKMSKeyId=self.trail_key)


@pytest.fixture(scope="module", params=STACKS)
def stack(aws, request):
    return Stack(aws, request.param)


def notification(bucket, key):
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                         "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}


def invoke_as_the_role(aws, stack, **environment):
    """One invocation: its answer or error, and whether it is an error."""
    environment = {
        **aws.function_environment(),
        "AWS_ACCESS_KEY_ID": stack.keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": stack.keys["SecretAccessKey"],
        "SSL_CERT_FILE": str(aws.certificate),
        "FILTER_CONFIG_BUCKET": stack.bucket,
        "TOPIC_ARN": stack.outputs["TopicArn"],
        "STATE_TABLE": stack.table or "",
        **environment,
    }
    with running(binary(), environment) as invoke:
        return invoke(notification(stack.bucket, LOG_KEY))


@pytest.mark.parametrize("topic", [None, MORE_TOPIC])
def test_a_whole_invocation_works(aws, stack, topic):
    answer, failed = invoke_as_the_role(aws, stack, **({"TOPIC_ARN": topic} if topic else {}))
    assert not failed and answer["published"] == 1, answer
    if stack.table:  # where the role may not use it, the invocation works all the same
        assert {item["id"]["S"][0] for item in aws.dynamodb.scan(TableName=stack.table)["Items"]} == {"p"}


def test_a_topic_that_is_not_the_stacks_is_refused_and_named(aws, stack):
    error, failed = invoke_as_the_role(aws, stack, TOPIC_ARN=OTHER_TOPIC)
    assert failed and error["errorType"] == "PublishFailed", error
    assert "AuthorizationError" in error["errorMessage"] and OTHER_TOPIC in error["errorMessage"]


def test_who_announces_logs_is_let_in_and_their_alerts_arrive(aws, stack):
    alerts, key = aws.subscribe(stack.outputs["TopicArn"], f"{stack.name}-alerts"), log_key("announced")
    if "AddNotification" in stack.outputs:
        if not shutil.which("jq"):
            pytest.skip("jq, which the command uses, is not installed")
        aws.run(stack.outputs["AddNotification"])
    elif stack.log_topic:
        # The owner of the topic allows the bucket to publish.
        statement = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sns:Publish",
                     "Resource": stack.log_topic}
        aws.sns.set_topic_attributes(TopicArn=stack.log_topic, AttributeName="Policy",
                                     AttributeValue=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        # Without a filter S3 would refuse a notification of changes of the configuration beside it.
        logs = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "AWSLogs/"}]}}
        configuration = {"TopicConfigurations": [
            {"TopicArn": stack.log_topic, "Events": ["s3:ObjectCreated:*"], "Filter": logs}]}
        aws.s3.put_bucket_notification_configuration(Bucket=stack.bucket, NotificationConfiguration=configuration)
    aws.put_log(key, {"Records": [record("announced")]}, stack.bucket)
    assert event_ids(aws.receive(alerts, 1)) == ["announced"]


def test_another_bucket_can_fill_neither_the_queue_nor_the_alarm_topic(aws, stack):
    targets = {"TopicConfigurations": {"TopicArn": stack.outputs["AlarmTopicArn"]}}
    if stack.source == "queue":
        targets["QueueConfigurations"] = {"QueueArn": aws.queue_arn(stack.outputs["QueueUrl"])}
    for kind, target in targets.items():
        configuration = {kind: [{**target, "Events": ["s3:ObjectCreated:*"]}]}
        with pytest.raises(ClientError, match="Unable to validate the following destination"):
            aws.s3.put_bucket_notification_configuration(
                Bucket="other-bucket", NotificationConfiguration=configuration)


def test_a_change_of_the_configuration_is_announced_to_the_alarm_topic(aws, stack):
    queue = aws.subscribe(stack.outputs["AlarmTopicArn"], f"{stack.name}-changes")
    if command := stack.outputs.get("AnnounceConfigurationChanges"):
        if not shutil.which("jq"):
            pytest.skip("jq, which the command uses, is not installed")
        before = aws.s3.get_bucket_notification_configuration(Bucket=stack.bucket)
        aws.run(command)
        aws.run(command)
        after = aws.s3.get_bucket_notification_configuration(Bucket=stack.bucket)
        for kind in set(before) - {"ResponseMetadata", "TopicConfigurations"}:
            assert after[kind] == before[kind], "the logs are announced as before"
        own = [each for each in after["TopicConfigurations"] if each["TopicArn"] == stack.outputs["AlarmTopicArn"]]
        assert len(own) == 1, "not twice"
    else:
        assert stack.source == "new-trail"
    aws.s3.put_object(Bucket=stack.bucket, Key="filter_config.json.old", Body=b"another object")
    aws.configure(CONFIGURATION, stack.bucket)
    aws.s3.delete_object(Bucket=stack.bucket, Key="filter_config.json")
    aws.configure(CONFIGURATION, stack.bucket)
    expected = [(what, "filter_config.json") for what in ("ObjectCreated", "ObjectRemoved", "ObjectCreated")]
    messages = aws.receive_until(queue, lambda messages: changes(messages)[-3:] == expected, "three changes")
    assert {key for _, key in changes(messages)} == {"filter_config.json"}


def on_items(table):
    """The calls that the function makes to a table. The item expires, as those of the function do."""
    key, item = {"id": {"S": "test"}}, {"id": {"S": "test"}, "expires": {"N": "1"}}
    return [
        ("dynamodb", "get_item", dict(TableName=table, Key=key)),
        ("dynamodb", "batch_get_item", dict(RequestItems={table: {"Keys": [key], "ConsistentRead": True}})),
        ("dynamodb", "put_item", dict(TableName=table, Item=item)),
        ("dynamodb", "update_item", dict(TableName=table, Key=key)),
        ("dynamodb", "batch_write_item", dict(RequestItems={table: [{"PutRequest": {"Item": item}}]})),
    ]


def allowed(aws, stack):
    topic, dead_letters, group = (stack.outputs[name] for name in ("TopicArn", "DeadLetterQueueUrl", "LogGroupName"))
    line = [{"timestamp": 1, "message": "a line"}]
    calls = [
        ("s3", "get_object", dict(Bucket=stack.bucket, Key=LOG_KEY)),
        ("s3", "get_object", dict(Bucket=stack.bucket, Key="filter_config.json")),
        ("sns", "publish", dict(TopicArn=topic, Message="m")),
        ("sns", "publish_batch", dict(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "1", "Message": "m"}])),
        ("sns", "publish", dict(TopicArn=MORE_TOPIC, Message="m")),
        ("sqs", "send_message", dict(QueueUrl=dead_letters, MessageBody="m")),
        ("logs", "create_log_stream", dict(logGroupName=group, logStreamName="s")),
        ("logs", "put_log_events", dict(logGroupName=group, logStreamName="s", logEvents=line)),
    ]
    if stack.table:
        calls += on_items(stack.table)
    if stack.own_key:
        calls += [("sns", "publish", dict(TopicArn=topic, Message="m"))
                  for topic in (ENCRYPTED_TOPIC, stack.outputs["MailTopicArn"])]
    for queue in {"LogQueue", "MailQueue"} & set(stack.resources):
        url = stack.resources[queue]
        calls += [
            ("sqs", "receive_message", dict(QueueUrl=url)),
            ("sqs", "delete_message", dict(QueueUrl=url, ReceiptHandle="none")),
            ("sqs", "get_queue_attributes", dict(QueueUrl=url, AttributeNames=["All"])),
        ]
    return calls


def denied(aws, stack):
    topic, dead_letters, group = (stack.outputs[name] for name in ("TopicArn", "DeadLetterQueueUrl", "LogGroupName"))
    line = [{"timestamp": 1, "message": "a line"}]
    role, bucket = stack.resources["FunctionRole"], stack.bucket
    # An administrator makes the same calls at the end. Calls that delete what others need come last.
    calls = [
        ("s3", "get_object", dict(Bucket="other-bucket", Key=log_key("a"))),
        ("s3", "get_object", dict(Bucket=bucket, Key="private.txt")),
        ("s3", "get_object", dict(Bucket=bucket, Key=f"x/{log_key('a')}")),
        ("s3", "list_objects_v2", dict(Bucket=bucket)),
        ("s3", "list_objects_v2", dict(Bucket=bucket, Prefix="AWSLogs/")),
        ("s3", "list_buckets", {}),
        ("s3", "put_object", dict(Bucket=bucket, Key=LOG_KEY, Body=b"forged")),
        ("s3", "put_object", dict(Bucket=bucket, Key="filter_config.json", Body=b"{}")),
        ("s3", "get_object_acl", dict(Bucket=bucket, Key=LOG_KEY)),
        ("s3", "get_bucket_policy", dict(Bucket=bucket)),
        ("s3", "delete_object", dict(Bucket=bucket, Key=LOG_KEY)),
        ("s3", "delete_bucket_policy", dict(Bucket=bucket)),
        ("s3", "put_bucket_notification_configuration", dict(Bucket=bucket, NotificationConfiguration={})),
        ("sns", "publish", dict(TopicArn=OTHER_TOPIC, Message="m")),
        ("sns", "publish", dict(TopicArn=stack.outputs["AlarmTopicArn"], Message="m")),
        ("sns", "publish", dict(PhoneNumber="+12065550100", Message="m")),
        ("sns", "subscribe", dict(TopicArn=topic, Protocol="email", Endpoint="mallory@example.com")),
        ("sns", "get_topic_attributes", dict(TopicArn=topic)),
        ("sns", "set_topic_attributes", dict(TopicArn=topic, AttributeName="DisplayName", AttributeValue="x")),
        ("sns", "delete_topic", dict(TopicArn=topic)),
        ("sqs", "send_message", dict(QueueUrl=aws.other_queue, MessageBody="m")),
        ("sqs", "receive_message", dict(QueueUrl=aws.other_queue)),
        ("sqs", "receive_message", dict(QueueUrl=dead_letters)),
        ("sqs", "purge_queue", dict(QueueUrl=dead_letters)),
        ("logs", "create_log_group", dict(logGroupName="/aws/lambda/another")),
        ("logs", "create_log_stream", dict(logGroupName="/aws/lambda/another", logStreamName="s")),
        ("logs", "put_log_events", dict(logGroupName="/aws/lambda/another", logStreamName="s", logEvents=line)),
        ("logs", "get_log_events", dict(logGroupName=group, logStreamName="s")),
        ("logs", "delete_log_group", dict(logGroupName=group)),
        ("cloudwatch", "put_metric_data", dict(Namespace="CloudTrailAlerter", MetricData=[{"MetricName": "Logs"}])),
        ("cloudwatch", "disable_alarm_actions", dict(AlarmNames=[f"{stack.name}-NoLogs"])),
        ("cloudwatch", "delete_alarms", dict(AlarmNames=[f"{stack.name}-NoLogs"])),
        ("cloudtrail", "stop_logging", dict(Name=stack.name)),
        ("events", "disable_rule", dict(Name=stack.resources.get("LogRule", "rule"))),
        ("kms", "generate_data_key", dict(KeyId=aws.own_key, KeySpec="AES_256")),
        ("kms", "generate_data_key", dict(KeyId=aws.trail_key, KeySpec="AES_256")),
        ("kms", "decrypt", dict(KeyId=aws.trail_key, CiphertextBlob=b"x")),
        ("kms", "generate_data_key", dict(KeyId=aws.more_key, KeySpec="AES_256")),
        ("kms", "describe_key", dict(KeyId=aws.own_key)),
        ("iam", "get_role", dict(RoleName=role)),
        ("iam", "put_role_policy", dict(RoleName=role, PolicyName="p", PolicyDocument=NO_POLICY)),
        ("sts", "assume_role", dict(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="test")),
        ("lambda", "get_function", dict(FunctionName=stack.name)),
        ("lambda", "invoke", dict(FunctionName=stack.name, Payload=b"{}")),
        *on_items(OTHER_TABLE),
        ("dynamodb", "list_tables", {}),
    ]
    if stack.table:
        table, key = stack.table, {"id": {"S": "test"}}
        by_id = dict(KeyConditionExpression="id = :id", ExpressionAttributeValues={":id": {"S": "test"}})
        calls += [
            ("dynamodb", "scan", dict(TableName=table)),
            ("dynamodb", "query", dict(TableName=table, **by_id)),
            ("dynamodb", "delete_item", dict(TableName=table, Key=key)),
            ("dynamodb", "transact_write_items", dict(TransactItems=[{"Delete": dict(TableName=table, Key=key)}])),
            ("dynamodb", "describe_table", dict(TableName=table)),
            ("dynamodb", "update_time_to_live", dict(TableName=table, TimeToLiveSpecification={
                "AttributeName": "expires", "Enabled": False})),
            ("dynamodb", "batch_get_item", dict(RequestItems={table: {"Keys": [key]}, OTHER_TABLE: {"Keys": [key]}})),
        ]
    for queue in {"LogQueue", "MailQueue"} & set(stack.resources):
        url = stack.resources[queue]
        calls += [
            ("sqs", "send_message", dict(QueueUrl=url, MessageBody="m")),
            ("sqs", "set_queue_attributes", dict(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})),
            ("sqs", "purge_queue", dict(QueueUrl=url)),
        ]
    if stack.log_topic:
        calls.append(("sns", "publish", dict(TopicArn=stack.log_topic, Message="m")))
    return calls


def refusal(client, operation, arguments):
    """The error code if a call is refused because a permission is missing, else None."""
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return code if code.startswith(("AccessDenied", "AuthorizationError", "NotAuthorized")) else None
    return None


def outcomes(aws, calls, session=None):
    return {f"{service} {operation} {arguments}": refusal(aws.client(service, session), operation, arguments)
            for service, operation, arguments in calls}


def test_needed_calls_are_allowed(aws, stack):
    refused = {call: code for call, code in outcomes(aws, allowed(aws, stack), stack.session).items() if code}
    assert refused == {}


def test_everything_else_is_denied(aws, stack):
    permitted = [call for call, code in outcomes(aws, denied(aws, stack), stack.session).items() if not code]
    assert permitted == []


def test_allowed_calls_are_denied_without_tls(aws, stack):
    """MiniStack trusts this header, as if a proxy in front of it spoke TLS."""
    calls = [
        ("sns", "publish", dict(TopicArn=stack.outputs["TopicArn"], Message="m")),
        ("sqs", "send_message", dict(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody="m")),
    ]
    if stack.own_key:
        calls += [("sns", "publish", dict(TopicArn=stack.outputs["MailTopicArn"], Message="m")),
                  ("sqs", "receive_message", dict(QueueUrl=stack.resources["MailQueue"]))]
    if stack.source == "queue":
        calls.append(("sqs", "receive_message", dict(QueueUrl=stack.outputs["QueueUrl"])))
    if stack.table:
        calls += on_items(stack.table)
    if stack.source == "new-trail":  # the policy of an existing bucket is not ours
        calls.append(("s3", "get_object", dict(Bucket=stack.bucket, Key="filter_config.json")))
    for service, operation, arguments in calls:
        client = aws.client(service, stack.session)
        assert refusal(client, operation, arguments) is None
        plain = lambda request, **_: request.headers.add_header("X-Forwarded-Proto", "http")  # noqa: E731
        client.meta.events.register("before-sign", plain)
        assert refusal(client, operation, arguments)


def test_without_its_grants_of_keys_the_role_is_not_enough(aws, stack):
    """Each statement about keys is needed, and the keys are in use at all."""
    [name] = aws.iam.list_user_policies(UserName=stack.name)["PolicyNames"]
    document = aws.iam.get_user_policy(UserName=stack.name, PolicyName=name)["PolicyDocument"]
    if not stack.own_key:
        assert "kms:" not in json.dumps(document)
        return

    def refused_without(sid):
        statements = [each for each in document["Statement"] if each["Sid"] != sid]
        assert len(statements) == len(document["Statement"]) - 1
        aws.iam.put_user_policy(UserName=stack.name, PolicyName=name,
                                PolicyDocument=json.dumps({**document, "Statement": statements}))
        found = outcomes(aws, allowed(aws, stack), stack.session)
        return {" ".join(call.split()[:2]) for call, code in found.items() if code}

    try:
        own = {"sns publish", "sns publish_batch", "sqs send_message", "sqs receive_message"}
        # With a new trail the configuration is in a bucket of the stack.
        own |= {"s3 get_object"} if stack.source == "new-trail" else set()
        assert refused_without("UseEncryptedTopicsQueuesAndBucket") == own
        assert refused_without("ReadEncryptedLogs") == {"s3 get_object"}
        assert refused_without("UseEncryptedTable") == {f"dynamodb {name}" for _, name, _ in on_items(stack.table)}
        assert refused_without("UseKeysOfOtherTopicsAndOfTheConfiguration") == {"sns publish"}
    finally:
        aws.iam.put_user_policy(UserName=stack.name, PolicyName=name, PolicyDocument=json.dumps(document))


def test_an_administrator_is_denied_nothing(aws, stack):
    """The calls above are denied because a permission is missing, and not because they are wrong."""
    refused = {call: code for call, code in outcomes(aws, denied(aws, stack)).items() if code}
    # Only Lambda may assume the role.
    assert [call.split()[1] for call in refused] in ([], ["assume_role"]), refused
