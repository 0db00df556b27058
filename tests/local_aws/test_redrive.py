"""`make redrive` processes the events of a dead-letter queue again."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Event, Thread

import pytest
from local_aws import BUCKET, PATIENCE, REGION, ROOT, LocalAws, event_ids, log_key, record, wait_until


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
    [message] = aws.sqs.receive_message(QueueUrl=dead_letters, MaxNumberOfMessages=10)["Messages"]
    assert message["Body"] == "garbage"
    output, code = redrive(aws, f"STACK={source}")
    assert code == 1 and output.startswith("1 in the dead-letter queue") and "out of sight" in output
    aws.sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
    output, code = redrive(aws, f"STACK={source}")
    assert (output, code) == (f"0 done, 0 still in the dead-letter queue of {source}\n", 0)


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
    # As SQS and SNS leave them: the notification itself.
    for letter in aws.receive(alerts, len(names)):
        aws.sqs.send_message(QueueUrl=letters, MessageBody=json.dumps(letter))
    aws.put_log(log_key("no-mail"), gzipped("no-mail"), "letters")
    aws.sqs.send_message(QueueUrl=letters, MessageBody=announcement(log_key("no-mail")))

    def mail_to(topic):
        client = aws.client("lambda")
        variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        variables["MAIL_TOPIC_ARN"] = topic
        client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    mail = aws.sns.create_topic(Name="letters-mail")["TopicArn"]
    mails = aws.subscribe(mail, "letters-mails")
    mail_to(mail + "-gone")
    output, code = redrive(aws, "STACK=letters")
    assert code == 1 and output.endswith("1 done, 13 still in the dead-letter queue of letters\n")
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
