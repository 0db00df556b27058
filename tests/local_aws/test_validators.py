"""tools/validate_template.py: which template the validators get, and what becomes of their findings."""

import pytest
from test_template import TEMPLATE as OWN
from validate_template import VARIANTS, faults, reasons, resolved

NO_VALUE = {"Ref": "AWS::NoValue"}
SECOND = {"Fn::Select": [1, {"Fn::Split": ["-", "a-b"]}]}
TEMPLATE = {
    "Parameters": {
        "Email": {"Type": "String", "Default": ""},
        "Window": {"Type": "Number", "Default": 20},
        "Keys": {"Type": "CommaDelimitedList", "Default": ""},
    },
    "Mappings": {"Above": {"low": {"List": ["low", "high"]}}},
    "Conditions": {
        "WithEmail": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Email"}, ""]}]},
        "WithKeys": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Keys"}]}, ""]}]},
        "Digest": {"Fn::And": [{"Condition": "WithEmail"}, {"Fn::Not": [{"Fn::Equals": [{"Ref": "Window"}, 0]}]}]},
        "Either": {"Fn::Or": [{"Condition": "WithKeys"}, {"Condition": "Digest"}]},
    },
    "Resources": {
        "Queue": {"Type": "Q", "Condition": "Digest"},
        "Topic": {
            "Type": "T",
            "Properties": {
                "Name": {"Fn::Sub": "${AWS::StackName}-${Window}"},
                "Target": {"Fn::Sub": ["${Queue.Arn}/${Last}", {"Last": SECOND}]},
                "Key": {"Fn::If": ["WithKeys", {"Ref": "Keys"}, NO_VALUE]},
                "Statement": [{"Condition": {"Bool": 1}}, {"Fn::If": ["Either", {"Ref": "Queue"}, NO_VALUE]}],
                "Severities": {"Fn::FindInMap": ["Above", "low", "List"]},
            },
        },
    },
}
TOPIC = {
    "Name": "cloudtrail-alerter-20",
    "Target": {"Fn::Sub": "${Queue.Arn}/b"},
    "Statement": [{"Condition": {"Bool": 1}}],
    "Severities": ["low", "high"],
}


def test_the_validators_get_what_cloudformation_would_make():
    assert resolved(TEMPLATE, {}) == {"Topic": {"Type": "T", "Properties": TOPIC}}
    assert resolved(TEMPLATE, {"Email": "a@b", "Window": "0"}).keys() == {"Topic"}
    both = resolved(TEMPLATE, {"Email": "a@b", "Keys": "1,2"})
    assert both["Queue"] == {"Type": "Q"}
    assert both["Topic"]["Properties"]["Key"] == ["1", "2"]
    assert both["Topic"]["Properties"]["Statement"][1] == {"Ref": "Queue"}


def test_every_parameter_that_may_be_empty_is_given_in_a_variant():
    empty = {name for name, parameter in OWN["Parameters"].items() if parameter.get("Default") == ""}
    assert empty <= set().union(*VARIANTS.values())


METADATA = {
    "checkov": {"skip": [{"id": "CKV_1", "comment": "why"}, {"id": "CKV_2", "comment": " "}]},
    "cfripper": {"skip": [{"id": "Rule", "reason": "why"}]},
    "cdk_nag": {"rules_to_suppress": [{"id": "Nag-1", "reason": "why"}, {"id": "Nag-2"}]},
}


@pytest.mark.parametrize(
    ("finding", "kept"),
    [
        (("checkov", "Topic", "CKV_1"), False),
        (("checkov", "Topic", "CKV_2"), True),
        (("checkov", "Topic", "CKV_3"), True),
        (("checkov", "Queue", "CKV_1"), True),
        (("cfripper", "Topic", "CKV_1"), True),
        (("cfripper", "Topic", "Rule"), False),
        (("cdk_nag", "Topic", "Nag-1[Resource::*]"), False),
        (("cdk_nag", "Topic", "Nag-2"), True),
        (("cfn_lint", "Topic", "E3001"), True),
    ],
)
def test_a_finding_is_a_fault_unless_its_resource_has_a_reason_for_it(finding, kept):
    lines = list(faults({finding: "says why"}, reasons({"Topic": {"Metadata": METADATA}, "Queue": {}})))
    assert any(line.endswith("says why") for line in lines) == kept


def test_a_reason_that_nothing_needs_is_a_fault():
    known = reasons({"Topic": {"Metadata": {"checkov": METADATA["checkov"]}}})
    assert [line for line in faults({("checkov", "Topic", "CKV_2"): ""}, known) if "must go" in line] == [
        "Topic: checkov does not find CKV_1, so its reason in the Metadata must go"
    ]
