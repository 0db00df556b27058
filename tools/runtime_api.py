"""Lambda's Runtime API on a free port of the loopback device, for one function that runs as a local process."""

import asyncio
import json
import queue
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple

ACCOUNT, REGION, NAME = "123456789012", "us-east-1", "cloudtrail-alerter"
# How long anything may take before the caller gives up.
PATIENCE = 120


@contextmanager
def running(program, environment):
    """Run a program as a warm function: `with running(…) as invoke`.

    `invoke(event)` returns its answer or error, and whether it is an error.
    """
    with RuntimeApi() as api:
        function = subprocess.Popen([program], env={**api.environment, **environment}, stdout=subprocess.DEVNULL)

        def invoke(event):
            api.give(json.dumps(event).encode())
            answer = api.answer()
            return json.loads(answer.body), answer.failed

        try:
            yield invoke
        finally:
            function.kill()
            function.wait()


class Answer(NamedTuple):
    """The end of an invocation, as the function posted it."""

    failed: bool
    body: bytes
    given: float  # when the function got the event, by time.perf_counter()
    answered: float  # when its answer had arrived


class RuntimeApi:
    """`with RuntimeApi() as api:` serves the function that is started with `api.environment`.

    `other` answers requests that are not for the Runtime API. A subclass can thus put more services on the same port.
    """

    def __init__(self):
        self._ports, self._polls, self._answers = (queue.SimpleQueue() for _ in range(3))

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.address = f"127.0.0.1:{self._ports.get(timeout=PATIENCE)}"
        self.environment = {
            "AWS_LAMBDA_RUNTIME_API": self.address,
            "AWS_LAMBDA_FUNCTION_NAME": NAME,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{NAME}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/20/[$LATEST]0",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def give(self, event):
        """Hand the function this event (bytes) when it next asks for one."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def first_poll(self):
        """When the function first asked for an event."""
        return self._polls.get(timeout=PATIENCE)

    def answer(self):
        """Wait for the end of an invocation."""
        return self._answers.get(timeout=PATIENCE)

    async def other(self, method, path, head, body):
        """Answer another request: (status line, headers, body)."""
        return "404 Not Found", [], b""

    async def _serve(self):
        self._loop, self._over, self._events = asyncio.get_running_loop(), asyncio.Event(), asyncio.Queue()
        self._given = 0.0
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._ports.put(server.sockets[0].getsockname()[1])
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
                    status, headers, answer = await self._runtime(path, body)
                else:
                    status, headers, answer = await self.other(method, path, head, body)
                lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(answer)}", *headers]
                writer.write("\r\n".join([*lines, "", ""]).encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    async def _runtime(self, path, body):
        if path.endswith("/next"):
            self._polls.put(time.perf_counter())
            event = await self._events.get()
            self._given = time.perf_counter()
            function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}"
            return "200 OK", ["Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                              f"Lambda-Runtime-Invoked-Function-Arn: {function}",
                              f"Lambda-Runtime-Deadline-Ms: {int((time.time() + PATIENCE) * 1000)}",
                              "Content-Type: application/json"], event
        self._answers.put(Answer(not path.endswith("/response"), body, self._given, time.perf_counter()))
        return "202 Accepted", ["Content-Type: application/json"], b'{"status":"OK"}'
