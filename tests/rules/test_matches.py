"""`scan` with random rules, on random and real logs ($REAL_LOGS), finds what `tools/rules_oracle.py` finds.

`-k` with the id of a test repeats one seed.
"""

import gzip
import json
import os
import random
import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from local_aws import FIXTURES, binary
from random_rules import SEVERITIES, TOPICS, random_configuration, random_logs, with_comments
from rules_oracle import Configuration, compact, parse, parts, passes


class Scan:
    """A configuration, in Python and in a file, with what `scan` says of logs."""

    def __init__(self, text, paths, tmp_path):
        self.configuration = Configuration(text)
        file = tmp_path / "configuration"
        file.write_text(text, encoding="utf-8")
        run = subprocess.run([binary(), "scan", "--config", file, "--format", "json", *paths], capture_output=True)
        self.summary = run.stderr.decode()
        assert run.returncode == 0, self.summary
        self.alerts = [parse(line) for line in run.stdout.decode().split("\n")[:-1]]

    def matches(self, logs):
        """(log, record, topic → names of rules) of each record that alerts. An event counts once."""
        default_topic = self.configuration.document.get("sns", {}).get("topicARN")
        seen, memory = set(), {}
        for log, records in logs.items():
            alerts = self.configuration.alerts(records, seen=seen, memory=memory)
            for record, names in zip(records, alerts, strict=True):
                topics = defaultdict(list)
                for name in names:
                    topics[self.configuration.rules[name].get("topicARN", default_topic)].append(name)
                if topics:
                    yield log, record, topics

    def severity(self, name):
        return self.configuration.rules[name].get("severity", "medium")

    def assert_agrees(self, logs):
        """Asserts that the alerts are those that the rules mean; their number."""
        alerts = Counter(
            (alert["log"], identity(alert["event"]), alert["topic"], tuple(alert["rules"]), alert["severity"])
            for alert in self.alerts
        )
        expected = Counter()
        for log, record, topics in self.matches(logs):
            for topic, names in topics.items():
                highest = max(map(self.severity, names), key=SEVERITIES.index)
                expected[log, identity(record), topic, tuple(names), highest] += 1
        assert expected - alerts == Counter(), "missing"
        assert alerts - expected == Counter(), "extra or twice"
        return alerts.total()


def identity(record):
    """What distinguishes a record, from the fields that alerts do not change."""
    return compact([record.get(key) for key in ("eventID", "requestID", "eventTime", "eventName", "awsRegion")])


def place(path):
    """What orders a log among the others: the time in its name and its path from `AWSLogs/` on, if it has a time."""
    time = re.fullmatch(r"[^_]*_[^_]*_[^_]*_([0-9]{8}T[0-9]{4}Z)(_.*)?", path.name)
    return (time[1], re.sub(".*(?=AWSLogs/)", "", str(path))) if time else ("", "")


def read_logs(folder):
    """Path → records of each log in a folder, in the order in which `scan` takes them."""
    logs = {}
    for path in sorted(sorted(Path(folder).rglob("*")), key=place):
        if path.name.endswith((".json", ".json.gz")):
            data = path.read_bytes()
            logs[str(path)] = parse(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)["Records"]
    return logs


def kinds(tests):
    """The kinds of tests, those of elements included."""
    for test in tests:
        yield "pattern" if type(test) is str else "range" if {"atLeast", "atMost"} & test.keys() else next(iter(test))
        if type(test) is not str:
            yield from (f"element {kind}" for kind in kinds(test.get("element", {}).values()))


@pytest.fixture(scope="module")
def real_logs():
    folder = os.environ.get("REAL_LOGS")
    if not folder:
        pytest.skip("REAL_LOGS names no folder of CloudTrail logs")
    return read_logs(folder)


@pytest.mark.parametrize("seed", range(30))
def test_random_rules_over_random_logs(seed, tmp_path):
    rng = random.Random(seed)
    (tmp_path / "logs").mkdir()
    logs = random_logs(rng, tmp_path / "logs")
    records = [record for each in logs.values() for record in each]
    alerts = 0
    for _ in range(4):
        text = with_comments(rng, random_configuration(rng, records))
        alerts += Scan(text, [tmp_path / "logs"], tmp_path).assert_agrees(logs)
    assert alerts > 0


