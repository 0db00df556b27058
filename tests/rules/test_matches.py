"""`scan` with random rules, on random and real logs ($REAL_LOGS), finds what `tools/rules_oracle.py` finds.

`-k` with the id of a test repeats one seed.
"""

import gzip
import os
import random
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from local_aws import FIXTURES, binary
from random_rules import SEVERITIES, TOPICS, random_configuration, random_logs, with_comments
from rules_oracle import Configuration, compact, parse


def severity(rule):
    return rule.get("severity", "medium")


def matches(configuration, logs):
    """(log, record, topic → names of rules) of each record that alerts. An event counts once."""
    default_topic = configuration.document.get("sns", {}).get("topicARN")
    seen = set()
    for log, records in logs.items():
        for record, names in zip(records, configuration.alerts(records, seen=seen), strict=True):
            topics = defaultdict(list)
            for name in names:
                topics[configuration.rules[name].get("topicARN", default_topic)].append(name)
            if names:
                yield log, record, topics


# The output of `scan`.

def identity(record):
    """What distinguishes a record, from the fields that alerts do not change."""
    return compact([record.get(key) for key in ("eventID", "requestID", "eventTime", "eventName", "awsRegion")])


def scan(configuration, folder, tmp_path):
    file = tmp_path / "configuration"
    file.write_text(json.dumps(configuration))
    run = subprocess.run([binary(), "scan", "--config", file, "--format", "json", folder], capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    return [parse(line) for line in run.stdout.decode().split("\n")[:-1]]


def assert_agrees(configuration, logs, folder, tmp_path):
    """Assert that `scan` finds what the rules mean; the number of alerts."""
    alerts = Counter(
        (alert["log"], identity(alert["event"]), alert["topic"], tuple(alert["rules"]), alert["severity"])
        for alert in scan(configuration, folder, tmp_path)
    )
    rules = rules_of(configuration)
    expected = Counter()
    for log, record, topics in matches(configuration, logs):
        for topic, names in topics.items():
            highest = max((severity(rules[name]) for name in names), key=SEVERITIES.index)
            expected[log, identity(record), topic, tuple(names), highest] += 1
    assert expected - alerts == Counter(), "missing"
    assert alerts - expected == Counter(), "extra or twice"
    return alerts.total()


@pytest.fixture(scope="module")
def real_logs():
    folder = os.environ.get("REAL_LOGS")
    if not folder:
        pytest.skip("REAL_LOGS names no folder of CloudTrail logs")
    return read_logs(folder)


@pytest.mark.parametrize("seed", range(40))
def test_random_rules_over_random_logs(seed, tmp_path):
    rng = random.Random(seed)
    (tmp_path / "logs").mkdir()
    logs = random_logs(rng, tmp_path / "logs")
    assert sum(assert_agrees(random_configuration(rng, logs), logs, tmp_path / "logs", tmp_path) for _ in range(5)) > 0


@pytest.mark.parametrize("seed", range(10))
def test_random_rules_over_real_logs(seed, real_logs, tmp_path):
    configuration = random_configuration(random.Random(seed), real_logs, rules=30)
    assert assert_agrees(configuration, real_logs, os.environ["REAL_LOGS"], tmp_path) > 0


@pytest.mark.parametrize("packs", [["cis"], ["threats"], ["threats", "cis"]], ids="-".join)
def test_packs(packs, tmp_path):
    folder = os.environ.get("REAL_LOGS", FIXTURES / "logs")
    logs, plain = read_logs(folder), {"packs": packs}
    assert assert_agrees(plain, logs, folder, tmp_path) > 0
    rng = random.Random(len(logs))
    for name in rng.sample(sorted(rules_of(plain)), 2):
        override = {"name": name, rng.choice(["source", "regexp"]): ".", "severity": "low", "topicARN": TOPICS[0]}
        override |= rng.choice([{}, {"where": {"userIdentity.type": "User"}}, {"unless": {}}])
        more = {"name": "more", "regexp": "^Create"}
        assert_agrees({**plain, "source": "iam", "regexp": ".", "rules": [more, override]}, logs, folder, tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_a_flood_is_summarised_and_nothing_goes_uncounted(seed, tmp_path):
    rng = random.Random(seed)
    (tmp_path / "logs").mkdir()
    logs = random_logs(rng, tmp_path / "logs", repeats=False)
    configuration = random_configuration(rng, logs) | {"maxAlertsPerLog": rng.randrange(1, 6)}
    alerts = scan(configuration, tmp_path / "logs", tmp_path)
    rules, limit = rules_of(configuration), configuration["maxAlertsPerLog"]
    every = matches(configuration, logs)
    matched = Counter((log, name) for log, _, topics in every for names in topics.values() for name in names)
    single = defaultdict(list)
    kinds = defaultdict(set)
    more = Counter()
    for alert in alerts:
        if "summary" in alert:
            [name] = alert["rules"]
            assert (alert["log"], name) not in more, "one summary per rule"
            assert alert["topic"] == rules[name].get("topicARN", configuration.get("sns", {}).get("topicARN"))
            more[alert["log"], name] = int(alert["summary"]["more"])
            for named, others in [("principals", "otherPrincipals"), ("events", "otherEvents")]:
                counts = [int(each["count"]) for each in alert["summary"][named]]
                assert sum(counts) + int(alert["summary"][others]["alerts"]) == more[alert["log"], name]
        else:
            event = alert["event"]
            kind = (repr(event.get("eventSource")), repr(event.get("eventName")), alert["result"])
            first = all(kind not in kinds[alert["log"], name] for name in alert["rules"])
            for name in alert["rules"]:
                single[alert["log"], name].append((alert["rules"], first))
                kinds[alert["log"], name].add(kind)
    assert Counter({key: len(messages) for key, messages in single.items()}) + more == matched
    for (log, name), messages in single.items():
        if severity(rules[name]) == "critical":
            assert len(messages) == matched[log, name]
        else:
            # Beyond its limit a rule is named only beside others that are below theirs, and for a new kind of event.
            assert messages[limit:].count(([name], False)) == 0
        assert len(messages) >= min(limit, matched[log, name])
