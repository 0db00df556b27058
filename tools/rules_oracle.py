"""What rules mean, implemented a second time, in Python: which rules match a record, and what becomes of each match.

`tests/rules` compares the program with it. It is slow and simple, and follows docs/configuration.md, not the code.
`python tools/rules_oracle.py FILE.json` runs the tests in the rules of a configuration, and says which fail and why.
"""

import ipaddress
import json
import re
import sys
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path

PACKS = Path(__file__).resolve().parent.parent / "src" / "rules" / "packs"


def pack_files(name):
    """The files of a pack: one, or those of a folder."""
    return [PACKS / f"{name}.json"] if (PACKS / f"{name}.json").exists() else sorted((PACKS / name).glob("*.json"))


# JSON: comments, trailing commas, numbers as they are written.

class Number(str):
    """A number, written as in the log."""


COMMENT = r"//[^\n]*(?:\n|$)|/\*(?:(?!\*/).)*\*/"
TOKEN = re.compile(rf'"(?:[^"\\]|\\.)*"|{COMMENT}|,(?=(?:\s|{COMMENT})*[\]}}])', re.DOTALL)


def plain_json(text):
    """A configuration without its comments and trailing commas."""
    return TOKEN.sub(lambda token: token[0] if token[0][0] == '"' else " ", text)


class Object(dict):
    """An object. The last of repeated keys counts; its text has them all."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.pairs = pairs


def parse(text):
    """JSON as values. Half of a surrogate pair becomes U+FFFD."""
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    numbers = {"parse_int": Number, "parse_float": Number, "parse_constant": refuse}
    return whole(json.loads(text, object_pairs_hook=Object, **numbers))


def whole(value):
    if isinstance(value, Object):
        return Object([(whole(key), whole(inner)) for key, inner in value.pairs])
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if type(value) is str else value


def compact(value):
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Object) else value.items()
        return "{" + ",".join(f"{compact(key)}:{compact(inner)}" for key, inner in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return str(value) if type(value) is Number else json.dumps(value, ensure_ascii=False)


# Patterns: the syntax of the crate regex, in that of Python.

class Unsupported(Exception):
    """A pattern is not valid, or this file can't say it in Python."""


PIECE = re.compile(
    r"(?P<escape>\\(?:[xuU]\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.))"
    r"|(?P<flags>\(\?[a-zA-Z-]+\))"
    r"|(?P<open>\((?:\?(?:P?<[A-Za-z_][A-Za-z0-9_]*>|[a-zA-Z-]*:))?)"
    r"|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<repeat>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??)"
    r"|(?P<bar>\|)|(?P<close>\))|(?P<atom>[^\[{\\])", re.DOTALL)


def escape_in_python(escape):
    if braced := re.fullmatch(r"\\[xuU]\{(.*)\}", escape):
        return re.escape(chr(int(braced[1], 16)))
    if escape == r"\z":
        return r"\Z"
    if escape[1].isalnum() and escape[1] not in "afnrtvdDsSwWbBAxuU":
        raise Unsupported(escape)
    return escape


def in_python(pattern):
    """The same pattern for `re`. Each piece carries the flags that hold for it, and groups carry none."""
    out, outer, flags, before, at = [], [], set("u"), None, 0
    while at < len(pattern):
        piece = PIECE.match(pattern, at)
        if not piece:
            raise Unsupported(f"{pattern[at:]} in {pattern}")
        kind, text, at = piece.lastgroup, piece[0], piece.end()
        if kind == "open":
            outer.append(set(flags))
        if kind == "flags" or kind == "open" and text.endswith(":"):
            on, _, off = text[2:-1].partition("-")
            if set(on + off) - set("imsuU"):
                raise Unsupported(f"{text} in {pattern}")
            flags = (flags | set(on)) - set(off)
        if kind == "open":
            out.append("(?:")
        elif kind == "close":
            if not outer:
                raise Unsupported(f"an unopened group in {pattern}")
            flags = outer.pop()
            out.append(")")
        elif kind == "bar":
            out.append("|")
        elif kind == "repeat":
            if before in (None, "open", "bar", "flags", "repeat"):
                raise Unsupported(f"{text} in {pattern}")
            out.append(text)
        elif kind != "flags":
            if kind == "class":
                inner = re.sub(r"\\.", "", text[1:-1], flags=re.DOTALL)
                if "[" in inner or re.search(r"&&|--|~~|\|\|", inner):
                    raise Unsupported(f"the class {text} in {pattern}")
                text = re.sub(r"\\(?:[xuU]\{[^}]*\}|.)", lambda escape: escape_in_python(escape[0]), text)
            elif kind == "escape":
                text = escape_in_python(text)
            elif text == "$" and "m" not in flags:
                text = r"\Z"
            on = ("" if "u" in flags else "a") + "".join(sorted(flags & set("ims")))
            out.append(f"(?{on}:{text})" if on else text)
        before = kind
    if outer:
        raise Unsupported(f"an unclosed group in {pattern}")
    return "".join(out)


