"""`make bench`: what scanning costs beside `gzip -dc` of the same file, as whole processes."""

import ctypes
import gzip
import json
import os
import platform
import random
import re
import statistics
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target" / "release" / "cloudtrail-alerter"
FOLDER = ROOT / "target" / "bench"
MEGABYTES = {1: 21, 50: 7, 500: 3}  # size of the JSON, and how often it is measured
PR_SET_CHILD_SUBREAPER = 36
SERVICES = {
    "ec2": ["DescribeInstances", "DescribeNetworkInterfaces", "DescribeSecurityGroups", "RunInstances"],
    "s3": ["GetBucketAcl", "GetBucketLocation", "ListBuckets"],
    "kms": ["Decrypt", "GenerateDataKey"],
    "sts": ["AssumeRole", "GetCallerIdentity"],
    "lambda": ["ListFunctions20150331", "GetFunction20150331v2"],
    "logs": ["DescribeLogGroups", "CreateLogStream"],
}


def record(rng):
    """A record as CloudTrail writes them: an assumed role that calls a service."""
    service = rng.choice(list(SERVICES))
    account = "123456789012"
    role = f"{rng.choice(['app', 'deploy', 'audit', 'backup'])}-{rng.randrange(40)}"
    arn = f"arn:aws:iam::{account}:role/{role}"
    time = f"2026-11-20T{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"
    instances = [{"instanceId": f"i-{rng.getrandbits(68):017x}"} for _ in range(rng.choice([0, 1, 1, 2, 20]))]
    return {
        "eventVersion": "1.09",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"AROA{rng.getrandbits(64):016X}:{role}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{role}/session-{rng.randrange(1000)}",
            "accountId": account,
            "accessKeyId": f"ASIA{rng.getrandbits(64):016X}",
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "arn": arn, "accountId": account, "userName": role},
                "attributes": {"creationDate": time, "mfaAuthenticated": "false"},
            },
        },
        "eventTime": time,
        "eventSource": f"{service}.amazonaws.com",
        "eventName": rng.choice(SERVICES[service]),
        "awsRegion": rng.choice(["us-east-1", "us-west-2", "eu-central-1"]),
        "sourceIPAddress": f"203.0.113.{rng.randrange(256)}",
        "userAgent": f"aws-sdk-go-v2/1.{rng.randrange(30)}.0 os/linux lang/go#1.22 md/GOARCH#arm64",
        "requestParameters": {"instancesSet": {"items": instances}, "maxResults": rng.randrange(1000)},
        "responseElements": None,
        "requestID": str(uuid.UUID(int=rng.getrandbits(128))),
        "eventID": str(uuid.UUID(int=rng.getrandbits(128))),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
        "tlsDetails": {"tlsVersion": "TLSv1.3", "clientProvidedHostHeader": f"{service}.us-east-1.amazonaws.com"},
    }


def generate(megabytes):
    """A log of that many MB of JSON, gzipped as CloudTrail does; the same one every time."""
    path = FOLDER / f"{megabytes}MB.json.gz"
    if not path.exists():
        print(f"Generating {path.relative_to(ROOT)}", flush=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        rng, size, comma = random.Random(megabytes), 0, b""
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as log:
            size += log.write(b'{"Records":[')
            while size < megabytes * 1_000_000:
                size += log.write(comma + json.dumps(record(rng), separators=(",", ":")).encode())
                comma = b","
            log.write(b"]}")
        unfinished.rename(path)
    return path


def measure(*command):
    """CPU seconds and peak MB of one process.

    A process's peak starts at the size of the one that it was forked from. So a small shell starts it and ends, and
    this process, which adopts such orphans, waits for it.
    """
    script = '"$@" >/dev/null 2>&1 &'
    shell = os.posix_spawn("/bin/sh", ["sh", "-c", script, "sh", *map(str, command)], os.environ)
    os.waitpid(shell, 0)
    _, status, usage = os.wait4(-1, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: exit status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def machine():
    """The processor, as far as the system tells."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    logs = {megabytes: generate(megabytes) for megabytes in MEGABYTES}
    configuration = FOLDER / "no-match.json"
    configuration.write_text('{"source": "no-such-service", "regexp": "."}')
    print(f"{machine()}. Medians of whole processes; no record matches.\n")
    print(f"{'JSON':>6} {'gzipped':>9} │ {'scan':>9} {'gzip -dc':>9} {'ratio':>6} │ {'scan peak':>9} {'gzip peak':>9}")
    for megabytes, log in logs.items():
        runs = [(*measure(BINARY, "scan", "--config", configuration, log), *measure("gzip", "-dc", log))
                for _ in range(MEGABYTES[megabytes])]
        scan, scan_peak, unzip, unzip_peak = map(statistics.median, zip(*runs, strict=True))
        print(f"{megabytes:>3} MB {log.stat().st_size / 1e6:>6.2f} MB │ {scan * 1e3:>6.0f} ms {unzip * 1e3:>6.0f} ms "
              f"{scan / unzip:>6.2f} │ {scan_peak:>6.1f} MB {unzip_peak:>6.1f} MB", flush=True)


if __name__ == "__main__":
    main()
