"""The function's role is enough for a whole invocation, and allows nothing beyond it.

MiniStack lets a function that it runs do everything. So a user with the role's policies makes the calls here, and the
real binary, started with that user's keys, gets its event from a small Lambda Runtime API.
"""

import json
import queue
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.exceptions import ClientError
from local_aws import ACCOUNT, BUCKET, REGION, ROOT, STACK, LocalAws, binary, log_key

MORE_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:more"
OTHER_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:others"
NO_POLICY = '{"Version": "2012-10-17", "Statement": []}'
LOG_GROUP = f"/aws/lambda/{STACK}"
# Not of the notified suffix: only the binary that a test starts reads it.
LOG_KEY = log_key("a").removesuffix(".gz")
LOG = {"Records": [{"eventSource": "iam.amazonaws.com", "eventName": "CreateUser", "eventID": "1"}]}


@pytest.fixture(scope="module")
def aws():
    with LocalAws(auth=True) as aws:
        for topic in (MORE_TOPIC, OTHER_TOPIC):
            aws.sns.create_topic(Name=topic.rsplit(":", 1)[1])
        aws.outputs = aws.deploy(MoreTopicArns=MORE_TOPIC)
        aws.configure(json.loads((ROOT / "filter_config.json").read_text()))
        aws.s3.create_bucket(Bucket="other-bucket")
        for bucket, key in [("other-bucket", log_key("a")), (BUCKET, "private.txt"), (BUCKET, f"x/{log_key('a')}")]:
            aws.s3.put_object(Bucket=bucket, Key=key, Body=b"private")
        aws.put_log(LOG_KEY, LOG)
        aws.queue_url = aws.sqs.create_queue(QueueName="others")["QueueUrl"]

        role = aws.resources()["FunctionRole"]
        assert not aws.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        aws.iam.create_user(UserName="as-the-role")
        for policy in aws.iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = aws.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            aws.iam.put_user_policy(UserName="as-the-role", PolicyName=policy, PolicyDocument=json.dumps(document))
        aws.keys = aws.iam.create_access_key(UserName="as-the-role")["AccessKey"]
        aws.role_session = boto3.Session(aws.keys["AccessKeyId"], aws.keys["SecretAccessKey"], region_name=REGION)
        yield aws


class RuntimeApi(ThreadingHTTPServer):
    """Lambda's Runtime API for one event; `answers` gets what the function posts: (last word of the path, object)."""

    def __init__(self, event):
        super().__init__(("127.0.0.1", 0), Handler)
        self.events, self.answers = queue.Queue(), queue.Queue()
        self.events.put(event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        event = json.dumps(self.server.events.get()).encode()  # the second one waits until the function is ended
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}")
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.answers.put((self.path.rsplit("/", 1)[-1], json.loads(body)))

    def log_message(self, *_):
        pass


def invoke_as_the_role(aws, **environment):
    event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                          "s3": {"bucket": {"name": BUCKET}, "object": {"key": LOG_KEY}}}]}
    with RuntimeApi(event) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        environment = {
            **aws.function_environment(),
            "AWS_ACCESS_KEY_ID": aws.keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": aws.keys["SecretAccessKey"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": STACK,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "SSL_CERT_FILE": str(aws.certificate),
            "FILTER_CONFIG_BUCKET": BUCKET,
            "TOPIC_ARN": aws.outputs["TopicArn"],
            **environment,
        }
        function = subprocess.Popen([binary()], env=environment, stdout=subprocess.DEVNULL)
        try:
            return api.answers.get(timeout=60)
        finally:
            function.kill()
            function.wait()
            api.events.put(None)
            api.shutdown()


@pytest.mark.parametrize("topic", [None, MORE_TOPIC])
def test_a_whole_invocation_works(aws, topic):
    kind, answer = invoke_as_the_role(aws, **({"TOPIC_ARN": topic} if topic else {}))
    assert (kind, answer.get("published")) == ("response", 1), answer


def test_a_topic_that_is_not_the_stacks_is_refused_and_named(aws):
    kind, error = invoke_as_the_role(aws, TOPIC_ARN=OTHER_TOPIC)
    assert (kind, error["errorType"]) == ("error", "PublishFailed"), error
    assert "AuthorizationError" in error["errorMessage"] and OTHER_TOPIC in error["errorMessage"]


def allowed(aws):
    topic, dead_letters = aws.outputs["TopicArn"], aws.outputs["DeadLetterQueueUrl"]
    line = [{"timestamp": 1, "message": "a line"}]
    return [
        ("s3", "get_object", dict(Bucket=BUCKET, Key=LOG_KEY)),
        ("s3", "get_object", dict(Bucket=BUCKET, Key="filter_config.json")),
        ("sns", "publish", dict(TopicArn=topic, Message="m")),
        ("sns", "publish_batch", dict(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "1", "Message": "m"}])),
        ("sns", "publish", dict(TopicArn=MORE_TOPIC, Message="m")),
        ("sqs", "send_message", dict(QueueUrl=dead_letters, MessageBody="m")),
        ("logs", "create_log_stream", dict(logGroupName=LOG_GROUP, logStreamName="s")),
        ("logs", "put_log_events", dict(logGroupName=LOG_GROUP, logStreamName="s", logEvents=line)),
    ]


