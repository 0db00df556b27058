"""moto's server, changed so that it ends with its parent, and keeps the events of functions instead of running them."""

import ctypes
import os
import signal
import sys
import time

from moto.awslambda.models import LambdaFunction
from moto.server import main
from moto.sqs import models as sqs

PR_SET_PDEATHSIG = 1


def keep_event(function, event, *_):
    """Put the event of an invocation into the queue that has the name of the function."""
    sqs.sqs_backends[function.account_id][function.region].send_message(function.function_name, event)
    return "null"


LambdaFunction.invoke = keep_event
# It asks the time for all messages of a queue when one comes or goes, and its own clock is slow.
sqs.unix_time_millis = lambda: time.time() * 1000
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # its parent may be killed before it can clean up
main(["--host", os.environ["BIND_HOST"], "--port", os.environ["GATEWAY_PORT"]])
