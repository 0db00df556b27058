"""Alerts for an email address: they are collected, and each is in one email, whatever fails. A queue is the address."""

import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from local_aws import ROOT, LocalAws, log_key, record, wait_until

EMAIL = "alice@example.com"
SEVERITIES = ["info", "low", "medium", "high", "critical"]
# The name of an event tells it in a subject too, where an email has no room for the alert itself.
CONFIGURATION = {"rules": [{"name": severity, "severity": severity, "source": "iam", "regexp": f"^Event.*{severity}$"}
                           for severity in SEVERITIES]}


@pytest.fixture(scope="module")
def aws():
    with LocalAws(auth=True) as aws:
        yield aws


class Stack:
    """A stack whose emails go to a queue, and another queue that gets the alerts themselves."""

    def __init__(self, aws, name, **parameters):
        self.aws, self.name = aws, name
        self.outputs = aws.deploy(name, LogBucketName=name, AlertEmail=EMAIL, **parameters)
        aws.configure(CONFIGURATION, name)
        self.alerts = aws.subscribe(self.outputs["TopicArn"], f"{name}-alerts")
        self.mails = aws.subscribe(self.outputs["MailTopicArn"], f"{name}-mails")

    def put_log(self, events):
        """Drop a log with an event of each of these names."""
        records = [record(event, event) for event in events]
        self.aws.put_log(log_key(events[0]), {"Records": records}, self.name)

    def receive(self, queue, enough):
        """The messages of a queue, as soon as they are enough, in the order of their arrival, with its time in ms."""
        messages = []

        def done():
            batch = self.aws.take(queue)
            messages.extend({**json.loads(each["Body"]), "time": int(each["Attributes"]["SentTimestamp"])}
                            for each in batch)
            return not batch and enough(messages)

        wait_until(done, f"messages in {queue}")
        return sorted(messages, key=lambda message: message["time"])

    def receive_mails(self, count):
        """The emails that tell so many alerts."""
        return self.receive(self.mails, lambda mails: told(mails).total() >= count)

    def counted(self, name):
        return sum(summary.get(name, 0) for summary in self.aws.summaries(self.name))

    def waiting(self, queue):
        """The messages of a queue, in sight or not."""
        attributes = self.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return sum(int(attributes[f"ApproximateNumberOfMessages{more}"]) for more in ("", "NotVisible"))


def told(mails):
    """The names of the events that emails tell, in their alerts' subjects."""
    subjects = [subject for mail in mails
                for subject in re.findall(r"^---- \d+ of \d+: (.*)$", mail["Message"], re.M) or [mail["Subject"]]]
    return Counter(re.match(r"\[\w+\] (\w+) by alice in", subject)[1] for subject in subjects)


def alerts_in(mails):
    """The ids of the events whose alerts are in emails as they were."""
    return Counter(event for mail in mails for event in re.findall(r"^Event ID: (.*)$", mail["Message"], re.M))


def names(count, severity="medium", start=""):
    return [f"Event{start}x{n}{severity}" for n in range(count)]


def test_a_burst_of_alerts_is_one_email_per_window(aws):
    window = 5
    stack = Stack(aws, "burst", EmailWindowSeconds=str(window))
    mappings = aws.client("lambda").list_event_source_mappings(FunctionName=stack.name)["EventSourceMappings"]
    assert [(each["MaximumBatchingWindowInSeconds"], each["BatchSize"], each["ScalingConfig"]["MaximumConcurrency"])
            for each in mappings] == [(window, 1000, 2)]
    events = names(300)
    stack.put_log(events)  # one log, so the alerts are as close together as they can be here
    mails = stack.receive_mails(len(events))
    alerts = stack.receive(stack.alerts, lambda alerts: len(alerts) >= len(events))
    # Messages of the two queues may be a moment apart.
    assert len(mails) <= (alerts[-1]["time"] - alerts[0]["time"] + 500) // (window * 1000) + 1
    # On a busy machine MiniStack may answer a request to publish so late that the function repeats it.
    assert told(mails).keys() == set(events) and told(mails) <= told(alerts)
    assert alerts_in(mails) == told(mails), "each in full"
    assert all(mail["MessageAttributes"] == {"severity": {"Type": "String", "Value": "medium"}} for mail in mails)
    wait_until(lambda: stack.counted("mailed") >= len(events), "the log of the mails")
    assert (stack.counted("mails"), stack.counted("mailed")) == (len(mails), told(mails).total())