def denied(aws):
    topic, dead_letters = aws.outputs["TopicArn"], aws.outputs["DeadLetterQueueUrl"]
    line = [{"timestamp": 1, "message": "a line"}]
    role = aws.resources()["FunctionRole"]
    # An administrator makes the same calls at the end: what undoes others comes last.
    return [
        ("s3", "get_object", dict(Bucket="other-bucket", Key=log_key("a"))),
        ("s3", "get_object", dict(Bucket=BUCKET, Key="private.txt")),
        ("s3", "get_object", dict(Bucket=BUCKET, Key=f"x/{log_key('a')}")),
        ("s3", "list_objects_v2", dict(Bucket=BUCKET)),
        ("s3", "list_objects_v2", dict(Bucket=BUCKET, Prefix="AWSLogs/")),
        ("s3", "list_buckets", {}),
        ("s3", "put_object", dict(Bucket=BUCKET, Key=LOG_KEY, Body=b"forged")),
        ("s3", "put_object", dict(Bucket=BUCKET, Key="filter_config.json", Body=b"{}")),
        ("s3", "get_object_acl", dict(Bucket=BUCKET, Key=LOG_KEY)),
        ("s3", "get_bucket_policy", dict(Bucket=BUCKET)),
        ("s3", "delete_object", dict(Bucket=BUCKET, Key=LOG_KEY)),
        ("s3", "delete_bucket_policy", dict(Bucket=BUCKET)),
        ("sns", "publish", dict(TopicArn=OTHER_TOPIC, Message="m")),
        ("sns", "publish", dict(PhoneNumber="+12065550100", Message="m")),
        ("sns", "subscribe", dict(TopicArn=topic, Protocol="email", Endpoint="mallory@example.com")),
        ("sns", "get_topic_attributes", dict(TopicArn=topic)),
        ("sns", "set_topic_attributes", dict(TopicArn=topic, AttributeName="DisplayName", AttributeValue="x")),
        ("sns", "delete_topic", dict(TopicArn=topic)),
        ("sqs", "send_message", dict(QueueUrl=aws.queue_url, MessageBody="m")),
        ("sqs", "receive_message", dict(QueueUrl=dead_letters)),
        ("sqs", "purge_queue", dict(QueueUrl=dead_letters)),
        ("logs", "create_log_group", dict(logGroupName="/aws/lambda/another")),
        ("logs", "create_log_stream", dict(logGroupName="/aws/lambda/another", logStreamName="s")),
        ("logs", "put_log_events", dict(logGroupName="/aws/lambda/another", logStreamName="s", logEvents=line)),
        ("logs", "get_log_events", dict(logGroupName=LOG_GROUP, logStreamName="s")),
        ("logs", "delete_log_group", dict(logGroupName=LOG_GROUP)),
        ("cloudtrail", "stop_logging", dict(Name=STACK)),
        ("iam", "get_role", dict(RoleName=role)),
        ("iam", "put_role_policy", dict(RoleName=role, PolicyName="p", PolicyDocument=NO_POLICY)),
        ("sts", "assume_role", dict(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="test")),
        ("lambda", "get_function", dict(FunctionName=STACK)),
        ("lambda", "invoke", dict(FunctionName=STACK, Payload=b"{}")),
    ]


def refusal(client, operation, arguments):
    """The code with which a call is refused for want of a permission; None if it is not."""
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return code if code.startswith(("AccessDenied", "AuthorizationError", "NotAuthorized")) else None
    return None


def outcomes(aws, calls, session=None):
    return {f"{service} {operation} {arguments}": refusal(aws.client(service, session), operation, arguments)
            for service, operation, arguments in calls}


def test_what_the_role_needs_is_allowed(aws):
    refused = {call: code for call, code in outcomes(aws, allowed(aws), aws.role_session).items() if code}
    assert refused == {}


def test_everything_else_is_denied(aws):
    permitted = [call for call, code in outcomes(aws, denied(aws), aws.role_session).items() if not code]
    assert permitted == []


def test_what_is_allowed_is_denied_without_tls(aws):
    """MiniStack believes this header, as if a proxy had ended the TLS."""
    calls = [
        ("s3", "get_object", dict(Bucket=BUCKET, Key="filter_config.json")),
        ("sns", "publish", dict(TopicArn=aws.outputs["TopicArn"], Message="m")),
    ]
    for service, operation, arguments in calls:
        client = aws.client(service, aws.role_session)
        assert refusal(client, operation, arguments) is None
        plain = lambda request, **_: request.headers.add_header("X-Forwarded-Proto", "http")  # noqa: E731
        client.meta.events.register("before-sign", plain)
        assert refusal(client, operation, arguments)


def test_an_administrator_is_denied_nothing(aws):
    """The calls above are denied for want of a permission, and not because they are wrong."""
    refused = {call: code for call, code in outcomes(aws, denied(aws)).items() if code}
    # No one but Lambda may assume the role.
    assert [call.split()[1] for call in refused] in ([], ["assume_role"]), refused
