"""The Python package of `make wheel`, installed into a fresh virtual environment."""

import json
import subprocess
import venv
import zipfile
from email.parser import Parser

import pytest
from local_aws import ROOT

LOG = ROOT / "fixtures" / "logs" / "iam-signin-sts.json"
NATIVE = ROOT / "target" / "release" / "cloudtrail-alerter"


@pytest.fixture(scope="module")
def wheel():
    [wheel] = (ROOT / "target" / "wheels").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
    """The program, as pip installs it."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", wheel], check=True)
    return folder / "bin" / "cloudtrail-alerter"


def run(*command, stdin=None):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=stdin)
    return done.returncode, done.stdout, done.stderr


def test_it_has_the_version_of_the_program_and_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(metadata).decode())
    assert run(NATIVE, "--version")[1] == f"cloudtrail-alerter {metadata['Version']}\n"
    assert metadata["Name"] == "cloudtrail-alerter" and metadata["License-Expression"] == "Apache-2.0"
    assert "CloudTrail" in metadata["Summary"] and "lookup-events" in metadata.get_payload()
    assert any(name.endswith("/LICENSE") for name in names)
    # Links of the README to its own folder would lead nowhere.
    assert "](docs/" not in metadata.get_payload()
    assert [name for name in names if name.endswith(".py")] == []


def test_the_installed_program_checks_and_scans_as_the_built_one_does(program):
    history = json.dumps({"Events": [{"CloudTrailEvent": json.dumps(record)}
                                     for record in json.loads(LOG.read_text())["Records"]]})
    for arguments, stdin in [
        (["--version"], None),
        (["check", "filter_config.json"], None),
        (["scan", "--format", "json", LOG], None),
        (["scan", "-"], history),
        (["check", "missing.json"], None),
    ]:
        installed = run(program, *arguments, stdin=stdin)
        assert installed == run(NATIVE, *arguments, stdin=stdin)
        assert installed[0] == (2 if "missing.json" in arguments else 0), installed
        assert installed[1] or installed[0], arguments
