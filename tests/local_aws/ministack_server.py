"""MiniStack, made to do as AWS where template.yaml and its role's test would meet a difference."""

import ctypes
import json
import signal
import sys

from ministack import app
from ministack.core import iam_actions
from ministack.services import cloudtrail, lambda_svc, sqs
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS

PR_SET_PDEATHSIG = 1
FUNCTION = _RESOURCE_HANDLERS["AWS::Lambda::Function"]
create_without_dead_letters = FUNCTION["create"]
MAPPING = _RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
create_with_texts = MAPPING["create"]


def create_function(logical_id, properties, stack_name):
    """MiniStack's CloudFormation forgets DeadLetterConfig, its Lambda does not."""
    name, attributes = create_without_dead_letters(logical_id, properties, stack_name)
    lambda_svc._functions[name]["config"]["DeadLetterConfig"] = properties["DeadLetterConfig"]
    return name, attributes


def create_mapping(logical_id, properties, stack_name):
    """A number of a parameter is a number."""
    scaling = {name: int(value) for name, value in properties.get("ScalingConfig", {}).items()}
    return create_with_texts(logical_id, {**properties, "ScalingConfig": scaling or None}, stack_name)


def send_dead_letter(queue_arn, _function, event, _result):
    """Lambda keeps the event as it was; MiniStack wraps it as for an on-failure destination."""
    url = sqs._queue_name_to_url[queue_arn.rsplit(":", 1)[1]]
    sqs._act_send_message({"MessageBody": json.dumps(event)}, url)


def create_trail(logical_id, properties, _stack_name):
    """Hand the trail to MiniStack's own CloudTrail, which takes booleans for booleans."""
    properties = {name: value == "true" if value in ("true", "false") else value for name, value in properties.items()}
    name, is_logging = properties.pop("TrailName"), properties.pop("IsLogging")
    status, _, body = cloudtrail._create_trail({"Name": name, **properties})
    if status != 200:
        raise ValueError(f"{logical_id}: {body.decode()}")
    if is_logging:
        cloudtrail._start_logging({"Name": name})
    return name, {"Arn": json.loads(body)["TrailARN"]}


def delete_trail(name, _properties):
    """For a stack that is rolled back."""
    cloudtrail._delete_trail({"Name": name})


def iam_action(*request):
    """There is no permission for PublishBatch alone: sns:Publish covers it."""
    action = iam_action_by_name(*request)
    return "sns:Publish" if action == "sns:PublishBatch" else action


FUNCTION["create"] = create_function
MAPPING["create"] = create_mapping
lambda_svc._route_async_failure = send_dead_letter
iam_action_by_name, iam_actions.extract_iam_action = iam_actions.extract_iam_action, iam_action
app._port_is_bindable = lambda *_: False  # with TLS it would serve on port 443 too
_RESOURCE_HANDLERS["AWS::CloudTrail::Trail"] = {"create": create_trail, "delete": delete_trail}
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever started it may be killed before it can clean up
sys.exit(app.main())
