"""The instructions that scanning takes: figures that do not depend on how busy the machine is.

`make instructions` compares them with benches/instructions.json, and `make bench-record` writes that file anew.
"""

import json
import os
import platform
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from logs import BINARY, RARE_ONLY, ROOT, plain, record

RECORD = ROOT / "benches" / "instructions.json"
GROWTH = 1.05
# (what, configuration, whether the log is gzipped)
CASES = [
    ("plain JSON, 1 rule, no match", {"source": "^none$", "regexp": "^None$"}, False),
    ("plain JSON, 1 rule, 1 % match", RARE_ONLY, False),
    ("gzipped, 1 rule, 1 % match", RARE_ONLY, True),
    ("gzipped, both packs, 1 % match", {"packs": ["cis", "threats"]}, True),
    ("gzipped, 1 rule, 100 % match", {"source": ".", "regexp": "."}, True),
]


def obstacle():
    """Why figures of this machine do not compare with the recorded ones; `None` if they do."""
    if not shutil.which("valgrind"):
        return "valgrind is missing"
    if platform.machine() != "x86_64" or " avx2 " not in Path("/proc/cpuinfo").read_text():
        return "not x86_64 with AVX2: other code runs here than what was recorded"
    return None


def count(config, log):
    """The instructions of one run of `scan`."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    # On one processor: `scan` starts a thread for each, and threads do not always share the work alike.
    done = subprocess.run([*valgrind, BINARY, "scan", "--config", config, log], text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          preexec_fn=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]))
    assert done.returncode == 0, done.stderr
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])


def measured():
    """Case → instructions for a byte of JSON, without those of starting and of reading the configuration."""
    rng = random.Random(7)
    log = plain(record(rng, rare=number % 100 == 99) for number in range(2000))
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        config, log_file, empty_log = (Path(folder, name) for name in ("config.json", "log", "empty.json"))
        empty_log.write_text('{"Records":[]}')
        # GNU gzip, because the zlib of one Python compresses differently from the next one's.
        gzipped = subprocess.run(["gzip", "-nc"], input=log, stdout=subprocess.PIPE, check=True).stdout
        for what, rules, gzip in CASES:
            config.write_text(json.dumps(rules))
            log_file.write_bytes(gzipped if gzip else log)
            figures[what] = round((count(config, log_file) - count(config, empty_log)) / len(log), 2)
    return figures


def compiler():
    """The compiler's version."""
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
def test_scanning_takes_no_more_instructions_than_recorded():
    recorded, now = json.loads(RECORD.read_text()), measured()
    limits = recorded["instructions per byte of JSON"]
    grown = [f"{what}: {limits[what]} recorded, {figure} now, {figure / limits[what] - 1:+.1%}"
             for what, figure in now.items() if figure > limits[what] * GROWTH]
    assert not grown, "\n".join([
        "Scanning takes over 5 % more instructions for a byte of JSON than benches/instructions.json says:", *grown,
        f"Recorded with {recorded['compiler']}, this is {compiler()}.",
        "If that is intended, run `make bench-record` and commit the file with the change that causes it."])


if __name__ == "__main__":
    if obstacle():
        raise SystemExit(f"Nothing recorded: {obstacle()}")
    figures = {"compiler": compiler(), "instructions per byte of JSON": measured()}
    RECORD.write_text(json.dumps(figures, indent=2) + "\n")
    print(RECORD.read_text(), end="")
