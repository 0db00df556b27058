"""The packs on real logs ($REAL_LOGS, laid out as below): simulated attacks alert, none in a flood, and ordinary use is
quiet."""

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from local_aws import ROOT, binary
from rules_oracle import STAGES, Configuration

# One rule alerts on any refused call, which ordinary use makes too.
ORDINARY = {"cis-4.1-unauthorized-api-calls"}
# The tables of the manual, by the first words of their rows: the folders of each.
FOLDERS = {"35 techniques": ["stratus"], "an attack of an hour": ["invictus"], "calls of attackers": ["traildiscover"],
           "stolen credentials": ["otrf"], "ordinary calls": ["c7n", "umccr-examples"]}
MANUAL = (ROOT / "docs" / "packs.md").read_text(encoding="utf-8")


def scanned(folder, tmp_path, configuration=None):
    """The number of records in these logs, and their alerts: of both packs, or of a configuration."""
    file = tmp_path / "packs.json"
    file.write_text(json.dumps(configuration or {"packs": ["cis", "threats"]}))
    scan = [binary(), "scan", "--config", file, "--format", "json", folder]
    run = subprocess.run(scan, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    records = re.search(r"^\d+ logs?, ([\d,]+) records?, ", run.stderr, re.MULTILINE)
    return int(records[1].replace(",", "")), [json.loads(line) for line in run.stdout.splitlines()]


def alerts_of(folder, tmp_path):
    return scanned(folder, tmp_path)[1]


def without_memory():
    """The rules of both packs as they were when none remembered. Those with a threshold are new since then."""
    packs = [subprocess.run([binary(), "packs", name], capture_output=True, text=True) for name in ("cis", "threats")]
    rules = [rule for pack in packs for rule in json.loads(pack.stdout)["rules"] if "threshold" not in rule]
    return {"rules": [{key: value for key, value in rule.items() if key not in STAGES} for rule in rules]}


def numbers(row):
    """The numbers in the manual's table, of the row that begins with this."""
    cells = re.search(rf"^\| {re.escape(row)}.*?((?: \| [\d,–]+)+) \|$", MANUAL, re.MULTILINE)[1]
    return [int(cell.replace(",", "").replace("–", "0")) for cell in cells.split(" | ")[1:]]


def logs(name):
    folder = Path(os.environ.get("REAL_LOGS", "-")) / name
    if not folder.is_dir():
        pytest.skip(f"REAL_LOGS has no folder {name}")
    return folder


def test_of_the_simulated_attacks_nine_in_ten_alert_by_a_rule_that_ordinary_use_does_not_alert(tmp_path):
    folder = logs("stratus")
    alerts = alerts_of(folder, tmp_path)
    told = {alert["log"] for alert in alerts if set(alert["rules"]) - ORDINARY}
    attacks = sorted(str(attack) for attack in folder.glob("*.json.gz"))
    silent = [attack for attack in attacks if attack not in told]
    assert len(attacks) >= 35 and len(attacks) - len(silent) >= 32, silent


def test_the_numbers_of_messages_are_those_of_the_manual(tmp_path):
    by_rule = [Counter(), Counter()]
    for row, folders in FOLDERS.items():
        found = [0, 0, 0]
        for folder in folders:
            before, after = (scanned(logs(folder), tmp_path, rules) for rules in (without_memory(), None))
            assert before[0] == after[0]
            found = [sum(pair) for pair in zip(found, [after[0], len(before[1]), len(after[1])], strict=True)]
            for counter, (_, alerts) in zip(by_rule, (before, after), strict=True):
                counter.update(rule for alert in alerts for rule in alert["rules"])
            if row.startswith("35 "):
                assert_as_the_manual_says_of_techniques(before[1], after[1])
        assert found == numbers(row), row
    before, after = by_rule
    same = {rule for rule in before if before[rule] == after[rule]}
    for rule in (before.keys() | after.keys()) - same:
        assert [before[rule], after[rule]] == numbers(f"`{rule}`"), rule
    others = sum(before[rule] for rule in same)
    assert [others, others] == numbers(f"the other {len(same)} rules that match")


def assert_as_the_manual_says_of_techniques(before, after):
    words = r"Of the (\d+) techniques, all alert as before, and (\d+) by another rule than that of\s+denied calls. "
    words += r"The loudest one made (\d+) messages, and makes (\d+) now."
    loudest = [Counter(alert["log"] for alert in alerts) for alerts in (before, after)]
    assert loudest[0].keys() == loudest[1].keys()
    by_others = {alert["log"] for alert in after if set(alert["rules"]) - ORDINARY}
    found = [len(loudest[1]), len(by_others), *(max(messages.values()) for messages in loudest)]
    assert found == [int(number) for number in re.search(words, MANUAL).groups()]


def test_each_rule_that_remembers_is_in_the_manual_and_none_is_critical():
    rules = Configuration('{"packs": ["cis", "threats"]}').rules
    remembering = {name for name, rule in rules.items() if any(stage in rule for stage in STAGES)}
    rows = re.findall(r"^\| (`.*?) \|(?! [0-9–])", MANUAL, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == remembering
    assert [name for name in remembering if rules[name].get("severity") == "critical"] == []
