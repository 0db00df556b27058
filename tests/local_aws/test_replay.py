"""Replays by S3 Batch Operations: the commands of the manual, the role of the jobs, and the report.

MiniStack has no such jobs. The test stands in for them: it reads the list of logs, invokes the function for each of its
lines with the role's permissions, and writes the report, each as AWS documents it.
"""

import csv
import gzip
import io
import json
import re
import shutil
import subprocess
import sys

import boto3
import pytest
from botocore.validate import ParamValidator
from local_aws import ACCOUNT, REGION, ROOT, STACK, LocalAws, event_ids, log_key, record
from test_role import outcomes

BUCKET = f"cloudtrail-logs-{ACCOUNT}"
REPLAYS = f"replays-{ACCOUNT}"
MANUAL = (ROOT / "docs" / "operating.md").read_text().split("\n## Replaying many logs")[1].split("\n## ")[0]
RULES = {"rules": [
    {"name": "users", "source": "^iam", "regexp": "User"},
    {"name": "new, \"rare\" rule", "source": "", "regexp": "^ConsoleLogin$", "enabled": False},
]}
# Odd as no log of CloudTrail is.
KEYS = [log_key("a"), log_key("b + ü"), log_key("100%25, \"x\"")]


def as_user(aws, name, role):
    """A session with the policies of a role."""
    aws.iam.create_user(UserName=name)
    for policy in aws.iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = aws.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        aws.iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    keys = aws.iam.create_access_key(UserName=name)["AccessKey"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name=REGION)


def configure(aws):
    aws.configure(RULES)
    for number, key in enumerate(KEYS):
        login = record(f"{number}-login", "ConsoleLogin", "signin.amazonaws.com")
        aws.put_log(key, {"Records": [record(f"{number}-user"), login, record(f"{number}-other", "ListRoles")]})


@pytest.fixture(scope="module")
def aws():
    with LocalAws() as aws:
        aws.s3.create_bucket(Bucket=BUCKET)
        aws.s3.create_bucket(Bucket=REPLAYS)
        configure(aws)
        aws.outputs = aws.deploy(Source="existing-bucket", ReplayBucketName=REPLAYS)
        aws.queue = aws.subscribe(aws.outputs["TopicArn"])
        yield aws


def manifest(aws):
    """The list of logs that the manual's command makes of what `aws s3api list-objects-v2` prints."""
    if not shutil.which("jq"):
        pytest.skip("jq, which the command uses, is not installed")
    command = next(block for block in MANUAL.split("```") if "list-objects-v2" in block)
    rest = command.split("--output text |")[1].split(" > ")[0].replace("\\\n", " ").replace("BUCKET", BUCKET)
    found = aws.s3.list_objects_v2(Bucket=BUCKET, Prefix="AWSLogs/")["Contents"]
    listed = "".join(f"{each['Key']}\n" for each in found)
    return subprocess.run(["bash", "-c", rest], input=listed, capture_output=True, text=True, check=True).stdout


def replay(invoke, manifest, schema, arguments=None):
    """The lines of the report of a job."""
    for number, (bucket, key) in enumerate(csv.reader(io.StringIO(manifest))):
        named = {"s3Bucket": bucket} if schema == "2.0" else {"s3BucketArn": f"arn:aws:s3:::{bucket}"}
        payload = {"invocationSchemaVersion": schema, "invocationId": f"i{number}",
                   "job": {"id": "j", **({"userArguments": arguments} if arguments else {})},
                   "tasks": [{"taskId": f"t{number}", "s3Key": key, "s3VersionId": None, **named}]}
        answer, failed = invoke(payload)
        assert not failed, answer
        assert (answer["invocationSchemaVersion"], answer["invocationId"]) == (schema, f"i{number}")
        [result] = answer["results"]
        assert result["taskId"] == f"t{number}"
        code = result["resultCode"]
        status = ["succeeded", "200", ""] if code == "Succeeded" else ["failed", "200", code]
        yield [bucket, key, "", *status, result["resultString"]]


