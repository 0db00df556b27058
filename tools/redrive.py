"""`make redrive`: invokes the function of a stack with each event of its dead-letter queue, and deletes what succeeds.

The queue holds the events as Lambda and SQS got them, and the function recognizes each kind by its content. So the
result of each event is known at once. The redrive of SQS does not report results, and refuses queues that Lambda
filled. Stopping this program loses nothing, because an event is deleted only after it has succeeded.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# Longer than one invocation, which is what a batch takes: no event comes up twice in a run.
SECONDS_OUT_OF_SIGHT = 900


class DeadLetters:
    """The dead-letter queue of a stack, and the function that processes its events again."""

    def __init__(self, stack):
        outputs = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in outputs}
        self.function, self.queue = outputs["FunctionName"], outputs["DeadLetterQueueUrl"]
        self.sqs = boto3.client("sqs")
        self.handles, self.deleted = {}, set()
        # One attempt: boto3 would otherwise invoke again while the function is still at work.
        self.lambda_ = boto3.client("lambda", config=Config(read_timeout=910, retries={"total_max_attempts": 1}))

    def batches(self):
        """The events of the queue, up to ten at a time. An event that comes up again in a long run is left out."""
        while batch := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1,
                                                VisibilityTimeout=SECONDS_OUT_OF_SIGHT).get("Messages"):
            new = [message for message in batch if message["MessageId"] not in self.handles]
            self.handles |= {message["MessageId"]: message["ReceiptHandle"] for message in batch}
            yield new

    def failure(self, message):
        """Invokes the function with an event, and deletes the event if that succeeds; why it failed, or None."""
        try:
            event = json.loads(message["Body"])
        except ValueError as error:
            return f"it is not JSON ({error}), so not an event: look at it, and delete it by hand"
        try:
            answer = self.lambda_.invoke(FunctionName=self.function, Payload=json.dumps(event).encode())
            result = json.loads(answer["Payload"].read())
            if "FunctionError" in answer:
                return f"{result.get('errorType')}: {result.get('errorMessage')}"
            if result.get("batchItemFailures"):
                return "some of its messages failed: the log of the function says why"
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
            self.deleted.add(message["MessageId"])
        except Exception as error:  # of any kind: this event stays, and the others are tried
            return str(error)
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


def main(stack):
    letters = DeadLetters(stack)
    try:
        with ThreadPoolExecutor(10) as pool:
            for batch in letters.batches():
                for message, failure in zip(batch, pool.map(letters.failure, batch), strict=True):
                    print(f"{message['MessageId']}  {failure or 'done'}", flush=True)
    finally:
        letters.put_back()
    if not letters.handles and (hidden := letters.out_of_sight()):
        print(f"{hidden} in the dead-letter queue of {stack} are out of sight, because another run has them, or was "
              f"killed; they come back within {SECONDS_OUT_OF_SIGHT // 60} minutes")
        return 1
    left = len(letters.handles) - len(letters.deleted)
    print(f"{len(letters.deleted)} done, {left} still in the dead-letter queue of {stack}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
