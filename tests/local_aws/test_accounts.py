"""Organizations: the account of the logs, the security account, and a stack in each account. MiniStack has no StackSets
and enforces nothing of Organizations, but accounts, and the policies between them."""

import json
import uuid

import pytest
from local_aws import ACCOUNT, REGION, ROOT, LocalAws, event_ids, record, wait_until

CONFIGURATION = json.loads((ROOT / "filter_config.json").read_text())
LOGS, MEMBER = "222233334444", "333344445555"
ORGANIZATION = "o-exampleorgid"  # which tools/ministack_server.py makes all accounts belong to
PREFIX = f"{ORGANIZATION}/"  # as Control Tower's trail has it


@pytest.fixture(scope="module")
def aws():
    with LocalAws(auth=True) as aws:
        yield aws


def log_key(name, prefix=PREFIX):
    """The key of a member's log in the bucket of an organization's trail."""
    folder = f"{prefix}AWSLogs/{ORGANIZATION}/{MEMBER}/CloudTrail/{REGION}/2026/11/20"
    return f"{folder}/{MEMBER}_CloudTrail_{REGION}_20261120T2110Z_{name}.json.gz"


class Archive:
    """The account of the logs: a bucket with encrypted logs of the organization, and a topic that announces them."""

    def __init__(self, aws, bucket):
        self.aws, self.bucket = aws.as_account(LOGS), bucket
        self.aws.s3.create_bucket(Bucket=bucket)
        self.key = self.aws.kms.create_key()["KeyMetadata"]["Arn"]
        self.topic = self.aws.sns.create_topic(Name=bucket)["TopicArn"]
        self.announcing = {"Sid": "TheBucketAnnouncesLogs", "Effect": "Allow",
                           "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sns:Publish",
                           "Resource": self.topic,
                           "Condition": {"ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"},
                                         "StringEquals": {"aws:SourceAccount": LOGS}}}
        self.set_policy_of_topic(self.announcing)

    def set_policy_of_topic(self, *statements):
        self.aws.sns.set_topic_attributes(
            TopicArn=self.topic, AttributeName="Policy", AttributeValue=policy(*statements))

    def let_subscribe(self, account):
        self.set_policy_of_topic(self.announcing, {
            "Sid": "TheSecurityAccountSubscribes", "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sns:Subscribe", "Resource": self.topic,
            "Condition": {"StringEquals": {"sns:Protocol": ["sqs", "lambda"]}}})

    def let_read(self, *roles):
        statements = [{"Sid": f"TheAlerterReadsLogs{n}", "Effect": "Allow", "Principal": {"AWS": role},
                       "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{self.bucket}/{PREFIX}AWSLogs/*"}
                      for n, role in enumerate(roles)]
        self.aws.s3.put_bucket_policy(Bucket=self.bucket, Policy=policy(*statements))

    def let_decrypt(self, role):
        owner = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{LOGS}:root"}, "Action": "kms:*",
                 "Resource": "*"}
        alerter = {"Sid": "TheAlerterReadsEncryptedLogs", "Effect": "Allow", "Principal": {"AWS": role},
                   "Action": "kms:Decrypt", "Resource": "*"}
        self.aws.kms.put_key_policy(KeyId=self.key, PolicyName="default", Policy=policy(owner, alerter))

    def announce(self):
        filter_ = {"Key": {"FilterRules": [{"Name": "prefix", "Value": f"{PREFIX}AWSLogs/"},
                                           {"Name": "suffix", "Value": ".json.gz"}]}}
        own = {"Id": "cloudtrail", "TopicArn": self.topic, "Events": ["s3:ObjectCreated:*"], "Filter": filter_}
        self.aws.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"TopicConfigurations": [own]})

    def put_log(self, event_id):
        body = {"Records": [{**record(event_id), "recipientAccountId": MEMBER}]}
        self.aws.s3.put_object(Bucket=self.bucket, Key=log_key(event_id), Body=json.dumps(body).encode(),
                               ServerSideEncryption="aws:kms", SSEKMSKeyId=self.key)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.mark.parametrize("source", ["queue", "existing-sns-topic"])
