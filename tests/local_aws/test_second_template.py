"""MiniStack and moto make the same of the template, with each source, and with and without keys and emails.

moto creates no policies of topics, queues and buckets, no subscriptions, no alarms and no trail, and encrypts no table.
"""

import ast
import json
import re

import pytest
from local_aws import ACCOUNT, REGION, ROOT, LocalAws
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
from second_aws import Moto

KEYS = [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{n}234abcd-12ab-34cd-56ef-1234567890ab" for n in range(3)]
LOG_TOPIC, ALARM_TOPIC, *MORE_TOPICS = (f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}" for name in ["logs", "alarms", *"ab"])
STACKS = {
    "new-trail": {"Source": "new-trail"},
    "existing-bucket": {"Source": "existing-bucket", "LogKeyPrefix": "trails/", "ConfigBucketName": "configurations"},
    "existing-sns-topic": {"Source": "existing-sns-topic", "LogTopicArn": LOG_TOPIC, "AlarmTopicArn": ALARM_TOPIC},
    "queue": {"Source": "queue", "MaximumConcurrency": "7"},
    "queue-by-topic": {"Source": "queue", "LogTopicArn": LOG_TOPIC, "MoreTopicArns": ",".join(MORE_TOPICS)},
    "eventbridge": {"Source": "eventbridge"},
    "keys": {"Source": "queue", "KmsKeyArn": KEYS[0], "TrailKmsKeyArn": KEYS[1], "MoreKmsKeyArns": KEYS[2]},
    "emails": {"Source": "new-trail", "AlertEmail": "alice@example.com", "EmailWindowSeconds": "60",
               "KmsKeyArn": KEYS[0]},
    "memory": {"Source": "queue", "Memory": "table", "KmsKeyArn": KEYS[0]},
    "single-emails": {"Source": "eventbridge", "AlertEmail": "alice@example.com", "EmailWindowSeconds": "0"},
    "enterprise": {"Source": "queue", "RolePath": "/alerts/", "ReservedConcurrency": "9", "XRayTracing": "true",
                   "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary", "LogGroupKmsKeyArn": KEYS[0]},
}


class NoManagedPolicies:
    """The template names none, so the transform need not ask IAM for them."""

    def load(self):
        return {}


@pytest.fixture(scope="module")
def clouds():
    with LocalAws() as first, Moto() as second:
        for aws in (first, second):
            aws.sns.create_topic(Name="logs")
        yield first, second


def deploy_on_moto(aws, name, parameters):
    """Deploy the template as the transform leaves it, which AWS runs and moto does not."""
    packaged = (ROOT / "template.yaml").read_text().replace("CodeUri: .\n", "CodeUri: s3://artifacts/function.zip\n")
    aws.s3.create_bucket(Bucket="artifacts")
    aws.s3.put_object(Bucket="artifacts", Key="function.zip", Body=b"code")
    aws.cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(transform(yaml_parse(packaged), parameters, NoManagedPolicies())),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()])


def statements(policy):
    """The statements of a policy. In moto it is written as Python writes it, and has None for what is left out."""
    return [each for each in (ast.literal_eval(policy) if isinstance(policy, str) else policy)["Statement"] if each]


def look(aws, name):
    """What there is of a stack: what both emulators create, with logical ids in the place of what is random."""
    stack = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    resources = aws.cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    ids = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources if "PhysicalResourceId" in each}
    lambda_, role = aws.client("lambda"), ids["FunctionRole"]
    function = lambda_.get_function_configuration(FunctionName=name)
    try:
        invoke = json.loads(lambda_.get_policy(FunctionName=name)["Policy"])["Statement"]
    except lambda_.exceptions.ResourceNotFoundException:
        invoke = []
    queues = {logical: aws.sqs.get_queue_attributes(QueueUrl=ids[logical], AttributeNames=["All"])["Attributes"]
              for logical in ("DeadLetters", "LogQueue", "MailQueue") if logical in ids}
    topics = {logical: aws.sns.get_topic_attributes(TopicArn=ids[logical])["Attributes"]
              for logical in ("Topic", "AlarmTopic", "MailTopic") if logical in ids}
    table = aws.dynamodb.describe_table(TableName=ids["StateTable"])["Table"] if "StateTable" in ids else {}
    rule = aws.events.describe_rule(Name=ids["LogRule"]) if "LogRule" in ids else {}
    found = {
        "outputs": outputs,
        "function": [function[key] for key in ("Environment", "Timeout", "MemorySize", "Role")],
        "role": [statements(aws.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"])
                 for policy in aws.iam.list_role_policies(RoleName=role)["PolicyNames"]],
        "invoke": [(each["Principal"], each["Condition"]) for each in invoke],
        "queues": {logical: (each["VisibilityTimeout"], each["MessageRetentionPeriod"], each.get("KmsMasterKeyId"),
                             json.loads(each.get("RedrivePolicy", "{}"))) for logical, each in queues.items()},
        "topics": {logical: (each["DisplayName"], each.get("KmsMasterKeyId")) for logical, each in topics.items()},
        "mappings": sorted((each["EventSourceArn"], each["BatchSize"], each.get("MaximumBatchingWindowInSeconds") or 0,
                            each["FunctionResponseTypes"], each["ScalingConfig"]["MaximumConcurrency"])
                           for each in lambda_.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]),
        "table": [table.get(key) for key in ("KeySchema", "AttributeDefinitions")],
        "rule": json.loads(rule.get("EventPattern", "{}")),
    }
    text = json.dumps(found, sort_keys=True)
    for logical, physical in ids.items():
        random = re.split("[/:]", physical)[-1]
        if random not in (name, f"{name}-logs"):
            text = text.replace(random, f"<{logical}>")
    # The ARN of a log group ends in `:*` on AWS. The addresses of queues differ.
    return json.loads(re.sub(r"https?://[^/]+/", "", text.replace(f"/aws/lambda/{name}:*", f"/aws/lambda/{name}")))


@pytest.mark.parametrize("name", STACKS)
def test_both_emulators_create_the_same_stack(clouds, monkeypatch, name):
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)  # for the transform
    first, second = clouds
    bucket = f"{name}-logs"
    if STACKS[name]["Source"] != "new-trail":
        for aws in clouds:
            aws.s3.create_bucket(Bucket=bucket)
    first.deploy(name, LogBucketName=bucket, **STACKS[name])
    deploy_on_moto(second, name, {"LogBucketName": bucket, **STACKS[name]})
    expected, found = look(first, name), look(second, name)
    for part in expected:
        assert found[part] == expected[part], part