def test_an_alert_alone_is_passed_on_word_for_word_and_those_below_the_severity_are_not(aws):
    stack = Stack(aws, "severe", EmailSeverity="high", EmailWindowSeconds="1")
    stack.put_log([f"Event{severity}" for severity in SEVERITIES if severity != "critical"])
    alerts = stack.receive(stack.alerts, lambda alerts: len(alerts) >= 4)
    [high] = [alert for alert in alerts if alert["MessageAttributes"]["severity"]["Value"] == "high"]
    [mail] = stack.receive_mails(1)
    assert (mail["Subject"], mail["Message"]) == (high["Subject"], high["Message"])

    # An update ends the functions of MiniStack, and so the pause after an email.
    wait_until(lambda: stack.counted("mailed"), "the end of that invocation")
    aws.update(stack.name, EmailSeverity="critical")
    aws.configure(CONFIGURATION, stack.name)
    stack.put_log(["Event2high", "Event2critical"])
    assert told(stack.receive_mails(1)) == {"Event2critical": 1}
    assert len(stack.receive(stack.alerts, lambda alerts: len(alerts) >= 2)) == 2
    wait_until(lambda: stack.waiting(aws.resources(stack.name)["MailQueue"]) == 0, "the end of that invocation")
    assert stack.counted("mailed") == 2


def break_topic(aws, arn, fault):
    if fault == "deleted":
        aws.sns.delete_topic(TopicArn=arn)
        return
    statement = {"Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": arn}
    aws.sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(
        {"Version": "2012-10-17", "Statement": [statement]}))


@pytest.mark.parametrize("fault, lasting", [("deleted", False), ("denied", True)])
def test_a_fault_of_the_emails_loses_none(aws, fault, lasting):
    stack = Stack(aws, f"{fault}-{'lasting' if lasting else 'short'}", EmailWindowSeconds="1")
    topic, dead_letters = stack.outputs["MailTopicArn"], stack.outputs["DeadLetterQueueUrl"]
    policy = aws.sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    break_topic(aws, topic, fault)
    events = names(12)
    for event in events:
        stack.put_log([event])
    wait_until(lambda: stack.counted("handedBack"), "a failure")
    if lasting:
        wait_until(lambda: stack.waiting(dead_letters) == len(events), "dead letters")
    errors = [line["fields"] for line in aws.log_lines(stack.name) if line.get("level") == "ERROR"]
    assert errors and all(topic in json.dumps(error) for error in errors), errors

    if fault == "deleted":
        assert aws.sns.create_topic(Name=topic.rsplit(":", 1)[1])["TopicArn"] == topic
        aws.subscribe(topic, f"{stack.name}-mails")
    aws.sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    # On a slow machine some may have become dead letters before the short fault was over.
    mail_queue = aws.resources(stack.name)["MailQueue"]
    wait_until(lambda: stack.waiting(mail_queue) == 0, "the end of all attempts")
    if stack.waiting(dead_letters):
        redrive = subprocess.run([sys.executable, ROOT / "tools" / "redrive.py", stack.name], text=True,
                                 capture_output=True,
                                 env={**aws.function_environment(), "AWS_CA_BUNDLE": str(aws.certificate)})
        assert redrive.returncode == 0, redrive.stdout + redrive.stderr
    assert told(stack.receive_mails(len(events))) == Counter(events)
    assert stack.waiting(dead_letters) == 0


def test_without_a_window_each_alert_is_an_email(aws):
    outputs = aws.deploy("direct", LogBucketName="direct", AlertEmail=EMAIL, EmailWindowSeconds="0",
                         EmailSeverity="medium")
    assert "MailTopicArn" not in outputs and not [name for name in aws.resources("direct") if name.startswith("Mail")]
    variables = aws.client("lambda").get_function_configuration(FunctionName="direct")["Environment"]["Variables"]
    assert "MAIL_TOPIC_ARN" not in variables
    [subscription] = aws.sns.list_subscriptions_by_topic(TopicArn=outputs["TopicArn"])["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", EMAIL)
    attributes = aws.sns.get_subscription_attributes(SubscriptionArn=subscription["SubscriptionArn"])["Attributes"]
    assert json.loads(attributes["FilterPolicy"]) == {"severity": ["medium", "high", "critical"]}

    aws.update("direct", EmailWindowSeconds="20")
    assert aws.sns.list_subscriptions_by_topic(TopicArn=outputs["TopicArn"])["Subscriptions"][0]["Protocol"] == "sqs"


def test_under_load_no_second_has_more_than_two_emails_and_each_alert_is_in_one(aws):
    stack = Stack(aws, "load", EmailWindowSeconds="1")
    # An email has room for 1,000 alerts, so there are several.
    logs = [names(1000, start="Large"), *(names(50, start=f"Log{n}") for n in range(50))]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(stack.put_log, logs))
    expected = {event for log in logs for event in log}
    mails = stack.receive(stack.mails, lambda mails: told(mails).keys() == expected)
    times = [mail["time"] for mail in mails]
    assert min(later - first for first, later in zip(times, times[2:], strict=False)) >= 1000, times
    assert all(len(mail["Message"].encode()) <= 262_144 for mail in mails)
    alerts = stack.receive(stack.alerts, lambda alerts: len(alerts) >= len(expected))
    assert told(mails) <= told(alerts)
