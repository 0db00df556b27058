"""A small, fast S3 for `make bench`: the files of a folder as the objects of one bucket, on loopback.

`python s3.py FOLDER LATENCY` prints its port. LATENCY seconds pass between a request and its answer. Once stdin is
closed, it prints how many requests there were, and the most that were under way at once.
"""

import select
import socket
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections import deque
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

BUCKET = "cloudtrail-logs-123456789012"
PAGE = 1000


def listing(objects, keys, query):
    """ListObjectsV2."""
    def given(name):
        return query.get(name, [""])[0]

    prefix, delimiter = given("prefix"), given("delimiter")
    at = max(bisect_left(keys, prefix), bisect_right(keys, given("continuation-token") or given("start-after")))
    contents, folders = [], []
    while at < len(keys) and keys[at].startswith(prefix) and len(contents) + len(folders) < PAGE:
        rest = keys[at][len(prefix):]
        if delimiter and delimiter in rest:
            folder = prefix + rest[:rest.index(delimiter) + 1]
            folders.append(folder)
            at = bisect_left(keys, folder + "\U0010ffff")
        else:
            contents.append(keys[at])
            at += 1
    more = at < len(keys) and keys[at].startswith(prefix)
    token = f"<NextContinuationToken>{keys[at - 1]}</NextContinuationToken>" if more else ""
    return "".join([
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        f"<Name>{BUCKET}</Name><KeyCount>{len(contents) + len(folders)}</KeyCount><MaxKeys>{PAGE}</MaxKeys>",
        f"<IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>{token}",
        *(f"<Contents><Key>{quote(key)}</Key><LastModified>2026-11-20T21:00:00.000Z</LastModified>"
          f"<Size>{len(objects[key])}</Size></Contents>" for key in contents),
        *(f"<CommonPrefixes><Prefix>{quote(each)}</Prefix></CommonPrefixes>" for each in folders),
        "</ListBucketResult>"]).encode()


def answer(status, body):
    return f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body


def serve(folder, latency):
    """Serves until stdin is closed, in one thread: with more, the client would have less of the machine's cores."""
    objects = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    keys = sorted(objects)
    requests, most, due, connections, unsent = 0, 0, deque(), {}, {}
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    poll = select.epoll()
    for each in (listener, sys.stdin):
        poll.register(each, select.EPOLLIN)
    print(listener.getsockname()[1], flush=True)

    def receive(connection):
        """A request, which a client sends at once, before it waits for the answer; nothing if it has gone."""
        try:
            return connection.recv(1 << 16)
        except OSError:
            return b""

    def send(connection, rest):
        try:
            sent = connection.send(rest)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client has gone
            sent = len(rest)
        if sent < len(rest):
            unsent[connection] = memoryview(rest)[sent:]
            poll.modify(connection, select.EPOLLOUT)
        elif unsent.pop(connection, None):
            poll.modify(connection, select.EPOLLIN)

    while True:
        for number, _ in poll.poll(max(0, due[0][0] - time.monotonic()) if due else None):
            connection = connections.get(number)
            if number == listener.fileno():
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
            elif not connection:
                print(requests, most, flush=True)
                return
            elif connection in unsent:
                send(connection, unsent[connection])
            elif request := receive(connection):
                requests += 1
                due.append((time.monotonic() + latency, connection, request.split(b" ", 2)[1].decode()))
                most = max(most, len(due))
            else:
                connections.pop(number).close()
        while due and due[0][0] <= time.monotonic():
            _, connection, path = due.popleft()
            where, _, query = path.partition("?")
            key = unquote(where).lstrip("/").partition("/")[2]
            if not key:
                send(connection, answer("200 OK", listing(objects, keys, parse_qs(query))))
            elif key in objects:
                send(connection, answer("200 OK", objects[key]))
            else:
                send(connection, answer("404 Not Found", b""))


class S3:
    """`with S3(folder, latency) as s3:` serves a folder's files; `s3.environment` lets a program find it."""

    def __init__(self, folder, latency=0.0):
        self.command = [sys.executable, __file__, str(folder), str(latency)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(self.process.stdout.readline())}",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.requests, self.most = map(int, self.process.stdout.readline().split())
        self.process.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]))
