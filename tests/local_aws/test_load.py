"""2,000 logs dropped at once: every match arrives once, nothing fails, nothing is left.

MiniStack processes some 100 logs a second on two processors. It starts a function for each log that waits, and drops a
log after three refusals, where Lambda would retry for six hours; so the quota must not be reached. A queue holds logs
back: the function gets as many batches of ten at once as MaximumConcurrency allows. Of thousands of lines that
functions log at once, MiniStack loses one now and then; so the alerts are counted exactly, and the log's counts nearly.
"""

import gzip
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from local_aws import BUCKET, ROOT, LocalAws, log_key, record, wait_until

LOGS = 2000
LOST_LINES = 40


@pytest.mark.parametrize("source", ["new-trail", "queue"])
def test_no_match_of_2000_logs_is_lost_or_repeated(source):
    logs, expected = [], Counter()
    for n in range(LOGS):
        matches = [f"{n}-{match}" for match in range(1 + n % 3)]
        expected.update(matches)
        records = [record(f"{n}-none", "ListRoles"), *map(record, matches)]
        logs.append((log_key(f"{n:04}"), gzip.compress(json.dumps({"Records": records}).encode())))

    with LocalAws() as aws:
        if source == "queue":
            aws.s3.create_bucket(Bucket=BUCKET)
        outputs = aws.deploy(Source=source)
        aws.configure(json.loads((ROOT / "filter_config.json").read_text()))
        alerts = aws.subscribe(outputs["TopicArn"])
        if source == "queue":
            notification = {"QueueArn": aws.queue_arn(outputs["QueueUrl"]), "Events": ["s3:ObjectCreated:*"],
                            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "AWSLogs/"}]}}}
            aws.s3.put_bucket_notification_configuration(
                Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [notification]})
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(lambda log: aws.put_log(*log), logs))) == LOGS

        received = aws.receive(alerts, expected.total())
        wait_until(lambda: sum(each["objects"] for each in aws.summaries()) >= LOGS - LOST_LINES, "the end")
        # A repeated message would be there by now.
        received += aws.receive(alerts)
        assert Counter(each["MessageAttributes"]["eventID"]["Value"] for each in received) == expected
        totals = Counter()
        for summary in aws.summaries():
            totals.update({name: value for name, value in summary.items() if isinstance(value, int)})
        assert LOGS - LOST_LINES <= totals["objects"] == totals["logs"] <= LOGS, totals
        assert totals["records"] - totals["logs"] == totals["matched"] == totals["published"], totals
        assert totals["matched"] <= expected.total() and totals["failures"] == 0, totals
        for queue in {"DeadLetterQueueUrl", "QueueUrl"} & set(outputs):
            left = aws.sqs.get_queue_attributes(QueueUrl=outputs[queue], AttributeNames=["All"])["Attributes"]
            assert [left[f"ApproximateNumberOfMessages{more}"] for more in ("", "NotVisible")] == ["0", "0"], queue
