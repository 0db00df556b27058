"""`make redrive`: invokes the function of a stack with each event of its dead-letter queue, and deletes what succeeds.

The queue holds the events as Lambda and SQS got them, and the function recognizes each kind by its content. So the
result of each event is known at once. The redrive of SQS does not report results, and refuses queues that Lambda
filled. Stopping this program loses nothing, because an event is deleted only after it has succeeded. Only alerts that
`--discard emails` names are deleted unprocessed.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# Longer than one invocation, which is what a batch takes: no event comes up twice in a run.
SECONDS_OUT_OF_SIGHT = 900
# Lambda takes 6 MB.
LARGEST_PAYLOAD = 5_000_000
# SQS keeps no order, so one batch without an old event does not tell that none is left.
BATCHES_WITHOUT_OLD = 10

FAILED = "it failed, or a part of it: the log of the function says why"
NOT_MAILED = "it is an alert for an email, and the stack sends no such emails"


def is_alert(message):
    """Whether an event is an alert on its way into a mail: SNS's notification of one, as SQS or as Lambda gets it."""
    try:
        event = json.loads(message["Body"])
        if "Records" in event:
            [record] = event["Records"]
            event = record["Sns"]
        return all(isinstance(event["MessageAttributes"][name]["Value"], str) for name in ("rule", "severity"))
    except (ValueError, TypeError, KeyError, RecursionError):  # it has another form
        return False


class Letters:
    """The events in a queue of a stack, and the function that processes them again."""

    def __init__(self, stack, queue, discard):
        answer = boto3.client("cloudformation").describe_stacks(StackName=stack)
        # By the clock of AWS, which tells seconds only.
        self.began = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp() + 1
        outputs = {output["OutputKey"]: output["OutputValue"] for output in answer["Stacks"][0]["Outputs"]}
        self.function, self.queue = outputs["FunctionName"], queue or outputs["DeadLetterQueueUrl"]
        self.place = f"the queue {queue.rsplit('/', 1)[-1]}" if queue else f"the dead-letter queue of {stack}"
        self.sqs, self.discard = boto3.client("sqs"), discard
        self.handles, self.deleted = {}, set()
        # One attempt: boto3 would otherwise invoke again while the function is still at work.
        self.lambda_ = boto3.client("lambda", config=Config(read_timeout=910, retries={"total_max_attempts": 1}))

    def batches(self):
        """The events of the queue, up to ten at a time. An event that comes up again in a long run is left out.

        They end when SQS has and counts no more, or after some batches in a row without an event that was sent before
        the run began. Without the latter, a queue that still receives events would never end.
        """
        without_old = 0
        while without_old < BATCHES_WITHOUT_OLD:
            batch = self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["SentTimestamp"],
                VisibilityTimeout=SECONDS_OUT_OF_SIGHT).get("Messages", [])
            if not batch and not any(self.others()):
                return
            old = any(int(message["Attributes"]["SentTimestamp"]) / 1000 <= self.began for message in batch)
            without_old = 0 if old else without_old + 1
            new = [message for message in batch if message["MessageId"] not in self.handles]
            self.handles |= {message["MessageId"]: message["ReceiptHandle"] for message in batch}
            yield new

    def failures(self, messages):
        """Processes events, and deletes what succeeds: (event, why it failed or None), each.

        There are several only if they are alerts, as in their own queue, and the function puts them into one mail. A
        mail for each could be more than ten in a second, and SNS would suspend the subscription.
        """
        half = len(messages) // 2
        if half and len(json.dumps([message["Body"] for message in messages])) > LARGEST_PAYLOAD:
            return self.failures(messages[:half]) + self.failures(messages[half:])
        try:
            failed = self.mail(messages) if is_alert(messages[0]) else self.process(messages[0])
        except Exception as error:  # of any kind: these events stay, and the others are tried
            return [(message, str(error)) for message in messages]
        return [(message, FAILED if message["MessageId"] in failed else self.delete(message)) for message in messages]

    def process(self, message):
        """Invokes the function with an event; its id if a part of it failed."""
        try:
            json.loads(message["Body"])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is not JSON ({error}), so not an event: look at it, and delete it by hand") from error
        return {message["MessageId"]} if self.invoke(message["Body"]) else set()

    def mail(self, alerts):
        """Invokes the function with alerts; the ids of those that it did not mail."""
        if self.discard:
            return set()
        configuration = self.lambda_.get_function_configuration(FunctionName=self.function)
        if not configuration.get("Environment", {}).get("Variables", {}).get("MAIL_TOPIC_ARN"):
            raise ValueError(NOT_MAILED)
        return self.invoke(json.dumps({"Records": [
            {"messageId": alert["MessageId"], "eventSource": "aws:sqs", "body": alert["Body"]} for alert in alerts]}))

    def invoke(self, payload):
        """Invokes the function; the ids of the messages that it hands back, if it got any from SQS."""
        answer = self.lambda_.invoke(FunctionName=self.function, Payload=payload.encode())
        result = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise RuntimeError(f"{result.get('errorType')}: {result.get('errorMessage')}")
        return {failure["itemIdentifier"] for failure in result.get("batchItemFailures") or []}

    def delete(self, message):
        """Deletes an event that is done; why it stays, or None."""
        try:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        except Exception as error:
            return f"it is done, but could not be deleted: {error}"
        self.deleted.add(message["MessageId"])
        return None

    def left(self):
        """The number of events that came up and stay."""
        return len(self.handles.keys() - self.deleted)

    def others(self):
        """The numbers of events that did not come up, as SQS counts them: (visible, out of sight)."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        visible, out_of_sight = (int(counts[name]) for name in names)
        return visible, max(0, out_of_sight - self.left())

    def put_back(self):
        """Makes what is left visible again, so that its alarm counts it."""
        for message in self.handles.keys() - self.deleted:
            try:
                self.sqs.change_message_visibility(
                    QueueUrl=self.queue, ReceiptHandle=self.handles[message], VisibilityTimeout=0)
            except ClientError:
                pass  # it is visible already


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("stack")
    parser.add_argument("queue", nargs="?", help="the URL of another queue of such events, as an update may leave one")
    parser.add_argument("--discard", choices=["emails"], help="delete alerts for emails instead of mailing them")
    letters = Letters(**vars(parser.parse_args(arguments)))
    reasons = set()
    try:
        with ThreadPoolExecutor(10) as pool:
            for batch in letters.batches():
                alerts = [message for message in batch if is_alert(message)]
                units = [[message] for message in batch if not is_alert(message)] + ([alerts] if alerts else [])
                for failures in pool.map(letters.failures, units):
                    for message, failure in failures:
                        print(f"{message['MessageId']}  {failure or 'done'}", flush=True)
                        reasons.add(failure)
        visible, out_of_sight = letters.others()
    finally:
        letters.put_back()
    left = letters.left()
    print(f"{len(letters.deleted)} done, {left} still in {letters.place}")
    if NOT_MAILED in reasons:
        print("The stack can't mail the alerts for emails, because it has no AlertEmail, or EmailWindowSeconds is 0. "
              "The other subscribers of its topic have got them. To delete them, run this again with DISCARD=emails.")
    if visible:
        print(f"The queue holds {visible} more, which came meanwhile, or which SQS did not hand out. Run this again.")
    if out_of_sight:
        print(f"The queue holds {out_of_sight} more out of sight, because another run is at work, or was killed. "
              f"Run this again in {SECONDS_OUT_OF_SIGHT // 60} minutes.")
    return 1 if left or visible or out_of_sight else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
