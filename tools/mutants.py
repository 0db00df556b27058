"""Do the tests in rules prove them? Changes each rule a little, one change at a time, and expects a test to fail.

A change drops a clause, a member of a list, an exception, an anchor or an alternative, or moves a bound by one. Of a
`threshold`, `firstSeen` or `suppress`, a change drops it, halves or doubles its count or its span, or makes its groups
larger or smaller. At least nine in ten changes of each file must fail a test. Without FILE it takes both packs. `--rule
TEXT` takes only the rules whose name has the text. `--engine oracle` runs the tests in Python, without the program.
"""

import argparse
import concurrent.futures
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from functools import cache
from pathlib import Path

import rules_oracle as oracle
from rules_oracle import Number

PACKS = [file for name in ("threats", "cis") for file in oracle.pack_files(name)]
NEEDED = 0.9
TOGETHER = 25

# All texts that these fields can have. A change that treats all of them alike changes nothing.
VOCABULARY = {
    "userIdentity.type": ["Root", "IAMUser", "AssumedRole", "Role", "FederatedUser", "Directory", "AWSAccount",
                          "AWSService", "IdentityCenterUser", "SAMLUser", "WebIdentityUser", "Unknown"],
    "eventType": ["AwsApiCall", "AwsServiceEvent", "AwsConsoleAction", "AwsConsoleSignIn", "AwsVpceEvent"],
    "eventCategory": ["Management", "Data", "NetworkActivity"],
    "responseElements.ConsoleLogin": ["Success", "Failure"],
}


# The longest span, in seconds. Paths that make all matches one group, and each match a group of its own.
LONGEST = 90 * 86_400
SAME, EACH = "eventVersion", "eventTime"


# Changes of a pattern.

def pieces(pattern):
    at = 0
    while at < len(pattern):
        piece = oracle.PIECE.match(pattern, at)
        yield piece.lastgroup, piece.start(), piece.end()
        at = piece.end()


def groups(pattern):
    """Where each group begins and ends, and each of its alternatives. The whole pattern is one, too."""
    open_groups, starts = [(0, [])], [0]
    for kind, start, end in pieces(pattern):
        if kind == "flags" and starts[-1] == start:
            starts[-1] = end  # They stay when the first alternative goes.
        elif kind == "open":
            open_groups.append((start, []))
            starts.append(end)
        elif kind in ("bar", "close"):
            open_groups[-1][1].append((starts[-1], start))
            starts[-1] = end
            if kind == "close":
                begin, alternatives = open_groups.pop()
                starts.pop()
                yield begin, end, alternatives
    open_groups[0][1].append((starts[0], len(pattern)))
    yield 0, len(pattern), open_groups[0][1]


def pattern_changes(pattern):
    """What to leave out of a pattern, (start, end), and whether that only widens it."""
    for kind, start, end in pieces(pattern):
        if kind == "atom" and pattern[start] in "^$":
            yield start, end, True
        if kind == "flags" and "i" in pattern[start:end].partition("-")[0]:
            yield start, end, False
    for begin, end, alternatives in groups(pattern):
        for n, (start, stop) in enumerate(alternatives if len(alternatives) > 1 else []):
            # The bar before it goes, too, or that behind the first one.
            yield (start, stop + 1, False) if n == 0 else (start - 1, stop, False)
        if pattern[end:end + 1] == "?":
            yield begin, end + 1, False
            yield end, end + 1, False


# Changes of tests, conditions and rules: (what, the changed one, where it only widens: (key, path, old, new)).

def test_changes(path, test):
    if type(test) is str:
        for start, end, widens in pattern_changes(test):
            before, gone, after = test[:start], test[start:end], test[end:]
            yield f"without what is marked: {before}«{gone}»{after}", before + after, (
                (path, test, before + after) if widens else None)
        return
    for key in ("all", "cidr", "element"):
        members = test.get(key, [])
        for name in list(members) if len(members) > 1 else []:
            fewer = without(members, name) if key == "element" else [m for m in members if m != name]
            yield f"{key} without {name}", {key: fewer}, None
    for n, pattern in enumerate(test.get("all", [])):
        for what, new, _ in test_changes(path, pattern):
            yield f"all: {what}", {"all": [*test["all"][:n], new, *test["all"][n + 1:]]}, None
    for inner, one in test.get("element", {}).items():
        for what, new, widens in test_changes(f"{path}.{inner}", one):
            yield f"element {inner}: {what}", {"element": {**test["element"], inner: new}}, widens
    for key in ("atLeast", "atMost"):
        if key in test:
            for step in (-1, 1):
                moved = float(test[key]) + step
                moved = Number(int(moved) if moved.is_integer() else moved)
                yield f"{key} {test[key]} moved to {moved}", {**test, key: moved}, None