@cache
def compiled(pattern):
    return re.compile(in_python(pattern))


# Tests and conditions.

@cache
def keys_of(path):
    keys = tuple(key.replace("\0", ".") for key in path.replace(r"\.", "\0").split("."))
    if not all(keys):
        raise ValueError(f"the path {path!r} has an empty key")
    return keys


def values(value, keys):
    """The values at a path, arrays opened on the way and at the end."""
    if isinstance(value, list):
        return [found for element in value for found in values(element, keys)]
    if keys:
        return values(value[keys[0]], keys[1:]) if isinstance(value, dict) and keys[0] in value else []
    return [value]


def texts(base, path):
    return [text_of(value) for value in values(base, keys_of(path)) if value is not None]


def text_of(value):
    return str(value) if type(value) in (str, Number) else compact(value)


@lru_cache(100_000)
def address(text):
    # Python takes the zone of an address, too.
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


@cache
def network(text):
    return ipaddress.ip_network(text)


JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def in_range(text, test):
    if not JSON_NUMBER.fullmatch(text):
        return False
    number = float(text)
    return float(test.get("atLeast", "-inf")) <= number <= float(test.get("atMost", "inf"))


def in_network(text, networks):
    found = address(text)
    return found is not None and any(found.version == network(n).version and found in network(n) for n in networks)


def passes(base, path, test):
    """Whether what is at a path passes a test. Paths begin in `base`: the record, or the object of an `element`."""
    if type(test) is str:
        return any(compiled(test).search(text) for text in texts(base, path))
    if "element" in test:
        objects = [value for value in values(base, keys_of(path)) if isinstance(value, dict)]
        return any(all(passes(one, inner, t) for inner, t in test["element"].items()) for one in objects)
    if "all" in test:
        return any(all(compiled(pattern).search(text) for pattern in test["all"]) for text in texts(base, path))
    if "cidr" in test:
        return any(in_network(text, test["cidr"]) for text in texts(base, path))
    if "sameAs" in test:
        return not set(texts(base, path)).isdisjoint(texts(base, test["sameAs"]))
    if "atLeast" in test or "atMost" in test:
        return any(in_range(text, test) for text in texts(base, path))
    raise ValueError(f"the test {test} is not known")


def parts(condition):
    """The tests of a condition: its key, a path, the test, and whether it must pass."""
    for key, path in (("source", "eventSource"), ("regexp", "eventName")):
        if key in condition:
            yield key, path, condition[key], True
    for key, wanted in (("where", True), ("unless", False)):
        for path, test in condition.get(key, {}).items():
            yield key, path, test, wanted


def patterns(condition):
    """All patterns of a condition."""
    tests = [test for _, _, test, _ in parts(condition)]
    while tests:
        test = tests.pop()
        if type(test) is str:
            yield test
        else:
            tests += [*test.get("all", []), *test.get("element", {}).values()]


def part_holds(record, part):
    key, path, test, wanted = part
    if key in ("source", "regexp") and type(record.get(path)) is not str:
        return False
    return passes(record, path, test) == wanted


def holds(condition, record):
    return all(part_holds(record, part) for part in parts(condition))


