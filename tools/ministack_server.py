"""MiniStack, changed where it differs from AWS in what template.yaml or a test needs, or would make a test wait."""

import contextvars
import ctypes
import json
import signal
import sys
import time
import uuid
from urllib.parse import parse_qs

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import request_scope
from ministack.services import cloudformation, cloudtrail, dynamodb, kms, lambda_svc, s3, sns, sqs
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS

PR_SET_PDEATHSIG = 1
LAMBDA_PAYLOAD = 6_000_000  # bytes that Lambda hands to a function at most
PERMISSION_OF_A_TRAIL = {"s3:GetBucketAcl": "", "s3:PutObject": "/AWSLogs/{account}/x"}
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


def complete(kind, finish):
    """Call `finish(physical id, properties)` after the CloudFormation of MiniStack has created or updated a resource:
    it leaves out some properties that its services know."""
    handler = _RESOURCE_HANDLERS[kind]
    create_incomplete, update_incomplete = handler["create"], handler["update"]

    def create(logical_id, properties, stack_name):
        result = create_incomplete(logical_id, properties, stack_name)
        finish(result[0], properties)
        return result

    def update(physical_id, old, new, *names):
        result = update_incomplete(physical_id, old, new, *names)
        finish(result[0], new)
        return result

    handler |= {"create": create, "update": update}


def finish_function(name, properties):
    function = lambda_svc._functions[name]
    function["config"]["DeadLetterConfig"] = properties["DeadLetterConfig"]
    function["config"]["VpcConfig"] = lambda_svc._vpc_config_with_id(properties.get("VpcConfig"))
    reserved = properties.get("ReservedConcurrentExecutions")
    function["concurrency"] = None if reserved is None else int(reserved)


def finish_role(name, properties):
    provisioners._iam._roles[name]["PermissionsBoundary"] = properties.get("PermissionsBoundary")


def finish_topic(arn, properties):
    sns._topics[arn]["attributes"].pop("KmsMasterKeyId", None)
    if key := properties.get("KmsMasterKeyId"):
        sns._topics[arn]["attributes"]["KmsMasterKeyId"] = key


def finish_table(name, properties):
    dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": properties["TimeToLiveSpecification"]})
    sse = properties.get("SSESpecification")
    sse = {**sse, "Enabled": sse["SSEEnabled"]} if sse else None
    dynamodb._tables[name]["SSEDescription"] = dynamodb._sse_description_from_spec(sse)


def element(name, value):
    """A property of CloudFormation as the XML of S3."""
    if isinstance(value, list):
        return "".join(element(name, each) for each in value)
    if isinstance(value, dict):
        return f"<{name}>{''.join(element(*each) for each in value.items())}</{name}>"
    return f"<{name}>{str(value).lower() if isinstance(value, bool) else value}</{name}>"


def finish_bucket(name, properties):
    def put(operation, document):
        status, _, body = operation(name, document.replace(">", f' xmlns="{s3.S3_NS}">', 1).encode())
        if status != 200:
            raise ValueError(f"{name}: {body.decode()}")

    rules = [{"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
              "BucketKeyEnabled": rule.get("BucketKeyEnabled", False)}
             for rule in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]]
    put(s3._put_bucket_encryption, element("ServerSideEncryptionConfiguration", {"Rule": rules}))
    if logging := properties.get("LoggingConfiguration"):
        logging = {"TargetBucket": logging["DestinationBucketName"], "TargetPrefix": logging.get("LogFilePrefix", "")}
    put(s3._put_bucket_logging, element("BucketLoggingStatus", {"LoggingEnabled": logging} if logging else {}))
    s3._delete_bucket_lifecycle(name)
    if rules := properties.get("LifecycleConfiguration", {}).get("Rules"):
        put(s3._put_bucket_lifecycle, element("LifecycleConfiguration", {"Rule": [life_cycle(rule) for rule in rules]}))


def life_cycle(rule):
    """A rule of CloudFormation as S3 names its parts."""
    rule = dict(rule)
    expiration = {"Days": rule.pop("ExpirationInDays", None),
                  "ExpiredObjectDeleteMarker": rule.pop("ExpiredObjectDeleteMarker", None)}
    expiration = {key: value for key, value in expiration.items() if value is not None}
    return {"ID": rule.pop("Id", ""), "Filter": {"Prefix": rule.pop("Prefix", "")}, **rule,
            **({"Expiration": expiration} if expiration else {})}


