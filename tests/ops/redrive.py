"""`make redrive`: invokes a stack's function with each event of its dead-letter queue, and deletes what succeeded.

The queue holds events as they were, whatever announced the logs, and the function tells them apart by content. So each
one's result is known at once, which SQS's own redrive would not tell (and it refuses queues that Lambda filled).
Stopping it loses nothing: an event is deleted after its success only.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# A batch takes one invocation's time. Events stay out of sight for longer, so that each is tried once in a run.
SECONDS_OUT_OF_SIGHT = 900


class DeadLetters:
    """The dead-letter queue of a stack, and the function that is to do better now."""

    def __init__(self, stack):
        outputs = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in outputs}
        self.function, self.queue = outputs["FunctionName"], outputs["DeadLetterQueueUrl"]
        self.sqs = boto3.client("sqs")
        self.handles, self.deleted = {}, set()
        # One invocation an event: no repetition behind our back while the function is still at work.
        self.lambda_ = boto3.client("lambda", config=Config(read_timeout=910, retries={"total_max_attempts": 1}))

    def batches(self):
        """The queue's events, up to ten at a time, each once, though a long run may see those that failed again."""
        while batch := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1,
                                                VisibilityTimeout=SECONDS_OUT_OF_SIGHT).get("Messages"):
            new = [message for message in batch if message["MessageId"] not in self.handles]
            self.handles |= {message["MessageId"]: message["ReceiptHandle"] for message in batch}
            yield new

    def failure(self, message):
        """Invokes with an event and deletes it; why it failed, or None."""
        try:
            event = json.loads(message["Body"])
        except ValueError as error:
            return f"it is no JSON ({error}), so no event: look at it, and delete it by hand"
        try:
            answer = self.lambda_.invoke(FunctionName=self.function, Payload=json.dumps(event).encode())
            result = json.loads(answer["Payload"].read())
            if "FunctionError" in answer:
                return f"{result.get('errorType')}: {result.get('errorMessage')}"
            if result.get("batchItemFailures"):
                return "messages of it failed: the function's log says why"
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
            self.deleted.add(message["MessageId"])
        except Exception as error:  # whatever it was, this event stays and the others are tried
            return str(error)
        return None

    def put_back(self):
        """Has what is left in sight again, where its alarm sees it."""
        for message in self.handles.keys() - self.deleted:
            try:
                self.sqs.change_message_visibility(
                    QueueUrl=self.queue, ReceiptHandle=self.handles[message], VisibilityTimeout=0)
            except ClientError:
                pass  # it is by itself

    def out_of_sight(self):
        """How many events another run has, or had when it was killed."""
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
