"""`make demo`: deploys the stack onto a local AWS, uploads a CloudTrail log, and prints the alerts that it causes."""

import json
import sys
import time

from local_aws import BUCKET, FIXTURES, ROOT, LocalAws, binary, log_key, wait_until

LOG = FIXTURES / "logs" / "iam-signin-sts.json"


def show(message, lines=None):
    """One message, as SNS sends it to an email address, or its first lines."""
    text = message["Message"].rstrip().splitlines()
    print("─" * 100)
    print("From: CloudTrail alerts <no-reply@sns.amazonaws.com>")
    print(f"Subject: {message['Subject']}\n")
    print("\n".join(text[:lines] + ["…"] * (len(text) > len(text[:lines]))) + "\n")


def main():
    binary()
    print("Starting a local AWS (MiniStack)", flush=True)
    with LocalAws() as aws:
        print("Deploying template.yaml with the built function", flush=True)
        outputs = aws.deploy(AlertEmail="alice@example.com", EmailWindowSeconds="1")
        print(f"Uploading filter_config.json to s3://{BUCKET}")
        aws.configure(json.loads((ROOT / "filter_config.json").read_text()))
        print("Subscribing a queue to the alert topic, and one to the mail topic, beside the address")
        queue, mailbox = (aws.subscribe(outputs[topic], topic) for topic in ("TopicArn", "MailTopicArn"))
        print(f"Uploading {LOG.relative_to(ROOT)}, gzipped, to s3://{BUCKET}/AWSLogs/", flush=True)
        start = time.monotonic()
        aws.put_log(log_key("demo"), json.loads(LOG.read_text()))
        try:
            summary = wait_until(aws.summaries, "the function's log line")[0]
            alerts = aws.receive(queue, summary["published"])
            seconds = time.monotonic() - start
            [mail, *_] = aws.receive(mailbox, 1)
        except TimeoutError as error:
            log = "\n".join(map(json.dumps, aws.log_lines()))
            raise SystemExit(f"{error}. The function's log:\n{log}") from None
        print(f"\n{len(alerts)} alerts, {seconds:.2f} s after the upload. The messages that a subscriber gets:\n")
        for alert in alerts:
            show(alert)
        print("─" * 100)
        print("alice@example.com gets the alerts of EmailWindowSeconds in one email, the most severe first:\n")
        show(mail, lines=20)
        print("─" * 100)
        print(f"The function's log line:\n{json.dumps(summary)}\n\nStopping the local AWS")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
