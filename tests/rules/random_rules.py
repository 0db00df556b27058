"""Random logs, and random rules of the whole language, made from what the records hold: many match, many nearly do."""

import ipaddress
import json
import math
import re

from rules_oracle import JSON_NUMBER, Number, Object, address, compact, parse, text_of, values

SEVERITIES = ["info", "low", "medium", "high", "critical"]
TOPICS = [f"arn:aws:sns:{place}" for place in ("us-east-1:123456789012:a", "eu-west-1:123456789012:b")]

WORDS = ["", "alice", "Root", "a.b", "*", "(x", "ü🦊", 'quote "', "line\nbreak\n", "\\d", "\ud83d", "true", "null"]
NUMBERS = ["0", "-0", "22", "22.0", "2.2e1", "1.50", "1e5", "65535", "12345678901234567890", "1.688560107857E9", "-1"]
# Most of these are not numbers of JSON, and not addresses.
NEARLY_NUMBERS = ["22", "22.0", "+22", " 22", "22 ", "022", "22.", ".5", "0x16", "2_2", "NaN", "1e400", "-", "٢٢"]
NEARLY_ADDRESSES = ["10.0.0.1/32", "10.0.0.0/8", "010.0.0.1", "10.0.0.256", "10.0.1", " 10.0.0.1", "2001:db8::/32",
                    "fe80::1%eth0", "[::1]", "AWS Internal", "ec2.amazonaws.com"]
ADDRESSES = ["10.0.0.1", "10.0.0.255", "10.1.2.3", "192.168.1.77", "203.0.113.9", "0.0.0.0", "2001:db8::1",
             "2001:DB8:0::ff", "::", "::1", "::ffff:10.0.0.1", "fe80::1"]
TIMES = ["2026-01-01T00:00:00Z", "2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z", "2026-01-02T12:00:00.5Z",
         "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01", "yesterday", ""]
DAYS = ["2025-12-31", "2026-01-01", "2026-01-02", "2026-02-28", "2028-02-29"]
SPANS = ["1s", "86399s", "12h", "720m", "1d", "59d", "90d"]
# Few of them differ from record to record.
GROUPS = ["userIdentity.userName", "awsRegion", "userIdentity.type", "readOnly", "nothing",
          "requestParameters.items.items.n"]
KEYS = ["userName", "items", "a.b", "ünder", "n", "type", "cidrIp"]


# Logs.

