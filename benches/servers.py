"""The functions that `make bench` compares: each with a Lambda, an S3 and an SNS of its own on one loopback port."""

import asyncio
import hashlib
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote

import botocore
from logs import ROOT
from runtime_api import PATIENCE, RuntimeApi

BUCKET = "cloudtrail-logs-123456789012"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
# One file, as the template gives the function one.
CERTIFICATES = str(Path(botocore.__file__).with_name("cacert.pem"))
PROCESS_CLOCK = 2  # see clock_getcpuclockid(3)


def event(key):
    """S3's notification of an object."""
    notification = json.loads((ROOT / "fixtures" / "events" / "s3-put.json").read_text())
    notification["Records"][0]["s3"]["object"]["key"] = key
    return json.dumps(notification).encode()


class Function(RuntimeApi):
    """`with Function(command, objects, latency) as function:` starts a function that finds these objects in S3.

    `latency` seconds pass between a request to S3 or SNS and its answer. Connecting takes no time, as it does on the
    loopback device.
    """

    def __init__(self, command, objects=None, latency=0.0, **environment):
        super().__init__()
        self.command, self.latency, self.variables = command, latency, environment
        self.objects = {key: (content, f'"{hashlib.md5(content).hexdigest()}"')
                        for key, content in (objects or {}).items()}
        self.requests = self.messages = self.under_way = self.most_under_way = 0

    def __enter__(self):
        super().__enter__()
        environment = {
            **self.environment,
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": f"http://{self.address}",
            "FILTER_CONFIG_BUCKET": BUCKET,
            "TOPIC_ARN": TOPIC,
            **self.variables,
        }
        self.spawned = time.perf_counter()
        self.process = subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        super().__exit__()

    def time_to_first_poll(self):
        """Seconds from the start to the first poll for an event."""
        return self.first_poll() - self.spawned

    def invoke(self, key, cold=False):
        """Seconds from the event, or from the function's start, to the answer."""
        self.requests = self.messages = self.most_under_way = 0
        self.give(event(key))
        answer = self.answer()
        if answer.failed:
            raise RuntimeError(f"{self.command}: {answer.body.decode()}")
        return answer.answered - (self.spawned if cold else answer.given)

    def cpu(self):
        """CPU seconds of the process so far."""
        return time.clock_gettime(~self.process.pid << 3 | PROCESS_CLOCK)

    def peak(self):
        """The most memory that the process has had, in MB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s*(\d+)", status.read())[1]) / 1024

    async def other(self, method, path, head, body):
        """S3 and SNS."""
        self.requests += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.latency)
        self.under_way -= 1
        if method == "GET":
            content, etag = self.objects[unquote(path.split("?")[0]).split("/", 2)[2]]
            unchanged = f"if-none-match: {etag}" in head.lower()
            return "304 Not Modified" if unchanged else "200 OK", [f"ETag: {etag}"], b"" if unchanged else content
        ids = re.findall(rb"PublishBatchRequestEntries\.member\.\d+\.Id=([^&]+)", body)
        self.messages += len(ids) or 1
        members = b"".join(b"<member><Id>%s</Id><MessageId>m</MessageId></member>" % each for each in ids)
        action = b"PublishBatch" if ids else b"Publish"
        result = b"<Successful>%s</Successful><Failed/>" % members if ids else b"<MessageId>m</MessageId>"
        return "200 OK", ["Content-Type: text/xml"], (
            b'<%sResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><%sResult>%s</%sResult><ResponseMetadata>'
            b"<RequestId>r</RequestId></ResponseMetadata></%sResponse>" % (action, action, result, action, action))


def first_hello(command, **environment):
    """Seconds from a function's start to the first byte of TLS that it sends to AWS, for its first event."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        environment |= {"AWS_ENDPOINT_URL": address, "SSL_CERT_FILE": CERTIFICATES}
        with Function(command, **environment) as function:
            function.give(event("log.json.gz"))
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1) == b"\x16", "not TLS"
                return time.perf_counter() - function.spawned
