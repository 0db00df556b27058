"""The JSON Schema accepts and refuses what `check` does, as far as a schema can say it."""

import copy
import json
import os
import random
import re
import subprocess
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest
from jsonschema import Draft202012Validator
from local_aws import ROOT, binary
from random_rules import TOPICS, random_configuration, random_logs, random_stages
from rules_oracle import PACKS, Configuration, compact, parse, plain_json

SCHEMA = json.loads((ROOT / "src" / "rules" / "schema.json").read_text())
SCHEMA_ACCEPTS = Draft202012Validator(SCHEMA).is_valid

# A configuration with everything but packs, which take time, and one with a pack.
WHOLE = {
    "$schema": "filter_config.schema.json",
    "source": "iam|sts",
    "regexp": "User",
    "sns": {"topicARN": TOPICS[0], "region": "us-east-1"},
    "format": "text",
    "packs": [],
    "rules": [
        {"name": "whole", "description": "", "severity": "info", "source": "^ec2", "regexp": "^Run",
         "where": {"a": "b", r"a\.b.c": {"all": ["x", "y"]}, "d": {"cidr": ["10.0.0.0/8", "2001:db8::/32", "::1"]},
                   "e": {"atLeast": 1, "atMost": 2.5}, "f": {"atMost": -1e3}, "g": {"sameAs": "a.b"},
                   "h": {"element": {"i": "j", "k": {"element": {"l": {"sameAs": "m"}}}}}},
         "unless": {"errorCode": "."},
         "any": [{"source": "a"}, {"regexp": "b", "where": {}}, {"where": {"c": "d"}},
                 {"unless": {"e": {"atLeast": 0}}}],
         "ignore": [{"where": {"c": "d"}, "reason": "because", "until": "2027-02-28"}, {"source": "x"}],
         "enabled": True, "dryRun": False, "metrics": False, "runbook": "Ask.", "references": ["https://example.com"],
         "tags": ["attack.t1078", "own"], "author": "somebody", "topicARN": TOPICS[1], "format": "chatbot",
         "tests": [{"name": "none", "record": {"a": None}, "alerts": False}, {"records": [{}, {}], "alerts": 0}]},
        {"name": "one of many", "any": [{"regexp": "x"}],
         "threshold": {"count": 5, "by": ["a", r"b\.c.d"], "within": "10m", "distinct": "e"},
         "firstSeen": {"by": ["a"], "within": "30d"}, "suppress": {"by": ["a"], "for": "7776000s"}},
    ],
    "ignore": [{"unless": {"readOnly": "true"}, "until": "2027-12-31"}],
    "accounts": {"123456789012": "production"},
    "maxAlertsPerLog": 100,
}
PACKED = {"packs": ["cis"], "rules": [{"name": "cis-4.1-unauthorized-api-calls", "severity": "high", "unless": {},
                                       "suppress": {"by": ["a"], "for": "1h"}}]}
VALUES = [None, True, 0, 1, -1, 1.5, 1e2, "", " ", "x", [], ["x"], {}, {"x": "y"}, [{}], {"x": 1}]

# Texts for certain keys, and for the members of certain lists.
TEXTS = {
    "topicARN": ["arn:aws:sns:us-east-1:123456789012:a.fifo", "arn:aws-us-gov:sns:us-gov-west-1:123456789012:A_b-1",
                 "arn:aws:sqs:us-east-1:123456789012:a", "arn:aws:sns:us-east-1:12345:a", f"{TOPICS[0]}:5a1e"],
    "until": ["2027-01-31", "2027-02-30", "2027-04-31", "2027-13-01", "2027-1-1", "2027-03-01T00:00:00Z", "1969-12-31",
              "2028-02-29", "20270301", "soon"],
    "severity": ["low", "hihg", "High"],
    "format": ["json", "JSON", "html"],
    "name": ["a" * 100, "ü" * 100, "a" * 101, "a\nb", "\u0085", "\u007f", " "],
    "cidr": ["0.0.0.0/0", "::/0", "::1", "10.0.0.0/33", "10.0.0.256", "010.0.0.0/8", "10.0.0/8", "2001:db8::/129",
             "fe80::1%eth0", " 10.0.0.0/8", "10.0.0.0/", "10.0.0.0/08"],
    "sameAs": ["a", r"a\.b", "a..b", ".a", "a.", r"a\.", "\\"],
    "packs": ["cis", "pci"],
    "count": [2, 1e3, 1001, 2.5, "2"],
    "within": (spans := ["1s", "007m", "2160h", "90d", "0s", "91d", "2161h", "129601m", "7776001s", "1w", "10 m",
                         "1.5h", "10", "h", "+1h", "1H", "1h30m"]),
    "for": spans,
    "by": (paths := ["a", r"a\.b", "a..b", ".a", "a.", r"a\.", "\\", " "]),
    "distinct": paths,
}
PATHS = ["a.b", r"a\.", "", ".a", "a.", "a..b"]
NAMES = {"where": PATHS, "unless": PATHS, "element": PATHS,
         "accounts": ["000000000000", "12345678901", "1234567890123", "12345678901x"]}