def random_value(rng, depth):
    if depth and rng.random() < 0.6:
        if rng.random() < 0.5:
            # Elements are often alike, as in CloudTrail's lists.
            keys = rng.sample(KEYS, rng.randrange(1, 4))
            return [Object([(key, random_value(rng, depth - 1)) for key in keys]) if rng.random() < 0.8
                    else random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        pairs = [(key, random_value(rng, depth - 1)) for key in rng.sample(KEYS, rng.randrange(4))]
        return Object(pairs + [(pairs[0][0], random_value(rng, 1))] if pairs and rng.random() < 0.05 else pairs)
    kind = rng.choice([WORDS, WORDS, NUMBERS, NEARLY_NUMBERS, ADDRESSES, NEARLY_ADDRESSES, [True, False, None]])
    value = rng.choice(kind)
    return Number(value) if kind is NUMBERS and rng.random() < 0.7 else value


def random_item(rng):
    """An object as the lists of many calls have them, with a number, an address and a name."""
    fields = {"n": random_number(rng), "cidrIp": rng.choice(rng.choice([ADDRESSES, ADDRESSES, NEARLY_ADDRESSES])),
              "userName": rng.choice(["alice", "bob", "carol"]), "type": random_value(rng, 1)}
    return Object(rng.sample(list(fields.items()), rng.randrange(2, 5)))


def random_number(rng):
    return Number(rng.choice(NUMBERS)) if rng.random() < 0.6 else rng.choice(NUMBERS + NEARLY_NUMBERS)


def random_record(rng, number, repeats):
    fields = {
        "eventSource": rng.choice(["iam", "sts", "s3", "signin"]) + ".amazonaws.com",
        "eventName": rng.choice(["Create", "Delete", "List"]) + rng.choice(["User", "Users", "AccessKey", "Bucket"]),
        "eventTime": rng.choice(TIMES),
        "awsRegion": rng.choice(["us-east-1", "eu-west-1"]),
        "readOnly": rng.choice([True, False]),
        "eventID": f"id-{rng.randrange(number + 1) if repeats else number}",
        "requestID": f"{number:032x}",
        "sourceIPAddress": rng.choice(ADDRESSES + NEARLY_ADDRESSES),
        "userIdentity": Object([("type", rng.choice(["IAMUser", "Root", "AWSService"])),
                                ("userName", rng.choice(["alice", "bob"])), ("sessionContext", random_value(rng, 2))]),
        "requestParameters": Object([
            ("userName", rng.choice(["alice", "bob"])), ("n", random_number(rng)), ("a.b", random_value(rng, 3)),
            ("items", Object([("items", [random_item(rng) for _ in range(rng.randrange(4))])])),
        ]) if rng.random() < 0.85 else random_value(rng, 4),
        "resources": [random_value(rng, 2) for _ in range(rng.randrange(3))],
        "a.b": random_value(rng, 1),
    }
    for key in rng.sample(sorted(fields), rng.choice([0, 0, 1, 2])):
        if key != "requestID" and (repeats or key != "eventID"):
            fields[key] = random_value(rng, 1)
    if rng.random() < 0.2:
        fields["errorCode"] = "AccessDenied"
    pairs = rng.sample(list(fields.items()), len(fields))
    if rng.random() < 0.1:
        key = rng.choice(pairs)[0]
        pairs.insert(0, (key, random_value(rng, 2)))
    return Object(pairs)


def written(rng, value):
    """JSON in one of the many ways in which a value can be written."""
    space = rng.choice(["", "", " ", "\n\t"])
    if isinstance(value, Object):
        pairs = [f"{json.dumps(key)}{space}:{space}{written(rng, inner)}" for key, inner in value.pairs]
        return "{" + f"{space},{space}".join(pairs) + "}"
    if isinstance(value, list):
        return f"[{space}{','.join(written(rng, inner) for inner in value)}]"
    if type(value) is Number:
        return value
    return json.dumps(value, ensure_ascii=rng.random() < 0.5 or value == "\ud83d")


def random_logs(rng, folder, repeats=True):
    """Writes three logs; their texts by path."""
    logs = {}
    for n in range(3):
        records = [random_record(rng, 1000 * n * (not repeats) + number, repeats) for number in range(60)]
        logs[folder / f"{n}.json"] = f'{{"Records":[{",".join(written(rng, record) for record in records)}]}}'
    for path, text in logs.items():
        path.write_text(text, encoding="utf-8")
    return {str(path): parse(text)["Records"] for path, text in logs.items()}


# Tests.

def random_place(rng, base):
    """A path into a record or an object, as rules write it, or None; and a value there."""
    value, keys = base, []
    while isinstance(value, (dict, list)) and value and (not keys or rng.random() < 0.8 or isinstance(value, list)):
        if isinstance(value, list):
            value = rng.choice(value)
        else:
            keys.append(rng.choice(sorted(value)))
            value = value[keys[-1]]
    if rng.random() < 0.03:
        keys.append("more")
    if not keys or not all(keys) or any("\\" in key for key in keys):
        return None, value
    return ".".join(key.replace(".", r"\.") for key in keys), value


def random_pattern(rng, text):
    """A pattern made from a text, of syntax that the oracle can say."""
    if rng.random() < 0.1:
        return "."
    start = rng.randrange(len(text) + 1)
    end = rng.choice([len(text), min(len(text), start + rng.randrange(1, 6))])
    literal = re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text[start:end])
    literal = rng.choice([
        literal,
        re.sub("[0-9]+", "[0-9]+", literal),
        re.sub("[0-9]", lambda _: r"\d", literal, count=1),
        re.sub("[a-z]", ".", literal, count=1),
        re.sub("[A-Za-z]$", "[^x]", literal),
        f"({literal}|Delete|Root)",
    ])
    if "\\" not in literal and rng.random() < 0.2:
        literal = f"(?i:{literal.swapcase()})"
    begin = "^" if rng.random() < (0.5 if start == 0 else 0.05) else ""
    return begin + literal + ("$" if rng.random() < (0.5 if end == len(text) else 0.05) else "")


def random_range(rng, text):
    number = float(text) if JSON_NUMBER.fullmatch(text) else 22.0
    number = number if math.isfinite(number) else 22.0
    least, most = (number + rng.choice([0, 0, -1, 1, -0.5]), number + rng.choice([0, 0, 1, -1, 0.5]))
    least, most = min(least, most), max(least, most)
    bounds = rng.choice([{"atLeast": least}, {"atMost": most}, {"atLeast": least, "atMost": most}])
    return {key: int(bound) if bound.is_integer() and rng.random() < 0.7 else bound for key, bound in bounds.items()}