def matches(rule, record):
    return holds(rule, record) and ("any" not in rule or any(holds(member, record) for member in rule["any"]))


# Rules: what becomes of a match.

def time_of(record):
    """The time of a record in UTC, or None."""
    time = record.get("eventTime")
    if type(time) is not str or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", time, re.ASCII):
        return None
    try:
        return datetime.fromisoformat(time[:19]) + timedelta(milliseconds=int(time[20:-1][:3].ljust(3, "0")))
    except ValueError:
        return None


def day_of(record):
    time = time_of(record)
    return time and time.date()


# The memory between logs: which alerts of a rule are held back.

STAGES = ("threshold", "firstSeen", "suppress")
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(span):
    """How long a span such as `10m` is."""
    return int(span[:-1]) * UNITS[span[-1]]


class Group:
    """All matches of a group in one stage, and its alerts, as (time, event, what counts)."""

    def __init__(self, stage):
        self.span = timedelta(seconds=seconds(stage.get("within") or stage["for"]))
        self.matches, self.alerts = [], []

    def passes(self, name, stage, new):
        time, event, counted = new
        latest = sorted(self.alerts, key=lambda alert: alert[0])[-16:]
        if any(alert[1] == event for alert in latest):
            passes = True
        elif name == "firstSeen":
            passes = all(time - old[0] >= self.span for old in self.matches)
        elif any(abs(time - alert[0]) < self.span for alert in latest):
            passes = False
        elif name == "suppress":
            passes = len(latest) < 16 or time > latest[0][0]
        else:
            passes = self.reaches(int(float(stage["count"])), time, counted) and all(time > old[0] for old in latest)
        known = any(alert[1] == event for alert in latest)
        self.matches.append(new)
        self.alerts += [new] if passes and not known else []
        return passes

    def reaches(self, count, time, counted):
        """Whether so many different ones, with those of a match at this time, are less than a span apart."""
        times = {}
        for old in self.matches:
            times |= {one: max(old[0], times.get(one, old[0])) for one in old[2]}
        # An item has no more of them.
        times = dict(sorted(times.items(), key=lambda item: item[1])[-count:])
        times |= {one: max(time, times.get(one, time)) for one in counted}
        for start in times.values():
            within = {one for one, at in times.items() if timedelta() <= at - start < self.span}
            if len(within) >= count and within & counted:
                return True
        return False


def passes_stages(name, rule, record, memory):
    """Whether an alert of a rule is not held back. `memory` has the groups."""
    time = time_of(record)
    for stage_name in [stage for stage in STAGES if stage in rule and time]:
        stage = rule[stage_name]
        key = (name, stage_name, *(tuple(texts(record, path)) for path in stage["by"]))
        event = record.get("eventID")
        event = event if type(event) is str and event else compact(record)
        counted = {event} if "distinct" not in stage else set(texts(record, stage["distinct"]))
        if not memory.setdefault(key, Group(stage)).passes(stage_name, stage, (time, event, counted)):
            return False
    return True


@dataclass
class Hit:
    """A rule that matches a record. `outcome` is alerts, dry or ignored; `expired`: an entry no longer takes it."""

    rule: str
    outcome: str
    expired: bool


