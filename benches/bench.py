"""`make bench`: what scanning and invocations cost, beside what a user would run instead.

REAL_LOGS=folder adds a log mixed from real ones. What is promised stands beside its figure, and a broken promise ends
the run with 1. What is compared runs in turns, so that the load of the machine meets all alike.
"""

import ctypes
import gzip
import io
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from statistics import median

import test_instructions as instructions
from logs import BINARY, FOLDER, RARE_ONLY, ROOT, archive, json_size, made_up, plain, real, record
from s3 import BUCKET, S3
from servers import TOPIC, Function, first_hello

PR_SET_CHILD_SUBREAPER = 36
MEGABYTES = {1: 21, 50: 9, 500: 3}  # the JSON of the generated logs, and how often they are scanned
RUNS = 9
REAL_RUNS = 15
START_RUNS = 15
JQ_RUNS = 3
S3_RUNS = 5
FUNCTION_RUNS = 5
LATENCIES = (20, 100)  # milliseconds
NODE_PACKAGES = ["@aws-sdk/client-s3@3.1169.0", "@aws-sdk/client-sns@3.1169.0"]
NO_MATCH = {"source": "^nothing$", "regexp": "^nothing$"}
ORIGINAL = json.loads((ROOT / "filter_config.json").read_text())
ORIGINAL.pop("maxAlertsPerLog")  # jq prints every match
# The same for jq; a record without one of the fields ends neither.
JQ = ('.Records[] | select((.eventSource // "" | tostring | test("{source}"))'
      ' and (.eventName // "" | tostring | test("{regexp}")))')

OURS = "cloudtrail-alerter"
REAL = "real records"
EMPTY = "empty lambda_runtime"
FORMS = {"CPU": "{:.0f} ms", "peak": "{:.1f} MB", "requests": "{:.0f}", "requests at once": "{:.0f}"}
LIMITS = {("round trips of 100 ms", "quiet log, warm"): 1.6, ("round trips of 100 ms", "1,000 alerts"): 15,
          ("peak", "1,000 alerts"): 32}

# The limits that were exceeded.
exceeded = []


def limited(value, limit, form, what):
    """A figure beside its limit."""
    if value > limit:
        exceeded.append(f"{what}: {form.format(value)}, over {form.format(limit)}")
    return f"{form.format(value)} ({'at most' if value <= limit else 'OVER'} {form.format(limit)})"


def at_least(value, limit, form, what):
    """A figure beside its limit from below."""
    if value < limit:
        exceeded.append(f"{what}: {form.format(value)}, under {form.format(limit)}")
    return f"{form.format(value)} ({'at least' if value >= limit else 'UNDER'} {form.format(limit)})"


def table(title, header, rows):
    """A section's figures in Markdown, aligned for a terminal, too."""
    rows = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    print(f"\n{textwrap.fill(title, 120)}\n")
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("| " + " | ".join(cells) + " |")
    sys.stdout.flush()


def ms(seconds):
    """Milliseconds, with as many digits as mean something."""
    return f"{seconds * 1e3:.{1 if seconds < 0.02 else 0}f} ms"


def medians(rounds):
    """The median of each figure of a round."""
    return map(median, zip(*rounds, strict=True))