def added_up(tmp_path, *reports):
    """What the tool prints of reports, and its status."""
    paths = [tmp_path / f"{number}.csv" for number, _ in enumerate(reports)]
    for path, report in zip(paths, reports, strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(report)
    run = subprocess.run([sys.executable, ROOT / "tools" / "replay_report.py", *paths], capture_output=True, text=True)
    assert not run.stderr
    return run.stdout, run.returncode


def test_a_dry_run_of_a_rule_over_all_logs_adds_up_to_a_table_and_sends_nothing(aws, tmp_path):
    arguments = {"dryRun": "true", "rule": "new, \"rare\" rule"}
    listed = manifest(aws)
    assert listed.count("\n") == len(KEYS) and "b%20%2B%20%C3%BC" in listed and "%25" in listed
    text, status = added_up(tmp_path, list(replay(aws.invoke, listed, "2.0", arguments)))
    assert text == """\
3 logs, 9 records, 3 matched, 3 alerts, 3 unsent

  matches     alerts  rule
        3          3  new, "rare" rule
"""
    assert status == 0
    assert aws.receive(aws.queue) == []


def test_a_replay_sends_the_alerts_of_all_logs_and_the_report_names_what_failed(aws, tmp_path):
    digest = log_key("d").replace("/CloudTrail/", "/CloudTrail-Digest/")
    broken = log_key("broken")
    aws.s3.put_object(Bucket=BUCKET, Key=broken, Body=gzip.compress(b"{"))
    names = "".join(f"{BUCKET},{key}\n" for key in (digest, broken, log_key("gone")))
    report = list(replay(aws.invoke, manifest(aws).replace(f"{BUCKET},{broken}\n", ""), "1.0"))
    failures = list(replay(aws.invoke, names, "1.0"))
    aws.s3.delete_object(Bucket=BUCKET, Key=broken)
    text, status = added_up(tmp_path, report, failures)
    assert status == 1
    assert text.startswith("""\
3 logs, 9 records, 3 matched, 3 alerts, 3 published, 1 skipped: digest

  matches     alerts  rule
        3          3  users

failed: 2
        1  LogMalformed: the log is not a valid CloudTrail log: """), text
    assert f"such as s3://{BUCKET}/{broken}" in text and f"such as s3://{BUCKET}/{log_key('gone')}" in text
    assert event_ids(aws.receive(aws.queue, 3)) == ["0-user", "1-user", "2-user"]


def test_the_report_is_read_as_aws_writes_it(tmp_path):
    """AWS's own examples of tasks, less the counts, which are the function's, and the id of the request."""
    lines = """\
awsexamplebucket1,image_14975,,failed,200,PermanentFailure,"Lambda returned function error: {""errorMessage"":\
""2019-04-05T17:35:21.155Z 2845ca0d Task timed out after 3.00 seconds""}"
awsexamplebucket1,image_17775,,succeeded,200,,"{""logs"":1,""records"":5,""matched"":2,\
""rules"":{""a"":{""matches"":2,""dry"":2}}}"
awsexamplebucket1,image_17776,,succeeded,200,,"{""objects"":1,""skipped"":{""digest"":1}}"
"""
    path = tmp_path / "results.csv"
    path.write_text(lines)
    run = subprocess.run([sys.executable, ROOT / "tools" / "replay_report.py", path], capture_output=True, text=True)
    assert run.stdout == """\
1 logs, 5 records, 2 matched, 1 skipped: digest

  matches     alerts        dry  rule
        2          0          2  a

failed: 1
        1  Lambda returned function error: {"errorMessage":"2019-04-05T17:35:21.155Z 2845ca0d \
Task timed out after 3.00 seconds"}
           such as s3://awsexamplebucket1/image_14975
"""
    assert run.returncode == 1


def test_the_command_of_the_manual_is_a_valid_job():
    """As far as the API's model tells: names, types and values of all parameters."""
    command = next(block for block in MANUAL.split("```") if "create-job" in block)
    texts = re.findall(r"^  --([a-z-]+) (?:'(.*?)'|\"(.*?)\"|(\S+)) ?\\?$", command, re.M | re.S)
    given = {name: next(filter(None, values)) for name, *values in texts}
    parameters = {"".join(part.title() for part in name.split("-")): value for name, value in given.items()}
    assert parameters.pop("Region") == "REGION" and parameters.pop("NoConfirmationRequired")
    for name in ("Operation", "Manifest", "Report"):
        parameters[name] = json.loads(parameters[name].replace("\\\"", "\""))
    parameters["Priority"] = int(parameters["Priority"])
    assert set(parameters["Operation"]["LambdaInvoke"]["UserArguments"]) == {"dryRun", "rule"}
    client = boto3.client("s3control", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    shape = client.meta.service_model.operation_model("CreateJob").input_shape
    parameters |= {"ConfirmationRequired": False, "ClientRequestToken": "t"}
    assert ParamValidator().validate(parameters, shape).generate_report() == ""
    enums = {"S3BatchOperations_CSV_20180820": "JobManifestFormat", "Report_CSV_20180820": "JobReportFormat",
             "AllTasks": "JobReportScope"}
    for value, name in enums.items():
        assert value in command and value in client.meta.service_model.shape_for(name).enum


@pytest.fixture(scope="module")
def checked():
    """A stack whose AWS checks permissions."""
    with LocalAws(auth=True) as aws:
        for bucket in (BUCKET, REPLAYS, "other-bucket"):
            aws.s3.create_bucket(Bucket=bucket)
        for bucket, key in ((REPLAYS, "replay/list.csv"), (REPLAYS, "private.txt"), (BUCKET, "replay/list.csv"),
                            ("other-bucket", "replay/list.csv")):
            aws.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        aws.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        configure(aws)
        aws.outputs = aws.deploy(Source="existing-bucket", ReplayBucketName=REPLAYS)
        aws.deploy("without", Source="existing-bucket")
        yield aws


def test_the_role_reads_lists_writes_reports_and_invokes_the_function_and_may_nothing_else(checked):
    aws, name = checked, checked.outputs["ReplayRoleArn"].rsplit("/", 1)[1]
    session = as_user(aws, "replay", name)
    trust = aws.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert [each["Principal"] for each in trust] == [{"Service": "batchoperations.s3.amazonaws.com"}]
    assert trust[0]["Condition"]["StringEqualsIfExists"] == {"aws:SourceAccount": ACCOUNT}
    allowed = [
        ("lambda", "invoke", dict(FunctionName=STACK, Payload=b"{}")),
        ("s3", "get_object", dict(Bucket=REPLAYS, Key="replay/list.csv")),
        ("s3", "put_object", dict(Bucket=REPLAYS, Key="replay/reports/job-1/manifest.json", Body=b"{}")),
    ]
    refused = {call: code for call, code in outcomes(aws, allowed, session).items() if code}
    assert refused == {}
    denied = [
        ("lambda", "invoke", dict(FunctionName="without", Payload=b"{}")),
        ("lambda", "get_function", dict(FunctionName=STACK)),
        ("s3", "get_object", dict(Bucket=REPLAYS, Key="private.txt")),
        ("s3", "get_object", dict(Bucket=BUCKET, Key=KEYS[0])),
        ("s3", "get_object", dict(Bucket=BUCKET, Key="replay/list.csv")),
        ("s3", "get_object", dict(Bucket="other-bucket", Key="replay/list.csv")),
        ("s3", "list_objects_v2", dict(Bucket=REPLAYS)),
        ("s3", "put_object", dict(Bucket=REPLAYS, Key="private.txt", Body=b"x")),
        ("s3", "put_object", dict(Bucket=BUCKET, Key="filter_config.json", Body=b"{}")),
        ("s3", "put_object", dict(Bucket=BUCKET, Key=KEYS[0], Body=b"x")),
        ("s3", "delete_object", dict(Bucket=REPLAYS, Key="replay/list.csv")),
        ("sns", "publish", dict(TopicArn=aws.outputs["TopicArn"], Message="m")),
    ]
    permitted = [call for call, code in outcomes(aws, denied, session).items() if not code]
    assert permitted == []


def test_only_the_function_of_a_stack_with_replays_reads_former_versions_of_logs(checked):
    aws = checked
    aws.put_log(KEYS[0], {"Records": []})
    versions = aws.s3.list_object_versions(Bucket=BUCKET, Prefix=KEYS[0])["Versions"]
    former = next(each["VersionId"] for each in versions if not each["IsLatest"])
    call = [("s3", "get_object", dict(Bucket=BUCKET, Key=KEYS[0], VersionId=former))]
    for stack, code in ((STACK, None), ("without", "AccessDenied")):
        session = as_user(aws, f"function-of-{stack}", aws.resources(stack)["FunctionRole"])
        assert list(outcomes(aws, call, session).values()) == [code], stack
    assert "ReplayRole" not in aws.resources("without")
