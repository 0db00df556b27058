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
# The most messages of both packs on each data set. The first two are ordinary use: two calls by a root user, and three
# by users. The others are attacks, whose floods were 231, 215 and 11 messages when no rule remembered.
MOST = {"c7n": 2, "umccr-examples": 3, "invictus": 158, "traildiscover": 47, "otrf": 11}
# The most messages about one simulated attack. One made 32 when no rule remembered.
MOST_OF_AN_ATTACK = 4


def alerts_of(folder, tmp_path):
    """The alerts of both packs on these logs."""
    configuration = tmp_path / "packs.json"
    configuration.write_text('{"packs": ["cis", "threats"]}')
    scan = [binary(), "scan", "--config", configuration, "--format", "json", folder]
    run = subprocess.run(scan, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


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


def test_a_simulated_attack_makes_few_messages(tmp_path):
    messages = Counter(alert["log"] for alert in alerts_of(logs("stratus"), tmp_path))
    assert messages and max(messages.values()) <= MOST_OF_AN_ATTACK, messages.most_common(3)


@pytest.mark.parametrize("name", MOST)
def test_no_log_makes_more_messages_than_it_did(name, tmp_path):
    alerts = alerts_of(logs(name), tmp_path)
    assert len(alerts) <= MOST[name], Counter(rule for alert in alerts for rule in alert["rules"])


def test_each_rule_that_remembers_is_in_the_manual_and_none_is_critical():
    rules = Configuration('{"packs": ["cis", "threats"]}').rules
    remembering = {name for name, rule in rules.items() if any(stage in rule for stage in STAGES)}
    manual = (ROOT / "docs" / "packs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|(?! [0-9–])", manual, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == remembering
    assert [name for name in remembering if rules[name].get("severity") == "critical"] == []
