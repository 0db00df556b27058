"""What scanning costs on the disk: by the log, its rules and its matches, by the number of files and of cores."""

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from statistics import median

import test_instructions as instructions
from logs import BINARY, FOLDER, RARE_ONLY, ROOT, archive, joined, json_size, plain
from measuring import (
    BOTH_PACKS,
    NO_MATCH,
    REAL,
    Turns,
    at_least,
    inflate,
    limited,
    mb,
    medians,
    ms,
    say,
    scan,
    skip,
    table,
)

RUNS = 9
EVERYTHING = {"source": ".", "regexp": "."}
# The keys of a rule without which each match sends an alert; and its tests.
NOT_SENT = {"threshold", "firstSeen", "suppress", "ignore", "tests"}
SERVICES = ["ec2", "s3", "kms", "sts", "lambda", "logs", "iam", "rds", "eks", "sns"]


def rules(number, only_where=0):
    """So many rules that match nothing: about calls, and every so many-th one about callers or what they use."""
    def rule(n):
        if only_where and n % only_where == 0:
            path, pattern = [("userIdentity.arn", f"^arn:aws:iam::123456789012:user/somebody-{n}$"),
                             ("userAgent", f"^tool-{n}/"), ("sourceIPAddress", rf"^198\.51\.100\.{n}$"),
                             ("requestParameters.bucketName", f"^bucket-{n}$")][n // only_where % 4]
            return {"where": {path: pattern}}
        return {"source": rf"^{SERVICES[n % 10]}\.amazonaws\.com$", "regexp": f"^(Create|Delete|Put)Thing{n}$"}

    return {"rules": [{"name": f"rule-{n}", **rule(n)} for n in range(number)]}


def pack_rules():
    """The rules of both packs."""
    packs = [subprocess.run([BINARY, "packs", name], capture_output=True, check=True) for name in BOTH_PACKS["packs"]]
    return [rule for pack in packs for rule in json.loads(pack.stdout)["rules"]]


def by_size(logs):
    """Scanning and inflating, by the log: (what, file, how often)."""
    rows, peaks = [], {}
    for what, log, runs in logs:
        turns = Turns(runs, {"scan": scan(NO_MATCH, log), "gzip": inflate(log)})
        ours, gzip, ratio = turns["scan"], turns["gzip"], turns.ratio("scan", "gzip")
        megabytes, peaks[what] = json_size(log) / 1e6, ours.peak
        ratio_shown, peak_shown = f"{ratio:.2f}", mb(ours.peak)
        if what == REAL:
            ratio_shown = limited(ratio, 0.35, "{:.2f}", f"CPU of scanning {what}, of gzip's")
        if what == "500 MB":
            peak_shown = limited(ours.peak, 24, "{:.1f} MB", "peak of scanning 500 MB")
        rows.append([what, mb(megabytes), f"{log.stat().st_size / 1e6:.2f} MB", runs, ms(ours.cpu), ms(gzip.cpu),
                     ratio_shown, f"{megabytes / ours.cpu:.0f} MB/s", peak_shown, mb(gzip.peak)])
    growth = limited(peaks["500 MB"] / peaks["1 MB"], 1.15, "{:.2f}", "peak of scanning 500 MB, of that for 1 MB")
    table("Scanning, by size: CPU time and peak memory of whole processes, `scan` and `gzip -dc` on the same file; "
          f"the least of the runs; no record matches. Peak for 500 MB, divided by that for 1 MB: {growth}.",
          ["log", "JSON", "gzipped", "runs", "scan", "gzip -dc", "ratio", "speed", "scan's peak", "gzip's peak"], rows)


def by_rules(log):
    """Scanning, by the number of rules and by the share of records that match."""
    cases = {"1 rule, no match": NO_MATCH, "30 rules, no match": rules(30), "300 rules, no match": rules(300),
             "1 rule, 1 % match": RARE_ONLY, f"both packs ({len(pack_rules())} rules), 1 % match": BOTH_PACKS,
             "1 rule, 100 % match": EVERYTHING}
    turns = Turns(RUNS, {"gzip": inflate(log)} | {what: scan(config, log) for what, config in cases.items()})
    table(f"Scanning, by rules and matches: the same on the generated log of 50 MB. The least of {RUNS} rounds.",
          ["rules", "scan", "of gzip -dc", "scan's peak"],
          [[what, ms(turns[what].cpu), f"{turns.ratio(what, 'gzip'):.2f}", mb(turns[what].peak)] for what in cases])


def by_many_rules(log, empty):
    """Ten times as many rules, on a log without matches, without the start of the program."""
    rows = []
    for what, only_where, limit in (("each names calls", 0, 1.5), ("a tenth have only `where`", 10, 2)):
        few, many = rules(300, only_where), rules(3000, only_where)
        turns = Turns(RUNS, {"few": scan(few, log), "many": scan(many, log), "few, start": scan(few, empty),
                             "many, start": scan(many, empty)})
        few, many = (turns[name].cpu - turns[f"{name}, start"].cpu for name in ("few", "many"))
        ratio = limited(many / few, limit, "{:.2f}", f"3,000 rules, {what}, beside 300")
        rows.append([what, ms(few), ms(many), ratio])
    table(f"Scanning with many rules: CPU time on the generated log of 50 MB, less that on an empty log; no record "
          f"matches. The least of {RUNS} rounds.", ["rules", "300 rules", "3,000 rules", "ratio"], rows)


def without_matches(log):
    """The records of a log that no pack matches, whether it would remember or ignore them or not."""
    blind = [{key: value for key, value in rule.items() if key not in NOT_SENT} for rule in pack_rules()]
    command = [*scan({"rules": blind}, log), "--format", "json"]
    alerts = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.splitlines()
    matched = {json.loads(alert)["event"].get("eventID") for alert in alerts}
    records = json.loads(gzip.decompress(log.read_bytes()))["Records"]
    path = FOLDER / "no-pack-matches.json.gz"
    path.write_bytes(gzip.compress(plain(each for each in records if each.get("eventID") not in matched), 6))
    return path


def by_matches(new, repeated):
    """Both packs beside one rule, and everything matching beside inflating, on real records."""
    # (what, log, the packs' limit, everything's limit)
    cases = [("no pack matches", without_matches(new), 1.5, None), ("each event a dozen times", repeated, 1.45, 1.05),
             ("each event new", new, 3.6, 2.5)]
    rows = []
    for what, log, packs_limit, everything_limit in cases:
        turns = Turns(RUNS, {"gzip": inflate(log), "one": scan(RARE_ONLY, log), "packs": scan(BOTH_PACKS, log),
                             "everything": scan(EVERYTHING, log)})
        packs = limited(turns.ratio("packs", "one"), packs_limit, "{:.2f}", f"both packs, {what}, beside one rule")
        everything = turns.ratio("everything", "gzip")
        everything = limited(everything, everything_limit, "{:.2f}", f"everything matches, {what}, of gzip's CPU") \
            if everything_limit else f"{everything:.2f}"
        rows.append([what, *(ms(turns[each].cpu) for each in ("gzip", "one", "packs")), packs,
                     ms(turns["everything"].cpu), everything])
    table("Scanning real records, by what matches: CPU time with one rule, with both packs, and with a rule that "
          "everything matches. In the first log no pack matches. In the second, every event comes a dozen times, as "
          f"real logs have them. In the third, each event is new. The least of {RUNS} rounds.",
          ["log", "gzip -dc", "one rule", "both packs", "of one rule", "everything", "of gzip -dc"], rows)


def by_files():
    """Many small logs beside one file of the same gzip members."""
    logs, rows = 2_000, []
    for what, kilobytes, limit in (("3 KB", 3, None), ("20 KB", 20, 0.7)):
        folder = archive(logs, kilobytes)
        turns = Turns(RUNS, {"many": scan(NO_MATCH, folder), "one": scan(NO_MATCH, joined(folder))})
        throughput = turns.ratio("one", "many")
        throughput = at_least(throughput, limit, "{:.2f}", f"throughput of {logs:,} files of {what}") \
            if limit else f"{throughput:.2f}"
        rows.append([what, ms(turns["one"].cpu), ms(turns["many"].cpu), throughput])
    table(f"Scanning {logs:,} files, and one file that consists of their gzip members: CPU time; no record matches. "
          f"Throughput is that of many files, divided by that of one. The least of {RUNS} rounds.",
          ["each", "one file", "many files", "throughput"], rows)


def by_cores(large, small):
    """Scanning a folder on one core and on two: a large log and small ones of the same size together."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return skip("a folder on two cores", "There is one")
    folder = FOLDER / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "z.json.gz").hardlink_to(large)
    for n in range(round(json_size(large) / json_size(small))):
        (folder / f"{n}.json.gz").hardlink_to(small)
    command = scan(NO_MATCH, folder)

    def seconds(number):
        start = time.perf_counter()
        subprocess.run(command, stderr=subprocess.DEVNULL, check=True,
                       preexec_fn=lambda: os.sched_setaffinity(0, cores[:number]))
        return time.perf_counter() - start

    rounds = [(seconds(1), seconds(2)) for _ in range(RUNS)]
    one, two = medians(rounds)
    ratio = limited(median(b / a for a, b in rounds), 1 / 1.8, "{:.2f}", "a folder on two cores, of one core's time")
    table("Scanning a folder that holds the log of 50 MB, last by its name, and fifty of 1 MB: time on the wall; no "
          f"record matches; medians of {RUNS} rounds.", ["cores", "time", "ratio"],
          [["1", ms(one), ""], ["2", ms(two), ratio]])


def in_process(executable, log):
    """What `cargo bench --bench scan` says."""
    said = subprocess.run([executable, log], stdout=subprocess.PIPE, text=True, check=True).stdout.rstrip()
    ratio = limited(float(re.search(r"all match .* ratio ([\d.]+)", said)[1]), 5, "{:.2f}",
                    "in one process, everything matches, of inflating")
    say(f"\nIn one process: `cargo bench --bench scan -- {log.relative_to(ROOT)}`. Where all match: {ratio}.\n\n```\n"
        f"{said}\n```")


def by_instructions():
    """The figures of `make instructions`."""
    if obstacle := instructions.obstacle():
        return skip("instructions", obstacle[0].upper() + obstacle[1:])
    recorded = json.loads(instructions.RECORD.read_text())["instructions per byte of JSON"]
    rows = [[what, f"{now:.2f}", limited(now / recorded[what], instructions.GROWTH, "{:.2f}", f"instructions, {what}")]
            for what, now in instructions.measured().items()]
    table("Instructions for a byte of a generated log's JSON, without those of starting, counted once by callgrind: "
          "they do not depend on the machine's load.", ["log", "instructions", "of the recorded number"], rows)