# Mistakes that only `check` finds: what it says, and a change of WHOLE, of its text, or of PACKED that is one.
UNSAYABLE = {
    "is not a valid regular expression": lambda c: c["rules"][0]["where"][r"a\.b.c"].update(all=["a", "(?!a)"]),
    "two rules have the name": lambda c: c["rules"].append(c["rules"][1]),
    "two rules have the name `default`": lambda c: c["rules"][1].update(name="default"),
    "but the topic is in": lambda c: c["sns"].update(region="us-west-2"),
    "a topic has one": lambda c: c["rules"][0].update(topicARN=TOPICS[0]),
    "bits are set behind the prefix": lambda c: c["rules"][0]["where"]["d"].update(cidr=["10.0.0.1/8"]),
    "`:::` is not a network": lambda c: c["rules"][0]["where"]["d"].update(cidr=[":::"]),
    "is over `atMost`": lambda c: c["rules"][0]["where"]["e"].update(atLeast=3),
    "`2027-02-29` is not a day": lambda c: c["ignore"][0].update(until="2027-02-29"),
    "`element` may stand in `element` up to 8 times": lambda c: c["rules"][0]["where"].update(h=nested(9)),
}
UNSAYABLE_TEXTS = {
    "is there twice": ('"dryRun":false', '"dryRun":false,"dryRun":false'),
    "is too large": ('"atMost":-1000.0', '"atMost":1e999'),
}
UNSAYABLE_OF_PACKS = {
    "it only overrides": lambda c: c.update(packs=["threats"]),
    "has no condition": lambda c: c["rules"][0].update(where={}),
}


def nested(depth):
    return {"element": {"a": nested(depth - 1)}} if depth else "x"


def check(text, folder):
    """The mistakes that `check` finds, and the rules and names of the tests that fail."""
    file, junit = folder / "configuration", folder / "junit.xml"
    folder.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    run = subprocess.run([binary(), "check", "--junit", junit, file], capture_output=True, text=True)
    valid, *tests = xml.etree.ElementTree.parse(junit).iter("testcase")
    mistakes = [failure.get("message") for failure in valid.iter("failure")]
    failed = [(test.get("classname"), test.get("name")) for test in tests if test.find("failure") is not None]
    assert run.returncode == (2 if failed or mistakes else 0), run.stderr
    return [mistake for text in mistakes for mistake in text.split("\\n")], failed


def schema_accepts(text):
    return SCHEMA_ACCEPTS(json.loads(plain_json(text)))


def places(value, path=()):
    """The path to each value of a configuration; not into records, which may be anything."""
    yield path
    if path[-1:] not in [("record",), ("records",)]:
        items = value.items() if type(value) is dict else enumerate(value) if type(value) is list else []
        for key, inner in items:
            yield from places(inner, (*path, key))


def changed(base, path, change):
    """A configuration, changed at the end of a path: `change` gets the container and the key there."""
    configuration = container = copy.deepcopy(base)
    for key in path[:-1]:
        container = container[key]
    change(container, path[-1])
    return configuration


def changes(rng, base):
    """(what, configuration) with one change each."""
    def put(value):
        return lambda container, key: container.__setitem__(key, value)

    def rename(name):
        return lambda container, key: container.__setitem__(name, container.pop(key))

    for path in places(base):
        if not path:
            continue
        key, names = path[-1], [name for name in path if type(name) is str]
        texts = TEXTS.get(names[-1], []) if key in (names[-1], 0) else []
        some = [*rng.sample(VALUES, 2), *texts]
        found = [(f"is {value!r}", put(value)) for value in some]
        found.append(("is gone", lambda container, key: container.pop(key)))
        if type(key) is str:
            named = [f"{key}x", *NAMES.get(path[-2] if len(path) > 1 else "", [])]
            found += [(f"is named {name!r}", rename(name)) for name in named]
        else:
            found.append(("is there twice", lambda container, key: container.append(container[key])))
        for what, change in found:
            yield f"{path} {what}", changed(base, path, change)


def test_it_is_a_valid_schema_and_its_examples_are_valid():
    Draft202012Validator.check_schema(SCHEMA)
    examples = 0
    schemas = [SCHEMA]
    while schemas:
        schema = schemas.pop()
        if type(schema) is dict and type(schema.get("examples")) is list:
            for example in schema["examples"]:
                Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]}).validate(example)
                examples += 1
        if type(schema) in (dict, list):
            schemas += schema.values() if type(schema) is dict else schema
    assert examples > 10


