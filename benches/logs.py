"""The logs that are scanned: made up, the same ones every time, or mixed from real ones."""

import gzip
import json
import random
import uuid
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target" / "release" / "cloudtrail-alerter"
FOLDER = ROOT / "target" / "bench"
REAL_SIZE = 58_000_000  # bytes of JSON in the log of real records
END = b"]}"
CALLS = {
    "ec2": ["DescribeInstances", "DescribeNetworkInterfaces", "DescribeSecurityGroups", "RunInstances"],
    "s3": ["GetBucketAcl", "GetBucketLocation", "ListBuckets"],
    "kms": ["Decrypt", "GenerateDataKey"],
    "sts": ["AssumeRole", "GetCallerIdentity"],
    "lambda": ["ListFunctions20150331", "GetFunction20150331v2"],
    "logs": ["DescribeLogGroups", "CreateLogStream"],
}
# What no made-up record is unless it is asked for, and a configuration for it in the original form.
RARE = ("iam", "CreateUser")
RARE_ONLY = {"source": r"^iam\.amazonaws\.com$", "regexp": "^CreateUser$"}
# What filter_config.json alerts on.
SUSPICIOUS = [(f"{service}.amazonaws.com", call) for service, call in (
    ("iam", "CreateUser"), ("iam", "CreateAccessKey"), ("iam", "PutRolePolicy"), ("signin", "ConsoleLogin"),
    ("signin", "PasswordRecoveryRequested"), ("sts", "GetFederationToken"))]
RECORDS_PER_KB = 5  # of gzip, about


def record(rng, rare=False):
    """A record as CloudTrail writes them: an assumed role that calls a service."""
    service = rng.choice(list(CALLS))
    service, call = RARE if rare else (service, rng.choice(CALLS[service]))
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
        "eventName": call,
        "awsRegion": rng.choice(["us-east-1", "us-west-2", "eu-central-1"]),
        "sourceIPAddress": f"203.0.113.{rng.randrange(256)}",
        "userAgent": f"aws-sdk-go-v2/1.{rng.randrange(30)}.0 os/linux lang/go#1.22 md/GOARCH#arm64",
        "requestParameters": {"instancesSet": {"items": instances}, "maxResults": rng.randrange(1000)},
        "responseElements": None,
        "requestID": identifier(rng),
        "eventID": identifier(rng),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
        "tlsDetails": {"tlsVersion": "TLSv1.3", "clientProvidedHostHeader": f"{service}.us-east-1.amazonaws.com"},
    }


def identifier(rng):
    """A UUID, as requests and events have them."""
    return str(uuid.UUID(int=rng.getrandbits(128)))


def pieces(records):
    """A log's JSON as CloudTrail lays it out, without its end, record by record."""
    separator = b'{"Records":['
    for each in records:
        yield separator + json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
        separator = b","


def plain(records):
    """A log, not gzipped."""
    return b"".join(pieces(records)) + END


def made_up(megabytes):
    """A log of that many MB of JSON, gzipped as CloudTrail does; one record of a hundred is the rare call."""
    path = FOLDER / f"made-up-{megabytes}MB.json.gz"
    if not path.exists() or path.stat().st_mtime < Path(__file__).stat().st_mtime:
        rng = random.Random(megabytes)
        store(path, (record(rng, rare=number % 100 == 99) for number in count()), megabytes * 1_000_000)
    return path


def archive(logs, kilobytes, distinct=False):
    """A folder of so many logs in CloudTrail's layout, each of about that many KB when gzipped.

    A few contents are enough where nothing compares them. Distinct ones have calls that filter_config.json alerts on.
    """
    root = FOLDER / f"archive-{logs}-{kilobytes}KB{'-distinct' if distinct else ''}"
    if not root.exists():
        print(f"Generating {root.relative_to(ROOT)}", flush=True)
        rng, unfinished = random.Random(logs), root.with_suffix(".part")
        folder = unfinished / "AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20"
        folder.mkdir(parents=True, exist_ok=True)

        def content():
            records = [record(rng, rare=n % 100 == 99) for n in range(kilobytes * RECORDS_PER_KB)]
            for each in records[99::100] if distinct else []:
                each["eventSource"], each["eventName"] = rng.choice(SUSPICIOUS)
            return gzip.compress(plain(records), 6)

        contents = [content() for _ in range(logs if distinct else 8)]
        for number in range(logs):
            hour, minute = divmod(number * 1440 // logs, 60)
            name = f"123456789012_CloudTrail_us-east-1_20261120T{hour:02}{minute:02}Z_{number:016}.json.gz"
            (folder / name).write_bytes(contents[number % len(contents)])
        unfinished.rename(root)
    return root


def joined(folder):
    """The logs of a folder as one file of their gzip members."""
    path = FOLDER / f"{folder.name}.json.gz"
    path.write_bytes(b"".join(each.read_bytes() for each in sorted(folder.rglob("*.gz"))))
    return path


def empty():
    """A log without records."""
    path = FOLDER / "empty.json"
    path.write_text('{"Records":[]}')
    return path


def real(folder, repeated=1):
    """The records of real logs over and over, until they fill a log.

    Logs come in another order each time: nothing repeats within what gzip sees at once. Events and requests get new
    ids, each for so many repeats. The records of a log stay together, as CloudTrail delivers them.
    """
    paths = (path for path in sorted(Path(folder).rglob("*")) if path.name.endswith((".json", ".json.gz")))
    logs = []
    for path in paths:
        content = path.read_bytes()
        logs.append(json.loads(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)["Records"])
    assert any(logs), f"no records in {folder}"
    rng = random.Random(0)

    def endless():
        while True:
            for log in logs:
                for each in log:
                    each.update({key: identifier(rng) for key in ("eventID", "requestID") if key in each})
            for _ in range(repeated):
                rng.shuffle(logs)
                yield from (each for log in logs for each in log)

    path = FOLDER / f"real-{repeated}.json.gz"
    store(path, endless(), REAL_SIZE)
    return path


def store(path, records, size):
    """Write a gzipped log of that many bytes of JSON, out of endless records."""
    print(f"Generating {path.relative_to(ROOT)}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as log:
        written, records = 0, pieces(records)
        while written < size:
            written += log.write(next(records))
        log.write(END)
    unfinished.rename(path)


def json_size(log):
    """How many bytes a gzipped file of one member, under 4 GiB, inflates to: its last four bytes say so."""
    with log.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(), "little")