def measure(*command):
    """CPU seconds of one process and of those that it waits for, and the peak MB of the largest.

    A process's peak starts at the size of the one that it was forked from. So a small shell starts it and ends, and
    this process, which adopts such orphans, waits for it.
    """
    script = '"$@" >/dev/null 2>&1 & echo $!'
    shell = subprocess.run(["sh", "-c", script, "sh", *map(str, command)], stdout=subprocess.PIPE, check=True)
    _, status, usage = os.wait4(int(shell.stdout), 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: exit status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def configuration(name, content):
    """A configuration in a file."""
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def scan(config, log):
    """CPU seconds and peak MB of a scan."""
    return measure(BINARY, "scan", "--config", config, log)


def by_size(logs):
    """Scanning and inflating, by the log: (what, file, how often)."""
    config, rows, peaks = configuration("no-match", NO_MATCH), [], {}
    for what, log, runs in logs:
        rounds = [(*scan(config, log), *measure("gzip", "-dc", log)) for _ in range(runs)]
        cpu, peak, gzip_cpu, gzip_peak = medians(rounds)
        ratio, megabytes = median(each[0] / each[2] for each in rounds), json_size(log) / 1e6
        ratio_shown, peak_shown, peaks[what] = f"{ratio:.2f}", f"{peak:.1f} MB", peak
        if what == REAL:
            ratio_shown = limited(ratio, 0.35, "{:.2f}", f"CPU of scanning {what}, of gzip's")
        if what == "500 MB":
            peak_shown = limited(peak, 24, "{:.1f} MB", "peak of scanning 500 MB")
        rows.append([what, f"{megabytes:.1f} MB", f"{log.stat().st_size / 1e6:.2f} MB", runs, ms(cpu), ms(gzip_cpu),
                     ratio_shown, f"{megabytes / cpu:.0f} MB/s", peak_shown, f"{gzip_peak:.1f} MB"])
    growth = limited(peaks["500 MB"] / peaks["1 MB"], 1.15, "{:.2f}", "peak of scanning 500 MB, of that for 1 MB")
    table("Scanning, by size: CPU time and peak memory of whole processes, `scan` and `gzip -dc` on the same file; "
          f"medians; no record matches. Peak for 500 MB, divided by that for 1 MB: {growth}.",
          ["log", "JSON", "gzipped", "runs", "scan", "gzip -dc", "ratio", "speed", "scan's peak", "gzip's peak"], rows)


def by_rules(log):
    """Scanning, by the number of rules and by the share of records that match."""
    services = ["ec2", "s3", "kms", "sts", "lambda", "logs", "iam", "rds", "eks", "sns"]

    def rules(number):
        return {"rules": [{"name": f"rule-{n}", "source": rf"^{services[n % 10]}\.amazonaws\.com$",
                           "regexp": f"^(Create|Delete|Put)Thing{n}$"} for n in range(number)]}

    cases = {"1 rule, no match": NO_MATCH, "30 rules, no match": rules(30), "300 rules, no match": rules(300),
             "1 rule, 1 % match": RARE_ONLY, "both packs (163 rules), 1 % match": {"packs": ["cis", "threats"]},
             "1 rule, 100 % match": {"source": ".", "regexp": "."}}
    configs = {what: configuration(f"rules-{n}", content) for n, (what, content) in enumerate(cases.items())}
    rounds = [(measure("gzip", "-dc", log)[0], {what: scan(config, log) for what, config in configs.items()})
              for _ in range(RUNS)]
    rows = []
    for what in cases:
        cpu, peak = medians(scans[what] for _, scans in rounds)
        ratio = median(scans[what][0] / unzip for unzip, scans in rounds)
        rows.append([what, ms(cpu), f"{ratio:.2f}", f"{peak:.1f} MB"])
    table(f"Scanning, by rules and matches: the same on the generated log of 50 MB. Medians of {RUNS} rounds.",
          ["rules", "scan", "of gzip -dc", "scan's peak"], rows)


def with_packs(folder):
    """Both packs beside one rule on real logs as they are, where events come a dozen times; and `check` of both."""
    packs = configuration("packs", {"packs": ["cis", "threats"]})
    one, log = configuration("one-rule", RARE_ONLY), real(folder, repeated=12)
    rounds = [(scan(one, log)[0], scan(packs, log)[0], measure(BINARY, "check", packs)[0]) for _ in range(RUNS)]
    ratio = f"{median(both / one for one, both, _ in rounds):.2f}"
    alone, both, check = medians(rounds)
    check_shown = limited(check * 1e3, 200, "{:.0f} ms", "check of both packs with their tests")
    table(f"Both packs on real logs as they are, in which every event comes a dozen times, beside one rule. Medians of "
          f"{RUNS} rounds.", ["one rule", "both packs", "ratio", "`check` of both packs with all their tests"],
          [[ms(alone), ms(both), ratio, check_shown]])


def by_cores(large, small):
    """Scanning a folder on one core and on two: a large log and small ones of the same size together."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return print("\nSkipped: a folder on two cores. There is one.")
    folder = FOLDER / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "z.json.gz").hardlink_to(large)
    for n in range(round(json_size(large) / json_size(small))):
        (folder / f"{n}.json.gz").hardlink_to(small)
    command = [BINARY, "scan", "--config", configuration("no-match", NO_MATCH), folder]

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


def from_s3():
    """Scanning an archive in S3 beside the same files on the disk: time on the clock, and CPU time of the process."""
    config, latency, rows = configuration("rare", RARE_ONLY), 0.05, []

    def scanned(place, **environment):
        given = [f"{name}={value}" for name, value in environment.items()]
        start = time.perf_counter()
        cpu, _ = measure("env", *given, BINARY, "scan", "--config", config, place)
        return time.perf_counter() - start, cpu

    for what, logs, kilobytes in (("small logs", 5_000, 20), ("large logs", 200, 600)):
        folder, place = archive(logs, kilobytes), f"s3://{BUCKET}/"
        with S3(folder) as near:
            rounds = [(*scanned(folder), *scanned(place, **near.environment)) for _ in range(S3_RUNS)]
        with S3(folder, latency) as far:
            late, _ = scanned(place, **far.environment)
        disk, _, near_time, _ = medians(rounds)
        of_time, of_cpu = (median(each[2 + n] / each[n] for each in rounds) for n in (0, 1))
        times = far.requests * latency / late
        of_cpu_shown, times_shown = f"{of_cpu:.2f}", f"{times:.0f} times"
        if what == "large logs":
            of_cpu_shown = limited(of_cpu, 1.3, "{:.2f}", f"CPU of scanning {what} in S3, of that on the disk")
        else:
            times_shown = at_least(times, 15, "{:.0f} times", f"scanning {what} in S3, beside request after request")
        rows.append([f"{logs} {what}", f"{kilobytes} KB", ms(disk), ms(near_time), f"{of_time:.2f}", of_cpu_shown,
                     far.requests, ms(late), times_shown])
    table(f"Scanning in S3: time on the clock, and the CPU time of the process beside that from the disk. The fake S3 "
          f"shares the machine's cores. With a latency of {latency * 1e3:.0f} ms, the last column compares with one "
          "request after the other.",
          ["archive", "each", "disk", "S3", "ratio", "ratio of CPU", "requests", "S3, latency", "faster"], rows)


def with_jq(what, log):
    """The original configuration by `scan` and by jq."""
    if not shutil.which("jq"):
        return print("\nSkipped: jq is missing.")
    pipe = ["sh", "-c", 'gzip -dc "$1" | jq -c "$2"', "sh", log, JQ.format(**ORIGINAL)]
    rounds = [(*scan(configuration("original", ORIGINAL), log), *measure(*pipe)) for _ in range(JQ_RUNS)]
    cpu, peak, jq_cpu, jq_peak = medians(rounds)
    table(f"On a laptop: filter_config.json on the log of {what}, as whole processes; medians of {JQ_RUNS} runs.",
          ["program", "CPU", "peak"],
          [["scan", ms(cpu), f"{peak:.1f} MB"],
           [f"gzip and {version('jq', '--version')}", ms(jq_cpu), f"{jq_peak:.1f} MB"],
           ["ratio", f"{cpu / jq_cpu:.3f}", f"{peak / jq_peak:.3f}"]])


def in_process(executable, log):
    """What `cargo bench --bench scan` says."""
    print(f"\nIn one process: `cargo bench --bench scan -- {log.relative_to(ROOT)}`.\n\n```", flush=True)
    subprocess.run([executable, log], check=True)
    print("```")


def by_instructions():
    """The figures of `make instructions`."""
    if instructions.obstacle():
        return print(f"\nSkipped, instructions: {instructions.obstacle()}.")
    recorded = json.loads(instructions.RECORD.read_text())["instructions per byte of JSON"]
    rows = [[what, f"{now:.2f}", limited(now / recorded[what], instructions.GROWTH, "{:.2f}", f"instructions, {what}")]
            for what, now in instructions.measured().items()]
    table("Instructions for a byte of a generated log's JSON, without those of starting, counted once by callgrind: "
          "they do not depend on the machine's load.", ["log", "instructions", "of the recorded number"], rows)


def contenders():
    """Functions to compare: name → (command, environment)."""
    found = {OURS: ([BINARY], {}), "Python": ([sys.executable, ROOT / "benches" / "sample.py"], {})}
    if not (shutil.which("node") and shutil.which("npm")):
        print("\nSkipped: node or npm is missing.")
        return found
    folder = FOLDER / "node"
    folder.mkdir(exist_ok=True)
    install = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel", "error", *NODE_PACKAGES]
    if subprocess.run(install, stdout=subprocess.DEVNULL).returncode:
        print("\nSkipped: npm could not install the SDK for Node.")
        return found
    return found | {"Node": (["node", ROOT / "benches" / "sample.js"], {"NODE_PATH": str(folder / "node_modules")})}


def cold_start(functions, empty, found):
    """How long functions take to be ready, and how large the package is that Lambda downloads before."""
    bare = f"{OURS}, no bucket named"
    functions = functions | {bare: ([BINARY], {"FILTER_CONFIG_BUCKET": ""})}
    if empty:
        functions |= {EMPTY: ([empty], {})}
    rounds = {name: [] for name in functions}
    for _ in range(START_RUNS):
        for name, (command, environment) in functions.items():
            for _ in range(2):  # the first finds the processor's caches as another program left them
                with Function(command, found, **environment) as function:
                    poll = function.time_to_first_poll()
                hello = 0 if name == EMPTY else first_hello(command, **environment)
            rounds[name].append((poll, hello))
    times = {name: list(medians(figures)) for name, figures in rounds.items()}
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(BINARY, "bootstrap")
    size = limited(package.tell() / 1e6, 7, "{:.1f} MB", "the zipped program")
    title = ("Cold start: from the start of the process to its first poll for work, and to the first byte of TLS that "
             f"it sends to AWS; no latency; medians of {START_RUNS} rounds, the second of two starts in each. Where a "
             f"bucket is named for the configuration, {OURS} loads it before it polls. The zipped program has {size}.")
    if empty:
        poll = limited(times[bare][0] / times[EMPTY][0], 1.6, "{:.2f}", "the first poll, of an empty function's")
        title += f" Its first poll, where no bucket is named, is {poll} times that of an empty function."
    else:
        print("\nSkipped: an empty function. Cargo knows no benchmark of the name `empty`.")
    rows = [[name, ms(poll), ms(hello) if hello else "–"] for name, (poll, hello) in times.items()]
    rows[0][2] = limited(times[OURS][1] * 1e3, 12, "{:.1f} ms", "the first byte of TLS")
    table(title, ["function", "first poll", "first TLS"], rows)


def in_s3(config, **logs):
    """The objects that a function finds: a configuration, and logs."""
    config = {**config, "sns": {"region": "us-east-1", "topicARN": TOPIC}}
    return {"filter_config.json": json.dumps(config).encode(), **logs}


def one_round(command, environment, found, large):
    """(measure, of what) → figure, of one function."""
    figures = {}
    with Function(command, large, **environment) as function:
        function.invoke("large")
        before = function.cpu()
        function.invoke("large")
        figures["CPU", "50 MB, no match"] = (function.cpu() - before) * 1e3
        figures["peak", "50 MB, no match"] = function.peak()
    for latency in LATENCIES:
        with Function(command, found, latency / 1e3, **environment) as function:
            seconds = {"quiet log, cold": function.invoke("quiet", cold=True),
                       "quiet log, warm": median(function.invoke("quiet") for _ in range(3))}
            before = function.cpu()
            seconds["1,000 alerts"] = function.invoke("matches")
            assert function.messages == 1000, f"{command} published {function.messages} of 1,000 alerts"
            for what, value in seconds.items():
                figures[f"round trips of {latency} ms", what] = value * 1e3 / latency
            alerts = {"CPU": (function.cpu() - before) * 1e3, "peak": function.peak(),
                      "requests": function.requests, "requests at once": function.most_under_way}
    # Of the longest latency, with which the most is under way.
    return figures | {(measured, "1,000 alerts"): figure for measured, figure in alerts.items()}


def invocations(functions, found, log):
    """CPU, memory and round trips of functions, side by side."""
    large = in_s3(NO_MATCH, large=log.read_bytes())
    rounds = [{name: one_round(*function, found, large) for name, function in functions.items()}
              for _ in range(FUNCTION_RUNS)]
    rows = []
    for measured, what in next(iter(rounds[0].values())):
        form = FORMS.get(measured, "{:.1f}")
        row = {name: median(each[name][measured, what] for each in rounds) for name in functions}
        shown = {name: form.format(figure) for name, figure in row.items()}
        if limit := LIMITS.get((measured, what)):
            shown[OURS] = limited(row[OURS], limit, form, f"{what}, {measured}")
        rows.append([f"{what}: {measured}", *shown.values()])
    table("Functions side by side, under a fake Lambda, S3 and SNS; Python and Node do the original sample's steps "
          "(benches/sample.py, sample.js). A round trip is the time from request to answer; connecting takes none. "
          "Invocations are warm and go from the event to the answer; a cold one goes from the start of the process. "
          "50 MB are read without latency; a quiet log has 800 records, the log with 1,000 alerts has 2,000. "
          f"Medians of {FUNCTION_RUNS} rounds.", ["", *functions], rows)


def version(*command):
    """The first line that a program says about itself."""
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]


def machine():
    """What this runs on, as far as the system tells, and what else it is doing."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    programs = [version("gzip", "--version"), f"Python {platform.python_version()}"]
    programs += [f"Node {version('node', '--version')}"] if shutil.which("node") else []
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores; {', '.join(programs)}; "
            f"load {os.getloadavg()[0]:.1f} before it began")


