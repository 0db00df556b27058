"""`scan` with random rules, on random and real logs ($REAL_LOGS), finds what the documentation promises.

The rules' meaning is implemented here a second time, with json and re. `-k` with the id of a test repeats one seed.
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

SEVERITIES = ["info", "low", "medium", "high", "critical"]
TOPICS = [f"arn:aws:sns:{place}" for place in ("us-east-1:123456789012:a", "eu-west-1:123456789012:b")]


# The meaning of rules, as documented.

class Number(str):
    """A number, written as in the log."""


def parse(text):
    """Parse JSON. The last of repeated keys counts, and half of a surrogate pair becomes U+FFFD."""
    document = json.loads(text, parse_int=Number, parse_float=Number)

    def whole(value):
        if type(value) is dict:
            return {whole(key): whole(inner) for key, inner in value.items()}
        if type(value) is list:
            return [whole(inner) for inner in value]
        return re.sub("[\ud800-\udfff]", "\ufffd", value) if type(value) is str else value

    return whole(document)


def compact(value):
    if type(value) is dict:
        return "{" + ",".join(f"{compact(key)}:{compact(inner)}" for key, inner in value.items()) + "}"
    if type(value) is list:
        return "[" + ",".join(map(compact, value)) + "]"
    return value if type(value) is Number else json.dumps(value, ensure_ascii=False)


def texts(value, keys):
    """The texts at a path: those of all elements of an array, and none for null or a missing key."""
    if type(value) is list:
        return [text for element in value for text in texts(element, keys)]
    if keys:
        return texts(value[keys[0]], keys[1:]) if type(value) is dict and keys[0] in value else []
    if value is None:
        return []
    return [value if type(value) is str else compact(value)]


def found(pattern, candidates):
    # In Python `$` also matches before a line break at the end.
    pattern = re.sub(r"\\.|\$", lambda part: r"\Z" if part[0] == "$" else part[0], pattern)
    return any(re.search(pattern, candidate) for candidate in candidates)


def holds(condition, record):
    def at(path):
        return texts(record, [key.replace(r"\.", ".") for key in re.split(r"(?<!\\)\.", path)])

    for key, field in (("source", "eventSource"), ("regexp", "eventName")):
        text = record.get(field)
        if key in condition and not (type(text) is str and found(condition[key], [text])):
            return False
    return (all(found(pattern, at(path)) for path, pattern in condition.get("where", {}).items())
            and not any(found(pattern, at(path)) for path, pattern in condition.get("unless", {}).items()))


def rules_of(configuration):
    """The rules by name, in their order."""
    rules = {}
    if "source" in configuration:
        rules["default"] = {key: configuration[key] for key in ("source", "regexp")}
    for name in configuration.get("packs", []):
        printed = subprocess.run([binary(), "packs", name], capture_output=True, text=True, check=True)
        rules |= {rule["name"]: rule for rule in json.loads(printed.stdout)["rules"]}
    for rule in configuration.get("rules", []):
        rules[rule["name"]] = {**rules.get(rule["name"], {}), **rule}
    return rules


def severity(rule):
    return rule.get("severity", "medium")


def matches(configuration, logs):
    """(log, record, topic → names of rules) of each match that is not ignored. An event counts once."""
    rules = rules_of(configuration)
    default_topic = configuration.get("sns", {}).get("topicARN")
    seen = set()
    for log, records in logs.items():
        for record in records:
            names = [name for name, rule in rules.items() if holds(rule, record)]
            if not names or any(holds(entry, record) for entry in configuration.get("ignore", [])):
                continue
            event_id = record.get("eventID")
            if type(event_id) is str and event_id:
                if event_id in seen:
                    continue
                seen.add(event_id)
            topics = defaultdict(list)
            for name in names:
                topics[rules[name].get("topicARN", default_topic)].append(name)
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


# Logs and rules.

WORDS = ["", "alice", "Root", "a.b", "*", "(x", "ü🦊", 'quote "', "line\nbreak\n", "\\d", "\ud83d", "1.50", "true"]
NUMBERS = ["0", "-0", "1.50", "1e5", "12345678901234567890", "1.688560107857E9"]
KEYS = ["userName", "items", "a.b", "ünder", "n", "type"]


def random_value(rng, depth):
    if depth and rng.random() < 0.5:
        if rng.random() < 0.4:
            return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        return {key: random_value(rng, depth - 1) for key in rng.sample(KEYS, rng.randrange(4))}
    return rng.choice([rng.choice(WORDS), rng.choice(WORDS), Number(rng.choice(NUMBERS)), True, False, None])


def random_record(rng, number, repeats):
    fields = {
        "eventSource": rng.choice(["iam", "sts", "s3", "signin"]) + ".amazonaws.com",
        "eventName": rng.choice(["Create", "Delete", "List"]) + rng.choice(["User", "Users", "AccessKey", "Bucket"]),
        "awsRegion": rng.choice(["us-east-1", "eu-west-1"]),
        "readOnly": rng.choice([True, False]),
        "eventID": f"id-{rng.randrange(number + 1) if repeats else number}",
        "requestID": f"{number:032x}",
        "userIdentity": {"type": rng.choice(["IAMUser", "Root", "AWSService"]), "sessionContext": random_value(rng, 2)},
        "requestParameters": random_value(rng, 4),
        "resources": [random_value(rng, 2) for _ in range(rng.randrange(3))],
        "a.b": random_value(rng, 1),
    }
    for key in rng.sample(sorted(fields), rng.choice([0, 0, 1, 2])):
        if key != "requestID" and (repeats or key != "eventID"):
            fields[key] = random_value(rng, 1)
    if rng.random() < 0.2:
        fields["errorCode"] = "AccessDenied"
    return rng.sample(list(fields.items()), len(fields))


def written(rng, value):
    """JSON in one of the many ways in which a value can be written."""
    space = rng.choice(["", "", " ", "\n\t"])
    if type(value) is dict:
        value = list(value.items())
    elif type(value) is list:
        return f"[{space}{','.join(written(rng, inner) for inner in value)}]"
    elif type(value) is Number:
        return value
    else:
        return json.dumps(value, ensure_ascii=rng.random() < 0.5 or value == "\ud83d")
    pairs = [f"{json.dumps(key)}{space}:{space}{written(rng, inner)}" for key, inner in value]
    return "{" + f"{space},{space}".join(pairs) + "}"


def random_logs(rng, folder, repeats=True):
    for n in range(3):
        records = [random_record(rng, 1000 * n * (not repeats) + number, repeats) for number in range(60)]
        for record in records:
            if rng.random() < 0.1:
                record.insert(0, (rng.choice(record)[0], random_value(rng, 2)))
        records = ",".join("{" + ",".join(f"{json.dumps(k)}:{written(rng, v)}" for k, v in r) + "}" for r in records)
        (folder / f"{n}.json").write_text(f'{{"Records":[{records}]}}', encoding="utf-8")
    return read_logs(folder)


def read_logs(folder):
    """Path → records of each log in a folder."""
    logs = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.name.endswith((".json", ".json.gz")):
            data = path.read_bytes()
            logs[str(path)] = parse(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)["Records"]
    return logs


def random_pattern(rng, text):
    """A pattern made from the text, of syntax that means the same to both regex engines."""
    start = rng.randrange(len(text) + 1)
    end = rng.choice([len(text), min(len(text), start + rng.randrange(1, 6))])
    literal = re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text[start:end])
    literal = rng.choice([
        literal,
        re.sub("[0-9]+", "[0-9]+", literal),
        re.sub("[a-z]", ".", literal, count=1),
        re.sub("[A-Za-z]$", "[^x]", literal),
        f"({literal}|Delete|Root)",
    ])
    if "\\" not in literal and rng.random() < 0.2:
        literal = f"(?i:{literal.swapcase()})"
    return rng.choice(["", "^"]) + literal + rng.choice(["", "$"])


def random_tests(rng, records, most):
    """Paths that exist in a record, or nearly do, each with a pattern."""
    tests = {}
    for _ in range(rng.randrange(most + 1)):
        value, keys = rng.choice(records), []
        while type(value) in (dict, list) and value and (not keys or rng.random() < 0.9):
            if type(value) is list:
                value = rng.choice(value)
            else:
                keys.append(rng.choice(sorted(value)))
                value = value[keys[-1]]
        if not all(keys) or any("\\" in key for key in keys):
            continue
        if rng.random() < 0.05:
            keys.append("more")
        text = rng.choice(texts(value, []) or ["nothing"])
        tests[".".join(key.replace(".", r"\.") for key in keys)] = rng.choice([random_pattern(rng, text), "."])
    return tests


def random_condition(rng, records):
    condition = {}
    while not condition:
        record = rng.choice(records)
        for key, field in (("source", "eventSource"), ("regexp", "eventName")):
            if rng.random() < 0.5 and type(record.get(field)) is str:
                condition[key] = random_pattern(rng, record[field])
        for key, most in (("where", 2), ("unless", 1)):
            if tests := random_tests(rng, records, most):
                condition[key] = tests
    return condition


def random_configuration(rng, logs, rules=8):
    records = [record for records in logs.values() for record in records]
    configuration = {"rules": [], "ignore": [random_condition(rng, records) for _ in range(rng.choice([0, 0, 1, 2]))]}
    for n in range(rng.randrange(rules // 2, rules)):
        rule = {"name": f"rule {n}", **random_condition(rng, records)}
        if rng.random() < 0.6:
            rule["severity"] = rng.choice(SEVERITIES)
        if rng.random() < 0.4:
            rule["topicARN"] = rng.choice(TOPICS)
        configuration["rules"].append(rule)
    if rng.random() < 0.5:
        configuration |= {"source": rng.choice(["iam|sts", "^s3", "."]), "regexp": random_pattern(rng, "CreateUser")}
    if rng.random() < 0.5:
        configuration["sns"] = {"topicARN": TOPICS[0]}
    return configuration


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
