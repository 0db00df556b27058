"""A local AWS: MiniStack on a free port, in a folder that is gone afterwards, with template.yaml deployed onto it."""

import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from urllib.parse import unquote_plus

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "cloudtrail-alerter"
FIXTURES = ROOT / "fixtures"
# The fixtures' account and bucket.
ACCOUNT = "123456789012"
REGION = "us-east-1"
BUCKET = f"cloudtrail-logs-{ACCOUNT}"
STACK = "cloudtrail-alerter"

# Nothing of the caller's own AWS set-up may get here, nor a proxy.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}


def wait_until(condition, what, seconds=30):
    """The first truthy value of `condition()`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def binary():
    """The built function, or an error that says how to build it."""
    if not BINARY.exists():
        sys.exit(f"{BINARY.relative_to(ROOT)} is missing: run `cargo build --release` first")
    return BINARY


def log_key(name, region=REGION):
    """A key as CloudTrail makes them; `name` is its last part."""
    folder = f"AWSLogs/{ACCOUNT}/CloudTrail/{region}/2026/11/20"
    return f"{folder}/{ACCOUNT}_CloudTrail_{region}_20261120T2110Z_{name}.json.gz"


def fixture_events():
    """Each fixture log with the bucket and key under which an event announces it: (path, bucket, key)."""
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


def event_ids(messages):
    """The events that alerts are about."""
    return sorted(message["MessageAttributes"]["eventID"]["Value"] for message in messages)


AWS_CLI = f"""#!{sys.executable}
# As much of the AWS CLI as the commands of the template's outputs need.
import json, os, sys
import boto3
operation, options = sys.argv[2], dict(zip(sys.argv[3::2], sys.argv[4::2]))
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], verify=os.environ.get("AWS_CA_BUNDLE"))
if operation == "get-bucket-notification-configuration":
    found = s3.get_bucket_notification_configuration(Bucket=options["--bucket"])
    del found["ResponseMetadata"]
    if found:  # the CLI prints nothing for nothing
        print(json.dumps(found))
else:
    assert operation == "put-bucket-notification-configuration"
    configuration = json.loads(options["--notification-configuration"])
    s3.put_bucket_notification_configuration(Bucket=options["--bucket"], NotificationConfiguration=configuration)