def benches():
    """Cargo's benchmarks, built: name → executable."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "*", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return {each["target"]["name"]: each["executable"] for each in messages
            if each.get("executable") and each["target"]["kind"] == ["bench"]}


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    described, executables = machine(), benches()
    made = {megabytes: made_up(megabytes) for megabytes in MEGABYTES}
    logs = [(f"{megabytes} MB", log, MEGABYTES[megabytes]) for megabytes, log in made.items()]
    reference = ("50 MB", made[50])
    if folder := os.environ.get("REAL_LOGS"):
        reference = (REAL, real(folder))
        logs.append((*reference, REAL_RUNS))
    print(f"\n{described}")
    by_size(logs)
    if not folder:
        print("\nSkipped: real records. REAL_LOGS names no folder of CloudTrail logs.")
    by_rules(made[50])
    if folder:
        with_packs(folder)
    by_cores(made[50], made[1])
    from_s3()
    in_process(executables["scan"], reference[1])
    by_instructions()
    with_jq(*reference)
    functions, rng = contenders(), random.Random(1)
    quiet, matches = ([record(rng, rare=rare) for _ in range(n) for rare in kinds]
                      for n, kinds in ((800, [False]), (1000, [False, True])))
    found = in_s3(RARE_ONLY, quiet=gzip.compress(plain(quiet)), matches=gzip.compress(plain(matches)))
    cold_start(functions, executables.get("empty"), found)
    invocations(functions, found, made[50])
    if exceeded:
        sys.exit("\nOver the limit (times move with the machine's load: run it where nothing else runs):\n  "
                 + "\n  ".join(exceeded))
    print("\nAll limits are kept.")


if __name__ == "__main__":
    main()