class Configuration:
    """A configuration: its rules by name, in their order, overrides applied."""

    def __init__(self, text):
        self.document = document = parse(plain_json(text))
        self.ignore = document.get("ignore", [])
        self.rules = {}
        # Those in the file. A pack's own are about the pack as it is shipped.
        self.tests = []
        if "source" in document:
            self.rules["default"] = {key: document[key] for key in ("source", "regexp")}
        for pack in document.get("packs", []):
            for file in pack_files(pack):
                for rule in parse(plain_json(file.read_text(encoding="utf-8")))["rules"]:
                    self.rules[rule["name"]] = {key: value for key, value in rule.items() if key != "tests"}
        for rule in document.get("rules", []):
            name = rule["name"]
            self.rules[name] = {**self.rules.get(name, {}), **rule}
            self.tests += [(name, n, test) for n, test in enumerate(rule.get("tests", []))]

    def conditions(self):
        """Every condition: those of rules, of `any` and of ignore entries."""
        for rule in self.rules.values():
            yield from [rule, *rule.get("any", []), *rule.get("ignore", [])]
        yield from self.ignore

    def hits(self, record, as_live=None):
        """The hits of a record. The rule `as_live` counts as enabled and not dry, as in its tests."""
        day, hits = day_of(record), []
        for name, rule in self.rules.items():
            live = name == as_live
            if not (live or rule.get("enabled", True)) or not matches(rule, record):
                continue
            taken_by, expired = False, False
            for entry in [*rule.get("ignore", []), *self.ignore]:
                if not holds(entry, record):
                    continue
                if "until" not in entry:
                    taken_by = True
                elif day:
                    in_force = day <= date.fromisoformat(entry["until"])
                    taken_by, expired = taken_by or in_force, expired or not in_force
            dry = rule.get("dryRun", False) and not live
            hits.append(Hit(name, "ignored" if taken_by else "dry" if dry else "alerts", expired and not taken_by))
        return hits

    def alerts(self, records, as_live=None, seen=None, memory=None):
        """The rules that alert, for each record of a log. An event counts once; `seen` takes the eventIDs, and `memory`
        the groups between logs."""
        seen, memory, alerts = set() if seen is None else seen, {} if memory is None else memory, []
        for record in records:
            names = [hit.rule for hit in self.hits(record, as_live) if hit.outcome == "alerts"]
            event_id = record.get("eventID")
            if names and type(event_id) is str and event_id:
                names = [] if event_id in seen else names
                seen.add(event_id)
            alerts.append([name for name in names if passes_stages(name, self.rules[name], record, memory)])
        return alerts

    def failures(self):
        """The tests that fail: the rule, the number of the test, the test, and how many alerts there were."""
        for name, n, test in self.tests:
            records = test["records"] if "records" in test else [test["record"]]
            got, wanted = sum(name in names for names in self.alerts(records, name)), test["alerts"]
            if type(wanted) is bool and (got > 0) != wanted or type(wanted) is Number and got != float(wanted):
                yield name, n, test, got


# The command line.

def explanation(configuration, name, record):
    """What decides about a record, a line each: what keeps the rule from matching, or that it matches."""
    rule = configuration.rules[name]

    def blocking(condition):
        for key, path, test, wanted in parts(condition):
            if not part_holds(record, (key, path, test, wanted)):
                yield f"{key} {path}: {compact(test)} {'does not pass' if wanted else 'passes'}, values: " + (
                    compact(texts(record, path)) or "none")[:300]

    lines = list(blocking(rule))
    if "any" in rule and not any(holds(member, record) for member in rule["any"]):
        lines += [f"any[{n}]: {line}" for n, member in enumerate(rule["any"]) for line in blocking(member)]
    if not lines:
        lines.append("the rule matches")
        entries = [("ignore", rule.get("ignore", [])), ("top-level ignore", configuration.ignore)]
        lines += [f"{where}[{n}] takes the match"
                  for where, list_ in entries for n, entry in enumerate(list_) if holds(entry, record)]
    return lines


def main(files):
    all_pass = True
    for file in files:
        failed = 0
        configuration = Configuration(Path(file).read_text(encoding="utf-8-sig"))
        for condition in configuration.conditions():
            for pattern in patterns(condition):
                compiled(pattern)
        for name, n, test, got in configuration.failures():
            failed += 1
            wanted = compact(test["alerts"])
            print(f"{file}: rule {name}, tests[{n}] {test.get('name', '')!r}: expected {wanted}, got {got} alerts")
            for record in test["records"] if "records" in test else [test["record"]]:
                for line in explanation(configuration, name, record):
                    print(f"    {line}")
        print(f"{file}: {len(configuration.rules)} rules, {len(configuration.tests)} tests, {failed} failed")
        all_pass = all_pass and not failed
    return 0 if all_pass else 2


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python tools/rules_oracle.py FILE.json…")
    sys.exit(main(sys.argv[1:]))