def without(object_, key):
    return {name: value for name, value in object_.items() if name != key}


def condition_changes(condition, is_enough):
    """The changes of a condition; `is_enough`: whether something remains if its last clause goes."""
    clauses = list(oracle.parts(condition))
    for key, path, test, _ in clauses:
        if len(clauses) > 1 or is_enough:
            if key in ("source", "regexp"):
                dropped = without(condition, key)
            else:
                dropped = {**condition, key: without(condition[key], path)}
                dropped = dropped if dropped[key] else without(dropped, key)
            yield f"without {key}" + (f" {path}" if key in ("where", "unless") else ""), dropped, None
        for what, new, widens in test_changes(path, test):
            where = key if key in ("source", "regexp") else f"{key} {path}"
            changed = {**condition, key: new if key in ("source", "regexp") else {**condition[key], path: new}}
            yield f"{where}: {what}", changed, widens


def stage_changes(stage):
    """The changes of a threshold, firstSeen or suppress."""
    if "count" in stage:
        for count in {max(2, int(stage["count"]) // 2), int(stage["count"]) * 2} - {int(stage["count"])}:
            yield f"count {count}", {**stage, "count": Number(count)}
    if "distinct" in stage:
        yield "without distinct", without(stage, "distinct")
    key = "for" if "for" in stage else "within"
    for span in (oracle.seconds(stage[key]) // 2, oracle.seconds(stage[key]) * 2):
        if span <= LONGEST:
            yield f"{key} {span}s", {**stage, key: f"{span}s"}
    by = stage["by"]
    for path in by:
        yield f"by without {path}", {**stage, "by": [p for p in by if p != path] or [SAME]}
    yield f"by {EACH}, too", {**stage, "by": [*by, EACH]}


def rule_changes(rule):
    yield from condition_changes(rule, "any" in rule)
    for key in oracle.STAGES:
        if key in rule:
            yield f"without {key}", without(rule, key), None
            for what, changed in stage_changes(rule[key]):
                yield f"{key}: {what}", {**rule, key: changed}, None
    for key in ("any", "ignore"):
        members = rule.get(key, [])
        for n, member in enumerate(members):
            fewer = [*members[:n], *members[n + 1:]]
            if fewer or key == "ignore" or list(oracle.parts(rule)):
                yield f"without {key}[{n}]", {**rule, key: fewer} if fewer else without(rule, key), None
            for what, new, widens in condition_changes(member, False):
                yield f"{key}[{n}], {what}", {**rule, key: [*members[:n], new, *members[n + 1:]]}, widens


# Changes that no call can show.

@cache
def calls():
    """(eventSource, eventName) of every operation that AWS's SDK knows, under each name that the service has there."""
    try:
        import botocore
    except ImportError:
        return frozenset()
    found = set()
    for service in (Path(botocore.__file__).parent / "data").glob("*/"):
        models = sorted(service.glob("*/service-2.json.gz"))
        if not models:
            continue
        model = json.loads(gzip.decompress(models[-1].read_bytes()))
        about = model["metadata"]
        names = {about["endpointPrefix"].removeprefix("api."), about.get("signingName", service.name), service.name}
        # These two write the API's version behind the name, and Lambda a version of the call besides.
        version = about["apiVersion"]
        ends = {"lambda": ["", version.replace("-", ""), version.replace("-", "") + "v2"],
                "cloudfront": ["", version.replace("-", "_")]}.get(service.name, [""])
        found |= {(f"{name}.amazonaws.com", operation + end) for name in names for operation in model["operations"]
                  for end in ends}
    return frozenset(found)


@cache
def found_in(pattern, which):
    """The known sources (0) or names (1) of events that a pattern finds; without a pattern all."""
    texts = {call[which] for call in calls()}
    return texts if pattern is None else {text for text in texts if oracle.compiled(pattern).search(text)}


@cache
def selected(source, regexp):
    """The known calls that these two patterns select."""
    sources, names = found_in(source, 0), found_in(regexp, 1)
    return frozenset(call for call in calls() if call[0] in sources and call[1] in names)


def words(path, pattern):
    """All texts that the field of a path can have, if they are known."""
    # A boolean is one of two texts, wherever it is.
    is_boolean = re.fullmatch(r"[\^(]*(true|false|\|)+[)$]*", pattern)
    return VOCABULARY.get(path) or (["true", "false"] if is_boolean else [])


def is_same(rule, changed, widens):
    """Whether a change that widens a rule changes nothing, as far as AWS's calls and fixed words tell."""
    before, after = [[of.get(key) for key in ("source", "regexp")] for of in (rule, changed)]
    if before != after:
        wider = widens or before[0] and not after[0]
        return bool(wider and calls() and selected(*before) == selected(*after))
    if widens:
        path, old, new = widens
        known = words(path, old)
        return bool(known) and all(
            bool(oracle.compiled(old).search(word)) == bool(oracle.compiled(new).search(word)) for word in known)
    return False


# Engines: of some versions of a rule, those whose tests pass.

def passing_oracle(rules):
    return [rule for rule in rules if not list(oracle.Configuration(oracle.compact({"rules": [rule]})).failures())]


def passing_check(rules):
    """Many versions at once, because starting the program takes more time than the tests."""
    from local_aws import binary

    passing = []
    for start in range(0, len(rules), TOGETHER):
        batch = {f"version {n}": rule for n, rule in enumerate(rules[start:start + TOGETHER])}
        with tempfile.TemporaryDirectory() as folder:
            file, junit = Path(folder) / "rules.json", Path(folder) / "junit.xml"
            versions = [{**rule, "name": name} for name, rule in batch.items()]
            file.write_text(oracle.compact({"rules": versions}), encoding="utf-8")
            run = subprocess.run([binary(), "check", "--junit", junit, file], capture_output=True, text=True)
            valid, *tests = xml.etree.ElementTree.parse(junit).iter("testcase")
        if run.returncode not in (0, 2) or valid.find("failure") is not None:
            raise RuntimeError(f"check ended with {run.returncode}: {run.stderr}")
        failed = {test.get("classname") for test in tests if test.find("failure") is not None}
        passing += [rule for name, rule in batch.items() if name not in failed]
    return passing


ENGINES = {"check": passing_check, "oracle": passing_oracle}


def judge(rule, engine):
    """Whether a rule passes as it is, how many changes were caught, how many are none, and those that survived."""
    passing = ENGINES[engine]
    if not passing([rule]):
        return False, 0, 0, []
    changes = list(rule_changes(rule))
    tried = [(what, changed) for what, changed, widens in changes if not is_same(rule, changed, widens)]
    survived = list(map(id, passing([changed for _, changed in tried])))
    survivors = [what for what, changed in tried if id(changed) in survived]
    return True, len(tried) - len(survivors), len(changes) - len(tried), survivors


def report(file, engine, name, jobs):
    """Prints what became of a file's rules; whether enough changes were caught."""
    document = oracle.parse(oracle.plain_json(Path(file).read_text(encoding="utf-8-sig")))
    rules = [rule for rule in document["rules"] if name in rule["name"]]
    calls()  # Before the processes are forked, so that they share it.
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        results = list(pool.map(judge, rules, [engine] * len(rules)))
    good, caught, same, survived = True, 0, 0, 0
    for rule, (passes, c, s, survivors) in zip(rules, results, strict=True):
        caught, same, survived = caught + c, same + s, survived + len(survivors)
        if not passes:
            good = False
            print(f"{rule['name']}: its tests fail without a change")
        if survivors:
            print(f"{rule['name']}: {len(survivors)} of {c + len(survivors)} changes fail no test"
                  + ("" if rule.get("tests") else ": it has no tests"))
            for what in survivors if rule.get("tests") else []:
                print(f"    {what}")
    share = caught / (caught + survived) if caught + survived else 1
    print(f"{file}: {caught} of {caught + survived} changes of {len(rules)} rules fail a test, {share:.1%}; "
          f"{same} more change nothing that a call can show")
    return good and share >= NEEDED


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="*", default=PACKS, type=Path)
    parser.add_argument("--engine", choices=ENGINES, default="check")
    parser.add_argument("--rule", default="", metavar="TEXT")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    results = [report(file, arguments.engine, arguments.rule, arguments.jobs) for file in arguments.file]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
