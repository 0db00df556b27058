"""`make bench`: what scanning and invocations cost, beside what a user would run instead, in docs/benchmarks.md, too.

REAL_LOGS=folder adds logs mixed from real ones. What is promised stands beside its figure, and a broken promise ends
the run with 1. What is compared runs in turns, so that the load of the machine meets all alike.
"""

import gzip
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import buckets
import invoking
import peers
import scanning
import starting
from logs import RARE_ONLY, ROOT, empty, made_up, plain, real, record
from measuring import REAL, adopt_orphans, exceeded, say, skip, version, write_page

SIZES = {1: 21, 50: 9, 500: 3}  # MB of JSON of the generated logs, and how often they are scanned
REAL_RUNS = 15


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


def on_disk(executable):
    """All about scanning files and folders."""
    made = {megabytes: made_up(megabytes) for megabytes in SIZES}
    logs = [(f"{megabytes} MB", log, SIZES[megabytes]) for megabytes, log in made.items()]
    reference = made[50]
    if folder := os.environ.get("REAL_LOGS"):
        reference = real(folder)
        logs.append((REAL, reference, REAL_RUNS))
    scanning.by_size(logs)
    scanning.by_rules(made[50])
    scanning.by_many_rules(made[50], empty())
    if folder:
        scanning.by_matches(reference, real(folder, repeated=12))
    else:
        skip(REAL, "REAL_LOGS names no folder of CloudTrail logs")
    scanning.by_files()
    scanning.by_cores(made[50], made[1])
    scanning.in_process(executable, reference)
    scanning.by_instructions()


def as_functions(smallest):
    """All about functions, their starts and invocations."""
    functions, rng = invoking.contenders(), random.Random(1)
    quiet, matches = ([record(rng, rare=rare) for _ in range(n) for rare in kinds]
                      for n, kinds in ((800, [False]), (1000, [False, True])))
    found = invoking.in_s3(RARE_ONLY, quiet=gzip.compress(plain(quiet)), matches=gzip.compress(plain(matches)))
    starting.by_function(functions, smallest, found)
    starting.by_rules()
    invoking.by_function(functions, found, made_up(50))


def main():
    adopt_orphans()
    described, executables = machine(), benches()
    say(described)
    on_disk(executables["scan"])
    buckets.by_place()
    buckets.beside_a_copy()
    peers.beside_peers()
    as_functions(executables.get("empty"))
    write_page()
    if exceeded:
        sys.exit("\nOver the limit (times move with the machine's load: run it where nothing else runs):\n  "
                 + "\n  ".join(exceeded))
    print("\nAll limits are kept.")


if __name__ == "__main__":
    main()