def test_the_program_prints_it():
    printed = subprocess.run([binary(), "schema"], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == SCHEMA


@pytest.mark.parametrize("base", [WHOLE, PACKED], ids=["whole", "packed"])
def test_it_says_the_same_of_every_change_of_a_configuration(base, tmp_path):
    texts = {what: compact(changed) for what, changed in [("", base), *changes(random.Random(0), base)]}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = (tmp_path / str(n) for n in range(len(texts)))
        mistakes = dict(zip(texts, (found for found, _ in pool.map(check, texts.values(), folders)), strict=True))
    said = {what: schema_accepts(text) for what, text in texts.items()}
    allowed = [*UNSAYABLE, *UNSAYABLE_TEXTS, *(UNSAYABLE_OF_PACKS if base is PACKED else [])]
    wrong = {}
    for what, found in mistakes.items():
        unsayable = found and all(any(known in mistake for known in allowed) for mistake in found)
        if said[what] and found and not unsayable or not said[what] and not found:
            wrong[what] = found
    assert wrong == {}
    assert not mistakes[""] and len(said) / 10 < sum(said.values()) < len(said) * 9 / 10


@pytest.mark.parametrize("message", [*UNSAYABLE, *UNSAYABLE_TEXTS, *UNSAYABLE_OF_PACKS])
def test_it_cannot_say_this(message, tmp_path):
    if message in UNSAYABLE_TEXTS:
        text = compact(WHOLE).replace(*UNSAYABLE_TEXTS[message])
        assert text != compact(WHOLE)
    else:
        configuration = copy.deepcopy(WHOLE if message in UNSAYABLE else PACKED)
        (UNSAYABLE | UNSAYABLE_OF_PACKS)[message](configuration)
        text = compact(configuration)
    [mistake], _ = check(text, tmp_path)
    assert message in mistake
    assert schema_accepts(text)


CONFIGURATIONS = [ROOT / "filter_config.json", *sorted(PACKS.rglob("*.json"))]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_it_accepts_what_is_shipped(path, tmp_path):
    text = path.read_text(encoding="utf-8")
    assert check(text, tmp_path) == ([], [])
    assert schema_accepts(text)


def test_it_accepts_the_configurations_of_the_manual(tmp_path):
    manual = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```jsonc?\n(.*?)```", manual, re.DOTALL)
    found = [text for text in blocks if parse(plain_json(text)).keys() <= SCHEMA["properties"].keys()]
    assert len(found) > 5
    for text in found:
        assert (check(text, tmp_path), schema_accepts(text)) == (([], []), True), text


@pytest.mark.parametrize("seed", range(6))
def test_what_random_rules_hold_back_is_what_python_holds_back(seed, tmp_path):
    rng = random.Random(seed)
    # A configuration has no room for many whole records.
    keys = ("eventID", "eventTime", "eventName", "awsRegion", "readOnly", "userIdentity", "requestParameters")
    records = [{key: record[key] for key in keys if key in record and len(compact(record[key])) < 200}
               for each in random_logs(rng, tmp_path, repeats=False).values() for record in each]
    rules, matches, sent = [], 0, 0
    for n in range(50):
        rule = {"name": f"rule {n}", "regexp": rng.choice([".", "User", "^(Create|Delete)"])}
        bare, rule = rule, rule | random_stages(rng)
        rules.append(rule | {"tests": []})
        for _ in range(2):
            log = [rng.choice(records) for _ in range(rng.choice([3, 10, 40]))]
            if rng.random() < 0.3:
                log.sort(key=lambda record: compact(record.get("eventTime")))
            alone = [Configuration(compact({"rules": [each]})) for each in (bare, rule)]
            before, alerts = (sum(map(len, each.alerts(log))) for each in alone)
            rules[-1]["tests"].append({"records": log, "alerts": alerts})
            matches, sent = matches + before, sent + alerts
    text = compact({"rules": rules})
    assert schema_accepts(text)
    assert check(text, tmp_path / "check") == ([], [])
    assert 0.1 < sent / matches < 0.8, (sent, matches)


@pytest.mark.parametrize("seed", range(10))
def test_random_configurations_are_valid_and_their_tests_count_as_in_python(seed, tmp_path):
    rng = random.Random(seed)
    records = [record for each in random_logs(rng, tmp_path, repeats=False).values() for record in each]
    document = random_configuration(rng, records) | {"maxAlertsPerLog": 1, "$schema": "x"}
    configuration = Configuration(compact(document))
    wrong = []
    for rule in document["rules"]:
        rule["tests"] = []
        for n in range(4):
            log = rng.sample(records, rng.choice([1, 1, 5, 20]))
            alerts = sum(rule["name"] in names for names in configuration.alerts(log, rule["name"]))
            expected = rng.choice([alerts, alerts > 0])
            if rng.random() < 0.3:
                expected = alerts + 1 if type(expected) is int else not expected
                wrong.append((rule["name"], f"test {n}"))
            log = {"record": log[0]} if len(log) == 1 else {"records": log}
            rule["tests"].append({"name": f"test {n}", "alerts": expected, **log})
    text = compact(document)
    assert schema_accepts(text)
    assert check(text, tmp_path / "check") == ([], wrong)
    assert sorted(wrong) == sorted((name, test["name"]) for name, _, test, _ in Configuration(text).failures())
