"""MiniStack, changed where it differs from AWS in what template.yaml or a test needs, or would make a test wait."""

import contextvars
import ctypes
import json
import signal
import sys
from urllib.parse import parse_qs

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import cloudformation, cloudtrail, lambda_svc, s3, sns, sqs
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS

PR_SET_PDEATHSIG = 1
FUNCTION = _RESOURCE_HANDLERS["AWS::Lambda::Function"]
create_without_dead_letters = FUNCTION["create"]
BUCKET = _RESOURCE_HANDLERS["AWS::S3::Bucket"]
create_unencrypted = BUCKET["create"]
TOPIC = _RESOURCE_HANDLERS["AWS::SNS::Topic"]
create_without_key = TOPIC["create"]
MAPPING = _RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
create_with_texts = MAPPING["create"]


STACK_NAME = contextvars.ContextVar("the name of the stack that a request is about", default="")


async def handle_request(method, path, headers, body, query):
    """Remember the name of the stack, which conditions may ask for."""
    STACK_NAME.set(parse_qs(body.decode()).get("StackName", [""])[0].split("/")[-2:][0])
    return await handle_request_of_any_stack(method, path, headers, body, query)


def evaluate_conditions(template, parameters):
    """The conditions of MiniStack know neither pseudo parameters nor Join and Split."""
    def resolve(node):
        if isinstance(node, list):
            return [resolve(inner) for inner in node]
        if isinstance(node, dict) and node.keys() & {"Fn::Join", "Fn::Select", "Ref"}:
            return engine._resolve_refs(node, {}, parameters, {}, {}, STACK_NAME.get(), "")
        return {name: resolve(inner) for name, inner in node.items()} if isinstance(node, dict) else node

    return evaluate_simple_conditions({**template, "Conditions": resolve(template.get("Conditions", {}))}, parameters)


def create_function(logical_id, properties, stack_name):
    """The CloudFormation of MiniStack drops DeadLetterConfig; its Lambda knows it."""
    name, attributes = create_without_dead_letters(logical_id, properties, stack_name)
    lambda_svc._functions[name]["config"]["DeadLetterConfig"] = properties["DeadLetterConfig"]
    return name, attributes


def create_mapping(logical_id, properties, stack_name):
    """The value of a parameter of type Number is a number here, not a string."""
    scaling = {name: int(value) for name, value in properties.get("ScalingConfig", {}).items()}
    return create_with_texts(logical_id, {**properties, "ScalingConfig": scaling or None}, stack_name)


def alarm_record(name, properties):
    """MiniStack knows no metric math: such an alarm is kept here for its name and its actions, and never fires."""
    if metrics := properties.pop("Metrics", None):
        [stat, *_] = [each["MetricStat"] for each in metrics if "MetricStat" in each]
        properties |= {**stat["Metric"], "Period": stat["Period"], "Statistic": stat["Stat"], "Threshold": 1e9}
    return simple_alarm_record(name, properties)


def create_topic(logical_id, properties, stack_name):
    """The CloudFormation of MiniStack drops KmsMasterKeyId."""
    arn, attributes = create_without_key(logical_id, properties, stack_name)
    if key := properties.get("KmsMasterKeyId"):
        sns._topics[arn]["attributes"]["KmsMasterKeyId"] = key
    return arn, attributes


