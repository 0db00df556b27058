"""`make redrive` processes the events of a dead-letter queue again."""

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from threading import Event, Thread

import boto3
import pytest
from local_aws import BUCKET, PATIENCE, REGION, ROOT, LocalAws, event_ids, log_key, record, wait_until
from redrive import main


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        yield aws


@pytest.fixture(scope="module")
def stack(aws):
    """The outputs of a stack named `letters`, whose bucket announces nothing."""
    outputs = aws.deploy("letters", LogBucketName="letters")
    aws.s3.put_bucket_notification_configuration(Bucket="letters", NotificationConfiguration={})
    aws.configure(json.loads((ROOT / "filter_config.json").read_text()), "letters")
    return outputs


def redrive(aws, *settings, region=REGION, remembered=""):
    """The output of `make redrive SETTING…` and its exit code; `remembered` is what sam has saved."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "samconfig.toml").write_text(remembered)
        make = ["make", "-nf", ROOT / "Makefile", "-o", ".venv/ready", f"VENV={Path(sys.executable).parent}", "redrive"]
        command = subprocess.run([*make, *settings], cwd=folder, env={"PATH": os.environ["PATH"]}, text=True,
                                 capture_output=True, check=True).stdout
    environment = {**aws.function_environment(), "AWS_DEFAULT_REGION": region}
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, text=True, capture_output=True,
                         timeout=PATIENCE)
    assert run.returncode or run.stderr == ""
    return run.stdout + run.stderr, run.returncode


def waiting(aws, queue):
    """The number of visible messages in a queue."""
    attributes = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def gzipped(*ids):
    return gzip.compress(json.dumps({"Records": [record(each) for each in ids]}).encode())


@pytest.mark.parametrize("source", ["new-trail", "queue"])
def test_repaired_events_succeed_and_the_rest_stays(aws, source):
    bucket = BUCKET if source == "new-trail" else "existing"
    if source == "queue":
        aws.s3.create_bucket(Bucket=bucket)
    outputs = aws.deploy(source, Source=source, LogBucketName=bucket)
    alerts, dead_letters = aws.subscribe(outputs["TopicArn"], f"{source}-alerts"), outputs["DeadLetterQueueUrl"]
    if source == "queue":
        notification = {"QueueConfigurations": [
            {"QueueArn": aws.queue_arn(outputs["QueueUrl"]), "Events": ["s3:ObjectCreated:*"],
             "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "AWSLogs/"}]}}}]}
        aws.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=notification)

    # More than one batch, and no configuration: everything fails.
    names = [f"{source}-{n}" for n in range(12)]
    for name in names:
        aws.put_log(log_key(name), gzipped(name), bucket)
    aws.put_log(log_key("bad"), gzipped("bad")[:-1], bucket)
    wait_until(lambda: waiting(aws, dead_letters) == len(names) + 1, "dead letters")
    aws.sqs.send_message(QueueUrl=dead_letters, MessageBody="garbage")

    output, code = redrive(aws, f"STACK={source}")
    assert code == 1 and "0 done, 14 still in the dead-letter queue" in output
    assert output.count("ConfigurationUnavailable: ") == 13 and output.count("it is not JSON") == 1
    assert waiting(aws, dead_letters) == 14 and aws.receive(alerts) == []

    aws.configure(json.loads((ROOT / "filter_config.json").read_text()), bucket)
    output, code = redrive(aws, f"STACK={source}")
    assert code == 1 and "12 done, 2 still in the dead-letter queue" in output
    assert output.count("  done\n") == 12 and "it is not JSON" in output
    assert f"LogMalformed: s3://{bucket}/{log_key('bad')}" in output
    # The bad log has one alert from before the corruption.
    assert event_ids(aws.receive(alerts, 13)) == sorted([*names, "bad"])

    aws.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    aws.put_log(log_key("bad"), gzipped("bad", "mended"), bucket)
    output, code = redrive(aws, f"STACK={source}")
    assert code == 1 and "1 done, 1 still in the dead-letter queue" in output
    assert "mended" in event_ids(aws.receive(alerts, 1))
    [message] = aws.take(dead_letters)
    assert message["Body"] == "garbage"


def test_events_that_another_run_has_are_told(aws, stack):
    taken = aws.sqs.create_queue(QueueName="taken")["QueueUrl"]
    aws.sqs.send_message(QueueUrl=taken, MessageBody="{}")
    [message] = aws.sqs.receive_message(QueueUrl=taken, VisibilityTimeout=900)["Messages"]
    output, code = redrive(aws, "STACK=letters", f"QUEUE={taken}")
    nothing = "0 done, 0 still in the queue taken\n"
    assert code == 1 and output.startswith(f"{nothing}The queue holds 1 more out of sight, because another run")
    aws.sqs.delete_message(QueueUrl=taken, ReceiptHandle=message["ReceiptHandle"])
    assert redrive(aws, "STACK=letters", f"QUEUE={taken}") == (nothing, 0)


def test_it_takes_stack_and_region_that_sam_remembers(aws, stack):
    remembered = f'version = 0.1\n[default.deploy.parameters]\nstack_name = "letters"\nregion = "{REGION}"\n'
    done = "0 done, 0 still in the dead-letter queue of letters\n", 0
    assert redrive(aws, region="eu-west-1", remembered=remembered) == done
    assert redrive(aws, "STACK=letters", f"REGION={REGION}", region="eu-west-1") == done
    assert redrive(aws, "STACK=letters") == done
    for output, code in [redrive(aws, "REGION=eu-west-1", remembered=remembered),
                         redrive(aws, "STACK=letters", region="eu-west-1")]:
        assert code == 1 and "letters does not exist" in output


def announcement(key, bucket="letters"):
    """The event of S3 that announces a log."""
    return json.dumps({"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})


def test_another_queue_of_events_is_processed_like_the_dead_letters(aws, stack):
    alerts = aws.subscribe(stack["TopicArn"], "letters-alerts")
    left_behind = aws.sqs.create_queue(QueueName="left-behind")["QueueUrl"]
    keys = [log_key(f"left-{n}") for n in range(12)]
    for n, key in enumerate(keys):
        aws.put_log(key, gzipped(f"left-{n}"), "letters")
        aws.sqs.send_message(QueueUrl=left_behind, MessageBody=announcement(key))
    aws.sqs.send_message(QueueUrl=left_behind, MessageBody=announcement(log_key("gone")))
    aws.sqs.send_message(QueueUrl=stack["DeadLetterQueueUrl"], MessageBody="not of this queue")
    output, code = redrive(aws, "STACK=letters", f"QUEUE={left_behind}")
    assert code == 1 and output.endswith("12 done, 1 still in the queue left-behind\n")
    assert output.count("LogUnavailable: ") == 1 and "not JSON" not in output
    assert event_ids(aws.receive(alerts, 12)) == sorted(f"left-{n}" for n in range(12))
    assert waiting(aws, left_behind) == 1
    aws.sqs.purge_queue(QueueUrl=stack["DeadLetterQueueUrl"])


def test_one_odd_event_stops_no_other(aws, stack):
    odd = aws.sqs.create_queue(QueueName="odd")["QueueUrl"]
    depths = "[" * 100_000, "[" * 900 + "]" * 900, '{"Records":' * 20_000
    almost_alerts = (
        "null", "5", '"MessageAttributes"', '["Records"]', '{"Records": {"Sns": 1}}', '{"Records": [{"Sns": null}]}',
        '{"MessageAttributes": ["rule", "severity"]}', '{"MessageAttributes": {"rule": "r", "severity": "high"}}',
        '{"MessageAttributes": {"rule": {}, "severity": {}}}')
    for body in (*depths, *almost_alerts):
        aws.sqs.send_message(QueueUrl=odd, MessageBody=body)
    aws.put_log(log_key("even"), gzipped("even"), "letters")
    aws.sqs.send_message(QueueUrl=odd, MessageBody=announcement(log_key("even")))
    output, code = redrive(aws, "STACK=letters", f"QUEUE={odd}", "DISCARD=emails")
    assert code == 1 and output.endswith("1 done, 12 still in the queue odd\n")
    assert output.count("it is not JSON") == 2 and output.count("InvalidPayload: ") == 9


class UnorderedAws:
    """CloudFormation, SQS and Lambda with a queue that gives events in any order. Each event succeeds."""

    def __init__(self, *batches, counts=()):
        self.batches, self.counts = iter(batches), iter(counts)
        self.number = 0

    def describe_stacks(self, **_):
        outputs = [{"OutputKey": key, "OutputValue": "letters"} for key in ("FunctionName", "DeadLetterQueueUrl")]
        headers = {"HTTPHeaders": {"date": "Fri, 20 Nov 2026 21:00:00 GMT"}}
        return {"ResponseMetadata": headers, "Stacks": [{"Outputs": outputs}]}

    def receive_message(self, **_):
        """A batch is a text: one event for each letter, `o` for one that was sent before the run began."""
        messages = []
        for age in next(self.batches, ""):
            self.number += 1
            sent = datetime(2026, 11, 20, 20 if age == "o" else 22, tzinfo=timezone.utc).timestamp() * 1000
            messages.append({"MessageId": f"{self.number}", "ReceiptHandle": f"{self.number}", "Body": "{}",
                             "Attributes": {"SentTimestamp": f"{sent:.0f}"}})
        return {"Messages": messages} if messages else {}

    def get_queue_attributes(self, AttributeNames, **_):
        return {"Attributes": {name: f"{n}" for name, n in zip(AttributeNames, next(self.counts, (0, 0)), strict=True)}}

    def invoke(self, **_):
        return {"Payload": io.BytesIO(b"{}")}

    def delete_message(self, **_):
        pass


@pytest.mark.parametrize("batches, counts, done, more", [
    # Old events come up after new ones, and after empty answers.
    (["nnn"] * 9 + ["no"] + ["nnn"] * 9 + ["o"], [], 57, ""),
    (["o", "", "", "o"], [(1, 0), (0, 1)], 2, ""),
    # What does not come up is told.
    (["o"] + ["n"] * 99, [(12, 0)], 11, "The queue holds 12 more, which came meanwhile, or "),
    (["o"], [(3, 0)] * 99, 1, "The queue holds 3 more, which came meanwhile, or "),
    (["o"], [(0, 2)] * 99, 1, "The queue holds 2 more out of sight, because "),
])
def test_no_event_is_left_unsaid_when_sqs_keeps_no_order(monkeypatch, capsys, batches, counts, done, more):
    aws = UnorderedAws(*batches, counts=counts)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: aws)
    code = main(["letters"])
    lines = capsys.readouterr().out.splitlines()[done:]
    assert lines[0] == f"{done} done, 0 still in the dead-letter queue of letters"
    assert lines[1:] == [] and code == 0 if not more else lines[1].startswith(more) and code == 1


def test_a_queue_that_still_receives_events_does_not_go_on_for_ever(aws, stack):
    busy = aws.sqs.create_queue(QueueName="busy")["QueueUrl"]
    ended, sender = Event(), aws.client("sqs")

    def send():
        while not ended.is_set():
            sender.send_message(QueueUrl=busy, MessageBody="{}")

    thread = Thread(target=send)
    thread.start()
    try:
        output, code = redrive(aws, "STACK=letters", f"QUEUE={busy}")
    finally:
        ended.set()
        thread.join()
    assert code == 1 and " still in the queue busy\n" in output


def test_alerts_for_mail_go_out_in_mails_of_ten_and_not_one_by_one(aws, stack):
    function, letters = stack["FunctionName"], stack["DeadLetterQueueUrl"]
    alerts = aws.subscribe(stack["TopicArn"], "letters-mail-queue")
    names = [f"mail-{n}" for n in range(13)]
    aws.put_log(log_key("mail"), gzipped(*names), "letters")
    aws.invoke(json.loads(announcement(log_key("mail"))), function)
    for n, letter in enumerate(aws.receive(alerts, len(names))):
        # SQS and SNS leave the notification itself. Lambda leaves this, if somebody has subscribed the function.
        by_lambda = {"Records": [{"EventSource": "aws:sns", "Sns": letter}]}
        aws.sqs.send_message(QueueUrl=letters, MessageBody=json.dumps(by_lambda if n % 2 else letter))
    aws.put_log(log_key("no-mail"), gzipped("no-mail"), "letters")
    aws.sqs.send_message(QueueUrl=letters, MessageBody=announcement(log_key("no-mail")))

    def mail_to(topic):
        client = aws.client("lambda")
        variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        variables["MAIL_TOPIC_ARN"] = topic
        client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    output, code = redrive(aws, "STACK=letters")
    assert code == 1 and "\n1 done, 13 still in the dead-letter queue of letters\n" in output
    assert output.count("the stack sends no such emails\n") == 13 and output.count("with DISCARD=emails.\n") == 1

    mail = aws.sns.create_topic(Name="letters-mail")["TopicArn"]
    mails = aws.subscribe(mail, "letters-mails")
    mail_to(mail + "-gone")
    output, code = redrive(aws, "STACK=letters")
    assert code == 1 and output.endswith("0 done, 13 still in the dead-letter queue of letters\n")
    assert output.count("the log of the function says why") == 13 and aws.receive(mails) == []

    mail_to(mail)
    output, code = redrive(aws, "STACK=letters")
    assert (output.splitlines()[-1], code) == ("13 done, 0 still in the dead-letter queue of letters", 0)
    sent = aws.receive(mails, 2)
    assert [mail["Subject"].count("alerts") for mail in sent] == [1, 1]
    text = "".join(mail["Message"] for mail in sent)
    assert [text.count(f"Event ID: {name}\n") for name in names] == [1] * 13

    # More than one payload can hold: quotation marks take four times their size in it.
    attributes = {name: {"Type": "String", "Value": '["high"]'} for name in ("rule", "severity")}
    letter = {"Type": "Notification", "Subject": "[high] large", "Message": '"' * 150_000,
              "MessageAttributes": attributes}
    for n in range(10):
        aws.sqs.send_message(QueueUrl=letters, MessageBody=json.dumps({**letter, "MessageId": f"large-{n}"}))
    output, code = redrive(aws, "STACK=letters")
    assert (output.splitlines()[-1], code) == ("10 done, 0 still in the dead-letter queue of letters", 0)
    assert sum(mail["Message"].count("large\n") for mail in aws.receive(mails, 2)) == 10


def test_alerts_for_mail_can_be_discarded(aws, stack):
    left_behind = aws.sqs.create_queue(QueueName="not-mailed")["QueueUrl"]
    alert = {"Type": "Notification", "Subject": "[high] odd", "Message": "odd",
             "MessageAttributes": {name: {"Type": "String", "Value": "high"} for name in ("rule", "severity")}}
    for body in (alert, {"Records": [{"EventSource": "aws:sns", "Sns": alert}]}, {"unknown": alert}):
        aws.sqs.send_message(QueueUrl=left_behind, MessageBody=json.dumps(body))
    output, code = redrive(aws, "STACK=letters", f"QUEUE={left_behind}", "DISCARD=all")
    assert code == 2 and "invalid choice: 'all'" in output and waiting(aws, left_behind) == 3
    output, code = redrive(aws, "STACK=letters", f"QUEUE={left_behind}", "DISCARD=emails")
    assert code == 1 and output.endswith("2 done, 1 still in the queue not-mailed\n")
    assert output.count("InvalidPayload: ") == 1
