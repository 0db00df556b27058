"""A small, fast S3 for `make bench`: the files of a folder as the objects of one bucket, on loopback.

`python s3.py FOLDER LATENCY` prints its port. LATENCY seconds pass between a request and its answer. Once stdin is
closed, it prints how many requests there were, and the most that were under way at once.
"""

import socket
import socketserver
import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

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


def serve(folder, latency):
    """Serves until stdin is closed, each connection in a thread: what a socket sends takes no time of the others."""
    objects = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    keys = sorted(objects)
    counts = {"requests": 0, "under way": 0, "most": 0}

    def answer(path):
        where = urlsplit(path)
        key = unquote(where.path).lstrip("/").partition("/")[2]
        if not key:
            return "200 OK", listing(objects, keys, parse_qs(where.query))
        return ("200 OK", objects[key]) if key in objects else ("404 Not Found", b"")

    class Connection(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            received = b""
            while True:
                head, found, received = received.partition(b"\r\n\r\n")
                if not found:
                    more = self.request.recv(1 << 16)
                    if not more:
                        return
                    received = head + more
                    continue
                counts["requests"] += 1
                counts["under way"] += 1
                counts["most"] = max(counts["most"], counts["under way"])
                if latency:
                    time.sleep(latency)
                status, body = answer(head.split(b" ", 2)[1].decode())
                counts["under way"] -= 1
                head = f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: {len(body)}\r\n\r\n'.encode()
                if len(body) < 1 << 16:
                    self.request.sendall(head + body)
                else:
                    self.request.sendall(head)
                    self.request.sendall(body)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 256

        def handle_error(self, *_):
            """A client may go before it has all."""

    with Server(("127.0.0.1", 0), Connection) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        print(counts["requests"], counts["most"], flush=True)
        server.shutdown()


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
