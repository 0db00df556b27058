"""`scan` on real CloudTrail logs ($REAL_LOGS) finds exactly what Python finds with json, re and gzip."""

import gzip
import json
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from local_aws import ROOT, binary

ORIGINAL = json.loads((ROOT / "filter_config.json").read_text())
ORIGINAL.pop("maxAlertsPerLog")  # a summary would take the place of alerts
CONFIGURATIONS = [
    ORIGINAL,
    {"source": ".", "regexp": "."},
    {"source": r"^(ec2|s3|lambda)\.amazonaws\.com$", "regexp": "^(Create|Put|Delete|Update)"},
    {"source": r"^[a-z0-9-]+\.amazonaws\.com$", "regexp": r"\d{8}(v\d)?$"},
    {"source": "secretsmanager|ssm|kms", "regexp": "(?i)secret|parameter|decrypt"},
    {"source": "signin|sts", "regexp": "^(ConsoleLogin|AssumeRole(WithSAML|WithWebIdentity)?)$"},
    {"source": "nothing", "regexp": "."},
]
SECRET = re.compile(r"(sessionToken|secretAccessKey|password)$", re.IGNORECASE)


class Object(tuple):
    """A JSON object as a tuple of pairs: order and repeated keys count."""


def parse(text):
    """JSON with every number as ("number", its text)."""
    number = lambda digits: ("number", digits)  # noqa: E731
    return json.loads(text, object_pairs_hook=Object, parse_int=number, parse_float=number)


def as_tuples(value):
    """A value with tuples in the place of lists, to be compared."""
    if isinstance(value, Object):
        return Object((name, as_tuples(inner)) for name, inner in value)
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def as_shown(original, shown, key=""):
    """The original, with `****` where the alert redacts it. What is surely secret must be redacted."""
    if type(shown) is str and "****" in shown:
        return shown
    assert not (type(original) is str and SECRET.search(key)), key
    if isinstance(original, Object) and isinstance(shown, Object) and len(original) == len(shown):
        pairs = zip(original, shown, strict=True)
        return Object((name, as_shown(inner, there[1], name)) for (name, inner), there in pairs)
    if type(original) is tuple and type(shown) is tuple and len(original) == len(shown):
        return tuple(as_shown(*pair) for pair in zip(original, shown, strict=True))
    return original


@pytest.fixture(scope="module")
def logs():
    folder = os.environ.get("REAL_LOGS")
    if not folder:
        pytest.skip("REAL_LOGS names no folder of CloudTrail logs")
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.name.endswith((".json", ".json.gz"))]
    assert paths, f"no logs in {folder}"
    return {str(path): dict(parse(gzip.decompress(path.read_bytes())))["Records"] for path in paths}


def matches(logs, configuration):
    """The matching records by log, in their order. An eventID counts once in a run."""
    seen, found = set(), defaultdict(list)
    for path, records in logs.items():
        for record in records:
            fields = dict(record)
            source, name, event_id = (fields.get(field) for field in ("eventSource", "eventName", "eventID"))
            if not (type(source) is str and re.search(configuration["source"], source)):
                continue
            if not (type(name) is str and re.search(configuration["regexp"], name)):
                continue
            if type(event_id) is str:
                if event_id in seen:
                    continue
                seen.add(event_id)
            found[path].append(as_tuples(record))
    return found


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each["regexp"])
def test_scan_finds_the_same(logs, configuration, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(configuration))
    check = subprocess.run([binary(), "check", file], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr

    scan = subprocess.run([binary(), "scan", "--config", file, "--format", "json", os.environ["REAL_LOGS"]],
                          capture_output=True, text=True)
    assert scan.returncode == 0, scan.stderr
    alerts = [dict(parse(line)) for line in scan.stdout.splitlines()]
    found = defaultdict(list)
    for alert in alerts:
        found[alert["log"]].append(as_tuples(alert["event"]))
    expected = matches(logs, configuration)
    assert {log: len(records) for log, records in found.items()} == {log: len(e) for log, e in expected.items()}
    for log, records in expected.items():
        for original, shown in zip(records, found[log], strict=True):
            assert as_shown(original, shown) == shown, log

    records = sum(len(each) for each in logs.values())
    assert f"{len(logs)} logs, {records} records, {len(alerts)} matches" in re.sub(r"(?<=\d),(?=\d)", "", scan.stderr)
    assert all((a["rules"], a["severity"], a["topic"]) == (["default"], "medium", None) for a in alerts)