def numbers(change):
    """The value of a parameter of type Number is a number for a mapping, not a string."""
    def changed(*arguments):
        return change(*(with_numbers(each) if isinstance(each, dict) else each for each in arguments))

    def with_numbers(properties):
        scaling = {name: int(value) for name, value in properties.get("ScalingConfig", {}).items()}
        window = int(properties.get("MaximumBatchingWindowInSeconds", 0))
        return {**properties, "ScalingConfig": scaling or None, "MaximumBatchingWindowInSeconds": window}
    return changed


def create_bucket_policy(logical_id, properties, stack_name):
    """CloudFormation does not replace a policy that it has not made."""
    if (bucket := properties["Bucket"]) in s3._bucket_policies:
        raise ValueError(f"The bucket policy already exists on bucket {bucket}.")
    return replace_bucket_policy(logical_id, properties, stack_name)


def overlap(configurations, *more):
    """S3 refuses two notifications of the same event for the same object."""
    def alike(one, other):
        events = any(mine.startswith(its.rstrip("*")) or its.startswith(mine.rstrip("*"))
                     for mine in one["events"] for its in other["events"])
        (head, tail), (its_head, its_tail) = ((each["filter_prefix"] or "", each["filter_suffix"] or "")
                                              for each in (one, other))
        return (events and (head.startswith(its_head) or its_head.startswith(head))
                and (tail.endswith(its_tail) or its_tail.endswith(tail)))

    if any(alike(one, other) for n, one in enumerate(configurations) for other in configurations[:n]):
        return s3._error("InvalidArgument", "Configuration is ambiguously defined. Cannot have overlapping suffixes in "
                         "two rules if the prefixes are overlapping for the same event type.", 400)
    return validate_without_overlap(configurations, *more)


def in_account_of_topic(change):
    """MiniStack subscribes nobody to a topic of another account. Here its policy is asked, as SNS does."""
    def changed(*arguments):
        properties = [each for each in arguments if isinstance(each, dict)][-1]
        arn, account = properties["TopicArn"], sns.get_account_id()
        if (owner := arn.split(":")[4]) == account:
            return change(*arguments)
        with request_scope(owner, arn.split(":")[3]):
            topic = sns._topics.get(arn, {"attributes": {}})
            asked = iam_evaluator.EvalContext(
                f"arn:aws:iam::{account}:root", "Root", account, "sns:Subscribe", arn, sns.get_region(),
                service_context={"sns:protocol": properties["Protocol"]})
            policy = topic["attributes"].get("Policy")
            if app.AUTH and iam_evaluator.evaluate_resource_policy(policy, asked).decision != "Allow":
                raise ValueError(f"{account} is not authorized to perform: SNS:Subscribe on resource: {arn}")
            return change(*arguments)
    return changed


def foreign_bucket_allows(owner, bucket, key, method, query, caller, headers=None):
    """MiniStack asks the policy of another account's bucket about the caller's account. The policy may name a role."""
    action = iam_actions._s3_action(method, f"/{bucket}/{key}", query)
    asked = iam_evaluator.EvalContext(iam_evaluator.caller_arn(), "AssumedRole", caller or "", f"s3:{action}",
                                      f"arn:aws:s3:::{bucket}/{key}".rstrip("/"), s3.get_region())
    policy = s3._bucket_policies.get_scoped(owner, None, bucket)
    return (iam_evaluator.evaluate_resource_policy(policy, asked).decision == "Allow"
            or foreign_bucket_allows_account(owner, bucket, key, method, query, caller, headers))


def key_policy(arn):
    """MiniStack finds the policy of a key in its own account only."""
    with request_scope(*arn.split(":")[4:2:-1]):
        return own_key_policy(arn)


def deliver_to_lambda(function_arn, *more):
    """MiniStack looks for the function in the account of the topic."""
    with request_scope(*function_arn.split(":")[4:2:-1]):
        deliver_to_own_lambda(function_arn, *more)


def alarm_record(name, properties):
    """MiniStack knows no metric math: such an alarm is kept here for its name and its actions, and never fires."""
    if metrics := properties.pop("Metrics", None):
        [stat, *_] = [each["MetricStat"] for each in metrics if "MetricStat" in each]
        properties |= {**stat["Metric"], "Period": stat["Period"], "Statistic": stat["Stat"], "Threshold": 1e9}
    return simple_alarm_record(name, properties)


def provision(*arguments):
    """CloudFormation draws the end of a generated name for each resource that it creates. MiniStack derives it from the
    names of the stack and the resource, so that the new queue would be the one that an update has retained."""
    token = provisioners._NAME_SEED.set(uuid.uuid4().hex[:8])
    try:
        return provisioners._provision_resource(*arguments), provisioners._NAME_SEED.get()
    finally:
        provisioners._NAME_SEED.reset(token)


collecting = {}  # queues whose first message waits for more: since when