def random_networks(rng, text):
    found = address(text) or ipaddress.ip_address(rng.choice(ADDRESSES))
    bits = found.max_prefixlen
    length = rng.choice([0, 8, bits // 2, bits - 1, bits])
    network = ipaddress.ip_network((found, length), strict=False)
    if length and rng.random() < 0.3:
        # Its neighbour.
        first = int(network.network_address) ^ 1 << (bits - length)
        network = ipaddress.ip_network((type(found)(first), length))
    other = ipaddress.ip_network(rng.choice(["172.16.0.0/12", "198.51.100.7", "fd00::/8"]))
    networks = rng.choice([[network], [other, network]])
    return {"cidr": [str(each).removesuffix(f"/{each.max_prefixlen}") for each in networks]}


def random_test(rng, base, value, depth):
    """A test for a value of a record or an object."""
    if isinstance(value, dict) and value and depth and rng.random() < 0.8:
        if element := random_tests(rng, [value], 2, depth - 1):
            return {"element": element}
    text = "nothing" if value is None or isinstance(value, list) else text_of(value)
    kinds = ["pattern", "pattern", "pattern", "all", "same"]
    kinds += ["range"] * 9 if text in NUMBERS + NEARLY_NUMBERS else []
    kinds += ["cidr"] * 12 if text in ADDRESSES + NEARLY_ADDRESSES else []
    match rng.choice(["range", "cidr"] if rng.random() < 0.05 else kinds):
        case "pattern":
            return random_pattern(rng, text)
        case "all":
            return {"all": [random_pattern(rng, text) for _ in range(rng.randrange(1, 4))]}
        case "range":
            return random_range(rng, text)
        case "cidr":
            return random_networks(rng, text)
    # The same text at another path is rare: look for one.
    others = [random_place(rng, base) for _ in range(20)]
    others = [(path, other) for path, other in others if path]
    same = {path for path, other in others if other is not value and other is not None and text_of(other) == text}
    return {"sameAs": rng.choice(sorted(same)) if same else others[0][0] if others else "n"}


def items(record):
    return [item for item in values(record, ("requestParameters", "items", "items")) if isinstance(item, dict)]


def random_tests(rng, bases, most, depth=2):
    """Paths into records or objects, each with a test."""
    tests = {}
    for _ in range(rng.randrange(most + 1)):
        base = rng.choice(bases)
        path, value = random_place(rng, base)
        if depth and rng.random() < 0.3 and isinstance(base.get("requestParameters"), dict):
            path, value = "requestParameters.items.items", rng.choice([parse(compact(random_item(rng))), *items(base)])
        if path:
            # Now and then the test is made for another value.
            tested = value if rng.random() < 0.9 else random_place(rng, base)[1]
            tests[path] = random_test(rng, base, tested, depth)
    return tests


# Rules.

def random_condition(rng, records, record=None):
    """A condition that a record probably matches."""
    condition, most = {}, rng.choice([1, 1, 2, 4])
    while not condition:
        record = record or rng.choice(records)
        for key, field in (("source", "eventSource"), ("regexp", "eventName")):
            if rng.random() < 0.3 and len(condition) < most and type(record.get(field)) is str:
                condition[key] = random_pattern(rng, record[field])
        if len(condition) < most and (tests := random_tests(rng, [record], (most + 1) // 2)):
            condition["where"] = tests
        if len(condition) < most and (tests := random_tests(rng, records, 1)):
            condition["unless"] = tests
    return condition


def random_entry(rng, records, record=None):
    entry = random_condition(rng, records, record)
    while entry.keys() == {"unless"}:
        # It would take nearly everything.
        entry = random_condition(rng, records, record)
    if rng.random() < 0.5:
        entry["until"] = rng.choice(DAYS)
    if rng.random() < 0.3:
        entry["reason"] = "a reason"
    return entry


def random_stages(rng):
    """Some of threshold, firstSeen and suppress."""
    stages = {}
    for key, span, share in (("threshold", "within", 0.6), ("firstSeen", "within", 0.4), ("suppress", "for", 0.6)):
        if rng.random() < share:
            stages[key] = {"by": rng.sample(GROUPS, rng.choice([1, 1, 2])), span: rng.choice(SPANS)}
    if "threshold" in stages:
        stages["threshold"]["count"] = rng.choice([2, 2, 3, 5])
        if rng.random() < 0.4:
            stages["threshold"]["distinct"] = rng.choice(["eventName", *GROUPS])
    return stages


def random_rule(rng, name, records):
    record, rule = rng.choice(records), {"name": name}
    if rng.random() < 0.85:
        rule |= random_condition(rng, records, record)
    if len(rule) == 1 or rng.random() < 0.3:
        rule["any"] = [random_condition(rng, records, rng.choice([record, None])) for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.35:
        rule["ignore"] = [random_entry(rng, records, rng.choice([record, None])) for _ in range(rng.randrange(1, 3))]
    for key, value, share in (("severity", rng.choice(SEVERITIES), 0.6), ("topicARN", rng.choice(TOPICS), 0.4),
                              ("dryRun", rng.random() < 0.8, 0.2), ("enabled", rng.random() < 0.3, 0.15)):
        if rng.random() < share:
            rule[key] = value
    return rule


def random_configuration(rng, records, rules=8):
    configuration = {
        "rules": [random_rule(rng, f"rule {n}", records) for n in range(rng.randrange(rules // 2, rules))],
        "ignore": [random_entry(rng, records) for _ in range(rng.choice([0, 0, 1, 2]))],
    }
    if rng.random() < 0.5:
        configuration |= {"source": rng.choice(["iam|sts", "^s3", "."]), "regexp": random_pattern(rng, "CreateUser")}
    if rng.random() < 0.5:
        configuration["sns"] = {"topicARN": TOPICS[0]}
    return configuration


def with_comments(rng, configuration):
    """A configuration with comments and trailing commas, as people write it."""
    lines = json.dumps(configuration, indent=1, ensure_ascii=False).split("\n")
    for n, line in enumerate(lines[:-1]):
        if lines[n + 1].lstrip()[0] in "]}" and line[-1] not in "[{" and rng.random() < 0.3:
            line += ","
        lines[n] = line + rng.choice(["", "", "", ' // "a, [', "/* , } */"])
    return "\n".join(lines)