def create_bucket(logical_id, properties, stack_name):
    """The CloudFormation of MiniStack drops BucketEncryption."""
    name, attributes = create_unencrypted(logical_id, properties, stack_name)
    [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    default = "".join(f"<{key}>{value}</{key}>" for key, value in rule["ServerSideEncryptionByDefault"].items())
    rule = (f"<Rule><ApplyServerSideEncryptionByDefault>{default}</ApplyServerSideEncryptionByDefault>"
            f"<BucketKeyEnabled>{str(rule.get('BucketKeyEnabled', False)).lower()}</BucketKeyEnabled></Rule>")
    document = f'<ServerSideEncryptionConfiguration xmlns="{s3.S3_NS}">{rule}</ServerSideEncryptionConfiguration>'
    status, _, body = s3._put_bucket_encryption(name, document.encode())
    if status != 200:
        raise ValueError(f"{logical_id}: {body.decode()}")
    return name, attributes


def send_dead_letter(queue_arn, _function, event, _result):
    """Lambda sends the event unchanged; MiniStack wraps it as for an on-failure destination."""
    url = sqs._queue_name_to_url[queue_arn.rsplit(":", 1)[1]]
    sqs._act_send_message({"MessageBody": json.dumps(event)}, url)


def create_trail(logical_id, properties, _stack_name):
    """Create the trail in the CloudTrail of MiniStack, which wants booleans where CloudFormation has strings."""
    properties = {name: value == "true" if value in ("true", "false") else value for name, value in properties.items()}
    name, is_logging = properties.pop("TrailName"), properties.pop("IsLogging")
    status, _, body = cloudtrail._create_trail({"Name": name, **properties})
    if status != 200:
        raise ValueError(f"{logical_id}: {body.decode()}")
    if is_logging:
        cloudtrail._start_logging({"Name": name})
    return name, {"Arn": json.loads(body)["TrailARN"]}


def delete_trail(name, _properties):
    """Needed when a stack is rolled back."""
    cloudtrail._delete_trail({"Name": name})


def run_batch(mapping, function, event, messages, queue_url, queue_name):
    """What a function hands back is visible again at once, instead of after the queue's VisibilityTimeout of minutes.

    So no test has to shorten that time, which would deliver a message twice where an invocation takes longer.
    """
    run_batch_and_wait(mapping, function, event, messages, queue_url, queue_name)
    lambda_svc._esm_backoff_until.pop(mapping["UUID"], None)
    with sqs._queues_lock:
        for message in messages:
            message["visible_at"] = 0


def iam_action(*request):
    """IAM has no permission of its own for PublishBatch: sns:Publish covers it."""
    action = iam_action_by_name(*request)
    return "sns:Publish" if action == "sns:PublishBatch" else action


# The calls that a service makes to KMS in the name of its caller, if the topic, queue or object is encrypted.
KEY_ACTIONS = {
    "sns:Publish": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "s3:GetObject": ("kms:Decrypt",),
}


def key_of(action, arn):
    """The ARN of the key that encrypts a topic, a queue or an object; None if there is none."""
    if action.startswith("sns:"):
        return sns._topics.get(arn, {}).get("attributes", {}).get("KmsMasterKeyId")
    if action.startswith("sqs:"):
        return (sqs._queue_by_arn(arn) or {}).get("attributes", {}).get("KmsMasterKeyId")
    bucket, _, key = arn.rpartition(":")[2].partition("/")
    stored = s3._buckets.get(bucket, {}).get("objects", {}).get(key, {})
    headers = s3._stored_sse_headers(stored) or s3._bucket_default_sse_headers(bucket)
    return headers.get("x-amz-server-side-encryption-aws-kms-key-id")


def enforce(access_key, action, service, region, resource_arn="*", service_context=None):
    """On AWS the caller of an encrypted resource needs its key, through the service. MiniStack does not check that."""
    denied = enforce_without_keys(access_key, action, service, region, resource_arn, service_context)
    if denied or action not in KEY_ACTIONS or not (key := key_of(action, resource_arn)):
        return denied
    via = {"kms:ViaService": f"{service}.{region}.amazonaws.com"}
    asked = (enforce_without_keys(access_key, needed, "kms", region, key, via) for needed in KEY_ACTIONS[action])
    return next(filter(None, asked), None)


enforce_without_keys, iam_evaluator.enforce = iam_evaluator.enforce, enforce
handle_request_of_any_stack, cloudformation.handle_request = cloudformation.handle_request, handle_request
evaluate_simple_conditions = engine._evaluate_conditions
for module in (engine, changesets, handlers, stacks):
    module._evaluate_conditions = evaluate_conditions
simple_alarm_record, provisioners._cw_metric_alarm_record = provisioners._cw_metric_alarm_record, alarm_record
FUNCTION["create"] = create_function
MAPPING["create"] = create_mapping
TOPIC["create"] = create_topic
BUCKET["create"] = create_bucket
lambda_svc._route_async_failure = send_dead_letter
run_batch_and_wait, lambda_svc._run_sqs_batch = lambda_svc._run_sqs_batch, run_batch
iam_action_by_name, iam_actions.extract_iam_action = iam_actions.extract_iam_action, iam_action
app._port_is_bindable = lambda *_: False  # with TLS it would listen on port 443 too
_RESOURCE_HANDLERS["AWS::CloudTrail::Trail"] = {"create": create_trail, "delete": delete_trail}
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # its parent may be killed before it can clean up
sys.exit(app.main())