def receive_batch(url, size):
    """Lambda collects a batch until it has BatchSize messages or 6 MB, or until MaximumBatchingWindowInSeconds have
    passed. MiniStack takes what is there, ten at most."""
    with sqs._queues_lock:
        queue, now, taken, room = sqs._get_q(url), time.time(), 0, LAMBDA_PAYLOAD
        for message in queue["messages"]:
            if message["visible_at"] <= now:
                room -= len(json.dumps(message["body"])) + 1000
                if taken and room < 0 or taken == size:
                    break
                taken += 1
        full = taken == size or room < 0
        arn = queue["attributes"]["QueueArn"]
        window = max(each["MaximumBatchingWindowInSeconds"] for each in lambda_svc._esms.values()
                     if each["EventSourceArn"] == arn)
        if taken and not full and now < collecting.setdefault(url, now) + window:
            return []
        collecting.pop(url, None)
        sqs._expire_retained(queue)
        sqs._dlq_sweep(queue)
        return sqs._collect_msgs(queue, taken, int(queue["attributes"]["VisibilityTimeout"]))


def send_dead_letter(queue_arn, _function, event, _result):
    """Lambda sends the event unchanged; MiniStack wraps it as for an on-failure destination."""
    url = sqs._queue_name_to_url[queue_arn.rsplit(":", 1)[1]]
    sqs._act_send_message({"MessageBody": json.dumps(event)}, url)


def of_trail(properties):
    """The properties of a trail as its API has them, with booleans where CloudFormation has strings."""
    properties = {name: value == "true" if value in ("true", "false") else value for name, value in properties.items()}
    return {"Name": properties.pop("TrailName"), "KmsKeyId": properties.pop("KMSKeyId", ""), **properties}


def change_trail(change, properties):
    """Create or update a trail. CloudTrail looks first whether it may write to the bucket, and use the key."""
    trail = of_trail(properties)
    bucket, account = trail["S3BucketName"], cloudtrail.get_account_id()
    for action, path in PERMISSION_OF_A_TRAIL.items():
        asked = iam_evaluator.EvalContext(
            "*", "Service", "", action, f"arn:aws:s3:::{bucket}{path.format(account=account)}", cloudtrail.get_region(),
            secure_transport=True, service_context={"aws:sourcearn": cloudtrail._trail_arn(trail["Name"]),
                                                    "s3:x-amz-acl": "bucket-owner-full-control"})
        policy = s3._bucket_policies.get(bucket)
        if iam_evaluator.evaluate_resource_policy(policy, asked, "cloudtrail.amazonaws.com").decision != "Allow":
            raise ValueError(f"Incorrect S3 bucket policy is detected for bucket: {bucket} ({action})")
    key, service, arn = trail["KmsKeyId"], "cloudtrail.amazonaws.com", cloudtrail._trail_arn(trail["Name"])
    if not (service_may_use(key, ("kms:GenerateDataKey", "kms:DescribeKey"), service, **{"aws:sourcearn": arn})
            and service_may_use(key, ("kms:Decrypt",), service)):  # which names no trail
        raise ValueError(f"Insufficient permissions to access S3 bucket {bucket} or KMS key {key}.")
    is_logging = trail.pop("IsLogging")
    status, _, body = change(trail)
    if status != 200:
        raise ValueError(body.decode())
    if is_logging:
        cloudtrail._start_logging({"Name": trail["Name"]})
    return trail["Name"], {"Arn": json.loads(body)["TrailARN"]}


def create_trail(_logical_id, properties, _stack_name):
    return change_trail(cloudtrail._create_trail, properties)


def update_trail(_name, _old, properties, _stack_name):
    return change_trail(cloudtrail._update_trail, properties)


def delete_trail(name, _properties):
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


