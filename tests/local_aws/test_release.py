"""What a release has, a package and its template, is deployed as the manual says, without building anything."""

import os
import re
import shutil
import subprocess
import zipfile

import pytest
from local_aws import BUCKET, ROOT, STACK, LocalAws, binary, event_ids, log_key, record

SAM = ROOT / ".venv" / "sam" / "bin" / "sam"


@pytest.fixture
def release(tmp_path):
    """A folder with the two files that people download."""
    subprocess.run(["make", "--silent", "template", "ARCH=x86_64"], cwd=ROOT, check=True)
    shutil.copy(ROOT / "target" / "lambda" / "cloudtrail-alerter-template-x86_64.yaml", tmp_path)
    with zipfile.ZipFile(tmp_path / "cloudtrail-alerter-lambda-x86_64.zip", "w") as package:
        package.write(binary(), "bootstrap")
    return tmp_path


@pytest.mark.skipif(not SAM.exists(), reason="needs the SAM CLI: make .venv/sam/ready")
def test_the_template_deploys_the_package_beside_it(release):
    [command] = re.findall(r"^sam deploy --guided (.*)$", (ROOT / "docs" / "deploying.md").read_text(), re.M)
    # The answers to the questions of `--guided`, in its place.
    answers = f"--stack-name {STACK} --s3-bucket artifacts --parameter-overrides LogBucketName={BUCKET}"
    with LocalAws() as aws:
        aws.s3.create_bucket(Bucket="artifacts")
        environment = {**aws.function_environment(), "ARCH": "x86_64", "HOME": str(release),
                       "PATH": f"{SAM.parent}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"}
        subprocess.run(["bash", "-c", f"sam deploy {command} {answers}"], cwd=release, env=environment, check=True)
        function = aws.client("lambda").get_function_configuration(FunctionName=STACK)
        assert function["Architectures"] == ["x86_64"]
        queue = aws.subscribe(function["Environment"]["Variables"]["TOPIC_ARN"])
        aws.configure({"source": "iam", "regexp": "User"})
        aws.put_log(log_key("release"), {"Records": [record("e-1")]})
        assert event_ids(aws.receive(queue, 1)) == ["e-1"]


def test_the_template_of_a_release_differs_in_the_package_and_its_architecture_alone(release):
    ours = (ROOT / "template.yaml").read_text().splitlines()
    theirs = (release / "cloudtrail-alerter-template-x86_64.yaml").read_text().splitlines()
    assert [line.strip() for line in theirs if line not in ours] == [
        "Default: x86_64", "CodeUri: cloudtrail-alerter-lambda-x86_64.zip"]
    # The files that these name would have to be downloaded, too.
    assert [line.split(":")[0].strip() for line in ours if line not in theirs] == [
        "LicenseUrl", "ReadmeUrl", "Default", "CodeUri"]
    assert len(ours) - len(theirs) == 2
