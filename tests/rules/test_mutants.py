"""`tools/mutants.py` finds what the tests of a rule leave unproved, and nothing else."""

import mutants
import pytest

RULE = {
    "name": "r",
    "source": r"^ec2\.amazonaws\.com$",
    "regexp": "^(Authorize|Revoke)SecurityGroupIngress$",
    "where": {"userIdentity.type": "^IAMUser$", "ports": {"element": {"from": {"atMost": 22}, "to": {"atLeast": 22}}},
              "address": {"cidr": ["10.0.0.0/8", "::1"]}},
    "unless": {"errorCode": "."},
    "any": [{"where": {"a": {"all": ["x", "y"]}}}, {"where": {"b": "(?i)^Z(1|2)?$"}}],
    "ignore": [{"where": {"c": "^alice$"}, "until": "2027-01-01"}],
}
CALL = {"eventSource": "ec2.amazonaws.com", "eventName": "AuthorizeSecurityGroupIngress", "address": "10.1.2.3",
        "userIdentity": {"type": "IAMUser"}, "ports": [{"from": 22, "to": 22}], "a": "xy",
        "eventTime": "2027-01-01T00:00:00Z"}
# How each test's record differs from CALL, and whether it alerts. Each proves something that no other does.
TESTS = [
    ({"eventName": "RevokeSecurityGroupIngress"}, True), ({"eventName": "RunInstances"}, False),
    ({"userIdentity": {"type": "Root"}}, False), ({"errorCode": "AccessDenied"}, False),
    ({"ports": [{"from": 23, "to": 23}]}, False), ({"ports": [{"from": 21, "to": 21}]}, False),
    ({"address": "::1"}, True), ({"address": "11.0.0.1"}, False), ({"a": "x"}, False), ({"a": "y"}, False),
    ({"a": "", "b": "z"}, True), ({"a": "", "b": "z1"}, True), ({"a": "", "b": "z2"}, True),
    ({"a": "", "b": "zq"}, False), ({"a": "", "b": "qz"}, False),
    ({"c": "alice"}, False), ({"c": "alice2"}, True), ({"c": "malice"}, True),
]

# Rules that remember, and for each test: (the minute, what differs) of its records, and how many alert.
REMEMBERING = {
    "threshold": ({"threshold": {"count": 3, "by": ["a", "b"], "within": "10m", "distinct": "c"}}, [
        ([(0, {"c": "1"}), (1, {"c": "2"}), (9, {"c": "3"})], 1),
        ([(0, {"c": "1"}), (1, {"c": "2"}), (2, {"c": "2"}), (10, {"c": "3"})], 0),
        ([(0, {"c": "1"}), (1, {"c": "2"}), (2, {"c": "3", "a": "x"})], 0),
        ([(0, {"c": "1"}), (1, {"c": "2"}), (2, {"c": "3", "b": "x"})], 0),
    ]),
    "firstSeen": ({"firstSeen": {"by": ["a"], "within": "10m"}}, [
        ([(0, {}), (9, {})], 1), ([(0, {}), (1, {"a": "x"})], 2), ([(0, {}), (10, {})], 2)]),
    "suppress": ({"suppress": {"by": ["a"], "for": "10m"}}, [
        ([(0, {}), (9, {})], 1), ([(0, {}), (1, {"a": "x"})], 2), ([(0, {}), (10, {})], 2)]),
}


def judged(tests, engine):
    cases = [{"record": {**CALL, **record}, "alerts": alerts} for record, alerts in tests]
    return mutants.judge({**RULE, "tests": cases}, engine)


def judged_with_memory(stage, tests, engine):
    def record(minute, more):
        return {"eventName": "A", "eventTime": f"2027-01-15T10:{minute:02}:00Z", **more}

    cases = [{"records": [record(*each) for each in records], "alerts": mutants.Number(alerts)}
             for records, alerts in tests]
    return mutants.judge({"name": "r", "regexp": "A", **stage, "tests": cases}, engine)


@pytest.mark.parametrize("engine", ["oracle", "check"])
def test_no_change_survives_that_a_test_or_the_calls_of_aws_tell(engine):
    passes, caught, same, survivors = judged(TESTS, engine)
    assert passes and caught > 25 and same >= 5
    assert survivors == []


@pytest.mark.parametrize("missing", TESTS, ids=str)
def test_without_one_of_the_tests_a_change_survives(missing):
    passes, _, _, survivors = judged([test for test in TESTS if test != missing], "oracle")
    assert passes and survivors


@pytest.mark.parametrize("engine", ["oracle", "check"])
@pytest.mark.parametrize("kind", REMEMBERING)
def test_no_change_of_what_a_rule_remembers_survives(kind, engine):
    passes, caught, _, survivors = judged_with_memory(*REMEMBERING[kind], engine)
    assert passes and survivors == []
    assert caught == {"threshold": 9, "firstSeen": 5, "suppress": 5}[kind]


@pytest.mark.parametrize(("kind", "missing"), [(kind, n) for kind, (_, tests) in REMEMBERING.items()
                                               for n in range(len(tests))])
def test_without_one_of_the_tests_a_change_of_what_a_rule_remembers_survives(kind, missing):
    stage, tests = REMEMBERING[kind]
    passes, _, _, survivors = judged_with_memory(stage, tests[:missing] + tests[missing + 1:], "oracle")
    assert passes and survivors
