"""`make demo`: deploys the stack onto a local AWS, uploads CloudTrail logs, and prints the alerts that they cause."""

import json
import sys
import time

from local_aws import BUCKET, FIXTURES, ROOT, LocalAws, binary, log_key, record, wait_until

LOG = FIXTURES / "logs" / "iam-signin-sts.json"
QUIET = {"name": "users", "source": "^iam", "regexp": "^CreateUser$",
         "suppress": {"by": ["userIdentity.arn"], "for": "1h"}}


def show(message, lines=None):
    """One message, as SNS sends it to an email address, or its first lines."""
    text = message["Message"].rstrip().splitlines()
    print("─" * 100)
    print("From: CloudTrail alerts <no-reply@sns.amazonaws.com>")
    print(f"Subject: {message['Subject']}\n")
    print("\n".join(text[:lines] + ["…"] * (len(text) > len(text[:lines]))) + "\n")


def drop(aws, key, records):
    """Store a log, and wait for the end of the invocation that it causes; the counts of that invocation."""
    before = len(aws.summaries())
    aws.put_log(log_key(key), {"Records": records})
    return wait_until(lambda: aws.summaries()[before:], "the function's log line")[0]


def show_memory(aws, queue, table):
    """A rule with `suppress`, a log with six calls, and a later log with one."""
    print("─" * 100)
    print(f"A rule may hold alerts back. Uploading a configuration with one rule:\n{json.dumps(QUIET)}", flush=True)
    aws.configure({"rules": [QUIET]})
    calls = [{**record(f"quiet {minute}"), "eventTime": f"2026-11-20T22:{minute:02}:00Z"} for minute in range(6)]
    counts = drop(aws, "six", calls)
    print(f"A log with six calls of one caller: {counts['published']} alert, {counts['suppressed']} held back")
    aws.receive(queue, 1)
    drop(aws, "later", [{**record("quiet later"), "eventTime": "2026-11-20T23:30:00Z"}])
    print("A log with a call of the same caller, an hour and a half later. Its message says what was held back:\n")
    [alert] = aws.receive(queue, 1)
    show(alert)
    items = aws.dynamodb.scan(TableName=table, Select="COUNT")["Count"]
    print("─" * 100)
    print(f"The table {table} remembers this for all environments of the function, in {items} items.\n")


def show_alerts(aws, queue, mailbox):
    """The alerts of a log of the fixtures, one by one and as an email."""
    print(f"Uploading {LOG.relative_to(ROOT)}, gzipped, to s3://{BUCKET}/AWSLogs/", flush=True)
    start = time.monotonic()
    summary = drop(aws, "demo", json.loads(LOG.read_text())["Records"])
    alerts = aws.receive(queue, summary["published"])
    seconds = time.monotonic() - start
    [mail, *_] = aws.receive(mailbox, 1)
    print(f"\n{len(alerts)} alerts, {seconds:.2f} s after the upload. The messages that a subscriber gets:\n")
    for alert in alerts:
        show(alert)
    print("─" * 100)
    print("alice@example.com gets the alerts of EmailWindowSeconds in one email, the most severe first:\n")
    show(mail, lines=20)
    print("─" * 100)
    print(f"The function's log line:\n{json.dumps(summary)}\n")


def main():
    binary()
    print("Starting a local AWS (MiniStack)", flush=True)
    with LocalAws() as aws:
        print("Deploying template.yaml with the built function", flush=True)
        outputs = aws.deploy(AlertEmail="alice@example.com", EmailWindowSeconds="1", Memory="table")
        print(f"Uploading filter_config.json to s3://{BUCKET}")
        aws.configure(json.loads((ROOT / "filter_config.json").read_text()))
        print("Subscribing a queue to the alert topic, and one to the mail topic, beside the address")
        queue, mailbox = (aws.subscribe(outputs[topic], topic) for topic in ("TopicArn", "MailTopicArn"))
        try:
            show_alerts(aws, queue, mailbox)
            show_memory(aws, queue, outputs["StateTableName"])
        except TimeoutError as error:
            log = "\n".join(map(json.dumps, aws.log_lines()))
            raise SystemExit(f"{error}. The function's log:\n{log}") from None
        print("Stopping the local AWS")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