# The calls that a service makes to KMS in the name of its caller, if the topic, queue, table or object is encrypted.
KEY_ACTIONS = {
    "sns:Publish": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "s3:GetObject": ("kms:Decrypt",),
    **{f"dynamodb:{item}": ("kms:Decrypt",)
       for item in ("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "BatchWriteItem")},
}


def key_of(action, arn):
    """The ARN of the key that encrypts a topic, a queue, a table or an object; None if there is none."""
    if action.startswith("sns:"):
        return (sns._topic_by_arn_any_scope(arn) or {}).get("attributes", {}).get("KmsMasterKeyId")
    if action.startswith("sqs:"):
        return (sqs._queue_by_arn(arn) or {}).get("attributes", {}).get("KmsMasterKeyId")
    if action.startswith("dynamodb:"):
        table = dynamodb._tables.get(arn.rpartition("/")[2]) or {}
        return (table.get("SSEDescription") or {}).get("KMSMasterKeyArn")
    bucket, _, key = arn.rpartition(":")[2].partition("/")
    with request_scope(s3._bucket_owner_account(bucket) or s3.get_account_id(), s3.get_region()):
        stored = s3._buckets.get(bucket, {}).get("objects", {}).get(key, {})
        headers = s3._stored_sse_headers(stored) or s3._bucket_default_sse_headers(bucket)
    return headers.get("x-amz-server-side-encryption-aws-kms-key-id")


def service_may_use(key, actions, service, **context):
    """Whether the policy of a key lets a service of AWS make these calls."""
    def allows(action):
        asked = iam_evaluator.EvalContext("*", "Service", "", action, key, sns.get_region(), service_context=context)
        policy, _ = key_policy(key) or (None, None)
        return iam_evaluator.evaluate_resource_policy(policy, asked, service).decision == "Allow"
    return not app.AUTH or not key or all(map(allows, actions))


def with_key(action, allows):
    """A service that writes to an encrypted topic or queue needs its key, too. MiniStack asks only the other policy."""
    def asked(arn, service, source_arn, source_account):
        context = {"aws:sourcearn": source_arn, "aws:sourceaccount": source_account}
        return (allows(arn, service, source_arn, source_account)
                and service_may_use(key_of(action, arn), KEY_ACTIONS[action], service, **context))
    return asked


def enforce(access_key, action, service, region, resource_arn="*", service_context=None):
    """On AWS the caller of an encrypted resource needs its key, through the service. MiniStack does not check that."""
    denied = enforce_without_keys(access_key, action, service, region, resource_arn, service_context)
    if denied or action not in KEY_ACTIONS or not (key := key_of(action, resource_arn)):
        return denied
    via = {"kms:ViaService": f"{service}.{region}.amazonaws.com"}
    asked = (enforce_without_keys(access_key, needed, "kms", region, key, via) for needed in KEY_ACTIONS[action])
    return next(filter(None, asked), None)


enforce_without_keys, iam_evaluator.enforce = iam_evaluator.enforce, enforce
sns.topic_policy_allows = with_key("sns:Publish", sns.topic_policy_allows)
sqs.queue_policy_allows = with_key("sqs:SendMessage", sqs.queue_policy_allows)
validate_without_overlap, s3._validate_notification_configs = s3._validate_notification_configs, overlap
handle_request_of_any_stack, cloudformation.handle_request = cloudformation.handle_request, handle_request
evaluate_simple_conditions = engine._evaluate_conditions
for module in (engine, changesets, handlers, stacks):
    module._evaluate_conditions = evaluate_conditions
simple_alarm_record, provisioners._cw_metric_alarm_record = provisioners._cw_metric_alarm_record, alarm_record
iam_evaluator._principal_org_id = lambda _: "o-exampleorgid"  # MiniStack gives each account an organization of its own
replace_bucket_policy = _RESOURCE_HANDLERS["AWS::S3::BucketPolicy"]["create"]
_RESOURCE_HANDLERS["AWS::S3::BucketPolicy"]["create"] = create_bucket_policy
for operation in ("create", "update"):
    handler = _RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
    handler[operation] = numbers(handler[operation])
for kind, finish in {"AWS::Lambda::Function": finish_function, "AWS::IAM::Role": finish_role,
                     "AWS::SNS::Topic": finish_topic, "AWS::S3::Bucket": finish_bucket,
                     "AWS::DynamoDB::Table": finish_table}.items():
    complete(kind, finish)
subscription = _RESOURCE_HANDLERS["AWS::SNS::Subscription"]
for operation in ("create", "update", "delete"):
    subscription[operation] = in_account_of_topic(subscription[operation])
foreign_bucket_allows_account, s3._foreign_bucket_allows = s3._foreign_bucket_allows, foreign_bucket_allows
own_key_policy, kms.key_policy_for_arn = kms.key_policy_for_arn, key_policy
deliver_to_own_lambda, sns._deliver_to_lambda = sns._deliver_to_lambda, deliver_to_lambda
stacks._provision_keeping_seed = provision
sqs._receive_messages_for_esm = receive_batch
lambda_svc._route_async_failure = send_dead_letter
run_batch_and_wait, lambda_svc._run_sqs_batch = lambda_svc._run_sqs_batch, run_batch
iam_action_by_name, iam_actions.extract_iam_action = iam_actions.extract_iam_action, iam_action
app._port_is_bindable = lambda *_: False  # with TLS it would listen on port 443 too
_RESOURCE_HANDLERS["AWS::CloudTrail::Trail"] = {
    "create": create_trail, "update": update_trail, "delete": delete_trail}
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # its parent may be killed before it can clean up
sys.exit(app.main())
