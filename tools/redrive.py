"""`make redrive`: invokes the function of a stack with each event of its dead-letter queue, and deletes what succeeds.

The queue holds the events as Lambda and SQS got them, and the function recognizes each kind by its content. So the
result of each event is known at once. The redrive of SQS does not report results, and refuses queues that Lambda
filled. Stopping this program loses nothing, because an event is deleted only after it has succeeded.

A second argument is the URL of another queue of such events, for example one that an update of the stack left behind.
"""

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


def is_alert(message):
    """Whether an event is an alert on its way into a mail: SNS's notification of one."""
    try:
        attributes = json.loads(message["Body"])["MessageAttributes"]
        return "rule" in attributes and "severity" in attributes
    except (ValueError, TypeError, KeyError):
        return False


class Letters:
    """The events in a queue of a stack, and the function that processes them again."""

    def __init__(self, stack, queue=None):
        answer = boto3.client("cloudformation").describe_stacks(StackName=stack)
        # By the clock of AWS, which tells seconds only.
        self.began = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp() + 1
        outputs = {output["OutputKey"]: output["OutputValue"] for output in answer["Stacks"][0]["Outputs"]}
        self.function, self.queue = outputs["FunctionName"], queue or outputs["DeadLetterQueueUrl"]
        self.place = f"the queue {queue.rsplit('/', 1)[-1]}" if queue else f"the dead-letter queue of {stack}"
        self.sqs = boto3.client("sqs")
        self.handles, self.deleted = {}, set()
        # One attempt: boto3 would otherwise invoke again while the function is still at work.
        self.lambda_ = boto3.client("lambda", config=Config(read_timeout=910, retries={"total_max_attempts": 1}))

    def batches(self):
        """The events of the queue, up to ten at a time. An event that comes up again in a long run is left out.

        The last batch is the first one of which all were sent after the run began. Without that, a queue that still
        receives events would never end.
        """
        late = False
        while not late and (batch := self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["SentTimestamp"],
                VisibilityTimeout=SECONDS_OUT_OF_SIGHT).get("Messages")):
            late = all(int(message["Attributes"]["SentTimestamp"]) / 1000 > self.began for message in batch)
            new = [message for message in batch if message["MessageId"] not in self.handles]
            self.handles |= {message["MessageId"]: message["ReceiptHandle"] for message in batch}
            yield new

    def failures(self, messages):
        """Invokes the function with these events, and deletes what succeeds: (event, why it failed or None), each.

        Alerts come several at once, as from their own queue, and the function puts them into one mail. A mail for each
        could be more than ten in a second, and SNS would suspend the subscription.
        """
        alerts = is_alert(messages[0])
        if alerts:
            event = {"Records": [{"messageId": message["MessageId"], "eventSource": "aws:sqs", "body": message["Body"]}
                                 for message in messages]}
        else:
            try:
                event = json.loads(messages[0]["Body"])
            except ValueError as error:
                return [(messages[0], f"it is not JSON ({error}), so not an event: look at it, and delete it by hand")]
        payload, half = json.dumps(event).encode(), len(messages) // 2
        if half and len(payload) > LARGEST_PAYLOAD:
            return self.failures(messages[:half]) + self.failures(messages[half:])
        try:
            answer = self.lambda_.invoke(FunctionName=self.function, Payload=payload)
            result = json.loads(answer["Payload"].read())
            if "FunctionError" in answer:
                failure = f"{result.get('errorType')}: {result.get('errorMessage')}"
                return [(message, failure) for message in messages]
            failed = {failure["itemIdentifier"] for failure in result.get("batchItemFailures") or []}
        except Exception as error:  # of any kind: these events stay, and the others are tried
            return [(message, str(error)) for message in messages]
        return [(message, self.delete(message, message["MessageId"] in failed if alerts else failed))
                for message in messages]

    def delete(self, message, failed):
        """Deletes an event that succeeded; why it stays, or None."""
        if failed:
            return "it failed, or a part of it: the log of the function says why"
        try:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        except Exception as error:
            return f"it succeeded, but could not be deleted: {error}"
        self.deleted.add(message["MessageId"])
        return None

    def put_back(self):
        """Makes what is left visible again, so that its alarm counts it."""
        for message in self.handles.keys() - self.deleted:
            try:
                self.sqs.change_message_visibility(
                    QueueUrl=self.queue, ReceiptHandle=self.handles[message], VisibilityTimeout=0)
            except ClientError:
                pass  # it is visible already

    def out_of_sight(self):
        """The number of events that another run is processing, or had when it was killed."""
        name = "ApproximateNumberOfMessagesNotVisible"
        return int(self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=[name])["Attributes"][name])


def main(stack, queue=None):
    letters = Letters(stack, queue)
    try:
        with ThreadPoolExecutor(10) as pool:
            for batch in letters.batches():
                alerts = [message for message in batch if is_alert(message)]
                units = [[message] for message in batch if not is_alert(message)] + ([alerts] if alerts else [])
                for failures in pool.map(letters.failures, units):
                    for message, failure in failures:
                        print(f"{message['MessageId']}  {failure or 'done'}", flush=True)
    finally:
        letters.put_back()
    if not letters.handles and (hidden := letters.out_of_sight()):
        print(f"{hidden} in {letters.place} are out of sight, because another run has them, or was "
              f"killed; they come back within {SECONDS_OUT_OF_SIGHT // 60} minutes")
        return 1
    left = len(letters.handles) - len(letters.deleted)
    print(f"{len(letters.deleted)} done, {left} still in {letters.place}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
