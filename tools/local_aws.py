"""A local AWS: MiniStack on a free port, in a temporary folder. `deploy` puts template.yaml and the function there."""

import gzip
import io
import json
import os
import random
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote_plus

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target" / "debug" / "cloudtrail-alerter"
FIXTURES = ROOT / "fixtures"
# The fixtures' account and bucket.
ACCOUNT = "123456789012"
REGION = "us-east-1"
BUCKET = f"cloudtrail-logs-{ACCOUNT}"
STACK = "cloudtrail-alerter"

CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]

# How long anything may take before the caller gives up. No test measures time by it.
PATIENCE = 240

# The caller's AWS credentials, configuration and proxy must not be used here.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}


def wait_until(condition, what):
    """The first truthy value of `condition()`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.02)


def binary():
    """The program as `cargo test` builds it, or an error that says how to build it."""
    if not BINARY.exists():
        sys.exit(f"{BINARY.relative_to(ROOT)} is missing: run `cargo test --no-run` first")
    return BINARY


def free_port():
    """A port that is free, and below those that the kernel gives to connections: none of them takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def log_key(name, region=REGION):
    """A key as CloudTrail names logs; `name` is the last part of it."""
    folder = f"AWSLogs/{ACCOUNT}/CloudTrail/{region}/2026/11/20"
    return f"{folder}/{ACCOUNT}_CloudTrail_{region}_20261120T2110Z_{name}.json.gz"


def fixture_events():
    """The fixture logs, each with the bucket and key of the event that announces it: (path, bucket, key)."""
    logs = {path.stem.replace("-", "").lower(): path for path in sorted((FIXTURES / "logs").glob("*.json"))}
    for event in sorted((FIXTURES / "events").glob("s3-*.json")):
        for record in json.loads(event.read_text()).get("Records", []):
            bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
            for stem, path in logs.items():
                if stem in key.lower():
                    yield path, bucket, key


def record(event_id, name="CreateUser", source="iam.amazonaws.com"):
    """A CloudTrail record."""
    return {
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/alice", "userName": "alice"},
        "eventTime": "2026-11-20T21:08:30Z",
        "eventSource": source,
        "eventName": name,
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.9",
        "userAgent": "aws-cli/2.15",
        "requestParameters": {"userName": "bob"},
        "responseElements": None,
        "eventID": event_id,
        "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
    }


