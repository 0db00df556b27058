"""`check` knows the calls that botocore has, and warns of none that real CloudTrail logs ($REAL_LOGS) hold."""

import gzip
import json
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import calls
import pytest
from local_aws import binary

# Objects of a record whose keys are all known.
OBJECTS = ("userIdentity", "tlsDetails", "resources", "addendum")


def test_the_file_is_what_the_tool_makes_of_botocore():
    assert gzip.decompress(calls.FILE.read_bytes()).decode() == calls.calls(), "run `make calls`"


def records():
    folder = os.environ.get("REAL_LOGS")
    if not folder:
        pytest.skip("REAL_LOGS names no folder of CloudTrail logs")
    for path in Path(folder).rglob("*.json.gz"):
        yield from json.loads(gzip.decompress(path.read_bytes()))["Records"]


def paths(value, path):
    """The paths to all values within a value, with a dot in a key written as paths write it."""
    if isinstance(value, list):
        return {inner for each in value for inner in paths(each, path)}
    if isinstance(value, dict):
        found = [paths(inner, f"{path}." + key.replace(".", "\\.")) for key, inner in value.items() if key]
        return {path}.union(*found)
    return {path}


def test_nothing_in_real_logs_is_said_to_be_unknown(tmp_path):
    known, of_calls = set(), defaultdict(set)
    for record in records():
        known |= {inner for key in OBJECTS if key in record for inner in paths(record[key], key)}
        call = tuple(f"^{re.escape(record[key])}$" for key in ("eventSource", "eventName"))
        of_calls[call] |= paths(record.get("requestParameters"), "requestParameters")
    rules = [{"name": "keys", "where": dict.fromkeys(sorted(known), ".")}]
    for i, ((source, name), tests) in enumerate(of_calls.items()):
        where = dict.fromkeys(sorted(tests), ".")
        rules.append({"name": f"{i} {name}"[:100], "source": source, "regexp": name, "where": where})
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"sns": {"topicARN": "arn:aws:sns:us-east-1:123456789012:a"}, "rules": rules}))
    check = subprocess.run([binary(), "check", file], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    # CloudFront wrote names without a version in former years.
    warnings = [line for line in check.stderr.splitlines() if "writes a version behind it" not in line]
    assert warnings == []