def test_a_stack_in_a_security_account_reads_the_bucket_of_another_with_the_manuals_policies(aws, source):
    archive, stack = Archive(aws, f"{source}-org"), f"{source}-security"
    configurations = f"{stack}-configuration"
    aws.s3.create_bucket(Bucket=configurations)
    parameters = dict(Source=source, LogBucketName=archive.bucket, LogTopicArn=archive.topic, LogKeyPrefix=PREFIX,
                      TrailKmsKeyArn=archive.key, ConfigBucketName=configurations)
    with pytest.raises(RuntimeError, match="not authorized to perform: SNS:Subscribe"):
        aws.deploy(stack, **parameters)
    archive.let_subscribe(ACCOUNT)
    outputs = aws.deploy(stack, **parameters)
    assert "AddNotification" not in outputs
    aws.configure(CONFIGURATION, configurations)
    archive.announce()
    alerts = aws.subscribe(outputs["TopicArn"], f"{stack}-alerts")

    def refused(name):
        return [line for line in aws.log_lines(stack) if line.get("level") == "ERROR" and name in json.dumps(line)]

    archive.put_log("no-policies")
    wait_until(lambda: refused("no-policies"), "a refusal by the bucket's policy")
    archive.let_read(outputs["RoleArn"])
    archive.put_log("no-policy-of-the-key")
    wait_until(lambda: refused("no-policy-of-the-key"), "a refusal by the key's policy")
    archive.let_decrypt(outputs["RoleArn"])
    archive.put_log("all-policies")
    aws.receive_until(alerts, lambda messages: "all-policies" in event_ids(messages), "an alert")
    assert not refused("all-policies")
    aws.delete(stack)
    assert not archive.aws.sns.list_subscriptions_by_topic(TopicArn=archive.topic)["Subscriptions"]


def test_a_stack_in_the_account_of_the_logs_needs_only_the_policy_of_a_key_of_another(aws):
    archive, stack = Archive(aws, "archive-org"), "archive"
    key = aws.kms.create_key()["KeyMetadata"]["Arn"]
    archive.key = key
    archive.aws.s3.create_bucket(Bucket="archive-configuration")
    outputs = archive.aws.deploy(stack, Source="queue", LogBucketName=archive.bucket, LogKeyPrefix=PREFIX,
                                 TrailKmsKeyArn=key, ConfigBucketName="archive-configuration")
    archive.aws.configure(CONFIGURATION, "archive-configuration")
    archive.aws.run(outputs["AddNotification"])
    alerts = archive.aws.subscribe(outputs["TopicArn"], "archive-alerts")
    aws.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"},
        {"Sid": "TheAlerterReadsEncryptedLogs", "Effect": "Allow", "Principal": {"AWS": outputs["RoleArn"]},
         "Action": "kms:Decrypt", "Resource": "*"}))
    archive.put_log("archived")
    assert event_ids(archive.aws.receive(alerts, 1)) == ["archived"]


def test_a_stack_in_each_account_publishes_to_one_topic_of_the_security_account(aws):
    key = aws.kms.create_key()["KeyMetadata"]["Arn"]
    central = aws.sns.create_topic(Name="central", Attributes={"KmsMasterKeyId": key})["TopicArn"]
    aws.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy({
        "Sid": "TheOrganizationPublishesToTheEncryptedTopic", "Effect": "Allow", "Principal": {"AWS": "*"},
        "Action": ["kms:GenerateDataKey*", "kms:Decrypt"], "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalOrgID": ORGANIZATION},
                      "StringLike": {"kms:ViaService": "sns.*.amazonaws.com"}}}))
    alerts = aws.subscribe(central, "central-alerts")
    aws.sns.set_topic_attributes(TopicArn=central, AttributeName="Policy", AttributeValue=policy({
        "Sid": "TheOrganizationPublishes", "Effect": "Allow", "Principal": "*", "Action": "sns:Publish",
        "Resource": central, "Condition": {"StringEquals": {"aws:PrincipalOrgID": ORGANIZATION}}}))
    # The longest name that a StackSet may give, in one account, and a short one in the other.
    for account, stack in ((LOGS, f"StackSet-{'x' * 82}-{uuid.uuid4()}"), (MEMBER, f"StackSet-alerter-{uuid.uuid4()}")):
        member, bucket = aws.as_account(account), f"cloudtrail-logs-{account}"
        outputs = member.deploy(stack, LogBucketName=bucket, MoreTopicArns=central, MoreKmsKeyArns=key,
                                AlertEmail="alice@example.com")
        stack_id = member.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
        name = f"cloudtrail-alerter-{stack_id.rsplit('/', 1)[1]}"
        assert (outputs["FunctionName"], outputs["LogGroupName"]) == (name, f"/aws/lambda/{name}")
        assert member.cloudtrail.get_trail(Name=name)["Trail"]["S3BucketName"] == bucket
        member.configure({**CONFIGURATION, "sns": {"topicARN": central}}, bucket)
        log = f"AWSLogs/{account}/CloudTrail/{REGION}/2026/11/20/{account}_CloudTrail_{REGION}_20261120T2110Z_a.json.gz"
        member.put_log(log, {"Records": [{**record(f"of-{account}"), "recipientAccountId": account}]}, bucket)
        [alert] = aws.receive(alerts, 1)
        assert event_ids([alert]) == [f"of-{account}"]
        assert alert["MessageAttributes"]["accountId"]["Value"] == account
        member.update(stack, HoursWithoutLogs="3")
        member.run(outputs["RemoveNotification"])
        member.delete(stack)