def key_policy(*stacks):
    """The manual's policy of a key, for the trails of these stacks."""
    manual = (ROOT / "docs" / "security.md").read_text()
    [policy] = re.findall(r'^```json\n(\{ "Version".*?)^```', manual, re.M | re.S)
    before, trail, after = policy.partition(f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{STACK}")
    assert trail and before.endswith('"')
    trails = '", "'.join(trail.replace(STACK, stack) for stack in stacks)
    return f'{before[:-1]}["{trails}"]{after[1:]}'


def event_ids(messages):
    """The eventIDs of alerts, sorted."""
    return sorted(message["MessageAttributes"]["eventID"]["Value"] for message in messages)


def changes(messages):
    """The S3 notifications in these messages, as (event, key), in the order of the changes themselves.

    S3 does not deliver them in order. Their `sequencer` tells it.
    """
    records = [record for each in messages for record in json.loads(each["Message"]).get("Records", [])]
    records.sort(key=lambda record: record["s3"]["object"]["sequencer"])
    return [(record["eventName"].split(":")[0], record["s3"]["object"]["key"]) for record in records]


AWS_CLI = f"""#!{sys.executable} -IS
# As much of the AWS CLI as the commands of the template's outputs need. The program that runs them makes the calls.
import socket, sys
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect(sys.argv[0] + ".socket")
    caller.sendall("\\0".join(sys.argv[2:]).encode())
    caller.shutdown(socket.SHUT_WR)
    answer = caller.makefile().read()
failed, text = answer[0] == "!", answer[1:]
print(text, end="", file=sys.stderr if failed else sys.stdout)
sys.exit(failed)
"""


class AwsCli(socketserver.StreamRequestHandler):
    """Answers AWS_CLI: "!" and an error, or " " and the output."""

    def handle(self):
        operation, *options = self.rfile.read().decode().split("\0")
        options = dict(zip(options[::2], options[1::2], strict=True))
        try:
            self.wfile.write(f" {self.call(operation, options)}".encode())
        except Exception as error:
            self.wfile.write(f"!{error}\n".encode())

    def call(self, operation, options):
        bucket = options["--bucket"]
        if operation == "get-bucket-notification-configuration":
            found = self.server.s3.get_bucket_notification_configuration(Bucket=bucket)
            del found["ResponseMetadata"]
            return json.dumps(found) if found else ""  # the CLI prints nothing for nothing
        assert operation == "put-bucket-notification-configuration", operation
        configuration = json.loads(options["--notification-configuration"])
        self.server.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
        return ""


class LocalAws:
    """`with LocalAws() as aws:` runs one MiniStack. It and all that it started end with the block.

    With `auth` it checks signatures and policies, and speaks TLS, because the template's policies refuse plain HTTP.
    """

    SERVER = Path(__file__).with_name("ministack_server.py")

    def __init__(self, auth=False):
        self.auth = auth
        self.session = None

    def __enter__(self):
        # SIGTERM ends the program as Ctrl-C does, so that `__exit__` runs.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.folder = tempfile.TemporaryDirectory(prefix="local-aws-", ignore_cleanup_errors=True)
        self.process = None
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        port = free_port()
        # An address and not a name: the SDK then leaves the bucket out of the host's name.
        self.endpoint = f"{'https' if self.auth else 'http'}://127.0.0.1:{port}"
        self.certificate = Path(self.folder.name, "ministack-tls", "server.crt")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.folder.name,
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "TMPDIR": self.folder.name,
            **({"AUTH": "true", "USE_SSL": "1"} if self.auth else {}),
            # MiniStack takes the number of an account as its access key, and passes both on to the function.
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            # What LoggingConfig makes Lambda set.
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            # The quota of AWS; the default of MiniStack depends on the memory of the machine.
            "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
            # Lambda itself waits one minute, then two.
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",
        }
        self.log_path = Path(self.folder.name, "server.log")
        with self.log_path.open("wb") as log:
            # In a session of its own: one signal then ends it and the functions that it started.
            self.process = subprocess.Popen(
                [sys.executable, self.SERVER],
                env=self.environment, cwd=self.folder.name, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        self.session = boto3.Session(ACCOUNT, "test", region_name=REGION)
        wait_until(self._answers, self.SERVER.stem)

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.SERVER.stem} did not start:\n{self.log_path.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.environment["GATEWAY_PORT"]))) == 0

    def __exit__(self, *_):
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        self.folder.cleanup()

    def function_environment(self):
        """The environment variables that make the AWS SDK of a program use this AWS."""
        return {name: value for name, value in self.environment.items() if name.startswith("AWS_")}

    def client(self, service, session=None):
        """A boto3 client of this AWS."""
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        options = {"endpoint_url": self.endpoint, "verify": str(self.certificate), "config": config}
        return (session or self.session).client(service, **options)

    def __getattr__(self, service):
        """`aws.s3`, `aws.sqs` and so on: a client, which is made once."""
        if service not in self.session.get_available_services():
            raise AttributeError(service)
        client = self.client(service)
        setattr(self, service, client)
        return client

    def as_account(self, account):
        """The same AWS, called by another account. MiniStack takes the access key for the number of the account."""
        other = LocalAws(self.auth)
        clients = self.session.get_available_services()
        vars(other).update({name: value for name, value in vars(self).items() if name not in clients})
        other.session = boto3.Session(account, "test", region_name=REGION)
        return other

    def deploy(self, stack=STACK, **parameters):
        """Deploy template.yaml with the built function; the outputs of the stack."""
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.write(binary(), "bootstrap")
        artifacts = f"artifacts-{self.session.get_credentials().access_key}"
        self.s3.create_bucket(Bucket=artifacts)
        self.s3.put_object(Bucket=artifacts, Key="function.zip", Body=package.getvalue())
        template = (ROOT / "template.yaml").read_text()
        # As `sam package` does.
        packaged = template.replace("CodeUri: .\n", f"CodeUri: s3://{artifacts}/function.zip\n")
        assert packaged != template
        self.s3.put_object(Bucket=artifacts, Key="template.yaml", Body=packaged.encode())
        parameters = {"LogBucketName": BUCKET, **parameters}
        self.cloudformation.create_stack(
            StackName=stack,
            TemplateURL=f"{self.endpoint}/{artifacts}/template.yaml",  # a body may have 51,200 bytes
            Capabilities=CAPABILITIES,
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
        return self._wait_for(stack, "CREATE")

    def update(self, stack=STACK, **parameters):
        """Update a stack. A parameter that is not given keeps its value. The outputs of the stack."""
        given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        kept = [{"ParameterKey": name, "UsePreviousValue": True}
                for name in self.parameters(stack).keys() - parameters.keys()]
        self.cloudformation.update_stack(
            StackName=stack,
            UsePreviousTemplate=True,
            Capabilities=CAPABILITIES,
            Parameters=given + kept,
        )
        return self._wait_for(stack, "UPDATE")

    def delete(self, stack=STACK):
        """Delete a stack."""
        stack_id = self._stack(stack)["StackId"]
        self.cloudformation.delete_stack(StackName=stack)
        self._wait_for(stack_id, "DELETE")

    def _wait_for(self, stack, operation):
        """Wait for the end of an operation; the outputs of the stack."""
        wait_until(lambda: not self._stack(stack)["StackStatus"].endswith("_IN_PROGRESS"), f"stack {stack}")
        # The newest comes first.
        events = takewhile(lambda event: event["ResourceType"] != "AWS::CloudFormation::Stack"
                           or event["ResourceStatus"] != f"{operation}_IN_PROGRESS",
                           self.cloudformation.describe_stack_events(StackName=stack)["StackEvents"])
        failed = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
                  for event in events if event["ResourceStatus"].endswith("_FAILED")]
        status = self._stack(stack)["StackStatus"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in self._stack(stack).get("Outputs", [])}
        if self.auth and status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
            self._trust(outputs["FunctionName"])
        if status != f"{operation}_COMPLETE" or failed:
            raise RuntimeError("\n".join([f"{stack}: {status}", *failed]))
        return outputs

    def _trust(self, function):
        """Make a deployed function trust the certificate of MiniStack instead of those of AWS."""
        client = self.client("lambda")
        variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        variables["SSL_CERT_FILE"] = str(self.certificate)
        client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    def _stack(self, name):
        return self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]

    def parameters(self, stack=STACK):
        """The values of all parameters."""
        return {each["ParameterKey"]: each["ParameterValue"] for each in self._stack(stack)["Parameters"]}

    def resources(self, stack=STACK):
        """Logical id → physical id."""
        found = self.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}

    def configure(self, configuration, bucket=BUCKET, key="filter_config.json"):
        """Upload a filter configuration."""
        self.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(configuration).encode())

    def put_log(self, key, content, bucket=BUCKET):
        """Store a log as CloudTrail does. `content`: the bytes, or an object to be written as JSON and gzipped."""
        body = content if isinstance(content, bytes) else gzip.compress(json.dumps(content).encode())
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", ContentEncoding="gzip")

    def run(self, command):
        """Run a command that an output of the stack asks people to run."""
        program = Path(self.folder.name, "bin", "aws")
        program.parent.mkdir(exist_ok=True)
        program.write_text(AWS_CLI)
        program.chmod(0o755)
        environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        address = Path(f"{program}.socket")
        address.unlink(missing_ok=True)
        with socketserver.UnixStreamServer(str(address), AwsCli) as server:
            server.s3 = self.s3
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            try:
                subprocess.run(["bash", "-c", command], env=environment, check=True)
            finally:
                server.shutdown()

    def queue_arn(self, url):
        """A queue's ARN."""
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def subscribe(self, topic_arn, name="subscriber", **attributes):
        """Create a queue that gets the messages of the topic; its URL."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.queue_arn(url)
        statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
                     "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        self.sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return url

    def take(self, queue):
        """Take up to ten messages off a queue, as SQS gives them."""
        batch = self.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"],
        ).get("Messages", [])
        if batch:
            entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(batch)]
            self.sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
        return batch

    def receive(self, queue, count=0):
        """Take the messages off a queue, parsed: all that there are, as soon as there are `count` or more."""
        return self.receive_until(queue, lambda messages: len(messages) >= count, f"{count} messages")

    def receive_until(self, queue, enough, what):
        """Take the messages off a queue, parsed: all that there are, as soon as they are enough."""
        messages = []

        def done():
            batch = self.take(queue)
            messages.extend(json.loads(message["Body"]) for message in batch)
            return not batch and enough(messages)

        wait_until(done, f"{what} in {queue.rsplit('/', 1)[-1]}")
        return messages

    def alarms(self, queue, count):
        """The names of the alarms that the messages of a queue report: all, as soon as there are `count` or more."""
        def names(messages):
            parsed = [json.loads(each["Message"]) for each in messages]
            return {each["AlarmName"] for each in parsed if each.get("NewStateValue") == "ALARM"}

        return names(self.receive_until(queue, lambda messages: len(names(messages)) >= count, f"{count} alarms"))

    def invoke(self, payload, function=STACK):
        """Invoke the function and wait for it: (its answer or error, whether it is an error)."""
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(payload).encode())
        return json.loads(answer["Payload"].read()), "FunctionError" in answer

    def log_lines(self, function=STACK):
        """The lines of the function's log that are JSON objects, parsed."""
        # MiniStack returns at most 10,000 lines. Without those of Lambda itself that is thousands of invocations.
        found = self.logs.filter_log_events(logGroupName=f"/aws/lambda/{function}", filterPattern='"{"')["events"]
        return [json.loads(event["message"]) for event in found if event["message"].startswith("{")]

    def summaries(self, function=STACK):
        """The counts of the invocations so far, from the last line of each in the log.

        MiniStack writes the log after the answer: an alert may arrive before the counts of its invocation.
        """
        fields = [line.get("fields", line) for line in self.log_lines(function)]
        return [line for line in fields if line.get("message") == "invocation done"]
