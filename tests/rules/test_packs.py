"""The packs on real logs ($REAL_LOGS, laid out as below): simulated attacks alert, and ordinary use is quiet."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from local_aws import binary

# One rule alerts on any refused call, which ordinary use makes too.
ORDINARY = {"cis-4.1-unauthorized-api-calls"}
# Data sets without attacks, and the alerts of both packs on each: two calls by a root user, and three by users.
QUIET = {"c7n": 2, "umccr-examples": 3}


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


@pytest.mark.parametrize("name", QUIET)
def test_ordinary_use_is_as_quiet_as_it_was(name, tmp_path):
    alerts = alerts_of(logs(name), tmp_path)
    assert len(alerts) <= QUIET[name], Counter(rule for alert in alerts for rule in alert["rules"])
