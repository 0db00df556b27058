"""Adds up the completion report of a replay by S3 Batch Operations: `python3 tools/replay_report.py CSV…`

The report has a line for each log: Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage. The
message is the function's result: the counts of the log as JSON, or why it failed. It exits with 1 if any log failed.
"""

import csv
import json
import sys
from collections import Counter, defaultdict
from urllib.parse import unquote_plus

COLUMNS = ["matches", "alerts", "suppressed", "dry", "ignored", "expired"]
# The most reasons of failures that are shown.
REASONS = 20


def shown(text):
    """A text that can't move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def add(counts, more):
    for name, count in more.items():
        if isinstance(count, dict):
            add(counts[name], count)
        else:
            counts[name] += count


def read(rows):
    """The sums of all logs, those of each rule, and the logs that failed for each reason."""
    totals, rules, failed = Counter(), defaultdict(Counter), defaultdict(list)
    for bucket, key, _, status, *_, message in rows:
        if status == "succeeded":
            counts = json.loads(message)
            add(rules, counts.pop("rules", {}))
            totals.update({f"skipped: {name}": count for name, count in counts.pop("skipped", {}).items()})
            totals.update(counts)
        elif status != "TaskStatus":
            name = f"s3://{bucket}/{unquote_plus(key)}"
            failed[message.replace(name, "the log")].append(name)
    return totals, rules, failed


def lines(totals, rules, failed):
    names = ["logs", "records", "matched", "ignored", "alerts", "published", "unsent", "duplicates", "summarised",
             "suppressed", *sorted(name for name in totals if name.startswith("skipped: "))]
    yield ", ".join(f"{totals[name]} {name}" for name in names if totals[name] or name in names[:3])
    columns = [name for name in COLUMNS if name in COLUMNS[:2] or any(counts[name] for counts in rules.values())]
    if rules:
        yield "\n" + "".join(f"{name:>{max(len(name), 9)}}  " for name in columns) + "rule"
    for rule, counts in sorted(rules.items(), key=lambda each: (-each[1]["matches"], each[0])):
        yield "".join(f"{counts[name]:>{max(len(name), 9)}}  " for name in columns) + shown(rule)
    if failed:
        yield f"\nfailed: {sum(map(len, failed.values()))}"
    for reason, logs in sorted(failed.items(), key=lambda each: -len(each[1]))[:REASONS]:
        yield f"{len(logs):>9}  {shown(reason)}\n{'':>11}such as {shown(logs[0])}"
    if len(failed) > REASONS:
        yield f"and {len(failed) - REASONS} more reasons"


def rows(paths):
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            yield from csv.reader(file)


def main():
    if not sys.argv[1:]:
        sys.exit("usage: replay_report.py CSV…")
    totals, rules, failed = read(rows(sys.argv[1:]))
    print(*lines(totals, rules, failed), sep="\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
