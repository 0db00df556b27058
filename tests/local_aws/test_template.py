"""The text of template.yaml: its policies, the descriptions of parameters and alarms, the metrics of its alarms."""

import json
import re

import pytest
import yaml
from local_aws import ACCOUNT, BUCKET, FIXTURES, ROOT, LocalAws, key_policy, log_key, wait_until

TEXT = (ROOT / "template.yaml").read_text()


class Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation: `!Ref x` as {"Ref": x}."""


def short_form(loader, name, node):
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", short_form)
TEMPLATE = yaml.load(TEXT, Loader)
RESOURCES = TEMPLATE["Resources"]
ALARMS = {name: each for name, each in RESOURCES.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
OWN = "CloudTrailAlerter"
REPOSITORY = "https://github.com/cloudtrail-alerter/cloudtrail-alerter"


def statements(node):
    """Every statement of every policy below a node."""
    if isinstance(node, list):
        for inner in node:
            yield from statements(inner)
    elif isinstance(node, dict):
        if "Effect" in node:
            yield node
        for inner in node.values():
            yield from statements(inner)


def values(node):
    """Every text below a node."""
    if isinstance(node, (list, dict)):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from values(inner)
    else:
        yield str(node)


def wildcards(node, in_statement=False):
    """The numbers of the lines where a statement of a policy has a wildcard."""
    if isinstance(node, yaml.ScalarNode):
        if in_statement and "*" in node.value:
            yield node.start_mark.line
    elif isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            yield from wildcards(inner, in_statement)
    else:
        in_statement = in_statement or "Effect" in [key.value for key, _ in node.value]
        for _, inner in node.value:
            yield from wildcards(inner, in_statement)


def test_no_policy_has_a_wildcard_that_no_comment_explains():
    found = [TEXT.splitlines()[number] for number in wildcards(yaml.compose(TEXT, Loader))]
    assert len(found) > 5
    assert [line for line in found if not re.search(r"\*.* # \w", line)] == []


def test_no_policy_allows_a_wildcard_action_or_anybody():
    for name, each in RESOURCES.items():
        for statement in statements(each):
            if statement["Effect"] == "Allow":
                assert not [text for text in values(statement["Action"]) if "*" in text], (name, statement)
                assert "*" not in list(values(statement.get("Principal", ""))), (name, statement)
                # Calls that IAM can't limit to a resource.
                if statement.get("Sid") not in ("ConnectToTheVpc", "SendTraces"):
                    assert list(values(statement.get("Resource", "role"))) != ["*"], (name, statement)


def test_every_service_is_let_in_for_one_source_only():
    """Without such a condition a service would act for anybody (the confused deputy problem).

    A role is another matter: it can be passed to a service only within its account.
    """
    roles = [{"Service": service} for service in ("lambda.amazonaws.com", "batchoperations.s3.amazonaws.com")]
    for name, each in RESOURCES.items():
        for statement in statements(each):
            service = statement.get("Principal")
            if statement["Effect"] == "Allow" and service and service not in roles:
                keys = {key for part in statement["Condition"].values() for key in part}
                assert "aws:SourceArn" in keys, (name, statement)
                # Another account can own the same bucket name or alarm name later.
                if service["Service"] in ("s3.amazonaws.com", "cloudwatch.amazonaws.com"):
                    assert "aws:SourceAccount" in keys, (name, statement)
        if each["Type"] == "AWS::Lambda::Permission":
            assert each["Properties"]["SourceArn"]
            assert each["Properties"]["Principal"] != "s3.amazonaws.com" or each["Properties"]["SourceAccount"]


def test_everything_that_keeps_data_is_encrypted_with_the_key_and_refuses_plain_connections():
    for name, each in RESOURCES.items():
        kind, properties = each["Type"], each["Properties"]
        if kind in ("AWS::SNS::Topic", "AWS::SQS::Queue"):
            key = ["WithKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]
            assert properties["KmsMasterKeyId"] == {"If": key}, name
            policies = [other for other in RESOURCES.values()
                        if {"Ref": name} in other["Properties"].get("Topics", other["Properties"].get("Queues", []))]
            [denied] = [statement for statement in statements(policies) if statement["Effect"] == "Deny"]
            assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name
            assert denied["Action"] == ("sqs:*" if kind == "AWS::SQS::Queue" else "sns:Publish"), name
        if kind == "AWS::DynamoDB::Table":
            own = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "KmsKeyArn"}}
            assert properties["SSESpecification"] == {"If": ["WithKey", own, {"Ref": "AWS::NoValue"}]}
            [allowed] = [statement for statement in statements(RESOURCES["FunctionRole"])
                         if {"GetAtt": f"{name}.Arn"} == statement.get("Resource")]
            assert allowed["Condition"] == {"Bool": {"aws:SecureTransport": "true"}}
        if kind == "AWS::S3::Bucket":
            [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            assert rule["ServerSideEncryptionByDefault"] == {
                "SSEAlgorithm": {"If": ["WithKey", "aws:kms", "AES256"]},
                "KMSMasterKeyID": {"If": ["WithKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}}


def test_the_role_gets_of_each_key_what_it_needs_by_way_of_the_services_only():
    role = {statement["Sid"]: statement for statement in statements(RESOURCES["FunctionRole"]) if "Sid" in statement}
    own, trail = role["UseEncryptedTopicsQueuesAndBucket"], role["ReadEncryptedLogs"]
    more, table = role["UseKeysOfOtherTopicsAndOfTheConfiguration"], role["UseEncryptedTable"]
    assert own["Action"] == more["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert (own["Resource"], more["Resource"]) == ({"Ref": "KmsKeyArn"}, {"Ref": "MoreKmsKeyArns"})
    assert trail["Action"] == "kms:Decrypt" and trail["Resource"] == {"Ref": "TrailKmsKeyArn"}
    assert table["Action"] == ["kms:Decrypt", "kms:DescribeKey"] and table["Resource"] == {"Ref": "KmsKeyArn"}
    for statement, expected, services in ((own, "StringEquals", {"sns", "sqs", "s3"}), (trail, "StringEquals", {"s3"}),
                                          (table, "StringEquals", {"dynamodb"}),
                                          (more, "StringLike", {"sns", "sqs", "s3"})):
        [(operator, condition)] = statement["Condition"].items()
        hosts = list(values(condition["kms:ViaService"]))
        assert operator == expected and {host.split(".")[0] for host in hosts} == services
        outside, in_china = ({host.removesuffix(suffix) for host in hosts if host.endswith(suffix)}
                             for suffix in (".amazonaws.com", ".amazonaws.com.cn"))
        assert outside == in_china


def test_the_key_policy_to_copy_lets_in_each_service_under_conditions_that_it_meets():
    """Other tests use this policy, but EventBridge and CloudWatch need no key on a local AWS."""
    allowed = {}
    for statement in statements(json.loads(key_policy("alerter"))):
        assert (statement["Effect"], statement["Resource"]) == ("Allow", "*")
        for principal in values(statement["Principal"]):
            allowed.setdefault(principal, []).append((statement["Action"], statement.get("Condition")))
    use, account = ["kms:GenerateDataKey*", "kms:Decrypt"], {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    trail = {"StringEquals": {"aws:SourceArn": [f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/alerter"]}}
    assert allowed == {
        f"arn:aws:iam::{ACCOUNT}:root": [("kms:*", None)],
        **{f"{service}.amazonaws.com": [(use, account)] for service in ("cloudwatch", "s3", "sns")},
        "events.amazonaws.com": [(use, None)],
        "cloudtrail.amazonaws.com": [(["kms:GenerateDataKey*", "kms:DescribeKey"], trail), ("kms:Decrypt", None)],
    }


def test_a_new_trail_encrypts_with_its_own_key_else_with_the_stacks():
    key = {"If": ["WithKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    assert RESOURCES["Trail"]["Properties"]["KMSKeyId"] == {"If": ["WithTrailKey", {"Ref": "TrailKmsKeyArn"}, key]}


def test_the_table_has_the_key_and_the_time_to_live_that_the_function_uses_and_goes_with_the_stack():
    table = RESOURCES["StateTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Delete"
    assert table["Properties"]["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["Properties"]["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert not table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]


def test_waiting_announcements_and_logs_outlive_the_stack():
    for name in ("LogBucket", "LogQueue", "LogQueuePolicy"):
        policies = RESOURCES[name]["DeletionPolicy"], RESOURCES[name]["UpdateReplacePolicy"]
        assert policies == ("RetainExceptOnCreate", "Retain")


def test_the_interface_groups_every_parameter_once_and_the_version_is_the_programs():
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(TEMPLATE["Parameters"])
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    assert TEMPLATE["Metadata"]["AWS::ServerlessRepo::Application"]["SemanticVersion"] == version


def test_emails_are_filtered_by_severity_whichever_way_they_take():
    levels = ["info", "low", "medium", "high", "critical"]
    assert TEMPLATE["Parameters"]["EmailSeverity"]["AllowedValues"] == levels
    above = {level: {"AndAbove": levels[number:]} for number, level in enumerate(levels)}
    assert TEMPLATE["Mappings"]["Severities"] == above
    policy = {"severity": {"FindInMap": ["Severities", {"Ref": "EmailSeverity"}, "AndAbove"]}}
    for name in ("EmailSubscription", "MailQueueSubscription"):
        assert RESOURCES[name]["Properties"]["FilterPolicy"] == policy
    assert "RawMessageDelivery" not in RESOURCES["MailQueueSubscription"]["Properties"], "the subject would be lost"


def test_targets_of_the_bucket_exist_before_it():
    bucket = RESOURCES["LogBucket"]
    assert bucket["DependsOn"] == "S3MayInvoke"
    _, notifications, _ = bucket["Properties"]["NotificationConfiguration"]["TopicConfigurations"]["If"]
    for each in notifications:
        condition, own, existing = each["Topic"]["If"]
        assert (condition, existing) == ("OwnAlarmTopic", {"Ref": "AlarmTopicArn"})
        assert own == {"Select": [0, [{"Ref": "AlarmTopic"}, {"Ref": "AlarmTopicPolicy"}]]}


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_every_parameter_is_described_and_constrained(name):
    parameter = TEMPLATE["Parameters"][name]
    assert len(parameter["Description"]) > 20 and parameter["Description"].endswith(".")
    if parameter["Type"] == "Number":
        assert "AllowedValues" in parameter or {"MinValue", "MaxValue"} <= set(parameter)
    else:
        assert "AllowedValues" in parameter or {"AllowedPattern", "ConstraintDescription"} <= set(parameter)
    assert json.dumps({"Ref": name}) in json.dumps(TEMPLATE) or f"${{{name}}}" in TEXT, "it is used"


@pytest.mark.parametrize("name", ALARMS)
def test_every_alarm_says_what_it_means_and_what_to_do_and_tells_it_somebody(name):
    properties = ALARMS[name]["Properties"]
    [description] = values(properties["AlarmDescription"])
    assert 100 < len(description) < 1024
    assert re.search(r"[.,:] (Otherwise )?(Check|check|Find|Fix|fix|Read|run)\b", description), "what to do"
    assert description.endswith(f" {REPOSITORY}/blob/main/docs/operating.md#{name.lower()}")
    assert re.search(rf"^#+ `?{name}`?$", (ROOT / "docs" / "operating.md").read_text(), re.M), "the link's heading"
    topic = [{"If": ["OwnAlarmTopic", {"Ref": "AlarmTopic"}, {"Ref": "AlarmTopicArn"}]}]
    assert properties["AlarmActions"] == properties["OKActions"] == topic
    assert properties["AlarmName"] == {"Sub": f"${{AWS::StackName}}-{name}"}, "which the topic's policy lets in"
    # Most metrics have no value while nothing is wrong. The count of logs must always have one.
    assert properties["TreatMissingData"] == ("breaching" if name == "NoLogs" else "notBreaching")
    assert properties["EvaluationPeriods"] == {"Ref": "HoursWithoutLogs"} or properties.get("Period", 300) == 300


def stats(alarm):
    """The metrics that an alarm watches: one, or those of its expression."""
    metrics = ALARMS[alarm]["Properties"].get("Metrics")
    if metrics is None:
        return [ALARMS[alarm]["Properties"]]
    metrics = [each["If"][1] if "If" in each else each for each in metrics]
    return [each["MetricStat"]["Metric"] for each in metrics if "MetricStat" in each]


def test_the_alarms_are_for_every_way_to_fail():
    watched = {(stat["Namespace"], stat["MetricName"]) for name in ALARMS for stat in stats(name)}
    assert watched == {
        (OWN, "Logs"), (OWN, "HandedBack"), (OWN, "ConfigurationUnavailable"), (OWN, "InvalidConfiguration"),
        (OWN, "PublishFailed"), (OWN, "StateUnavailable"), ("AWS/Lambda", "Errors"), ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "DeadLetterErrors"), ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"), ("AWS/Events", "InvocationsFailedToBeSentToDlq"),
        ("AWS/SNS", "NumberOfMessagesPublished"), ("AWS/SNS", "NumberOfNotificationsDelivered"),
        ("AWS/SNS", "NumberOfNotificationsFilteredOut"), ("AWS/SNS", "NumberOfNotificationsFailed"),
    }


@pytest.mark.parametrize("name, topic", [("AlertsNotDelivered", "Topic"), ("MailNotDelivered", "MailTopic")])
@pytest.mark.parametrize("published, delivered, filtered, fires", [
    (1, None, None, 1), (3, 0, 0, 1), (3, 1, None, 0), (3, None, 3, 0), (0, 0, 0, 0), (0, 1, 0, 0)])
def test_an_alarm_fires_where_sns_took_messages_and_nobody_got_one(name, topic, published, delivered, filtered, fires):
    """The expression, with its two functions as CloudWatch defines them: SUM leaves out what has no value."""
    [expression] = [each for each in ALARMS[name]["Properties"]["Metrics"] if "Expression" in each]
    assert {stat["Dimensions"][0]["Value"]["GetAtt"] for stat in stats(name)} == {f"{topic}.TopicName"}
    text = expression["Expression"].replace("IF(", "if_(").replace("AND", "and")
    functions = {"if_": lambda test, then, other: then if test else other,
                 "SUM": lambda values: sum(value for value in values if value is not None)}
    assert eval(text, functions | {"published": published, "delivered": delivered, "filtered": filtered}) == fires


def metrics(lines):
    """The metrics in lines of the embedded metric format: {(namespace, name, dimensions as pairs): sum}."""
    found = {}
    for line in filter(lambda line: "_aws" in line, lines):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for dimensions in directive["Dimensions"]:
                pairs = tuple((name, line[name]) for name in dimensions)
                for metric in directive["Metrics"]:
                    key = directive["Namespace"], metric["Name"], pairs
                    found[key] = found.get(key, 0) + line[metric["Name"]]
    return found


def test_each_failure_of_the_function_has_the_metric_that_its_alarm_watches_and_the_alarm_fires():
    """Cause each failure, and find the metric that its alarm watches in the log of the function."""
    with LocalAws() as aws:
        aws.s3.create_bucket(Bucket=BUCKET)
        outputs = aws.deploy("watched", Source="queue", Memory="table")
        told = aws.subscribe(outputs["AlarmTopicArn"])
        log = json.loads((FIXTURES / "logs" / "iam-signin-sts.json").read_text())
        aws.put_log(log_key("a"), log)
        event = {"Records": [{"s3": {"bucket": {"name": BUCKET}, "object": {"key": log_key("a")}}}]}

        def invoke(configuration):
            if configuration is not None:
                aws.configure(configuration)
            return aws.invoke(event, "watched")

        assert invoke(None)[0]["errorType"] == "ConfigurationUnavailable"
        assert invoke({"regexp": "("})[0]["errorType"] == "InvalidConfiguration"
        good = json.loads((ROOT / "filter_config.json").read_text())
        gone = {"topicARN": "arn:aws:sns:us-east-1:123456789012:gone"}
        assert invoke({**good, "sns": gone})[0]["errorType"] == "PublishFailed"
        rule = {"name": "users", "regexp": "User", "metrics": True}
        aws.dynamodb.delete_table(TableName=outputs["StateTableName"])
        assert not invoke({**good, "rules": [rule]})[1]
        aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody="garbage")

        def watched():
            alarms = aws.cloudwatch.describe_alarms()["MetricAlarms"]
            assert alarms
            return {(alarm["Namespace"], alarm["MetricName"],
                     tuple((each["Name"], each["Value"]) for each in alarm["Dimensions"]))
                    for alarm in alarms if alarm["Namespace"] == OWN}

        # An alarm of the user's, on one rule.
        aws.cloudwatch.put_metric_alarm(
            AlarmName="watched-users", Namespace=OWN, MetricName="Matched", Statistic="Sum", Period=3600,
            Dimensions=[{"Name": "FunctionName", "Value": "watched"}, {"Name": "Rule", "Value": "users"}],
            EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching", AlarmActions=[outputs["AlarmTopicArn"]])
        wait_until(lambda: watched() <= set(metrics(aws.log_lines("watched"))), "each alarm's metric")
        sums = {name: total for (_, name, _), total in metrics(aws.log_lines("watched")).items()}
        assert all(sums[name] >= 1 for _, name, _ in watched()), sums

        # CloudWatch reads them from the log. MiniStack does not, and evaluates its alarms when it gets a metric.
        for (namespace, name, dimensions), total in metrics(aws.log_lines("watched")).items():
            pairs = [{"Name": key, "Value": value} for key, value in dimensions]
            aws.cloudwatch.put_metric_data(Namespace=namespace, MetricData=[
                {"MetricName": name, "Dimensions": pairs, "Value": total}])
        assert aws.alarms(told, 7) == {
            f"watched-{name}" for name in ("FunctionErrors", "ConfigurationUnavailable", "InvalidConfiguration",
                                           "AlertsNotPublished", "MessagesHandedBack", "StateUnavailable", "users")}


def test_alarms_on_metrics_of_lambda_and_sqs_name_the_right_function_and_queues():
    queue = {"DeadLettersWaiting": "DeadLetters", "QueueFallsBehind": "LogQueue", "MailFallsBehind": "MailQueue"}
    for name in ALARMS:
        for stat in stats(name):
            if name in queue:
                expected = {"Name": "QueueName", "Value": {"GetAtt": f"{queue[name]}.QueueName"}}
            elif stat["Namespace"] == "AWS/Events":
                expected = {"Name": "RuleName", "Value": {"Ref": "LogRule"}}
            elif stat["Namespace"] == "AWS/SNS":
                continue
            else:
                expected = {"Name": "FunctionName", "Value": {"Ref": "Function"}}
            assert stat["Dimensions"] == [expected]


def test_alarms_are_there_only_where_what_they_watch_is():
    assert {name: each["Condition"] for name, each in ALARMS.items() if "Condition" in each} == {
        "QueueFallsBehind": "ByQueue", "MessagesHandedBack": "QueueOrMail", "MailFallsBehind": "MailDigest",
        "MailNotDelivered": "MailDigest", "EventsLostByRule": "ByRule",
        "StateUnavailable": "WithTable"}
