"""A function under a Lambda of its own: the Runtime API, S3 and SNS on one loopback port."""

import asyncio
import hashlib
import json
import os
import queue
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import botocore
from logs import ROOT

BUCKET = "cloudtrail-logs-123456789012"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
# One file, as the template names one to the function.
CERTIFICATES = str(Path(botocore.__file__).with_name("cacert.pem"))
# How long anything may take before the benchmark gives up.
PATIENCE = 120
PROCESS_CLOCK = 2  # see clock_getcpuclockid(3)


def event(key):
    """S3's notification of an object."""
    notification = json.loads((ROOT / "fixtures" / "events" / "s3-put.json").read_text())
    notification["Records"][0]["s3"]["object"]["key"] = key
    return json.dumps(notification).encode()


class Function:
    """`with Function(command, objects, latency) as function:` starts a function that finds these objects in S3.

    `latency` seconds pass between a request to S3 or SNS and its answer. Connecting takes no time, as it does on the
    loopback device.
    """

    def __init__(self, command, objects=None, latency=0.0, **environment):
        self.command, self.latency, self.environment = command, latency, environment
        self.objects = {key: (content, f'"{hashlib.md5(content).hexdigest()}"')
                        for key, content in (objects or {}).items()}
        self.requests = self.messages = self.under_way = self.most_under_way = 0
        self._started, self._polled, self._answers = (queue.SimpleQueue() for _ in range(3))

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server()), daemon=True)
        self._thread.start()
        port = self._started.get(timeout=PATIENCE)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": "cloudtrail-alerter",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/cloudtrail-alerter",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/20/[$LATEST]0",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "FILTER_CONFIG_BUCKET": BUCKET,
            "TOPIC_ARN": TOPIC,
            **self.environment,
        }
        self.spawned = time.perf_counter()
        self.process = subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def first_poll(self):
        """Seconds from the start to the first poll for work."""
        return self._polled.get(timeout=PATIENCE) - self.spawned

    def give(self, key):
        """Have the function process this log, sooner or later."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event(key))

    def invoke(self, key, cold=False):
        """Seconds from the event, or from the function's start, to the answer."""
        self.requests = self.messages = self.most_under_way = 0
        self.give(key)
        given, answered, path, body = self._answers.get(timeout=PATIENCE)
        if not path.endswith("/response"):
            raise RuntimeError(f"{self.command}: {body.decode()}")
        return answered - (self.spawned if cold else given)

    def cpu(self):
        """CPU seconds of the process so far."""
        return time.clock_gettime(~self.process.pid << 3 | PROCESS_CLOCK)

    def peak(self):
        """The most memory that the process has had, in MB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s*(\d+)", status.read())[1]) / 1024

    async def _server(self):
        self._loop, self._over, self._events = asyncio.get_running_loop(), asyncio.Event(), asyncio.Queue()
        self._given = 0.0
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._started.put(server.sockets[0].getsockname()[1])
        await self._over.wait()
        server.close()

    async def _connection(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = re.search(r"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if "/runtime/" in path:
                    status, headers, answer = await self._runtime_api(path, body)
                else:
                    status, headers, answer = await self._aws(method, path, head, body)
                lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(answer)}", *headers]
                writer.write("\r\n".join([*lines, "", ""]).encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    async def _runtime_api(self, path, body):
        if path.endswith("/next"):
            self._polled.put(time.perf_counter())
            payload = await self._events.get()
            self._given = time.perf_counter()
            deadline = int((time.time() + PATIENCE) * 1000)
            return "200 OK", ["Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                              "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:f",
                              f"Lambda-Runtime-Deadline-Ms: {deadline}", "Content-Type: application/json"], payload
        self._answers.put((self._given, time.perf_counter(), path, body))
        return "202 Accepted", ["Content-Type: application/json"], b'{"status":"OK"}'

    async def _aws(self, method, path, head, body):
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
            function.give("log.json.gz")
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1) == b"\x16", "not TLS"
                return time.perf_counter() - function.spawned