"""


class LocalAws:
    """`with LocalAws() as aws:` is one MiniStack; everything that it started ends with the block, however it ends.

    With `auth` it checks signatures and policies, and is reached by TLS, because the template's policies want that.
    """

    def __init__(self, auth=False):
        self.auth = auth
        self.session = None

    def __enter__(self):
        # SIGTERM ends like Ctrl-C, so that `__exit__` runs.
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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
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
            # MiniStack takes an account's number for its access key, and hands these on to the function.
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            # What Lambda sets by LoggingConfig.
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            # AWS's quota; MiniStack's own depends on the machine's memory.
            "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
            # Lambda waits for one minute, then for two.
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",
        }
        self.log_path = Path(self.folder.name, "ministack.log")
        with self.log_path.open("wb") as log:
            # A session of its own, because it and the functions that it starts are then ended together.
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("ministack_server.py")],
                env=self.environment, cwd=self.folder.name, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        self.session = boto3.Session(ACCOUNT, "test", region_name=REGION)
        wait_until(self._answers, "MiniStack", 60)

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"MiniStack ended at its start:\n{self.log_path.read_text()}")
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
        """What makes the AWS SDK in a program that we start use this AWS."""
        return {name: value for name, value in self.environment.items() if name.startswith("AWS_")}

    def client(self, service, session=None):
        """A boto3 client of this AWS."""
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        options = {"endpoint_url": self.endpoint, "verify": str(self.certificate), "config": config}
        return (session or self.session).client(service, **options)

    def __getattr__(self, service):
        """`aws.s3`, `aws.sqs` and so on: a client, made once."""
        if service not in self.session.get_available_services():
            raise AttributeError(service)
        client = self.client(service)
        setattr(self, service, client)
        return client

    def deploy(self, stack=STACK, **parameters):
        """Deploy template.yaml with the release binary as the function; the stack's outputs."""
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.write(binary(), "bootstrap")
        self.s3.create_bucket(Bucket="artifacts")
        self.s3.put_object(Bucket="artifacts", Key="function.zip", Body=package.getvalue())
        template = (ROOT / "template.yaml").read_text()
        packaged = template.replace("CodeUri: .\n", "CodeUri: s3://artifacts/function.zip\n")  # as `sam package` does
        assert packaged != template
        parameters = {"LogBucketName": BUCKET, **parameters}
        self.cloudformation.create_stack(
            StackName=stack,
            TemplateBody=packaged,
            Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
        wait_until(lambda: self._stack(stack)["StackStatus"] != "CREATE_IN_PROGRESS", f"stack {stack}", 120)
        if self._stack(stack)["StackStatus"] != "CREATE_COMPLETE":
            events = self.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
            failed = [event for event in events if "FAILED" in event["ResourceStatus"]]
            raise RuntimeError("\n".join(event.get("ResourceStatusReason", "") for event in failed))
        if self.auth:
            self._trust(stack)
        return {output["OutputKey"]: output["OutputValue"] for output in self._stack(stack).get("Outputs", [])}

    def _trust(self, function):
        """Let a deployed function trust MiniStack's certificate instead of AWS's."""
        client = self.client("lambda")
        variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        variables["SSL_CERT_FILE"] = str(self.certificate)
        client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    def _stack(self, name):
        return self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]

    def resources(self, stack=STACK):
        """Logical id → physical id."""
        found = self.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}

    def configure(self, configuration, bucket=BUCKET, key="filter_config.json"):
        """Put a filter configuration in force."""
        self.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(configuration).encode())

    def put_log(self, key, content, bucket=BUCKET):
        """Store a log as CloudTrail does, gzipped. `content`: bytes, or what is to become JSON."""
        body = content if isinstance(content, bytes) else gzip.compress(json.dumps(content).encode())
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", ContentEncoding="gzip")

    def run(self, command):
        """Run a command that an output of the stack tells people to run."""
        program = Path(self.folder.name, "bin", "aws")
        program.parent.mkdir(exist_ok=True)
        program.write_text(AWS_CLI)
        program.chmod(0o755)
        environment = {**self.function_environment(), "PATH": f"{program.parent}:{os.environ['PATH']}"}
        if self.auth:
            environment["AWS_CA_BUNDLE"] = str(self.certificate)
        subprocess.run(["bash", "-c", command], env=environment, check=True)

    def queue_arn(self, url):
        """A queue's ARN."""
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def subscribe(self, topic_arn, name="subscriber", **attributes):
        """A queue that gets the topic's messages; its URL."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.queue_arn(url)
        statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
                     "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        self.sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return url

    def receive(self, queue, count=0, seconds=30):
        """The queue's messages, parsed and taken off it: as many as there are once there are at least `count`."""
        messages = []

        def enough():
            batch = self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
            messages.extend(json.loads(message["Body"]) for message in batch)
            if batch:
                entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(batch)]
                self.sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
            return not batch and len(messages) >= count

        wait_until(enough, f"{count} messages in {queue.rsplit('/', 1)[-1]}", seconds)
        return messages

    def invoke(self, payload, function=STACK):
        """Invoke and wait: (answer or error as an object, whether it is an error)."""
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(payload).encode())
        return json.loads(answer["Payload"].read()), "FunctionError" in answer

    def log_lines(self, function=STACK):
        """The function's log so far: each line that is a JSON object, parsed."""
        # MiniStack gives 10,000 lines and no more: without Lambda's own, that is enough for thousands of invocations.
        found = self.logs.filter_log_events(logGroupName=f"/aws/lambda/{function}", filterPattern='"{"')["events"]
        return [json.loads(event["message"]) for event in found if event["message"].startswith("{")]

    def summaries(self, function=STACK):
        """The log lines that end an invocation: its counts."""
        fields = [line.get("fields", line) for line in self.log_lines(function)]
        return [line for line in fields if line.get("message") == "invocation done"]