@pytest.mark.parametrize("seed", range(6))
def test_random_rules_over_real_logs(seed, real_logs, tmp_path):
    # Python is slow: some of the logs are enough for one seed.
    rng = random.Random(seed)
    logs = {path: real_logs[path] for path in sorted(rng.sample(sorted(real_logs), len(real_logs) // 3))}
    records = [record for each in logs.values() for record in each]
    texts = [with_comments(rng, random_configuration(rng, records)) for _ in range(2)]
    assert sum(Scan(text, logs, tmp_path).assert_agrees(logs) for text in texts) > 0


def test_the_random_rules_match_often_and_nearly_match_often(tmp_path):
    passed, outcomes, rules = Counter(), Counter(), Counter()
    for seed in range(12):
        rng = random.Random(seed)
        logs = random_logs(rng, tmp_path)
        records = [record for each in logs.values() for record in each]
        configuration = Configuration(with_comments(rng, random_configuration(rng, records)))
        for condition in configuration.conditions():
            for _, path, test, _ in parts(condition):
                for kind in set(kinds([test])):
                    passed.update((kind, passes(record, path, test)) for record in records)
        hits = [hit for record in records for hit in configuration.hits(record)]
        outcomes.update(hit.outcome for hit in hits)
        outcomes["expired"] += sum(hit.expired for hit in hits)
        rules.update(0 < sum(hit.rule == name for hit in hits) < len(records) for name in configuration.rules)
    print(passed, outcomes, rules)
    for kind in ("pattern", "all", "range", "cidr", "sameAs", "element", "element pattern", "element range"):
        assert 0.005 < passed[kind, True] / (passed[kind, True] + passed[kind, False]) < 0.9, kind
    assert rules[True] > rules[False]
    assert all(outcomes[outcome] > 50 for outcome in ("alerts", "dry", "ignored", "expired")), outcomes


@pytest.mark.parametrize("seed", range(12))
def test_every_match_of_a_rule_is_counted_as_what_it_became(seed, tmp_path):
    rng = random.Random(seed)
    (tmp_path / "logs").mkdir()
    records = [record for log in random_logs(rng, tmp_path / "logs", repeats=False).values() for record in log]
    scan = Scan(with_comments(rng, random_configuration(rng, records)), [tmp_path / "logs"], tmp_path)
    outcomes, matched, ignored = defaultdict(Counter), 0, 0
    for record in records:
        hits = scan.configuration.hits(record)
        for hit in hits:
            outcomes[hit.rule].update({"matches": 1, hit.outcome: 1, "expired": hit.expired})
        all_ignored = all(hit.outcome == "ignored" for hit in hits)
        matched, ignored = matched + bool(hits), ignored + bool(hits and all_ignored)
    totals = f"{matched} match{'' if matched == 1 else 'es'}" + (f", {ignored} of them ignored" if ignored else "")
    assert re.search(rf"^3 logs, 180 records, {totals}(, from|\n)", scan.summary, re.MULTILINE)
    # Columns that are zero for all rules may be left out.
    [columns] = re.findall(r"^(matches.*)  messages/day", scan.summary, re.MULTILINE) or ["matches"]
    rows = re.findall(r"^((?: *[0-9]+)+) +[0-9.]+  (rule [0-9]+|default) ", scan.summary, re.MULTILINE)
    counts = {name: dict(zip(columns.split(), map(int, row.split()), strict=True)) for row, name in rows}
    assert counts == {name: {column: of[column] for column in columns.split()} for name, of in outcomes.items()}


@pytest.mark.parametrize("packs", [["cis"], ["threats"], ["threats", "cis"]], ids="-".join)
def test_packs(packs, tmp_path):
    folder = os.environ.get("REAL_LOGS", FIXTURES / "logs")
    logs, plain = read_logs(folder), {"packs": packs}
    assert Scan(json.dumps(plain), [folder], tmp_path).assert_agrees(logs) > 0


def test_overrides_of_packs(tmp_path):
    logs, packs = read_logs(FIXTURES / "logs"), {"packs": ["threats", "cis"]}
    names = sorted(Configuration(json.dumps(packs)).rules)
    for seed in range(6):
        rng = random.Random(seed)
        overrides = []
        for name in rng.sample(names, 5):
            override = {"name": name, rng.choice(["source", "regexp"]): ".", "severity": "low", "topicARN": TOPICS[0]}
            override |= rng.choice([{}, {"where": {"userIdentity.type": "User"}}, {"unless": {}}, {"enabled": False},
                                    {"dryRun": True}, {"any": [{"regexp": "User"}]},
                                    {"ignore": [{"where": {"userIdentity.type": "Root"}}]}])
            overrides.append(override)
        configuration = packs | {"source": "iam", "regexp": ".", "rules": [{"name": "m", "regexp": "^C"}, *overrides]}
        assert Scan(json.dumps(configuration), [FIXTURES / "logs"], tmp_path).assert_agrees(logs) > 0


@pytest.mark.parametrize("seed", range(12))
def test_a_flood_is_summarised_and_nothing_goes_uncounted(seed, tmp_path):
    rng = random.Random(seed)
    (tmp_path / "logs").mkdir()
    logs = random_logs(rng, tmp_path / "logs", repeats=False)
    records = [record for each in logs.values() for record in each]
    limit = rng.randrange(1, 6)
    text = json.dumps(random_configuration(rng, records) | {"maxAlertsPerLog": limit})
    scan = Scan(text, [tmp_path / "logs"], tmp_path)
    default_topic = scan.configuration.document.get("sns", {}).get("topicARN")
    every = scan.matches(logs)
    matched = Counter((log, name) for log, _, topics in every for names in topics.values() for name in names)
    single = defaultdict(list)
    kinds = defaultdict(set)
    more = Counter()
    for alert in scan.alerts:
        if "summary" in alert:
            [name] = alert["rules"]
            assert (alert["log"], name) not in more, "one summary per rule"
            assert alert["topic"] == scan.configuration.rules[name].get("topicARN", default_topic)
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
        if scan.severity(name) == "critical":
            assert len(messages) == matched[log, name]
        else:
            # Beyond its limit a rule is named only beside others that are below theirs, and for a new kind of event.
            assert messages[limit:].count(([name], False)) == 0
        assert len(messages) >= min(limit, matched[log, name])
