"""The filter policies of the documentation, on a local AWS: each subscriber gets its messages and no others."""

import json
import re

import pytest
from local_aws import ROOT, LocalAws, log_key

BY_SEVERITY, BY_ACCOUNT, BY_RULE_AND_RESULT, BY_TAG = "severity", "accountId", "rule", "tag"
# The calls that each subscriber gets, by their eventID.
EXPECTED = {
    BY_SEVERITY: {"root", "trail", "refused-root"},
    BY_ACCOUNT: {"root", "refused"},
    BY_RULE_AND_RESULT: {"refused", "refused-root", "login"},
    BY_TAG: {"secret", "key"},
    None: {"root", "trail", "refused", "refused-root", "login", "secret", "key", "group"},
}


def call(event_id, service, name, account="444455556666", identity="IAMUser", **more):
    return {
        "eventSource": f"{service}.amazonaws.com", "eventName": name, "awsRegion": "us-east-1", "eventID": event_id,
        "recipientAccountId": account, "userIdentity": {"type": identity}, "sourceIPAddress": "203.0.113.9", **more,
    }


CALLS = [
    call("root", "s3", "ListBuckets", "123456789012", "Root"),
    call("trail", "cloudtrail", "DeleteTrail"),
    call("refused", "cloudtrail", "DeleteTrail", "111122223333", errorCode="AccessDenied"),
    # Two rules match it. A policy names the one of lower severity.
    call("refused-root", "iam", "CreateUser", identity="Root", errorCode="AccessDenied"),
    call("login", "signin", "ConsoleLogin", errorMessage="Failed authentication",
         responseElements={"ConsoleLogin": "Failure"}),
    # A policy names its rule, but not its result. Another one names a tag of the rule.
    call("secret", "secretsmanager", "GetSecretValue"),
    # Of the tags of two rules, a policy has the start of one. Other tags, and none, are in no policy.
    call("key", "iam", "CreateAccessKey"),
    call("group", "iam", "CreateGroup"),
]
CONFIGURATION = {"packs": ["cis"], "rules": [
    {"name": "cis-4.1-own", "severity": "low", "regexp": "^GetSecretValue$", "tags": ["secrets", "pci"]},
    {"name": "creations", "regexp": "^Create(AccessKey|Group)$", "tags": ["made", "pci-not"]},
    {"name": "keys", "regexp": "^CreateAccessKey$", "tags": ["attack.t1098.001"]},
]}


@pytest.fixture(scope="module")
def policies():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in re.findall(r"^\{ \"\w+\": \[.*\] \}$", page.read_text(), re.M)]
    return {next(iter(json.loads(line))): line for line in lines}


def test_each_subscriber_gets_the_messages_that_its_policy_lets_through(policies):
    assert set(policies) == set(EXPECTED) - {None}
    with LocalAws() as aws:
        topic = aws.deploy()["TopicArn"]
        aws.configure(CONFIGURATION)
        queues = {name: aws.subscribe(topic, name, FilterPolicy=policy) for name, policy in policies.items()}
        # SNS serves it last: when it has everything, the others have all that they get.
        queues[None] = aws.subscribe(topic, "everything")
        aws.put_log(log_key("calls"), {"Records": CALLS})
        got = {}
        for name in [None, *policies]:
            messages = aws.receive(queues[name], len(EXPECTED[name]))
            got[name] = sorted(message["MessageAttributes"]["eventID"]["Value"] for message in messages)
    assert got == {name: sorted(ids) for name, ids in EXPECTED.items()}
