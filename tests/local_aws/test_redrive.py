"""`make redrive` processes the events of a dead-letter queue again."""

import gzip
import json
import re
import subprocess
import sys

import pytest
from local_aws import BUCKET, ROOT, LocalAws, event_ids, log_key, record, wait_until


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        yield aws


def redrive(aws, stack):
    """The output of `make redrive STACK=…` and its exit code."""
    recipe = re.search(r"^redrive:.*\n\t\$\(VENV\)/python (\S+) \$\(STACK\)$", (ROOT / "Makefile").read_text(), re.M)
    run = subprocess.run([sys.executable, ROOT / recipe[1], stack], env=aws.function_environment(), text=True,
                         capture_output=True)
    assert run.stderr == ""
    return run.stdout, run.returncode


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

    output, code = redrive(aws, source)
    assert code == 1 and "0 done, 14 still in the dead-letter queue" in output
    assert output.count("ConfigurationUnavailable: ") == 13 and output.count("it is not JSON") == 1
    assert waiting(aws, dead_letters) == 14 and aws.receive(alerts) == []

    aws.configure(json.loads((ROOT / "filter_config.json").read_text()), bucket)
    output, code = redrive(aws, source)
    assert code == 1 and "12 done, 2 still in the dead-letter queue" in output
    assert output.count("  done\n") == 12 and "it is not JSON" in output
    assert f"LogMalformed: s3://{bucket}/{log_key('bad')}" in output
    # The bad log has one alert from before the corruption.
    assert event_ids(aws.receive(alerts, 13)) == sorted([*names, "bad"])

    aws.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    aws.put_log(log_key("bad"), gzipped("bad", "mended"), bucket)
    output, code = redrive(aws, source)
    assert code == 1 and "1 done, 1 still in the dead-letter queue" in output
    assert "mended" in event_ids(aws.receive(alerts, 1))
    [message] = aws.sqs.receive_message(QueueUrl=dead_letters, MaxNumberOfMessages=10)["Messages"]
    assert message["Body"] == "garbage"
    output, code = redrive(aws, source)
    assert code == 1 and output.startswith("1 in the dead-letter queue") and "out of sight" in output
    aws.sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
    output, code = redrive(aws, source)
    assert (output, code) == (f"0 done, 0 still in the dead-letter queue of {source}\n", 0)
